package engine_test

import (
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/internal/engine"
)

func TestFleetsAreCarefulWithFilesThatTouchSharedObjects(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.exec(`create table public.countries (id int primary key, name text);
		create function public.shout(text) returns text language sql as 'select upper($1)';
		create schema shared; create table shared.plans (id int primary key); create type shared.kind as enum ('a');
		create schema ext; create extension if not exists citext schema ext;`)
	for _, test := range []struct{ name, sql, careful string }{
		{"own tables", `create table {{tables.a}} (id int primary key, note text default 'x'); create unique index on {{tables.a}} (note);
			insert into {{tables.a}} select a.id, a.note from {{tables.a}} a; alter table {{tables.a}} add column more int`, ""},
		{"own everything", `create type {{types.mood}} as enum ('sad'); create sequence {{sequences.s}}; create or replace view {{tables.v}} as select 1 as one;
			create materialized view {{tables.mv}} as select now() as at; create function {{functions.f}}() returns trigger language plpgsql set search_path = {{schema}}, pg_temp as $$
			begin new.note := pg_catalog.upper(new.note); update {{tables.a}} set note = old.note; return new; end $$;
			create table {{tables.a}} (id int default nextval('{{sequences.s}}'), note text); create trigger t before insert on {{tables.a}} for each row execute function {{functions.f}}();
			comment on table {{tables.a}} is 'see example.com'; grant usage on schema {{schema}} to public; grant select on all tables in schema {{schema}} to public;
			alter table {{tables.a}} enable row level security; create policy p on {{tables.a}} using (true); drop table if exists {{tables.gone}};`, ""},
		{"a type of an extension", `create table {{tables.a}} (id ext.citext)`, ""},
		{"catalogs", `create view {{tables.a}} as select c.relname from pg_catalog.pg_class c, information_schema.tables t`, ""},
		{"a body that is no code", `comment on schema {{schema}} is $$it's "so$$`, ""},

		{"a reference", `create table {{tables.a}} (plan int references shared.plans)`, "1_x.sql names shared.plans"},
		{"a reference, quoted", `create table {{tables.a}} (plan int references "shared" . "plans")`, "shared.plans"},
		{"a reference through the search path", `create table {{tables.a}} (country int references countries)`, "1_x.sql names public.countries"},
		{"a reference to public", `create table {{tables.a}} (country int references public.countries)`, "public.countries"},
		{"a type of another schema", `create table {{tables.a}} (kind shared.kind)`, "shared.kind"},
		{"something to be made elsewhere", `create table shared.new (id int)`, "shared.new"},
		{"a function of public", `create table {{tables.a}} as select shout('x') as x`, "public.shout"},
		{"a name in a string", `create table {{tables.a}} (id int default 'shared.plans'::regclass::int)`, "shared.plans"},
		{"a bare name in a string", `create table {{tables.a}} (id int default 'countries'::regclass::int)`, "public.countries"},
		{"a name in a body", `do $$ begin perform 1 from shared.plans; end $$`, "shared.plans"},
		{"dynamic SQL", `do $$ begin execute 'select 1'; end $$`, "EXECUTE"},
		{"a role in a body", `do $$ begin create role x; end $$`, "CREATE ROLE"},
		{"an extension", `create extension if not exists citext schema public`, "CREATE EXTENSION"},
		{"a role", `create role somebody`, "CREATE ROLE"},
		{"a membership", `grant somebody to somebody_else`, "GRANT"},
		{"another schema", `create schema another`, "CREATE SCHEMA"},
		{"grants elsewhere", `grant usage on schema shared to public`, "ON SCHEMA"},
		{"grants here and elsewhere", `grant usage on schema {{schema}}, shared to public`, "ON SCHEMA"},
		{"a table moved away", `create table {{tables.a}} (); alter table {{tables.a}} set schema shared`, "SET SCHEMA"},
		{"the search path", `set local search_path = shared; create table plans2 ()`, "search_path"},
		{"a setting of the database", `alter database x set work_mem = '1MB'`, "ALTER DATABASE"},
		{"a publication", `create publication p`, "CREATE PUBLICATION"},
		{"default privileges", `alter default privileges grant select on tables to public`, "ALTER DEFAULT"},
		{"another user", `set local session authorization default`, "SESSION AUTHORIZATION"},
		{"what nobody knows", `notify somebody`, "NOTIFY"},
		{"escapes", `create table {{tables.a}} (plan int references U&"sh\0061red".plans)`, "Unicode"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := engine.Careful(t.Context(), d.program().Runner, "some_schema", load(t, "app", "1_x.sql", test.sql))
			if err != nil {
				t.Fatal(err)
			}
			if test.careful == "" && got != "" || !strings.Contains(got, test.careful) {
				t.Errorf("careful because %q, want %q", got, test.careful)
			}
		})
	}
}

// Whatever the text, looking at it neither panics nor hangs.
func FuzzScope(f *testing.F) {
	for _, seed := range []string{"", ";", "create", "create or", "grant on", "alter table a.b set schema", "select 'a.b' || $$c.d$$", "U&\"a\".b", "$a$ execute $a$",
		"grant all on schema", "comment on schema x", "(select 1)", `"".""."`, "E'\\''", "do $$create"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) { engine.ScopeOf("some_schema", text) })
}
