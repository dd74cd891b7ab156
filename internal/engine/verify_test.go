package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// everything has objects of all kinds, by files of all kinds.
var everything = []string{
	"1_types.sql", `create type mood as enum ('good', 'bad'); create type {{types.pair}} as (a int, b text);
create domain positive as int default 1 check (value > 0); create type span as range (subtype = int);
create sequence ids start 7 cycle maxvalue 99;`,
	"2_tables.sql", `create table {{tables.users}} (id bigint generated always as identity primary key, name text collate "C" not null unique,
	mood mood default 'good', n positive, home text default {{schema:literal}}, twice bigint generated always as (2 * id) stored, other int default nextval('{{sequences.ids}}'));
create table {{tables."Order"}} (id int primary key, "user" bigint references users on delete cascade, check (id > 0), exclude using btree (id with =));
create table parts (x int) partition by list (x); create table parts_1 partition of parts for values in (1); create unlogged table fast (x int) with (fillfactor = 50);
create view {{tables.names}} as select name, id from users where name <> 'app'; create materialized view counts as select count(*) from users;
create statistics st on id, name from users;`,
	"3_code.sql", `create function {{functions.touch}}() returns trigger language plpgsql set search_path = {{schema}}, pg_temp as $$ begin perform 1 from {{tables.users}}; return new; end $$;
create function twice(i int) returns int language sql immutable strict begin atomic select 2 * i; end;
create aggregate total(int) (sfunc = int4pl, stype = int); create procedure nothing() language plpgsql as $$ begin end $$;
create trigger t before insert on users for each row execute function touch(); alter table users disable trigger t;
create rule r as on delete to fast do also (select 1; select 2);
alter table users enable row level security; create policy p on users for select using (name = current_user);`,
	"4_index.sql", outsideHead + "create index concurrently by_name on {{tables.users}} (lower(name)) where id > 1;\nvacuum users;\ncreate index concurrently gone on users (id);\ndrop index concurrently gone;",
}

func differences(v *engine.Verification) string {
	var s []string
	for _, d := range v.Differences {
		sign := "~"
		if d.Want == "" {
			sign = "+"
		} else if d.Have == "" {
			sign = "-"
		}
		s = append(s, sign+d.Kind+" "+d.Name)
	}
	return strings.Join(s, "\n")
}

func (p *program) verify(tg engine.Target, o engine.VerifyOptions) *engine.Verification {
	p.t.Helper()
	v, err := p.Verify(p.t.Context(), tg, o)
	if err != nil {
		p.t.Fatalf("Verify: %v", err)
	}
	return v
}

func TestASchemaIsAsItsFilesMakeIt(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	for _, schema := range []string{"app", "My App", "public", "select"} {
		tg := target(t, "app", schema, everything...)
		p.up(tg)
		v := p.verify(tg, engine.VerifyOptions{})
		if v.NotCompared != nil || len(v.Differences) > 0 {
			t.Errorf("schema %s: %v\n%s", schema, v.NotCompared, differences(v))
			for _, d := range v.Differences {
				t.Logf("%+v", d)
			}
		}
	}
	d.want("0", "select count(*) from pg_namespace where nspname like 'pgdbm\\_verify%'")
}

// Several modules of a tenant share a schema, and name each other's objects.
func TestASchemaIsAsTheFilesOfAModuleBesideAnotherMakeIt(t *testing.T) {
	t.Parallel()
	p := newDatabase(t).program(two)
	for _, schema := range []string{"app", "My App"} {
		p.up(target(t, "shop", schema, "1_items.sql", "create table {{tables.items}} (id int primary key, name text); create type {{types.size}} as enum ('s', 'l');"))
		tg := target(t, "bills", schema, "1_bills.sql", `create table {{tables.bills}} (item int references {{tables.shop.items}}, size {{types.shop.size}} default 's');
create view {{tables.sold}} as select name from {{tables.shop.items}} join {{tables.bills}} on item = id;`)
		var err error
		if tg.Names, err = sqltemplate.NewNames(schema, map[string]string{"shop": schema}); err != nil {
			t.Fatal(err)
		}
		tg.Requires = []string{"shop"}
		p.up(tg)
		v := p.verify(tg, engine.VerifyOptions{})
		if v.NotCompared != nil || len(v.Differences) > 0 {
			t.Errorf("schema %s: %v\n%+v", schema, v.NotCompared, v.Differences)
		}
	}
}

func TestDriftIsReportedObjectByObject(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	tg := target(t, "app", "app", everything...)
	p.up(tg)
	p.up(target(t, "app", "twin", everything...))
	d.exec(`set search_path = app;
alter table users add column extra int; alter table users alter column home drop default; alter table users enable trigger t;
drop index by_name; create index by_id on users (id); alter table users drop constraint users_name_key;
create table hand (x int primary key); drop table fast; alter type mood add value 'so-so';
create or replace view names as select name, id from users; alter sequence ids maxvalue 100; alter policy p on users using (true);
create or replace function touch() returns trigger language plpgsql set search_path = app as $$ begin return null; end $$;
drop statistics st; update pg_index set indisvalid = false where indexrelid = 'app."Order_pkey"'::regclass;`)
	want := `+column users.extra
~column users.home
-constraint users.users_name_key
~function touch()
~function setting touch().search_path
~index Order.Order_pkey
+index users.by_id
-index users.by_name
-index users.users_name_key
~policy users.p
~sequence ids
-statistics st
-table fast
+table hand
~trigger users.t
~type mood
~view names`
	check := func(name string, o engine.VerifyOptions) {
		v := p.verify(tg, o)
		if got := differences(v); got != want || v.NotCompared != nil {
			t.Errorf("%s: %v\ngot\n%s\nwant\n%s", name, v.NotCompared, got, want)
		}
		for _, d := range v.Differences {
			if d.Kind == "index" && d.Name == "users.by_name" && !strings.HasPrefix(d.Want, "CREATE INDEX by_name ON users USING btree (lower(name))") {
				t.Errorf("%s: %+v", name, d)
			}
		}
	}
	check("files", engine.VerifyOptions{})
	check("twin", engine.VerifyOptions{Against: p.Runner, AgainstSchema: "twin"})
	other := newDatabase(t)
	q := other.program(two)
	q.up(target(t, "app", "scratch", everything...))
	check("another database", engine.VerifyOptions{Against: q.Runner, AgainstSchema: "scratch"})

	// What another module of the schema has made is not the first one's business.
	p.up(target(t, "more", "app", "1_a.sql", "create table of_more ();"))
	if got := differences(p.verify(tg, engine.VerifyOptions{})); got != strings.Replace(want, "+table hand\n", "", 1) {
		t.Errorf("shared:\n%s", got)
	}
}

func TestVerifyLeavesNothingAndReportsTheHistory(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	one := target(t, "app", "app", "1_a.sql", "create table a (x int);", "2_b.sql", "create table b ();")
	if v := p.verify(one, engine.VerifyOptions{}); v.NotCompared != nil || len(v.Differences) > 0 || len(v.Plan.Pending) != 2 {
		t.Errorf("before: %+v", v)
	}
	d.want("0", "select count(*) from pg_namespace where nspname in ('pgdbm', 'app')")
	p.up(one)
	v := p.verify(target(t, "app", "app", "1_a.sql", "create table a (x bigint);", "2_b.sql", "create table b ();", "3_c.sql", "create table c ();"), engine.VerifyOptions{})
	if len(v.Plan.Problems) != 1 || !errors.Is(v.Plan.Problems[0], engine.ErrChanged) || differences(v) != "~column a.x" {
		t.Errorf("changed: %v, %s", v.Plan.Problems, differences(v))
	}
	v = p.verify(target(t, "app", "app", "2_b.sql", "create table b ();"), engine.VerifyOptions{})
	if !errors.Is(v.NotCompared, engine.ErrMissing) || len(v.Plan.Problems) != 1 {
		t.Errorf("missing: %v, %v", v.NotCompared, v.Plan.Problems)
	}
	if _, err := p.Verify(t.Context(), one, engine.VerifyOptions{Against: p.Runner, AgainstSchema: "nowhere"}); err == nil {
		t.Error("a reference that is not there was accepted")
	}
	// Files that cannot be built under another name are said so.
	fixed := target(t, "fixed", "fixed", "1_a.sql", "create table fixed.a ();")
	p.up(fixed)
	v = p.verify(fixed, engine.VerifyOptions{})
	if v.NotCompared == nil || !strings.HasPrefix(v.NotCompared.Error(), `migrate fixed/1_a.sql:1:1: ERROR: relation "a" already exists`) {
		t.Errorf("fixed: %v", v.NotCompared)
	}
	if got := versions(p.up(one)); got != "" {
		t.Errorf("applied %s", got)
	}
	d.exec("drop schema app cascade")
	if v = p.verify(one, engine.VerifyOptions{}); !errors.Is(v.NotCompared, engine.ErrSchemaGone) {
		t.Errorf("gone: %v", v.NotCompared)
	}
}

// beside is a target whose module requires users.
func beside(t *testing.T, schema, users string, nameAndText ...string) engine.Target {
	t.Helper()
	names, err := sqltemplate.NewNames(schema, map[string]string{"users": users, "app": schema})
	if err != nil {
		t.Fatal(err)
	}
	return engine.Target{Module: "app", Schema: schema, Names: names, Requires: []string{"users"}, Files: load(t, "app", nameAndText...)}
}

const usersFile = `create type {{types.kind}} as enum ('new', 'old');
create table {{tables.users}} (x int primary key, name text not null default 'x', kind {{types.kind}}, upper text generated always as (upper(name)) stored, unique (name, x));
create view {{tables.names}} as select x, name from {{tables.users}};
create function {{functions.one}}() returns int language sql as 'select 1';
insert into {{tables.users}} values (1);`

const besideFile = `create table {{tables.a}} (u int references {{tables.users.users}}, n text, foreign key (n, u) references {{tables.users.users}} (name, x));
create view {{tables.v}} as select users.*, names.name as other from {{tables.users.users}} join {{tables.users.names}} using (x);
create function {{functions.f}}(u {{tables.users.users}}) returns setof {{tables.users.users}} language sql as 'select * from {{tables.users.users}}';
create table {{tables.c}} () inherits ({{tables.users.users}});`

// A foreign key takes a lock that keeps every writer of the table waiting, and those behind them.
func TestVerifyLocksNothingOfWhatTheModuleRequires(t *testing.T) {
	t.Parallel()
	for _, schemas := range [][2]string{{"app", "users"}, {"My App", "select"}, {"one", "one"}} {
		t.Run(schemas[0], func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			p := d.program()
			p.up(target(t, "users", schemas[1], "1_a.sql", usersFile))
			tg := beside(t, schemas[0], schemas[1], "1_a.sql", besideFile)
			p.up(tg)
			defer d.block(sqltemplate.Quote(schemas[1]) + ".users")()
			p.LockAttempts = 1
			if v := p.verify(tg, engine.VerifyOptions{}); v.NotCompared != nil || differences(v) != "" {
				t.Errorf("got %v, %+v", v.NotCompared, v.Differences)
			}
			d.exec(`drop view ` + sqltemplate.Quote(schemas[0]) + `.v`)
			if v := p.verify(tg, engine.VerifyOptions{}); v.NotCompared != nil || differences(v) != "-view v" {
				t.Errorf("got %v, %+v", v.NotCompared, v.Differences)
			}
			d.want("0", "select count(*) from pg_namespace where nspname like 'pgdbm\\_verify%'")
		})
	}
}

// What needs the rows of others, or what is no table, is built beside the real ones.
func TestVerifyHasNobodyWaitLongWhereItNeedsRealTables(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"rows":      "create table {{tables.a}} (u int references {{tables.users.users}}); insert into {{tables.a}} values (1);",
		"functions": "create table {{tables.a}} (u int default {{functions.users.one}}() references {{tables.users.users}});",
		"types":     "create table {{tables.a}} (k {{types.users.kind}}, u int references {{tables.users.users}});",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			p := d.program()
			p.up(target(t, "users", "users", "1_a.sql", usersFile))
			tg := beside(t, "app", "users", "1_a.sql", sql)
			p.up(tg)
			if v := p.verify(tg, engine.VerifyOptions{}); v.NotCompared != nil || differences(v) != "" {
				t.Errorf("got %v, %+v", v.NotCompared, v.Differences)
			}
			p.LockAttempts = 3
			writer, other := d.connect(), d.connect()
			if _, err := other.Exec(t.Context(), "begin; insert into users.users values (0)"); err != nil {
				t.Fatal(err)
			}
			if _, err := writer.Exec(t.Context(), "set lock_timeout = '1s'"); err != nil {
				t.Fatal(err)
			}
			verified := make(chan error)
			go func() {
				v, err := p.Verify(t.Context(), tg, engine.VerifyOptions{})
				if err == nil {
					err = v.NotCompared
				}
				verified <- err
			}()
			for i, done := 2, false; !done; i++ {
				if _, err := writer.Exec(t.Context(), "insert into users.users (x, name) values ($1, 'y')", i); err != nil {
					t.Error(err)
				}
				select {
				case err := <-verified:
					if !errors.Is(err, engine.ErrBlocked) || !strings.Contains(err.Error(), "in 3 attempts") {
						t.Errorf("got %v", err)
					}
					done = true
				default:
				}
			}
		})
	}
}

func TestABaselineRecordsWithoutRunning(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	tg := target(t, "app", "app", "1_a.sql", "create table a ();", "2_b.sql", "create table b ();", "3_c.sql", "create table c ();")
	if _, err := p.Baseline(t.Context(), tg, ""); err == nil || err.Error() != `migrate app: schema "app" does not exist, so nothing of it can be in effect` {
		t.Errorf("got %v", err)
	}
	d.exec("create schema app; create table app.a (); create table app.b ()")
	if _, err := p.Up(t.Context(), tg); err == nil { // the file is in the way of what is there
		t.Fatal("no error")
	}
	files, err := p.Baseline(t.Context(), tg, "2")
	if err != nil || names(files) != "1=1_a.sql 2=2_b.sql" {
		t.Fatalf("got %s, %v", names(files), err)
	}
	if files, err = p.Baseline(t.Context(), tg, "2"); err != nil || len(files) != 0 {
		t.Errorf("again: %s, %v", names(files), err)
	}
	if got := versions(p.up(tg)); got != "3" {
		t.Errorf("applied %s", got)
	}
	d.want("baselined baselined applied", "select string_agg(state, ' ' order by version) from pgdbm.migrations")
	if v := p.verify(tg, engine.VerifyOptions{}); len(v.Differences) > 0 || v.NotCompared != nil {
		t.Errorf("verify: %+v", v)
	}
	if _, err := p.Down(t.Context(), target(t, "app", "app", "1_a.sql", "create table a ();\n-- pgdbm:down\ndrop table a;",
		"2_b.sql", "create table b ();\n-- pgdbm:down\ndrop table b;", "3_c.sql", "create table c ();\n-- pgdbm:down\ndrop table c;"), engine.DownOptions{To: "0"}); !errors.Is(err, engine.ErrNoDown) {
		t.Errorf("down: %v", err)
	}
	if _, err := p.Baseline(t.Context(), tg, "9"); err == nil {
		t.Error("version 9 was accepted")
	}
}

func TestRepairAcceptsWhatChangedInAllSchemas(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	old := []string{"1_a.sql", "create table a (x int);", "2_b.sql", "create table b ();", "3_c.sql", "create table c ();"}
	now := []string{"1_a.sql", "create table a (x bigint);", "2_renamed.sql", "create table b ();  -- b", "3_c.sql", "create table c ();"}
	for _, schema := range []string{"one", "two"} {
		p.up(target(t, "app", schema, old...))
	}
	tg := target(t, "app", "one", now...)
	if _, err := p.Repair(t.Context(), tg, engine.RepairOptions{Reason: "  "}); err == nil || err.Error() != "migrate app: repair without a reason" {
		t.Errorf("got %v", err)
	}
	if _, err := p.Repair(t.Context(), tg, engine.RepairOptions{Reason: "x", Versions: []string{"7"}}); !errors.Is(err, engine.ErrNotRecorded) {
		t.Errorf("got %v", err)
	}
	repaired, err := p.Repair(t.Context(), tg, engine.RepairOptions{Reason: "ids ran out; see 'ADR 7'", By: "ann"})
	if err != nil || len(repaired) != 2 || !repaired[0].Semantic || repaired[1].Semantic || fmt.Sprint(repaired[0].Schemas) != "[one two]" {
		t.Fatalf("got %+v, %v", repaired, err)
	}
	for _, schema := range []string{"one", "two"} {
		if got := versions(p.up(target(t, "app", schema, now...))); got != "" {
			t.Errorf("applied %s", got)
		}
	}
	if strings.Contains(p.logs.String(), "space or comments") {
		t.Error("cosmetic changes are still warned of")
	}
	d.want("ann ids ran out; see 'ADR 7' t", "select concat_ws(' ', repaired_by, repair_reason, repaired_at > applied_at) from pgdbm.migrations where version = '1' and target_schema = 'two'")
	if _, err := p.Repair(t.Context(), target(t, "app", "one", old...), engine.RepairOptions{Reason: "back", Versions: []string{"01"}}); err != nil {
		t.Error(err)
	}
	d.want(d.value("select session_user"), "select repaired_by from pgdbm.migrations where version = '1' and target_schema = 'one'")
	d.want("2_renamed.sql", "select file_name from pgdbm.migrations where version = '2' and target_schema = 'one'")
}

func TestRemoveEndsAModule(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	tenant := func(schema string) engine.Target {
		return target(t, "app", schema, "1_a.sql", "create table a (x int primary key);")
	}
	if _, err := p.Remove(t.Context(), tenant("one"), engine.RemoveOptions{}); !errors.Is(err, engine.ErrNotRecorded) {
		t.Errorf("before: %v", err)
	}
	p.up(tenant("one"))
	p.up(tenant("two"))
	d.exec("create schema mine; create table mine.keep ()")
	if _, err := p.Remove(t.Context(), target(t, "app", "mine", "1_a.sql", "select 1"), engine.RemoveOptions{}); !errors.Is(err, engine.ErrNotRecorded) {
		t.Errorf("not recorded: %v", err)
	}
	reports := target(t, "reports", "reports", "1_a.sql", "create table r (x int references one.a);")
	reports.Requires = []string{"app"}
	p.up(reports)
	refused := func(tg engine.Target, o engine.RemoveOptions, want string) {
		t.Helper()
		if dropped, err := p.Remove(t.Context(), tg, o); dropped || !errors.Is(err, engine.ErrRequired) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v; want %s", dropped, err, want)
		}
	}
	refused(tenant("one"), engine.RemoveOptions{}, "required by constraint r_x_fkey on table reports.r")
	if dropped, err := p.Remove(t.Context(), tenant("two"), engine.RemoveOptions{}); !dropped || err != nil {
		t.Errorf("two: %v, %v", dropped, err)
	}
	d.want("0", "select count(*) from pg_namespace where nspname = 'two'")
	refused(tenant("one"), engine.RemoveOptions{}, "required by module reports")
	refused(tenant("one"), engine.RemoveOptions{KeepObjects: true}, "required by module reports")
	if dropped, err := p.Remove(t.Context(), reports, engine.RemoveOptions{KeepObjects: true}); dropped || err != nil {
		t.Errorf("reports: %v, %v", dropped, err)
	}
	d.want("1", "select count(*) from pg_tables where schemaname = 'reports'")
	d.exec("drop schema reports cascade")
	p.up(target(t, "lodger", "one", "1_a.sql", "select 1"))
	refused(tenant("one"), engine.RemoveOptions{}, `schema "one" is also that of module lodger`)
	p.up(target(t, "guest", "public", "1_a.sql", "create table g ();"))
	refused(target(t, "guest", "public", "1_a.sql", "create table g ();"), engine.RemoveOptions{}, "schema public")
	if _, err := p.Remove(t.Context(), target(t, "lodger", "one", "1_a.sql", "select 1"), engine.RemoveOptions{KeepObjects: true}); err != nil {
		t.Error(err)
	}
	d.exec("drop schema one cascade")
	if dropped, err := p.Remove(t.Context(), tenant("one"), engine.RemoveOptions{}); dropped || err != nil {
		t.Errorf("gone: %v, %v", dropped, err)
	}
	p.up(tenant("one")) // and it may begin anew
	d.want("guest app", "select string_agg(module, ' ' order by applied_at) from pgdbm.migrations")
}
