package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

func TestUpAppliesWhatIsPendingAndRecordsIt(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	files := []string{
		"001_users.sql", "create table {{tables.users}} (id int primary key);\ninsert into {{tables.users}} values (1), (2);",
		"002_view.sql", "create view {{tables.v}} as select count(*) from {{tables.users}};",
	}
	if got := versions(p.up(target(t, "app", "app", files...))); got != "1 2" {
		t.Errorf("applied %s", got)
	}
	d.want("2", `select count from app.v`)
	files = append(files, "010_more.sql", "alter table {{tables.users}} add name text;")
	if got := versions(p.up(target(t, "app", "app", files...))); got != "10" {
		t.Errorf("applied %s", got)
	}
	history, err := p.History(t.Context(), engine.Filter{})
	if err != nil || len(history) != 3 {
		t.Fatalf("history %v, %v", history, err)
	}
	for i, e := range history {
		f := load(t, "app", files...)[i]
		if e.Module != "app" || e.Schema != "app" || e.Version != f.Version || e.State != engine.Applied || e.File != f.Name ||
			e.RawHash != f.RawHash || e.SemanticHash != f.SemanticHash || e.StatementsDone != f.Statements ||
			e.StatementsTotal != f.Statements || e.Attempts != 1 || e.Tool != "engine_test 1" || e.Duration <= 0 ||
			e.AppliedAt.IsZero() || e.Actor != d.value("select session_user") {
			t.Errorf("entry %+v", e)
		}
		if i > 0 && !e.AppliedAt.After(history[i-1].AppliedAt) {
			t.Errorf("entry %d is not after the one before", i)
		}
	}
	contains(t, p.logs.String(), "INFO migration applied module=app schema=app version=10 file=010_more.sql duration=")
}

func TestUpWithNothingPendingIsOneRoundTripOnOneConnection(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	tg := target(t, "app", "app", "1_a.sql", "create table a ()", "2_b.sql", "create table b ()")
	p.up(tg)
	if err := p.pool.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, connects := p.roundTrips.Load(), p.connects.Load()
	if got := versions(p.up(tg)); got != "" {
		t.Errorf("applied %s", got)
	}
	if _, err := p.Status(t.Context(), tg); err != nil {
		t.Error(err)
	}
	if got := p.roundTrips.Load() - before; got != 2 {
		t.Errorf("%d round trips for Up and Status, want 2", got)
	}
	if got := p.connects.Load() - connects; got != 0 {
		t.Errorf("%d new connections", got)
	}
}

func TestUpTakesThreeRoundTripsAFile(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "app", "1_a.sql", "create table a ()"))
	if err := p.pool.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := p.roundTrips.Load()
	connects := p.connects.Load()
	p.up(target(t, "app", "app", "1_a.sql", "create table a ()", "2_b.sql", "create table b (); insert into b default values; create table c ()",
		"3_c.sql", "drop table c"))
	// One to see what is pending, three for each file, one to close the connection.
	if got := p.roundTrips.Load() - before; got != 8 {
		t.Errorf("%d round trips, want 8", got)
	}
	if got := p.connects.Load() - connects; got != 0 {
		t.Errorf("%d new connections for files that leave nothing behind in theirs", got)
	}
	if got := p.discarded.Load(); got != 2 {
		t.Errorf("%d connections closed by two runs, want 2", got)
	}
}

func TestAConnectionThatRanAFileIsClosed(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "app", "1_a.sql", "set search_path = pg_catalog; set statement_timeout = 700; listen x; create temp table tmp ()",
		"2_b.sql", "create table b (); select pg_sleep(0.9)", "3_c.sql", "insert into b select from (select set_config('lock_timeout', '1', false)) s",
		"4_d.sql", "create table d as select current_setting('lock_timeout') as t"))
	d.want("2s", "select t from app.d") // of this run, not of the file before
	if got := p.discarded.Load(); got != 4 {
		t.Errorf("%d connections closed, want 4", got)
	}
	d.want("app", "select schemaname from pg_tables where tablename = 'b'")
	var path, timeout string
	if err := p.pool.QueryRow(t.Context(), "select current_setting('search_path'), current_setting('statement_timeout')").Scan(&path, &timeout); err != nil {
		t.Fatal(err)
	}
	if path != `"$user", public` || timeout != "0" {
		t.Errorf("search_path %s, statement_timeout %s", path, timeout)
	}
}

func TestErrorsSayWhereInTheFile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want string }{
		{"syntax", "create table {{tables.a}} ();\n\ncreate tabel x ();", ":3:8: ERROR: syntax error at or near \"tabel\" (SQLSTATE 42601)"},
		{"after placeholders", "select 1 from {{tables.a}}, {{tables.long_name}} where nope;", ":1:15: ERROR: relation \"a_rather_long_schema.a\" does not exist (SQLSTATE 42P01)"},
		{"after placeholders on one line", "create table {{tables.a}} (); select 1 from {{tables.a}} where nope;", ":1:64: ERROR: column \"nope\" does not exist (SQLSTATE 42703)"},
		{"inside a placeholder", "create table {{tables.a}} ();\nselect * from\n  {{tables.missing}};", ":3:3: ERROR: relation \"a_rather_long_schema.missing\" does not exist (SQLSTATE 42P01)"},
		{"after characters of several bytes", "select 'žluťoučký 🐎'; select 'ů', nope;", ":1:35: ERROR: column \"nope\" does not exist (SQLSTATE 42703)"},
		{"not null", "create table n (a int not null);\n-- why\ninsert into n\n values (null);", ":3:1: ERROR: null value in column \"a\" of relation \"n\" violates not-null constraint (SQLSTATE 23502)"},
		{"unique", "create table u (a int unique); insert into u values (1);\n  insert into u values (1)", ":2:3: ERROR: duplicate key value violates unique constraint \"u_a_key\" (SQLSTATE 23505)"},
		{"raise", "select 1;;\n;\n/* x */ do $$ begin\n raise exception 'no'; end $$;\nselect 2;", ":3:9: ERROR: no (SQLSTATE P0001)"},
		{"after a query that returns rows", "select generate_series(1, 3);\nselect 1;\nselect 1/0;", ":3:1: ERROR: division by zero (SQLSTATE 22012)"},
		{"in a query that returned rows already", "select 1;\nselect 1/(3-x) from generate_series(1, 3) x;", ":2:1: ERROR: division by zero (SQLSTATE 22012)"},
		{"in a body", "create function f() returns int language plpgsql as $$\nbegin\n  retrun 1;\nend $$;", ":3:3: ERROR: syntax error at or near \"retrun\" (SQLSTATE 42601)"},
		{"in a statement of a do block", "select 1;\ndo $$ begin\n perform * from nowhere; end $$;", ":2:1: ERROR: relation \"nowhere\" does not exist (SQLSTATE 42P01)"},
		{"after a rule that makes several statements", "create table r (a int); create table s (a int not null);\ncreate rule r as on insert to r do also (insert into s values (1); select 1);\ninsert into r values (1);\ninsert into s values (null);", ":4:1: ERROR: null value in column \"a\" of relation \"s\""},
		{"after a rule that makes none", "create table r (a int); create rule r as on insert to r do instead nothing;\ninsert into r values (1);\nselect 1/0;", ":3:1: ERROR: division by zero"},
		{"in COPY data", "create table c (a int);\ncopy c from stdin;\n1\n2\nx\n4\n\\.\nselect 1;", ":5:1: ERROR: invalid input syntax for type integer: \"x\" (SQLSTATE 22P02)"},
		{"in a COPY command", "create table c (a int);\ncopy c (b) from stdin;\n1\n\\.\n", ":2:1: ERROR: column \"b\" of relation \"c\" does not exist (SQLSTATE 42703)"},
		{"position in a COPY command", "create table c (a int);\ncopy c from stdin where b;\n1\n\\.\n", ":2:25: ERROR: column \"b\" does not exist (SQLSTATE 42703)"},
		{"after COPY", "create table c (a int);\ncopy c from stdin;\n1\n\\.\n\n  select nope;", ":6:10: ERROR: column \"nope\" does not exist (SQLSTATE 42703)"},
		{"after COPY without position", "create table c (a int);\ncopy c from stdin;\n1\n\\.\nselect 1; select 1/0;", ":5:11: ERROR: division by zero (SQLSTATE 22012)"},
		{"after a meta-command", "\\restrict abc\ncreate table c ();\nselect nope;", ":3:8: ERROR: column \"nope\" does not exist (SQLSTATE 42703)"},
		{"at commit", "create table d (a int primary key, b int references d deferrable initially deferred);\ninsert into d values (1, 2);", ": ERROR: insert or update on table \"d\" violates foreign key constraint \"d_b_fkey\" (SQLSTATE 23503)"},
		{"module not known", "select 1;\nselect * from {{tables.billing.invoices}};", ":2:15: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			p := d.program()
			_, err := p.Up(t.Context(), target(t, "app", "a_rather_long_schema", "003_x.sql", test.text))
			if err == nil {
				t.Fatal("no error")
			}
			if want := "migrate app/003_x.sql" + test.want; !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got  %s\nwant %s", err, want)
			}
			var e *engine.Error
			if !errors.As(err, &e) || e.Version != "3" || e.Schema != "a_rather_long_schema" {
				t.Errorf("got %#v", err)
			}
			var pgErr *pgconn.PgError
			if strings.Contains(test.want, "SQLSTATE") && !errors.As(err, &pgErr) {
				t.Error("*pgconn.PgError is not reachable")
			}
			d.want("0", "select count(*) from pg_namespace where nspname = 'a_rather_long_schema'")
		})
	}
}

func TestAFailedFileLeavesNothingButItsRecord(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	bad := target(t, "app", "app", "1_a.sql", "create table a ();", "2_b.sql", "create table b (); select 1/0;", "3_c.sql", "create table c ()")
	for attempt := 1; attempt <= 2; attempt++ {
		res, err := p.Up(t.Context(), bad)
		if err == nil {
			t.Fatal("no error")
		}
		if want := "1"; attempt == 1 && versions(res) != want {
			t.Errorf("applied %q, want %q", versions(res), want)
		}
	}
	d.want("1", "select count(*) from pg_tables where schemaname = 'app'")
	plan, err := p.Plan(t.Context(), bad)
	if err != nil || len(plan.Pending) != 2 || plan.Steps[1].State != engine.Failed {
		t.Fatalf("plan %+v, %v", plan, err)
	}
	e := plan.Steps[1].Entry
	if e.State != engine.Failed || e.Attempts != 2 || e.SQLState != "22012" || e.StatementsDone != 0 || e.StatementsTotal != 2 ||
		e.Message != "ERROR: division by zero (SQLSTATE 22012)" {
		t.Errorf("entry %+v", e)
	}
	// A file that failed may be mended: it never ran.
	good := target(t, "app", "app", "1_a.sql", "create table a ();", "2_b.sql", "create table b ();", "3_c.sql", "create table c ()")
	if got := versions(p.up(good)); got != "2 3" {
		t.Errorf("applied %s", got)
	}
	d.want("applied 3 t t", `select concat_ws(' ', state, attempts, error is null, error_sqlstate is null) from pgdbm.migrations where version = '2'`)
}

func TestCopyDataInAFileIsLoadedInTheSameTransaction(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	text := "create table {{tables.c}} (a int, b text);\n" +
		"copy {{tables.c}} (a, b) from stdin;\n1\tone; {{tables.c}}\n2\t\\N\n3\ta\\tb\n\\.\n" +
		"create table {{tables.n}} as select count(*) from {{tables.c}};\n" +
		"copy {{tables.c}} from stdin with (format csv);\n4,\"x\ny\"\n\\.\n" +
		"copy {{tables.c}} from stdin;\n\\.\n" +
		"update {{tables.c}} set b = 'none' where b is null;\n"
	p.up(target(t, "app", "app", "1_c.sql", text))
	d.want("3", "select count from app.n")
	d.want("1:one; {{tables.c}}|2:none|3:a\tb|4:x\ny", "select string_agg(a || ':' || b, '|' order by a) from app.c")
	d.want("6", "select stmt_done from pgdbm.migrations")

	_, err := p.Up(t.Context(), target(t, "other", "other", "1_c.sql", text+"select 1/0;"))
	if err == nil {
		t.Fatal("no error")
	}
	contains(t, err.Error(), "1_c.sql:15:1: ERROR: division by zero")
	d.want("0", "select count(*) from pg_namespace where nspname = 'other'")
}

func TestByteOrderMarkAndLineEndsOfOtherSystemsDoNotMatter(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	text := "create function f() returns text language sql as $$\nselect 'x'\n$$;\ncreate table c (a int);\ncopy c from stdin;\n1\n2\n\\.\n"
	p.up(target(t, "app", "app", "1_a.sql", "\ufeff"+strings.ReplaceAll(text, "\n", "\r\n")))
	d.want("2", "select count(*) from app.c")
	d.want("0", "select position(E'\\r' in prosrc) from pg_proc where proname = 'f'")
	p.up(target(t, "app", "app", "1_a.sql", text))
	if strings.Contains(p.logs.String(), "WARN") {
		t.Errorf("logged %s", p.logs)
	}
	_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql", text, "2_b.sql", "\ufeffselect nope;"))
	if err == nil || !strings.HasPrefix(err.Error(), "migrate app/2_b.sql:1:8: ") {
		t.Errorf("got %v", err)
	}
}

// What pg_dump writes: settings for the session, an empty search_path among them.
const dumpHead = `--
-- PostgreSQL database dump
--

\restrict dG9rZW4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
`

func TestADumpServesAsTheFirstFile(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	dump := dumpHead + `
CREATE TABLE public.people (
    id integer NOT NULL,
    name text DEFAULT 'it''s'::text
);

COPY public.people (id, name) FROM stdin;
1	Ann
2	Bob
\.

ALTER TABLE ONLY public.people ADD CONSTRAINT people_pkey PRIMARY KEY (id);

--
-- PostgreSQL database dump complete
--

\unrestrict dG9rZW4

`
	p.up(target(t, "app", "public", "1_baseline.sql", dump, "2_more.sql", "create table more as select * from people"))
	d.want("2", "select count(*) from public.more")
	d.want("2", "select count(*) from pgdbm.migrations where state = 'applied'")
	again := strings.ReplaceAll(dump, "dG9rZW4", "b3RoZXI")
	if got := versions(p.up(target(t, "app", "public", "1_baseline.sql", again, "2_more.sql", "create table more as select * from people"))); got != "" {
		t.Errorf("applied %s", got)
	}
}

func TestAFileMaySetRoleAndEncodingAndQuoting(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	role := d.role("nothing granted")
	p := d.program()
	tg := target(t, "app", `it is ☃ "odd"`[:9], "1_ž'x.sql", "create table a ();\n"+
		"set role "+sqltemplate.Quote(role)+"; set standard_conforming_strings = off; set client_encoding = 'LATIN1';")
	p.up(tg)
	tg2 := target(t, "app", tg.Schema, "1_ž'x.sql", tg.Files[0].Source, "2_b.sql", "set session authorization "+sqltemplate.Quote(role)+";")
	p.up(tg2)
	d.want("1_ž'x.sql", "select file_name from pgdbm.migrations where version = '1'")
	d.want(tg.Schema, "select target_schema from pgdbm.migrations where version = '2'")
	d.want(d.value("select session_user"), "select min(actor) from pgdbm.migrations")
}

func TestTheRoleThatThePoolSetsIsKept(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	role := d.role("create on database")
	p := d.program(asRole(role))
	p.up(target(t, "app", "app", "1_a.sql", "create table a (); set role none;", "2_b.sql", "create table b ();"))
	d.want(role+" "+role, "select string_agg(tableowner, ' ') from pg_tables where schemaname in ('app', 'pgdbm') and tablename in ('b', 'migrations')")
}

func asRole(role string) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) {
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "set role "+sqltemplate.Quote(role))
			return err
		}
	}
}

func TestCancellingRollsBack(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	tg := target(t, "app", "app", "1_a.sql", "create table a (); select pg_sleep(60), 'engine test sleeps';")
	go func() {
		_, err := p.Up(ctx, tg)
		done <- err
	}()
	sleeping := "select count(*) from pg_stat_activity where datname = current_database() and state = 'active' and wait_event = 'PgSleep'"
	d.eventually("1", sleeping)
	cancel()
	err := <-done
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if !strings.HasPrefix(err.Error(), "migrate app/1_a.sql: ") {
		t.Errorf("got %v", err)
	}
	d.eventually("0", sleeping)
	d.want("0", "select count(*) from pg_namespace where nspname = 'app'")
	d.want("failed", "select state from pgdbm.migrations")
}

func TestAfterTheServerEndsTheConnectionRunningAgainConverges(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	tg := target(t, "app", "app", "1_a.sql", "create table a ();", "2_b.sql",
		"create table b (); do $$ begin perform pg_sleep(60) where to_regclass('public.calm') is null; end $$;")
	done := make(chan error, 1)
	go func() {
		_, err := p.Up(t.Context(), tg)
		done <- err
	}()
	d.eventually("1", "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'")
	d.exec("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'")
	err := <-done
	if err == nil || errors.Is(err, engine.ErrCommitUnknown) {
		t.Fatalf("got %v", err)
	}
	contains(t, err.Error(), "migrate app/2_b.sql", "57P01")
	d.want("failed", "select state from pgdbm.migrations where version = '2'")
	d.exec("create table public.calm ()")
	if got := versions(p.up(tg)); got != "2" {
		t.Errorf("applied %s", got)
	}
}

func TestALostConnectionDuringCommitIsSaid(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	// A trigger that runs when the transaction commits ends its own backend.
	tg := target(t, "app", "app", "1_a.sql", `create table a (x int);
create function f() returns trigger language plpgsql as $$ begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
create constraint trigger c after insert on a deferrable initially deferred for each row when (new.x = 1) execute function f();
insert into a values (1);`)
	_, err := p.Up(t.Context(), tg)
	if !errors.Is(err, engine.ErrCommitUnknown) {
		t.Fatalf("got %v", err)
	}
	contains(t, err.Error(), "migrate app/1_a.sql: connection lost during commit, outcome unknown: ")
	d.want("0", "select count(*) from pgdbm.migrations")
	d.want("0", "select count(*) from pg_namespace where nspname = 'app'")
}

func TestTimeoutsOfThePoolDoNotApply(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(func(c *pgxpool.Config) {
		if d.value("select current_setting('transaction_timeout', true) is not null") == "true" { // PostgreSQL 17
			c.ConnConfig.RuntimeParams["transaction_timeout"] = "100"
		}
		c.ConnConfig.RuntimeParams["statement_timeout"] = "100"
		c.ConnConfig.RuntimeParams["lock_timeout"] = "100"
		c.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "100"
		c.ConnConfig.RuntimeParams["default_transaction_isolation"] = "serializable"
		c.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
		c.ConnConfig.RuntimeParams["standard_conforming_strings"] = "off"
	})
	p.up(target(t, "app", "app", "1_a.sql", `create table a as select 'a\b' as b; select pg_sleep(0.3); select 'c';`))
	d.want(`a\b`, "select b from app.a")
}

func TestAModuleWithoutFilesGetsItsSchema(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	if err := p.EnsureSchema(t.Context(), "My Schema"); err != nil {
		t.Fatal(err)
	}
	before := p.roundTrips.Load()
	if err := p.EnsureSchema(t.Context(), "My Schema"); err != nil {
		t.Fatal(err)
	}
	if got := p.roundTrips.Load() - before; got != 1 {
		t.Errorf("%d round trips when it exists, want 1", got)
	}
	d.want("1", "select count(*) from pg_namespace where nspname = 'My Schema'")
	d.want("0", "select count(*) from pg_namespace where nspname = 'pgdbm'")
	p.up(engine.Target{Module: "app", Schema: "empty"})
	d.want("1", "select count(*) from pg_namespace where nspname = 'empty'")
	if err := p.EnsureSchema(t.Context(), "pg_x"); err == nil {
		t.Error("pg_x was accepted")
	}
}

func TestFilesNameOtherModulesThroughTheNames(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "users", "people", "1_a.sql", "create table {{tables.users}} (id int primary key);"))
	names, err := sqltemplate.NewNames("billing", map[string]string{"users": "people"})
	if err != nil {
		t.Fatal(err)
	}
	tg := engine.Target{Module: "billing", Schema: "billing", Names: names,
		Files: load(t, "billing", "1_a.sql", "create table {{tables.i}} (u int references {{tables.users.users}});")}
	p.up(tg)
	if got := tg.Files[0].Modules(); len(got) != 1 || got[0] != "users" {
		t.Errorf("modules %v", got)
	}
	d.want("people.users", "select confrelid::regclass::text from pg_constraint where contype = 'f'")
}

func TestADatabaseAheadOfTheProgramIsAWarning(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "app", "1_a.sql", "create table a ();", "2_b.sql", "create table b ();"))
	res := p.up(target(t, "app", "app", "1_a.sql", "create table a ();  -- reformatted"))
	if len(res.Warnings) != 2 {
		t.Errorf("warnings %+v", res.Warnings)
	}
	contains(t, p.logs.String(),
		"WARN migration: recorded version is newer than the program's files module=app schema=app version=2 file=2_b.sql",
		"WARN migration: space or comments changed since it was applied module=app schema=app version=1 file=1_a.sql")
}

func TestTheSameVersionWithOtherContentInAnotherSchemaIsRefused(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "one", "1_a.sql", "create table a ();"))
	p.up(target(t, "app", "two", "1_a.sql", "CREATE TABLE a () -- the same"))
	p.up(target(t, "other", "three", "1_a.sql", "create table of_another_module ();"))
	_, err := p.Up(t.Context(), target(t, "app", "four", "1_b.sql", "create table b ();"))
	if !errors.Is(err, engine.ErrConflict) {
		t.Fatalf("got %v", err)
	}
	contains(t, err.Error(), "migrate app/1_b.sql: version 1: ", "has 1_a.sql with hash")
	d.want("0", "select count(*) from pg_namespace where nspname = 'four'")
	// A file that failed elsewhere is in effect nowhere.
	if _, err := p.Up(t.Context(), target(t, "m", "five", "1_a.sql", "select 1/0")); err == nil {
		t.Fatal("no error")
	}
	p.up(target(t, "m", "six", "1_a.sql", "select 1"))
}

func TestADroppedSchemaIsNoticed(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	tg := target(t, "app", "app", "1_a.sql", "create table a ();")
	p.up(tg)
	d.exec("drop schema app cascade")
	_, err := p.Up(t.Context(), tg)
	want := `migrate app: schema "app" is recorded as migrated and does not exist; restore it or rename it back, or forget what was in it (migrate.Remove) to have it made anew`
	if !errors.Is(err, engine.ErrSchemaGone) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if _, err := p.Remove(t.Context(), tg, engine.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := versions(p.up(tg)); got != "1" {
		t.Errorf("made anew: %s", got)
	}
}

func TestInvalidTargetsAreRefusedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	r := &engine.Runner{}
	for _, tg := range []engine.Target{{Module: "Bad", Schema: "app"}, {Module: "app", Schema: "pg_x"}, {Module: "app"}} {
		if _, err := r.Up(t.Context(), tg); err == nil {
			t.Errorf("%+v was accepted", tg)
		}
	}
}

// Behind a transaction pooler, closing a connection closes nothing: the server's side goes on to serve others.
func TestAPoolersConnectionIsLeftAsItWas(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	role := d.role("nothing granted")
	p := d.program()
	kept, err := pgx.Connect(t.Context(), d.url)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close(context.Background())
	p.Acquire = func(context.Context) (*pgx.Conn, func(bool), error) { return kept, func(bool) {}, nil }
	state := `select concat_ws(' ', current_setting('search_path'), current_setting('statement_timeout'), current_user,
		session_user, to_regclass('tmp') is null, (select count(*) from pg_listening_channels()),
		(select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()))`
	var before, after string
	if err := kept.QueryRow(t.Context(), state).Scan(&before); err != nil {
		t.Fatal(err)
	}
	p.up(target(t, "app", "app", "1_a.sql", dumpHead+"create temp table tmp (); listen x; select pg_advisory_lock(7); set statement_timeout = '9s';"+
		"set session authorization "+sqltemplate.Quote(role)+"; set role "+sqltemplate.Quote(role)))
	if err := kept.QueryRow(t.Context(), state).Scan(&after); err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Errorf("before %s\nafter  %s", before, after)
	}
}
