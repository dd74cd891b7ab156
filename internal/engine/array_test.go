package engine_test

import (
	"testing"

	"github.com/pgdbm/pgdbm/internal/engine"
)

func TestWhatARestoredDumpMakesOfArraysIsNoDifference(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	d.exec(`create schema made; set search_path to made;
		create table items (kind varchar(9) not null check (kind in ('big', 'small')), other varchar, code char(2), n int, f numeric(5, 2), at timestamp);
		alter table items add check (other not in ('it''s, ]', 'b') and kind = any ('{big,small}'::varchar[])),
			add check (kind = any (array[other || 'x', lower(other), case when n > 1 then other end, other]::text[])),
			add check (code in ('a', 'b') and f in (1, 2.5) and n = any (array[1, 2]::bigint[])),
			add check (array[array[kind, other], array['a'::varchar, null]]::text[] <> array[array['a', 'b']]),
			add check (coalesce(array[other]::text[], array[kind])::text[] <> array[]::text[]),
			add check (at = any (array['2026-01-01'::date, current_date]::timestamp(3) without time zone[])),
			add check (other = any (array['a'::text, 'b']::varchar(10)[]) or array_append(array[other], 'x')::text[] = array['a']);
		create index of_kind on items (n) where kind in ('big', 'x');
		create index of_case on items ((case when other in ('a', 'b') then 1 else 2 end));
		create view v as select n, kind in ('a', 'b') as some, array[other, kind]::text[] as both from items where other not in ('q', 'r');
		alter table items enable row level security;
		create policy own on items using (kind in ('big', 'small'));
		create function f() returns bigint begin atomic select count(*) from items where kind in ('big', 'small'); end;`)
	// As pg_dump does: what the server prints is what makes it anew.
	d.exec(`create schema again; create table again.items (like made.items);
		alter table again.items enable row level security;
		do $do$ declare s text; begin
			set local search_path to '';
			for s in select format('alter table again.items add constraint %I %s', conname, pg_get_constraintdef(oid))
					from pg_constraint where conrelid = 'made.items'::regclass and contype = 'c'
				union all select replace(pg_get_indexdef(indexrelid), 'made.', 'again.') from pg_index where indrelid = 'made.items'::regclass
				union all select 'create view again.v as ' || replace(pg_get_viewdef('made.v'::regclass), 'made.', 'again.')
				union all select 'create policy own on again.items using (' || pg_get_expr(polqual, polrelid) || ')' from pg_policy
				union all select replace(pg_get_functiondef('made.f()'::regprocedure), 'made.', 'again.')
			loop execute s; end loop;
		end $do$`)
	d.want("true", "select pg_get_viewdef('made.v'::regclass) <> replace(pg_get_viewdef('again.v'::regclass), 'again.', 'made.')")
	tgt := target(t, "app", "again", "1_x.sql", "select 1")
	for _, diff := range p.verify(tgt, engine.VerifyOptions{Against: p.Runner, AgainstSchema: "made"}).Differences {
		t.Errorf("%s %s\nwant %s\nhave %s", diff.Kind, diff.Name, diff.Want, diff.Have)
	}
	d.exec("alter table again.items drop constraint items_kind_check; alter table again.items add constraint items_kind_check check (kind in ('big', 'tall'))")
	if got := differences(p.verify(tgt, engine.VerifyOptions{Against: p.Runner, AgainstSchema: "made"})); got != "~constraint items.items_kind_check" {
		t.Errorf("another value: %s", got)
	}
}
