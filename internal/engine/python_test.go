package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// Each test of this file holds one of the faults of the Python original away; the numbers are those of the list in
// the design notes.

func TestPythonBug1FailureIsAnError(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	res, err := d.program().Up(t.Context(), target(t, "app", "app", "1_a.sql", "broken", "2_b.sql", "select 1"))
	if err == nil || len(res.Applied) != 0 {
		t.Fatalf("got %+v, %v", res, err)
	}
	d.want("1:failed", "select string_agg(version || ':' || state, ' ') from pgdbm.migrations")
}

func TestPythonBug2VersionsRunInNumericOrder(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	log := func(n int) string {
		return fmt.Sprintf("create table if not exists log (at int generated always as identity, n int); insert into log (n) values (%d)", n)
	}
	p := d.program()
	res := p.up(target(t, "app", "app", "10_a.sql", log(10), "1_z.sql", log(1), "2_b.sql", log(2), "20260101120000_t.sql", log(99)))
	if got := versions(res); got != "1 2 10 20260101120000" {
		t.Errorf("applied %s", got)
	}
	d.want("1 2 10 99", "select string_agg(n::text, ' ' order by at) from app.log")
}

func TestPythonBug3DuplicateDeletedAndLateVersionsAreErrors(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	if _, err := engine.Load("app", mapFS("001_a.sql", "select 1", "001_b.sql", "select 1")); err == nil {
		t.Error("two files of one version were accepted")
	}
	p.up(target(t, "app", "app", "001_a.sql", "select 1", "003_c.sql", "select 3"))
	_, err := p.Up(t.Context(), target(t, "app", "app", "001_a.sql", "select 1", "002_b.sql", "create table b ()", "003_c.sql", "select 3"))
	if !errors.Is(err, engine.ErrOrder) {
		t.Errorf("late version: %v", err)
	}
	_, err = p.Up(t.Context(), target(t, "app", "app", "003_c.sql", "select 3"))
	if !errors.Is(err, engine.ErrMissing) {
		t.Errorf("deleted file: %v", err)
	}
	d.want("0", "select count(*) from pg_tables where schemaname = 'app'")
}

func TestPythonBug4OneModuleInTwoSchemasDoesNotWait(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	defer d.hold(engine.SchemaKey("tenant_a"))()
	p := d.program()
	engine.OnWait(p.Runner, func() { t.Error("waited for another schema's lock") })
	p.up(target(t, "app", "tenant_b", "1_a.sql", "create table a ()"))
	// The application's own advisory locks are in the same space: a key of 64 bits keeps clear of small ones.
	if k := engine.SchemaKey("app"); k == int64(int32(k)) {
		t.Errorf("key %d", k)
	}
}

func TestPythonBug5TwoModulesInOneSchemaExcludeEachOther(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	programs := make([]*program, 8)
	for i := range programs {
		programs[i] = d.program()
	}
	together(t, 8, func(i int) error {
		tg := target(t, fmt.Sprintf("m%d", i), "shared", "1_a.sql", "create table if not exists common (x int); insert into common values (1)")
		_, err := programs[i].Up(t.Context(), tg)
		return err
	})
	d.want("8", "select count(*) from shared.common")
	d.want("8", "select count(*) from pgdbm.migrations where state = 'applied' and attempts = 1")
}

func TestPythonBug6AWaiterOutlastsTheLockTimeout(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["lock_timeout"] = "10" })
	engine.Poll(p.Runner, 10*time.Millisecond, 20*time.Millisecond, time.Hour)
	release := d.hold(engine.SchemaKey("app"))
	waits := 0
	engine.OnWait(p.Runner, func() {
		if waits++; waits == 4 {
			release()
		}
	})
	p.up(target(t, "app", "app", "1_a.sql", "create table a ()"))
}

// A session that waits inside the server holds a snapshot that CREATE INDEX CONCURRENTLY waits for in turn.
func TestPythonBug6AWaiterDoesNotDeadlockWithAConcurrentIndex(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.exec("create table big (x int)")
	release := d.hold(engine.SchemaKey("app"))
	p := d.program()
	waiting := make(chan struct{})
	waits := 0
	engine.OnWait(p.Runner, func() {
		if waits++; waits == 2 {
			close(waiting)
		}
	})
	done := make(chan error, 1)
	tg := target(t, "app", "app", "1_a.sql", "create table a ()")
	go func() {
		_, err := p.Up(t.Context(), tg)
		done <- err
	}()
	<-waiting
	d.exec("create index concurrently i on big (x)")
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPythonBug6DeploysThatWaitDoNotHangAConcurrentIndex(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.exec("create schema app; create table app.big as select generate_series(1, 20000) as x")
	tg := target(t, "app", "app", "1_a.sql", outsideHead+"create index concurrently i on {{tables.big}} (x);", "2_b.sql", "create table b ();")
	programs := make([]*program, 8)
	for i := range programs {
		programs[i] = d.program(two)
	}
	together(t, 8, func(i int) error {
		_, err := programs[i].Up(t.Context(), tg)
		return err
	})
	d.want("true", "select indisvalid from pg_index where indexrelid = 'app.i'::regclass")
	d.want("2 2", "select count(*) || ' ' || sum(attempts) from pgdbm.migrations where state = 'applied'")
}

func TestPythonBug8LongMigrationsOutlastTheStatementTimeout(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["statement_timeout"] = "50" })
	p.up(target(t, "app", "app", "1_a.sql", "select pg_sleep(0.2)"))
}

func TestPythonBug8ACancelledConcurrentIndexIsBuiltAnew(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.exec("create schema app; create table app.a as select 1 as x")
	p := d.program(two, func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["statement_timeout"] = "50" })
	blocker, err := d.connect().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blocker.Exec(t.Context(), "update app.a set x = 2"); err != nil {
		t.Fatal(err)
	}
	tg := target(t, "app", "app", "1_a.sql", outsideHead+"create index concurrently if not exists i on a (x);")
	done := make(chan error, 1)
	go func() {
		_, err := p.Up(t.Context(), tg)
		done <- err
	}()
	building := "from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
	d.eventually("1", "select count(*) "+building)
	d.exec("select pg_sleep(0.1)") // longer than the pool's statement_timeout
	d.exec("select pg_cancel_backend(pid) " + building)
	if err := <-done; err == nil {
		t.Fatal("no error")
	}
	d.want("false", "select indisvalid from pg_index where indexrelid = 'app.i'::regclass")
	if err := blocker.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.up(tg)
	d.want("true", "select indisvalid from pg_index where indexrelid = 'app.i'::regclass")
}

func TestPythonBug9UnqualifiedNamesLandInTheModulesSchema(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "tenantx", "1_a.sql", "create table unq (); set search_path = pg_catalog",
		"2_b.sql", "alter table unq add x int; create table second ()"))
	d.want("tenantx,tenantx", "select string_agg(schemaname, ',') from pg_tables where tablename in ('unq', 'second')")
}

func TestPythonBug10NamesAreQuotedEverywhere(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	for _, schema := range []string{"MyApp", "my app", "user", "ünï"} {
		p.up(target(t, "app", schema, "1_a.sql", `create table {{tables."Users"}} (x int); create table {{tables.order}} (); insert into "Users" values (1)`))
		d.want("2", "select count(*) from pg_tables where schemaname = $1", schema)
	}
	d.want("0", "select count(*) from pg_namespace where nspname = 'myapp'")
}

func TestPythonBug11TemplatesInLiteralsAndMalformedOnes(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "app", "1_a.sql",
		`create table {{tables.mails}} (body text); -- not {{tables.bad-name}} here
insert into {{tables.mails}} values ('Dear {{user}}, {{1,2},{3,4}}');`))
	d.want("Dear {{user}}, {{1,2},{3,4}}", "select body from app.mails")
	_, err := engine.Load("app", mapFS("1_a.sql", "select 1;\nselect * from {{tables.bad-name}};"))
	if err == nil || !strings.HasPrefix(err.Error(), "migrate app/1_a.sql:2:15: ") {
		t.Errorf("got %v", err)
	}
}

func TestPythonBug12AFilesOwnCommitIsRefused(t *testing.T) {
	t.Parallel()
	_, err := engine.Load("app", mapFS("1_a.sql", "BEGIN;\ncreate table t ();\nCOMMIT;\n"))
	if err == nil || err.Error() != "migrate app/1_a.sql:1:1: BEGIN in a migration, which runs in a transaction of its own" {
		t.Errorf("got %v", err)
	}
	d := newDatabase(t)
	d.program().up(target(t, "app", "app", "1_a.sql", "create table beginning (x text default 'BEGIN; COMMIT;')"))
}

func TestPythonBug14MarksCountOnlyAsCommentsAtTheHead(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.program().up(target(t, "app", "app", "1_a.sql",
		"create table a (x text default '\n-- pgdbm:no-transaction\n'); do $$\n-- pgdbm:no-transaction\nbegin end $$;"))
	for _, mark := range []string{"--pgdbm:no-transaction", "  -- pgdbm:no-transaction", "-- PGDBM:no-transaction", "--  pgdbm: no-transaction"} {
		// Each is the directive or an error, and never an ordinary comment.
		files, err := engine.Load("app", mapFS("1_a.sql", mark+"\nvacuum;"))
		if err == nil && !files[0].NoTransaction {
			t.Errorf("%q was silently ignored", mark)
		}
	}
}

// The cases of the design notes, and more, are in statement_test.go.
func TestPythonBug13StatementsAreSplitAsTheServerReadsThem(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.program(two).up(target(t, "app", "app", "1_a.sql", outsideHead+`create table log (s text);
insert into log values (E'a\';b'), ('a\'); /* c; /* d; */ e; */ insert into log values ('x');
create table "a;b" ("it's" int); create table a$b$c (x int);
create function f() returns int begin atomic select case when true then 1 end; select 2; end;
create rule r as on delete to log do also (select 1; select 2);
copy log from stdin;
; -- '
\.
`))
	d.want("8 8", "select concat_ws(' ', stmt_done, stmt_total) from pgdbm.migrations")
	d.want(`; -- '|a';b|a\|x`, `select string_agg(s, '|' order by s collate "C") from app.log`)
}

func TestPythonBug15OutsideATransactionEachStatementIsRecorded(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	text := outsideHead + "create table log (n int);\ninsert into log values (1);\nvacuum log;\ninsert into log select 1 / (n - 1) from log;\n"
	if _, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql", text)); err == nil {
		t.Fatal("no error")
	}
	d.want("running 3 4 22012", "select concat_ws(' ', state, stmt_done, stmt_total, error_sqlstate) from pgdbm.migrations")
	p.up(target(t, "app", "app", "1_a.sql", strings.Replace(text, "1 / (n - 1)", "2", 1)))
	d.want("3", "select sum(n) from app.log")
}

func TestPythonBug16LongNamesFit(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	module, schema, name := strings.Repeat("m", 63), strings.Repeat("s", 63), "1_"+strings.Repeat("n", 600)+".sql"
	p.up(target(t, module, schema, name, "create table {{tables.a}} ()"))
	d.want("63 63 606", "select concat_ws(' ', length(module), length(target_schema), length(file_name)) from pgdbm.migrations")
	if _, err := p.Up(t.Context(), target(t, module+"m", schema, name, "select 1")); err == nil {
		t.Error("a module name of 64 bytes was accepted")
	}
	d.want("0", "select count(*) from pg_attribute where attrelid = 'pgdbm.migrations'::regclass and attname in ('module', 'target_schema', 'version', 'state', 'file_name') and not attnotnull")
}

func TestPythonBug17TimesHaveAZoneAndAreThoseOfTheEvent(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	tg := []string{"1_a.sql", "create table a as select now() as began; select pg_sleep(0.05)"}
	d.program(func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["timezone"] = "Asia/Kolkata" }).up(target(t, "app", "app", tg...))
	p := d.program(func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["timezone"] = "America/St_Johns" })
	p.up(target(t, "app", "app", append(tg, "2_b.sql", "select 1")...))
	d.want("timestamp with time zone", "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'pgdbm.migrations'::regclass and attname = 'applied_at'")
	d.want("true", "select applied_at > began + interval '50 ms' from pgdbm.migrations, app.a where version = '1'")
	history, err := p.History(t.Context(), engine.Filter{})
	if err != nil || len(history) != 2 || !history[0].AppliedAt.Before(history[1].AppliedAt) {
		t.Fatalf("history %+v, %v", history, err)
	}
	if since := time.Since(history[1].AppliedAt); since < -time.Minute || since > time.Hour {
		t.Errorf("applied %v ago", since)
	}
}

func TestPythonBug18NoNameDependsOnWhatIsMigrated(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, strings.Repeat("m", 63), strings.Repeat("s", 63), "1_a.sql", "select 1"))
	p.up(target(t, strings.Repeat("m", 62)+"n", strings.Repeat("s", 62)+"t", "1_a.sql", "select 2"))
	d.want("migrations_content migrations_pkey", "select string_agg(indexname, ' ' order by indexname) from pg_indexes where schemaname = 'pgdbm'")
	d.want("2", "select count(*) from pgdbm.migrations")
}

func TestPythonBug19OnlyStatementsCountAsAChange(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "app", "1_a.sql", "create table {{tables.a}} (x int);\n"))
	for _, text := range []string{
		"\ufeffcreate table {{tables.a}} (x int);\r\n",
		"-- licence\nCREATE TABLE {{ tables.a }} (\n    x int -- why\n)",
	} {
		p.up(target(t, "app", "app", "1_a.sql", text))
	}
	_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql", "create table {{tables.a}} (x bigint);"))
	if !errors.Is(err, engine.ErrChanged) {
		t.Errorf("got %v", err)
	}
	// The hash is of the template, so that the tenants of one program agree.
	p.up(target(t, "app", "tenant", "1_a.sql", "create table {{tables.a}} (x int);\n"))
	d.want("1", "select count(distinct semantic_hash) from pgdbm.migrations")
}

func TestPythonBug19AChangeCanBeAccepted(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "app", "1_a.sql", "create table {{tables.a}} (x int);"))
	changed := target(t, "app", "app", "1_a.sql", "create table {{tables.a}} (x bigint);")
	if _, err := p.Repair(t.Context(), changed, engine.RepairOptions{Reason: "widened by hand"}); err != nil {
		t.Fatal(err)
	}
	p.up(changed)
	d.want("widened by hand", "select repair_reason from pgdbm.migrations")
}

func TestPythonBug20LookingWritesNothingAndTakesNoLock(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	defer d.hold(engine.LedgerKey())()
	defer d.hold(engine.SchemaKey("app"))()
	p := d.program()
	engine.OnWait(p.Runner, func() { t.Error("waited for a lock") })
	tg := target(t, "app", "app", "1_a.sql", "create table a ()")
	plan, err := p.Plan(t.Context(), tg)
	if err != nil || len(plan.Pending) != 1 {
		t.Errorf("plan %+v, %v", plan, err)
	}
	if _, err := p.Status(t.Context(), tg); err != nil {
		t.Error(err)
	}
	if _, err := p.History(t.Context(), engine.Filter{}); err != nil {
		t.Error(err)
	}
	d.want("0", "select count(*) from pg_class where relnamespace not in (select oid from pg_namespace where nspname like 'pg_%' or nspname = 'information_schema')")
}

func TestPythonBug21NothingRunsWithoutTheLockOrTwice(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p, q := d.program(), d.program()
	tg := target(t, "app", "app", "1_a.sql", "create table a ()")
	release := d.hold(engine.SchemaKey("app"))
	waiting := make(chan struct{}, 100)
	engine.OnWait(p.Runner, func() { waiting <- struct{}{} })
	engine.OnWait(q.Runner, func() { waiting <- struct{}{} })
	type outcome struct {
		res *engine.Result
		err error
	}
	done := make(chan outcome, 2)
	for _, r := range []*program{p, q} {
		go func() {
			res, err := r.Up(t.Context(), tg)
			done <- outcome{res, err}
		}()
	}
	<-waiting
	d.want("0", "select count(*) from pg_namespace where nspname = 'app'")
	release()
	a, b := <-done, <-done
	if a.err != nil || b.err != nil || len(a.res.Applied)+len(b.res.Applied) != 1 {
		t.Errorf("got %+v and %+v", a, b)
	}
}

func TestPythonBug21NothingIsRevertedWithoutTheLockOrByDeletingARow(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	tg := target(t, "app", "app", "1_a.sql", "create table a ();\n-- pgdbm:down\ndrop table a;")
	p.up(tg)
	release := d.hold(engine.SchemaKey("app"))
	waits := 0
	engine.OnWait(p.Runner, func() {
		if waits++; waits == 2 {
			d.want("1 1", "select (select count(*) from pgdbm.migrations) || ' ' || (select count(*) from pg_tables where schemaname = 'app')")
			release()
		}
	})
	if _, err := p.Down(t.Context(), tg, engine.DownOptions{}); err != nil || waits < 2 {
		t.Errorf("%d waits, %v", waits, err)
	}
	d.want("0 0", "select (select count(*) from pgdbm.migrations) || ' ' || (select count(*) from pg_tables where schemaname = 'app')")
}

func TestPythonBug22ErrorsKeepWhatTheServerSaid(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql", "select 1;\nselect no_such_function();"))
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "42883" || pgErr.Hint == "" {
		t.Fatalf("got %v", err)
	}
	if want := "migrate app/1_a.sql:2:8: ERROR: function no_such_function() does not exist (SQLSTATE 42883)"; err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	d.want("failed 42883 1", "select concat_ws(' ', state, error_sqlstate, attempts) from pgdbm.migrations")
}

func TestPythonBug23VersionsAreNumbersGoingDownToo(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	var list []string
	for _, n := range []int{2, 9, 10, 100} {
		list = append(list, fmt.Sprintf("%d_x.sql", n), fmt.Sprintf("create table t%[1]d ();\n-- pgdbm:down\ndrop table t%[1]d;", n))
	}
	tg := target(t, "app", "app", list...)
	p.up(tg)
	if res, err := p.Down(t.Context(), tg, engine.DownOptions{To: "9"}); err != nil || reverted(res) != "100 10" {
		t.Errorf("reverted %q, %v", reverted(res), err)
	}
	d.want("t2 t9", "select string_agg(tablename, ' ' order by tablename) from pg_tables where schemaname = 'app'")
}

func TestPythonBug24ASchemaThatExistsTakesNoPrivilegeToCreate(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	role := d.role("nothing")
	d.exec("create schema app; create schema pgdbm; grant usage, create on schema app, pgdbm to " + sqltemplate.Quote(role))
	p := d.program(func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["role"] = role })
	p.up(target(t, "app", "app", "1_a.sql", "create table a ()"))
	p.up(target(t, "app", "app", "1_a.sql", "create table a ()", "2_b.sql", "create table b ()"))
}
