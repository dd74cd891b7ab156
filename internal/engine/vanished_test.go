package engine_test

import (
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/internal/engine"
)

const plainReport = "-- pgdbm:after total\ncreate view {{tables.report}} as select 'total: ' || total as line from {{tables.total}}"

func anewTotal(expression string) string {
	return "drop view if exists {{tables.total}} cascade; create view {{tables.total}} as select " + expression + " as total from {{tables.items}}"
}

func TestARepeatableFileRunsAgainWhenAnotherOneDropsWhatItMade(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	files := func(expression string) engine.Target {
		return target(t, "app", "app", "001_items.sql", repeatableTable, "R__total.sql", anewTotal(expression), "R__report.sql", plainReport,
			"R__other.sql", "create or replace view {{tables.other}} as select 1 as one")
	}
	p.up(files("sum(price)"))
	res := p.up(files("10 * sum(price)"))
	if got := versions(res); got != "R__total R__report" {
		t.Errorf("applied %s", got)
	}
	want := engine.Warning{Module: "app", Schema: "app", Version: "R__report", File: "R__report.sql",
		Text: "applied again, since R__total.sql dropped view report"}
	if len(res.Again) != 1 || res.Again[0] != want {
		t.Errorf("again %+v", res.Again)
	}
	contains(t, p.logs.String(), "INFO migration: applied again, since R__total.sql dropped view report")
	d.want("1", "select count(*) from pg_views where schemaname = 'app' and viewname = 'report'")
	d.want("2", "select attempts from pgdbm.migrations where version = 'R__report' and state = 'applied' and error is null")
	if got := versions(p.up(files("10 * sum(price)"))); got != "" {
		t.Errorf("nothing has changed: applied %s", got)
	}
}

// Whatever a file leaves behind of what others made is known when it is committed, so that a crash loses nothing.
func TestWhatAVersionDropsOfRepeatableFilesIsMadeAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ repeatable, version, want string }{
		"a view":                       {"create view {{tables.v}} as select price from {{tables.items}}", "drop view {{tables.v}}; alter table {{tables.items}} alter price type bigint", "2 R__x"},
		"a view, by cascade":           {"create view {{tables.v}} as select price from {{tables.items}}", "alter table {{tables.items}} drop column price cascade; alter table {{tables.items}} add column price bigint", "2 R__x"},
		"a view, by its table":         {"create view {{tables.v}} as select price from {{tables.items}}", "drop table {{tables.items}} cascade; create table {{tables.items}} (price int)", "2 R__x"},
		"a view, outside":              {"create view {{tables.v}} as select price from {{tables.items}}", "-- pgdbm:no-transaction\ndrop view {{tables.v}};\nselect 1", "2 R__x"},
		"a view, by a function":        {"create view {{tables.v}} as select price from {{tables.items}}", "do $$ begin execute 'drop view {{schema}}.v'; end $$", "2 R__x"},
		"a view, renamed":              {"create view {{tables.v}} as select price from {{tables.items}}", "alter view {{tables.v}} rename to w", "2 R__x"},
		"a quoted view":                {`create view "Odd name" as select price from {{tables.items}}`, `drop view "Odd name"`, "2 R__x"},
		"a view with a made-up name":   {"do $$ begin execute 'create view {{schema}}.' || 'v' || '1 as select 1 as one'; end $$", "drop view v1", "2 R__x"},
		"a function":                   {"create or replace function {{functions.f}}(int) returns int language sql as 'select $1'", "drop function {{functions.f}}(int)", "2 R__x"},
		"a trigger":                    {"create or replace function {{functions.f}}() returns trigger language plpgsql as 'begin return new; end'; create trigger t before insert on {{tables.items}} for each row execute function {{functions.f}}()", "drop table {{tables.items}}; create table {{tables.items}} ()", "2 R__x"},
		"a policy":                     {"create policy p on {{tables.items}}", "drop policy p on {{tables.items}}", "2 R__x"},
		"an index of a view":           {"create materialized view if not exists {{tables.m}} as select price from {{tables.items}}; create index on {{tables.m}} (price)", "drop index {{tables.m_price_idx}}", "2 R__x"},
		"a type":                       {"drop type if exists {{types.pair}}; create type {{types.pair}} as (a int, b int)", "drop type {{types.pair}}", "2 R__x"},
		"nothing":                      {"create view {{tables.v}} as select price from {{tables.items}}", "create or replace view {{tables.v}} as select price from {{tables.items}} where price > 0", "2"},
		"something made anew":          {"create view {{tables.v}} as select price from {{tables.items}}", "drop view {{tables.v}}; create view {{tables.v}} as select 1 as price", "2"},
		"what no repeatable file made": {"create view {{tables.v}} as select price from {{tables.items}}", "drop view old; drop index items_price_idx; drop table gone", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			p := d.program(two)
			files := []string{"001_items.sql", repeatableTable + "; create index on {{tables.items}} (price); create table gone (); create view old as select 1 as one", "R__x.sql", test.repeatable}
			p.up(target(t, "app", "app", files...))
			if got := versions(p.up(target(t, "app", "app", append(files, "002_change.sql", test.version)...))); got != test.want {
				t.Errorf("applied %q, want %q", got, test.want)
			}
			if got := versions(p.up(target(t, "app", "app", append(files, "002_change.sql", test.version)...))); got != "" {
				t.Errorf("once more: applied %q", got)
			}
		})
	}
}

func TestAFleetMakesAgainWhatItDropsOfRepeatableFiles(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]engine.FleetMode{"batched": engine.FleetBatched, "careful": engine.FleetCareful} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			p := d.program()
			f := fleetOf(30, load(t, "app", "1_items.sql", repeatableTable, "R__total.sql", anewTotal("sum(price)"), "R__report.sql", plainReport))
			f.Mode = mode
			if res, err := p.Fleet(t.Context(), f); err != nil || res.Migrated != 30 || res.Applied != 90 || res.Created != 30 {
				t.Fatalf("%+v, %v", res, err)
			}
			f.Files = load(t, "app", "1_items.sql", repeatableTable, "R__total.sql", anewTotal("10 * sum(price)"), "R__report.sql", plainReport)
			done, total := 0, 0
			f.Progress = func(e engine.FleetEvent) { done, total = e.Done, e.Total }
			res, err := p.Fleet(t.Context(), f)
			if err != nil || res.Migrated != 30 || res.Applied != 60 || len(res.Failed) != 0 || len(res.Remaining) != 0 || done != 30 || total != 30 {
				t.Errorf("%+v, %v, progress %d of %d", res, err, done, total)
			}
			if len(res.Warnings) != 1 || res.Warnings[0].Schemas != 30 || !strings.HasPrefix(res.Warnings[0].Text, "applied again, since R__total.sql dropped view ") {
				t.Errorf("warnings %+v", res.Warnings)
			}
			d.want("30", "select count(*) from pg_views where viewname = 'report'")
			d.want("90", "select count(*) from pgdbm.migrations where state = 'applied' and error is null")
		})
	}
}

func TestRepeatableFilesThatDropEachOthersViewsAreRefused(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "app", "R__a.sql", "create view {{tables.a}} as select 1 as one", "R__b.sql", "create view {{tables.b}} as select 1 as one"))
	_, err := p.Up(t.Context(), target(t, "app", "app", "R__a.sql", "drop view if exists {{tables.a}}, {{tables.b}}; create view {{tables.a}} as select 2 as one",
		"R__b.sql", "drop view if exists {{tables.a}}, {{tables.b}}; create view {{tables.b}} as select 2 as one"))
	if err == nil {
		t.Fatal("accepted")
	}
	contains(t, err.Error(), "migrate app/R__", "drops view ", "has made in this run")
}
