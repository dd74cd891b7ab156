package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pgdbm/pgdbm/internal/engine"
)

const schemaOfDrops = `create schema src; create schema app;
create table src.t (x int primary key, s text); create type src.kind as enum ('a');
create function src.f(int) returns int language sql immutable as 'select $1';
create function src.b(int) returns boolean language sql immutable as 'select true';`

// What DROP SCHEMA ... CASCADE takes along outside of the schema refuses it, in the words of the server.
func TestASchemaIsNotDroppedFromUnderWhatIsOutsideOfIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, made, want string }{
		{"server of an extension in it", `create extension postgres_fdw schema src; create server far foreign data wrapper postgres_fdw;
			create user mapping for current_user server far; create foreign table app.f (x int) server far`, "server far"},
		{"event trigger", `create function src.e() returns event_trigger language plpgsql as 'begin end';
			create event trigger watch on ddl_command_end execute function src.e()`, "event trigger watch"},
		{"cast of others' types", `create type app.a as (x int); create function src.c(app.a) returns int language sql as 'select 1';
			create cast (app.a as int) with function src.c(app.a)`, "cast from app.a to integer"},
		{"view", "create view app.v as select * from src.t", "view app.v"},
		{"rule", "create table app.o (x int); create rule r as on insert to app.o do also insert into src.t values (1)", "rule r on table app.o"},
		{"foreign key", "create table app.o (x int references src.t)", "constraint o_x_fkey on table app.o"},
		{"default", "create table app.o (x int default src.f(1))", "default value for column x of table app.o"},
		{"column of a type", "create table app.o (x src.kind)", "column x of table app.o"},
		{"column of an array of it", "create table app.o (x src.kind[])", "column x of table app.o"},
		{"column of a row type", "create table app.o (x src.t)", "column x of table app.o"},
		{"argument of a function", "create function app.g(src.kind) returns int language sql as 'select 1'", "function app.g(src.kind)"},
		{"domain", "create domain app.d as src.kind", "type app.d"},
		{"index", "create table app.o (x int); create index i on app.o (src.f(x))", "index app.i"},
		{"check", "create table app.o (x int check (src.b(x)))", "constraint o_x_check on table app.o"},
		{"policy", "create table app.o (x int); create policy p on app.o using (src.b(x))", "policy p on table app.o"},
		{"trigger", `create function src.g() returns trigger language plpgsql as 'begin return new; end'; create table app.o ();
			create trigger g before insert on app.o for each row execute function src.g()`, "trigger g on table app.o"},
		{"partition", "create table src.p (x int) partition by list (x); create table app.p1 partition of src.p for values in (1)", "table app.p1"},
		{"child", "create table app.child () inherits (src.t)", "table app.child"},
		{"operator class", `create operator class src.o for type int using hash as operator 1 =, function 1 hashint4(int);
			create table app.o (x int); create index i on app.o using hash (x src.o)`, "index app.i"},
		{"extension elsewhere", "create extension citext schema app; alter function app.citext(character) set schema src", "cast from character to app.citext, extension citext"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			d.asSuperuser()
			d.exec(schemaOfDrops + c.made)
			for _, check := range []bool{true, false} {
				_, err := d.program().DropSchema(t.Context(), "src", engine.DropOptions{Check: check})
				if !errors.Is(err, engine.ErrRequired) || !strings.HasSuffix(err.Error(), "required by "+c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
			}
			d.want("1", "select count(*) from pg_namespace where nspname = 'src'")
		})
	}
}

func TestASchemaIsDroppedWithWhatIsOfIt(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.asSuperuser()
	d.exec(schemaOfDrops + `create table app.o (x int primary key);
create table src.all_kinds (id int generated always as identity primary key, n serial, o int references app.o, k src.kind, ks src.kind[], d int default src.f(1), u text unique);
create table src.p (x int primary key) partition by list (x); create table src.p1 partition of src.p for values in (1);
create table app.whole (x int primary key) partition by list (x); create table src.part partition of app.whole for values in (1);
create table src.child () inherits (app.o);
create view src.v as select * from app.o join src.t using (x); create materialized view src.m as select * from src.v;
create function src.g() returns trigger language plpgsql as 'begin return new; end';
create trigger g before insert on src.t for each row execute function src.g();
create policy p on src.t using (src.b(x)); create statistics src.st on x, s from src.t;
create rule r as on insert to src.t do also insert into app.o values (1);
create domain src.d as int check (src.b(value)); create type src.r as range (subtype = src.kind);
create extension pg_trgm schema src; create index on src.t using gin (s src.gin_trgm_ops);
create extension postgres_fdw schema src; create extension hstore schema app; create table src.h (h app.hstore);
create function src.kind_of(text) returns src.kind language sql as 'select null::src.kind'; create cast (text as src.kind) with function src.kind_of(text);
create publication told for table src.t; create publication every for all tables;
alter default privileges in schema src grant select on tables to public;
create operator src.=== (leftarg = int, rightarg = int, function = int4eq);
create collation src.c from "C"; create text search configuration src.ts (copy = english)`)
	p := d.program()
	if modules, err := p.DropSchema(t.Context(), "src", engine.DropOptions{Check: true}); err != nil || len(modules) > 0 {
		t.Fatal(modules, err)
	}
	d.want("1", "select count(*) from pg_namespace where nspname = 'src'")
	d.want("false", "select exists (select from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database()))")
	if _, err := p.DropSchema(t.Context(), "src", engine.DropOptions{}); err != nil {
		t.Fatal(err)
	}
	d.want("0", "select count(*) from pg_namespace where nspname = 'src'")
	d.want("3", "select count(*) from pg_class where relnamespace = 'app'::regnamespace and relkind in ('r', 'p') or relname = 'whole_pkey'")
	if _, err := p.DropSchema(t.Context(), "src", engine.DropOptions{}); !errors.Is(err, engine.ErrNoSchema) {
		t.Error(err)
	}
	for _, name := range []string{"public", "pgdbm"} {
		d.exec("create schema if not exists pgdbm")
		if _, err := p.DropSchema(t.Context(), name, engine.DropOptions{}); !errors.Is(err, engine.ErrRequired) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASchemaIsDroppedWithItsHistory(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "one", "1_a.sql", "create table a (x int);"))
	p.up(target(t, "app", "two", "1_a.sql", "create table a (x int);"))
	p.up(target(t, "lodger", "two", "1_a.sql", "select 1"))
	if _, err := p.DropSchema(t.Context(), "two", engine.DropOptions{}); !errors.Is(err, engine.ErrRequired) || !strings.Contains(err.Error(), "several modules: app, lodger") {
		t.Error(err)
	}
	modules, err := p.DropSchema(t.Context(), "one", engine.DropOptions{})
	if err != nil || fmt.Sprint(modules) != "[app]" {
		t.Fatal(modules, err)
	}
	d.want("app two lodger two", "select string_agg(module || ' ' || target_schema, ' ' order by module) from pgdbm.migrations")
	reports := target(t, "reports", "reports", "1_a.sql", "select 1")
	reports.Requires = []string{"app"}
	p.up(reports)
	if _, err := p.Remove(t.Context(), target(t, "lodger", "two", "1_a.sql", "select 1"), engine.RemoveOptions{KeepObjects: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.DropSchema(t.Context(), "two", engine.DropOptions{}); !errors.Is(err, engine.ErrRequired) || !strings.Contains(err.Error(), "module reports") {
		t.Error(err)
	}
}

// A dependent that is made while the drop waits for the transaction that makes it.
func TestWhatIsMadeWhileADropWaitsRefusesIt(t *testing.T) {
	t.Parallel()
	for name, drop := range map[string]func(t *testing.T, p *program) error{
		"schema": func(t *testing.T, p *program) error {
			_, err := p.DropSchema(t.Context(), "src", engine.DropOptions{})
			return err
		},
		"module": func(t *testing.T, p *program) error {
			_, err := p.Remove(t.Context(), target(t, "m", "src", "1_a.sql", "create table t (x int primary key);"), engine.RemoveOptions{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			p := d.program()
			p.LockTimeout = time.Minute
			p.up(target(t, "m", "src", "1_a.sql", "create table t (x int primary key);"))
			c := d.connect()
			if _, err := c.PgConn().Exec(t.Context(), "create schema app; begin; create view app.late as select * from src.t").ReadAll(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- drop(t, p) }()
			d.eventually("true", "select exists (select from pg_locks where not granted and relation = 'src.t'::regclass)")
			if _, err := c.Exec(t.Context(), "commit"); err != nil {
				t.Fatal(err)
			}
			if err := <-done; !errors.Is(err, engine.ErrRequired) || !strings.Contains(err.Error(), "view app.late") {
				t.Error(err)
			}
			d.want("0", "select count(*) from app.late")
		})
	}
}

func TestABlockedDropSaysWhoIsInTheWay(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.exec("create schema src; create table src.t (x int)")
	p := d.program(three)
	p.LockTimeout, p.LockAttempts = 500*time.Millisecond, 2
	defer d.block("src.t")()
	_, err := p.DropSchema(t.Context(), "src", engine.DropOptions{})
	if !errors.Is(err, engine.ErrBlocked) || !strings.Contains(err.Error(), "application lunch") {
		t.Error(err)
	}
	d.want("1", "select count(*) from pg_namespace where nspname = 'src'")
}

// A leftover is looked at again when it is dropped.
func TestOnlyALeftoverIsDroppedAsOne(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "gone", "1_a.sql", "create table a (x int);"))
	p.up(target(t, "app", "back", "1_a.sql", "create table a (x int);"))
	beside := target(t, "beside", "gone", "1_a.sql", "select 1;")
	beside.Requires = []string{"app"}
	p.up(beside)
	d.exec("drop schema gone cascade; create schema empty; create schema filled; create table filled.t ()")
	broken := target(t, "broken", "empty", "1_a.sql", "select nothing;")
	for _, schema := range []string{"empty", "filled"} {
		broken.Schema = schema
		if _, err := p.Up(t.Context(), broken); err == nil {
			t.Fatal("no error")
		}
	}
	leftover := engine.DropOptions{Leftover: true}
	for schema, want := range map[string]string{"gone": "[app beside]", "empty": "[broken]"} {
		if modules, err := p.DropSchema(t.Context(), schema, leftover); err != nil || fmt.Sprint(modules) != want {
			t.Error(schema, modules, err)
		}
	}
	if _, err := p.DropSchema(t.Context(), "back", leftover); !errors.Is(err, engine.ErrRequired) || !strings.Contains(err.Error(), "module app, which is in effect") {
		t.Error(err)
	}
	if _, err := p.DropSchema(t.Context(), "filled", leftover); err == nil || !strings.Contains(err.Error(), "because other objects depend on it") {
		t.Error(err)
	}
	d.want("back filled", "select string_agg(target_schema, ' ' order by target_schema) from pgdbm.migrations")
	d.want("back filled", "select string_agg(nspname, ' ' order by nspname) from pg_namespace where nspname in ('gone', 'empty', 'back', 'filled')")
}
