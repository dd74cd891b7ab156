package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/internal/engine"
)

// originals are files 1 to n, each of which makes a table; squashed is what stands for files 1 to 3.
func originals(n int) []string {
	var files []string
	for i := 1; i <= n; i++ {
		files = append(files, fmt.Sprintf("%03d_t.sql", i), fmt.Sprintf("create table {{tables.t%d}} ()", i))
	}
	return files
}

var squashed = []string{"004_squash.sql", "-- pgdbm:replaces 1-3\ncreate table {{tables.t1}} (); create table {{tables.t2}} (); create table {{tables.t3}} ()"}

var afterSquash = []string{"005_more.sql", "create table {{tables.t5}} ()"}

func join(lists ...[]string) []string {
	var all []string
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func wantTables(d *database, schema string, n int) {
	d.t.Helper()
	d.want(fmt.Sprint(n), "select count(*)::text from pg_tables where schemaname = $1", schema)
}

func TestASquashFileRunsInPlaceOfWhatItReplaces(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	for schema, files := range map[string][]string{
		"without": join(squashed, afterSquash),
		"beside":  join(originals(3), squashed, afterSquash), // the files are still there
	} {
		tgt := target(t, "app", schema, files...)
		if got := versions(p.up(tgt)); got != "4 5" {
			t.Errorf("%s: applied %s", schema, got)
		}
		wantTables(d, schema, 4)
		if got := versions(p.up(tgt)); got != "" {
			t.Errorf("%s: applied %s", schema, got)
		}
	}
}

func TestASquashFileIsRecordedWhereWhatItReplacesIsInEffect(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	for schema, files := range map[string][]string{
		"without": join(squashed, afterSquash),
		"beside":  join(originals(3), squashed, afterSquash),
	} {
		p.up(target(t, "app", schema, originals(3)...))
		tgt := target(t, "app", schema, files...)
		if got := versions(p.up(tgt)); got != "4 5" {
			t.Errorf("%s: applied %s", schema, got)
		}
		wantTables(d, schema, 4)
		if got := versions(p.up(tgt)); got != "" {
			t.Errorf("%s: applied %s", schema, got)
		}
		plan, err := p.Plan(t.Context(), tgt)
		if err != nil || len(plan.Warnings) != 0 {
			t.Errorf("%s: %+v, %v", schema, plan.Warnings, err)
		}
		v, err := p.Verify(t.Context(), tgt, engine.VerifyOptions{})
		if err != nil || len(v.Differences) != 0 {
			t.Errorf("%s: %+v, %v", schema, v, err)
		}
	}
}

func TestASquashFileWaitsForTheRestOfWhatItReplaces(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "app", originals(2)...))
	_, err := p.Up(t.Context(), target(t, "app", "app", join(squashed, afterSquash)...))
	want := "migrate app/004_squash.sql: it replaces versions 1 to 3, of which 2 is the last recorded, and version 3 has no file"
	if !errors.Is(err, engine.ErrMissing) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	wantTables(d, "app", 2)
	if got := versions(p.up(target(t, "app", "app", join(originals(3), squashed, afterSquash)...))); got != "3 4 5" {
		t.Errorf("applied %s", got)
	}
	wantTables(d, "app", 4)
	if got := versions(p.up(target(t, "app", "app", join(squashed, afterSquash)...))); got != "" {
		t.Errorf("applied %s", got)
	}
}

func TestASquashFileIsRecordedBelowNewerVersions(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "app", join(originals(3), afterSquash)...))
	if got := versions(p.up(target(t, "app", "app", join(squashed, afterSquash)...))); got != "4" {
		t.Errorf("applied %s", got)
	}
	wantTables(d, "app", 4)
}

func TestASquashFileMayReplaceAnother(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	again := []string{"006_squash.sql", "-- pgdbm:replaces 1-5\ncreate table {{tables.t1}} (); create table {{tables.t2}} (); create table {{tables.t3}} (); create table {{tables.t5}} ()"}
	p.up(target(t, "app", "old", join(originals(3), squashed, afterSquash)...))
	p.up(target(t, "app", "newer", join(squashed, afterSquash)...))
	for schema, want := range map[string]string{"old": "6", "newer": "6", "fresh": "6"} {
		for _, files := range [][]string{join(squashed, afterSquash, again), again} {
			if got := versions(p.up(target(t, "app", schema, files...))); got != want {
				t.Errorf("%s: applied %s, want %s", schema, got, want)
			}
			want = ""
		}
		wantTables(d, schema, 4)
	}
}

func TestAFleetTakesASquashFileInEveryStateOfItsSchemas(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	f := fleetOf(24, nil)
	for i, s := range f.Schemas {
		switch i % 4 {
		case 0:
			p.up(target(t, "app", s, originals(3)...))
		case 1:
			p.up(target(t, "app", s, originals(1)...))
		case 2:
			p.up(target(t, "app", s, join(squashed)...))
		}
	}
	f.Files = load(t, "app", join(originals(3), squashed, afterSquash)...)
	res, err := p.Fleet(t.Context(), f)
	if err != nil || res.Migrated != 24 {
		t.Fatalf("%+v, %v", res, err)
	}
	for _, s := range f.Schemas {
		wantTables(d, s, 4)
	}
	f.Files = load(t, "app", join(squashed, afterSquash)...)
	before := p.roundTrips.Load() - p.connects.Load()
	if res, err = p.Fleet(t.Context(), f); err != nil || res.Migrated != 0 || p.roundTrips.Load()-p.connects.Load()-before != 1 {
		t.Errorf("nothing to do: %+v, %v, %d round trips", res, err, p.roundTrips.Load()-before)
	}
}

func TestLoadRefusesSquashFilesThatCannotBe(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]string{
		`migrate app/4_a.sql:1:1: directive pgdbm:replaces: "" is no range of versions such as 1-50`:                       "-- pgdbm:replaces\nselect 1",
		`migrate app/4_a.sql:1:1: directive pgdbm:replaces: "1,2" is no range of versions such as 1-50`:                    "-- pgdbm:replaces 1,2\nselect 1",
		`migrate app/4_a.sql:1:1: directive pgdbm:replaces: "3-1" is no range of versions such as 1-50`:                    "-- pgdbm:replaces 3-1\nselect 1",
		`migrate app/4_a.sql:1:1: directive pgdbm:replaces: version 4 is not lower than that of the file, 4`:               "-- pgdbm:replaces 1-4\nselect 1",
		`migrate app/4_a.sql:2:1: second directive pgdbm:replaces`:                                                         "-- pgdbm:replaces 1-2\n-- pgdbm:replaces 3-3\nselect 1",
		`migrate app/4_a.sql:1:1: comment is no directive: what was meant is -- pgdbm:replaces 1-3`:                        "-- pgdbm replaces 1-3\nselect 1",
		`migrate app/4_a.sql:2:1: directive pgdbm:replaces after the first statement, where it has no effect`:              "select 1;\n-- pgdbm:replaces 1-3\n",
		`migrate app/4_a.sql:1:1: directive pgdbm:replaces: "1-99999999999999999999" is no range of versions such as 1-50`: "-- pgdbm:replaces 1-99999999999999999999\nselect 1",
	} {
		if _, err := engine.Load("app", mapFS("4_a.sql", text)); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// In a new schema it would run before what the squash file makes, and everywhere else after it.
func TestLoadRefusesAFileBetweenASquashFileAndWhatItReplaces(t *testing.T) {
	t.Parallel()
	const squash, one = "-- a\n-- pgdbm:replaces 1-3\nselect 1", "select 1"
	want := "migrate app/006_squash.sql:2:1: directive pgdbm:replaces: 005_more.sql is numbered between versions 1 to 3, which it replaces, and itself," +
		" so that a new schema would get it first; replace it too (1-5), or give it a number above 6"
	for _, files := range [][]string{
		{"005_more.sql", one, "006_squash.sql", squash},
		{"001_a.sql", one, "003_a.sql", one, "005_more.sql", one, "006_squash.sql", squash, "007_x.sql", one},
	} {
		if _, err := engine.Load("app", mapFS(files...)); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	for _, files := range [][]string{
		{"006_squash.sql", squash},
		{"006_squash.sql", squash, "007_more.sql", one, "R__a.sql", one},
		// The later one stands for both.
		{"005_more.sql", one, "006_squash.sql", squash, "007_again.sql", "-- pgdbm:replaces 1-6\nselect 1"},
	} {
		if _, err := engine.Load("app", mapFS(files...)); err != nil {
			t.Error(err)
		}
	}
}

func TestASquashFileHidesNoVersionThatHasNotRun(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	gap := join(originals(1), []string{"003_t.sql", "create table {{tables.t3}} ()"})
	p.up(target(t, "app", "before", gap...))
	p.up(target(t, "app", "after", gap...))
	p.up(target(t, "app", "after", join(gap, squashed)...))
	for _, schema := range []string{"before", "after"} {
		_, err := p.Up(t.Context(), target(t, "app", schema, join(originals(3), squashed)...))
		var e *engine.Error
		if !errors.As(err, &e) || !errors.Is(err, engine.ErrOrder) || e.Version != "2" {
			t.Errorf("%s: got %v", schema, err)
		}
		wantTables(d, schema, 2)
	}
	// The fleet's one query sees it too.
	res, err := p.Fleet(t.Context(), engine.Fleet{Module: "app", Schemas: []string{"before", "after"}, Files: load(t, "app", join(originals(3), squashed)...)})
	if err != nil || len(res.Failed) != 2 {
		t.Errorf("fleet: %+v, %v", res, err)
	}
}

func TestASquashFileHidesNoVersionThatWasInterrupted(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	halfway := func(second string) []string {
		return []string{"001_t.sql", "-- pgdbm:no-transaction\ncreate table {{tables.t1}} (); " + second}
	}
	rest := []string{"002_t.sql", "create table {{tables.t2}} ()", "003_t.sql", "create table {{tables.t3}} ()"}
	if _, err := p.Up(t.Context(), target(t, "app", "app", halfway("select nothing")...)); err == nil {
		t.Fatal("it runs")
	}
	_, err := p.Up(t.Context(), target(t, "app", "app", squashed...))
	want := "migrate app/004_squash.sql: it replaces versions 1 to 3, of which 1 was begun and not ended and has no file"
	if !errors.Is(err, engine.ErrInterrupted) || !errors.Is(err, engine.ErrMissing) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if got := versions(p.up(target(t, "app", "app", join(halfway("select 1"), rest, squashed)...))); got != "1 2 3 4" {
		t.Errorf("applied %s", got)
	}
	wantTables(d, "app", 3)
}

func TestASquashFileStandsForNothingBeforeItsTurn(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	tgt := target(t, "app", "up", join(originals(3), squashed, afterSquash)...)
	to := tgt
	to.To = "2"
	if got := versions(p.up(to)); got != "1 2" {
		t.Errorf("to version 2: applied %s", got)
	}
	if got := versions(p.up(tgt)); got != "3 4 5" {
		t.Errorf("the rest: applied %s", got)
	}
	wantTables(d, "up", 4)

	d.exec("create schema baselined; create table baselined.t1 (); create table baselined.t2 ()")
	tgt.Schema, tgt.Names = "baselined", nil
	if files, err := p.Baseline(t.Context(), tgt, "2"); err != nil || len(files) != 2 {
		t.Errorf("baseline to version 2: %d files, %v", len(files), err)
	}
	if got := versions(p.up(tgt)); got != "3 4 5" {
		t.Errorf("after the baseline: applied %s", got)
	}
	wantTables(d, "baselined", 4)
}

func TestDownRunsASquashFilesPartOnlyWhereItHasRun(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	old := []string{}
	for i := 1; i <= 3; i++ {
		old = append(old, fmt.Sprintf("%03d_t.sql", i), fmt.Sprintf("create table {{tables.t%[1]d}} ();\n-- pgdbm:down\ndrop table {{tables.t%[1]d}};\n", i))
	}
	revertible := []string{squashed[0], squashed[1] + ";\n-- pgdbm:down\ndrop table {{tables.t1}}, {{tables.t2}}, {{tables.t3}};\n"}
	down := func(tgt engine.Target, steps int) string {
		res, err := p.Down(t.Context(), tgt, engine.DownOptions{Steps: steps})
		if err != nil {
			t.Errorf("%s: %v", tgt.Schema, err)
		}
		return versions(&engine.Result{Applied: res.Reverted})
	}

	ran := target(t, "app", "ran", join(old, revertible)...)
	p.up(ran)
	if got := down(ran, 1); got != "4" {
		t.Errorf("reverted %s", got)
	}
	wantTables(d, "ran", 0)

	for name, squash := range map[string][]string{"recorded": revertible, "irrevertible": squashed} {
		p.up(target(t, "app", name, old...))
		tgt := target(t, "app", name, join(old, squash)...)
		p.up(tgt)
		if got := down(tgt, 1); got != "4" {
			t.Errorf("%s: reverted %s", name, got)
		}
		wantTables(d, name, 3)
		if got := versions(p.up(tgt)); got != "4" {
			t.Errorf("%s: applied %s", name, got)
		}
		if got := down(tgt, 2); got != "4 3" {
			t.Errorf("%s: reverted %s", name, got)
		}
		wantTables(d, name, 2)
		if got := versions(p.up(tgt)); got != "3 4" {
			t.Errorf("%s: applied %s", name, got)
		}
		if res, err := p.Redo(t.Context(), tgt, 2); err != nil || versions(res) != "3 4" {
			t.Errorf("%s: redo %+v, %v", name, res, err)
		}
		wantTables(d, name, 3)
	}
}

func TestAdoptKnowsSquashFiles(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	goose := func(versions ...int) string {
		sql := "create table goose_db_version (id serial, version_id bigint, is_applied boolean, tstamp timestamp); insert into goose_db_version (version_id, is_applied) values (0, true)"
		for _, v := range versions {
			sql += fmt.Sprintf(", (%d, true)", v)
		}
		return sql
	}
	golang := func(version int) string {
		return fmt.Sprintf("create table schema_migrations (version bigint, dirty boolean); insert into schema_migrations values (%d, false)", version)
	}
	const python = `create table schema_migrations (filename varchar(255), checksum varchar(64), module_name varchar(100));
		insert into schema_migrations values ('001_t.sql', '', 'app'), ('002_old.sql', '', 'app'), ('003_t.sql', '', 'app')`
	after, all := join(squashed, afterSquash), join(originals(3), squashed, afterSquash)
	repeatable := []string{"R__v.sql", "create or replace view {{tables.v}} as select 1 as one"}
	for i, test := range []struct {
		name, history   string
		files           []string
		recorded, later string
		err             string
	}{
		{"all, the old files gone", goose(1, 2, 3), after, "4", "5", ""},
		{"all", goose(1, 2, 3), all, "1 2 3 4", "5", ""},
		{"all, by names", python, after, "4", "5", ""},
		{"the newest, the old files gone", golang(3), after, "4", "5", ""},
		{"the newest", golang(3), all, "1 2 3 4", "5", ""},
		{"a part", goose(1, 2), all, "1 2", "3 4 5", ""},
		{"a part, the first file gone", goose(1, 2), all[2:], "2", "3 4 5", ""},
		{"a later one, the old files gone", goose(1, 2, 3, 5), after, "4 5", "", ""},
		{"a later one as the newest", golang(5), after, "4 5", "", ""},
		{"the squash file itself", goose(4), after, "4", "5", ""},
		{"the squash file itself, beside the old files", goose(4, 5), all, "4 5", "", ""},
		{"repeatable files", golang(3), join(originals(3), repeatable), "1 2 3", "R__v", ""},
		{"a part, the old files gone", goose(1, 2), after, "", "",
			"2 is recorded and has no file, and 004_squash.sql takes 3 to be"},
		{"a part as the newest, the old files gone", golang(2), after, "", "",
			"2 is recorded and has no file, and 004_squash.sql takes 3 to be"},
		{"a gap", goose(1, 3), all, "", "", "002_t.sql is not recorded, and a later one is"},
		{"none of the replaced", goose(5), all, "", "", "001_t.sql is not recorded, and a later one is"},
		{"none of the replaced, the old files gone", goose(5), after, "", "", "004_squash.sql is not recorded, and a later one is"},
		{"not in the range", goose(1, 2, 3, 6), after, "", "", "6 is recorded and has no file"},
	} {
		schema := fmt.Sprintf("s%d", i)
		tgt := target(t, "app", schema, test.files...)
		d.exec("create schema " + schema + "; set search_path to " + schema + "; " + test.history)
		for _, dry := range []bool{true, false} {
			a, err := p.Adopt(t.Context(), tgt, engine.AdoptOptions{DryRun: dry})
			if test.err != "" {
				if !errors.Is(err, engine.ErrHistory) || !strings.HasSuffix(err.Error(), ": "+test.err) {
					t.Errorf("%s: %v", test.name, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
				continue
			}
			var got []string
			for _, f := range a.Files {
				got = append(got, f.Version)
			}
			if got := strings.Join(got, " "); got != test.recorded {
				t.Errorf("%s: recorded %s, want %s", test.name, got, test.recorded)
			}
		}
		if test.err == "" {
			res, err := p.Up(t.Context(), tgt)
			if got := versions(res); err != nil || got != test.later {
				t.Errorf("%s: later %s, %v, want %s", test.name, got, err, test.later)
			}
		}
	}
}

func TestAnOlderProgramGoesOnWhereItsOwnFilesHaveRun(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "grown", originals(3)...))
	newer := join(originals(3), squashed, afterSquash)
	for _, schema := range []string{"grown", "new"} {
		p.up(target(t, "app", schema, newer...))
	}
	if res := p.up(target(t, "app", "grown", originals(3)...)); versions(res) != "" || len(res.Warnings) != 2 {
		t.Errorf("%+v", res)
	}
	// It cannot know that version 4 stands for its own.
	if _, err := p.Up(t.Context(), target(t, "app", "new", originals(3)...)); !errors.Is(err, engine.ErrOrder) {
		t.Errorf("in a schema that began with the squash file: %v", err)
	}
	wantTables(d, "new", 4)
}
