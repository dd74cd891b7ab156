package engine_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/pgdbm/pgdbm/internal/engine"
)

const repeatableTable = "create table {{tables.items}} (id int, price int)"

// total is a view of which other ones are made.
func total(expression string) string {
	return "-- sums\ncreate or replace view {{tables.total}} as select " + expression + " as total from {{tables.items}}"
}

const report = "-- pgdbm:after total\ncreate or replace view {{tables.report}} as select 'total: ' || total as line from {{tables.total}}"

func TestARepeatableFileRunsAfterTheVersionsAndAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	files := func(expression string, more ...string) engine.Target {
		return target(t, "app", "app", append([]string{"R__total.sql", total(expression), "R__report.sql", report, "001_items.sql", repeatableTable}, more...)...)
	}
	if got := versions(p.up(files("sum(price)"))); got != "1 R__total R__report" {
		t.Errorf("applied %s", got)
	}
	before := p.roundTrips.Load() - p.connects.Load()
	if got := versions(p.up(files("sum(price)"))); got != "" {
		t.Errorf("nothing has changed: applied %s", got)
	}
	if n := p.roundTrips.Load() - p.connects.Load() - before; n != 1 {
		t.Errorf("%d round trips with nothing to do", n)
	}
	if got := versions(p.up(files("/* of all */ sum(price)"))); got != "" {
		t.Errorf("a comment has changed: applied %s", got)
	}
	d.exec("insert into app.items values (1, 2), (2, 5)")
	if got := versions(p.up(files("10 * sum(price)", "002_more.sql", "insert into {{tables.items}} values (3, 9)"))); got != "2 R__total" {
		t.Errorf("after a change: applied %s", got)
	}
	d.want("total: 160", "select line from app.report")
	d.want("2", "select attempts::text from pgdbm.migrations where version = 'R__total'")
	if got := versions(p.up(files("sum(price)", "002_more.sql", "insert into {{tables.items}} values (3, 9)"))); got != "R__total" {
		t.Errorf("changed back: applied %s", got)
	}
	d.want("total: 16", "select line from app.report")
}

func TestARepeatableFileThatFailsIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	good := target(t, "app", "app", "001_items.sql", repeatableTable, "R__total.sql", total("sum(price)"))
	p.up(good)
	bad := target(t, "app", "app", "001_items.sql", repeatableTable, "R__total.sql", total("nothing(price)"))
	_, err := p.Up(t.Context(), bad)
	var e *engine.Error
	if !errors.As(err, &e) || e.Version != "R__total" || e.File != "R__total.sql" || e.Line != 2 {
		t.Errorf("got %#v", err)
	}
	plan, err := p.Status(t.Context(), bad)
	if err != nil || len(plan.Pending) != 1 || plan.Steps[1].State != engine.Outdated {
		t.Errorf("steps %v, %v", plan.Steps, err)
	}
	p.up(good)
	d.want("1", "select attempts::text from pgdbm.migrations where version = 'R__total'")
}

func TestARepeatableFileThatIsGoneLeavesWhatItMade(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "app", "001_items.sql", repeatableTable, "R__total.sql", total("sum(price)")))
	without := target(t, "app", "app", "001_items.sql", repeatableTable)
	if got := versions(p.up(without)); got != "" {
		t.Errorf("applied %s", got)
	}
	plan, err := p.Plan(t.Context(), without)
	if err != nil || len(plan.Steps) != 2 || plan.Steps[1].State != engine.Gone || len(plan.Warnings) != 0 {
		t.Errorf("%+v, %v", plan, err)
	}
	d.want("1", "select count(*)::text from pg_views where schemaname = 'app'")
}

func TestSchemasMayHaveDifferentTextsOfARepeatableFile(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "one", "001_items.sql", repeatableTable, "R__total.sql", total("sum(price)")))
	if got := versions(p.up(target(t, "app", "two", "001_items.sql", repeatableTable, "R__total.sql", total("10 * sum(price)")))); got != "1 R__total" {
		t.Errorf("applied %s", got)
	}
}

func TestDownPassesRepeatableFilesByAndBaselineRecordsThem(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	tgt := target(t, "app", "app", "001_items.sql", repeatableTable+";\n-- pgdbm:down\ndrop table {{tables.items}} cascade;\n", "R__total.sql", total("sum(price)"))
	p.up(tgt)
	res, err := p.Down(t.Context(), tgt, engine.DownOptions{})
	if err != nil || len(res.Reverted) != 1 || res.Reverted[0].Version != "1" {
		t.Errorf("%+v, %v", res, err)
	}
	d.exec("create schema other")
	other := tgt
	other.Schema = "other"
	files, err := p.Baseline(t.Context(), other, "")
	if err != nil || len(files) != 2 {
		t.Errorf("%d files, %v", len(files), err)
	}
	if got := versions(p.up(other)); got != "" {
		t.Errorf("applied %s", got)
	}
}

func TestAFleetAppliesRepeatableFilesWhereTheyHaveChanged(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	files := func(expression string) []*engine.File {
		return load(t, "app", "1_items.sql", repeatableTable, "R__total.sql", total(expression), "R__report.sql", report)
	}
	f := fleetOf(30, files("sum(price)"))
	if res, err := p.Fleet(t.Context(), f); err != nil || res.Migrated != 30 {
		t.Fatalf("%+v, %v", res, err)
	}
	before := p.roundTrips.Load() - p.connects.Load()
	if res, err := p.Fleet(t.Context(), f); err != nil || res.Migrated != 0 || p.roundTrips.Load()-p.connects.Load()-before != 1 {
		t.Errorf("nothing to do: %+v, %v, %d round trips", res, err, p.roundTrips.Load()-before)
	}
	f.Files = files("10 * sum(price)")
	if res, err := p.Fleet(t.Context(), f); err != nil || res.Migrated != 30 {
		t.Errorf("a change: %+v, %v", res, err)
	}
	d.want("30", "select count(*)::text from pg_views where viewname = 'total' and definition like '%10 *%'")
}

func TestLoadRefusesRepeatableFilesThatCannotBe(t *testing.T) {
	t.Parallel()
	for want, files := range map[string][]string{
		"migrate app/R__a.sql:1:1: directive pgdbm:after: no file R__b.sql":                            {"R__a.sql", "-- pgdbm:after b\nselect 1"},
		"migrate app/R__b.sql:2:1: directive pgdbm:after: R__b.sql and R__a.sql come after each other": {"R__a.sql", "-- pgdbm:after b\nselect 1", "R__b.sql", "-- b\n-- pgdbm:after a\nselect 1"},
		"migrate app/R__a.sql:1:1: directive pgdbm:after: R__a.sql and R__a.sql come after each other": {"R__a.sql", "-- pgdbm:after a\nselect 1"},
		"migrate app/R__a.sql:1:1: directive pgdbm:after names no file, or an empty one":               {"R__a.sql", "-- pgdbm:after b,\nselect 1"},
		"migrate app/R__a.sql:1:1: directive pgdbm:no-transaction in a repeatable file":                {"R__a.sql", "-- pgdbm:no-transaction\nselect 1"},
		"migrate app/R__a.sql:1:1: directive pgdbm:replaces in a repeatable file":                      {"R__a.sql", "-- pgdbm:replaces 1-2\nselect 1"},
		"migrate app/1_a.sql:1:1: directive pgdbm:after in a file that is not repeatable":              {"1_a.sql", "-- pgdbm:after b\nselect 1"},
		"migrate app/R__a.sql:1:1: comment is no directive: what was meant is -- pgdbm:after b":        {"R__a.sql", "--pgdbm after b\nselect 1"},
	} {
		if _, err := engine.Load("app", mapFS(files...)); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if _, err := engine.Load("app", mapFS("R__a.sql", "select 1;\n-- pgdbm:down\nselect 2;\n")); err == nil {
		t.Error("a repeatable file with a part that reverts it is accepted")
	}
}

func TestWhatDownTakesOfRepeatableFilesIsMadeAgain(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	for schema, head := range map[string]string{"inside": "", "outside": "-- pgdbm:no-transaction\n"} {
		tgt := target(t, "app", schema, "001_first.sql", "create table {{tables.first}} ()",
			"002_items.sql", repeatableTable+";\n-- pgdbm:down\n"+head+"drop table {{tables.items}} cascade;\n",
			"R__total.sql", total("sum(price)"), "R__report.sql", report)
		p.up(tgt)
		if _, err := p.Down(t.Context(), tgt, engine.DownOptions{}); err != nil {
			t.Fatal(err)
		}
		d.want("0", "select count(*) from pg_views where schemaname = $1", schema)
		if got := versions(p.up(tgt)); got != "2 R__total R__report" {
			t.Errorf("%s: after down: applied %s", schema, got)
		}
		if res, err := p.Redo(t.Context(), tgt, 1); err != nil || versions(res) != "2 R__total R__report" {
			t.Errorf("%s: redo: %+v, %v", schema, res, err)
		}
		d.want("2", "select count(*) from pg_views where schemaname = $1", schema)
	}
}

func TestAnOlderProgramLeavesWhatNewerRepeatableFilesHaveMade(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	older := []string{"001_items.sql", repeatableTable, "R__total.sql", total("sum(price)")}
	p.up(target(t, "app", "app", older...))
	newer := target(t, "app", "app", older[0], older[1], "002_more.sql", "alter table {{tables.items}} add more int",
		"R__total.sql", total("sum(price)")+"\ngroup by more", "R__of_newer.sql", "create or replace view {{tables.of_newer}} as select more from {{tables.items}}")
	if got := versions(p.up(newer)); got != "2 R__of_newer R__total" {
		t.Errorf("applied %s", got)
	}
	// The text of R__total is another one. R__other is in effect nowhere: the newer program has done away with it, and what it
	// needs may be gone.
	tgt := target(t, "app", "app", join(older, []string{"R__other.sql", "create or replace view {{tables.other}} as select gone from {{tables.items}}"})...)
	res := p.up(tgt)
	if got := versions(res); got != "" {
		t.Errorf("the older program applied %s", got)
	}
	var warnings []engine.Warning
	for _, w := range res.Warnings {
		if w.File != "002_more.sql" {
			warnings = append(warnings, w)
		}
	}
	if want := []engine.Warning{
		{Module: "app", Schema: "app", Version: "R__other", File: "R__other.sql", Text: "not applied, since a newer program has been here without it"},
		{Module: "app", Schema: "app", Version: "R__total", File: "R__total.sql", Text: "not applied, since a newer program has applied another text"},
	}; !slices.Equal(warnings, want) {
		t.Errorf("warnings %+v", res.Warnings)
	}
	plan, err := p.Status(t.Context(), tgt)
	if err != nil || len(plan.Pending) != 0 {
		t.Errorf("pending %+v, %v", plan.Pending, err)
	}
	// One that has failed is the newer program's to mend.
	d.exec("update pgdbm.migrations set state = 'failed' where version = 'R__total'")
	if got := versions(p.up(tgt)); got != "" {
		t.Errorf("the older program applied %s", got)
	}
	if got := versions(p.up(newer)); got != "R__total" {
		t.Errorf("the newer program applied %s", got)
	}
	if got := versions(p.up(newer)); got != "" {
		t.Errorf("the newer program applied %s", got)
	}
	f := engine.Fleet{Module: "app", Schemas: []string{"app"}, Files: tgt.Files}
	if res, err := p.Fleet(t.Context(), f); err != nil || res.Migrated != 0 {
		t.Errorf("the older program's fleet: %+v, %v", res, err)
	}
	if _, err := p.Down(t.Context(), tgt, engine.DownOptions{}); !errors.Is(err, engine.ErrMissing) {
		t.Errorf("the older program's down: %v", err)
	}
}
