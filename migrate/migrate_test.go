package migrate_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/migrate"
)

func files(pairs ...string) fs.FS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

func handle(t *testing.T, schema string) *pgdbm.DB {
	t.Helper()
	pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: testdb.URL(t), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	db, err := pool.Schema(schema)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

const (
	createA = `CREATE TABLE {{tables.a}} (id int);`
	createB = `CREATE TABLE {{tables.b}} (id int);`
	broken  = "SELECT 1;\nSELECT * FROM {{tables.nothing}};"
)

func versions(fs []migrate.File) []string {
	var vs []string
	for _, f := range fs {
		vs = append(vs, f.Version+" "+f.File)
	}
	return vs
}

func TestUpTellsOfEachFileWhenItIsThere(t *testing.T) {
	t.Parallel()
	db := handle(t, "told")
	m := pgdbm.Module{Name: "m", Files: files("1_a.sql", createA, "2_b.sql", createB, "3_broken.sql", broken)}
	var told []string
	_, err := migrate.Up(t.Context(), db, m, &migrate.UpOptions{Progress: func(f migrate.File) {
		there, err := db.TableExists(t.Context(), map[string]string{"1": "a", "2": "b"}[f.Version])
		if err != nil || !there || f.Duration <= 0 {
			t.Errorf("%+v: %v, %v", f, there, err)
		}
		told = append(told, f.File)
	}})
	if err == nil || !reflect.DeepEqual(told, []string{"1_a.sql", "2_b.sql"}) {
		t.Errorf("%q, %v", told, err)
	}
}

func TestPlanUpStatusAndHistoryTellOneStory(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := handle(t, "story")
	m := pgdbm.Module{Name: "m", Files: files("10_b.sql", createB, "V2__a.sql", createA)}

	plan, err := migrate.Plan(ctx, db, m, nil)
	want := []string{"2 V2__a.sql", "10 10_b.sql"}
	if err != nil || !reflect.DeepEqual(versions(plan.Pending), want) {
		t.Fatalf("plan %+v, %v; want %q", plan, err, want)
	}
	status, err := migrate.Status(ctx, db, m, nil)
	if err != nil || !status.Pending() || len(status.Versions) != 2 || status.Versions[0].State != migrate.Pending || status.Versions[0].Entry != nil {
		t.Fatalf("status before: %+v, %v", status, err)
	}
	if entries, err := migrate.History(ctx, db, m, nil); err != nil || len(entries) != 0 {
		t.Fatalf("history before: %+v, %v", entries, err)
	}
	// So far nothing was written: not even the ledger is there.
	if n, err := pgdbm.Value[int](ctx, db, `SELECT count(*) FROM pg_namespace WHERE nspname IN ('pgdbm', 'story')`); err != nil || n != 0 {
		t.Fatalf("%d schemas, %v", n, err)
	}

	res, err := migrate.Up(ctx, db, m, nil)
	if err != nil || res.Module != "m" || res.Schema != "story" || !reflect.DeepEqual(versions(res.Applied), want) {
		t.Fatalf("up: %+v, %v", res, err)
	}
	if res, err := migrate.Up(ctx, db, m, nil); err != nil || len(res.Applied) != 0 {
		t.Errorf("up again: %+v, %v", res, err)
	}
	plan, err = migrate.Plan(ctx, db, m, nil)
	if err != nil || len(plan.Pending) != 0 {
		t.Errorf("plan after: %+v, %v", plan, err)
	}
	status, err = migrate.Status(ctx, db, m, nil)
	if err != nil || status.Pending() || status.Problem != nil || status.Versions[1].State != migrate.Applied || status.Versions[1].Entry.Actor == "" {
		t.Errorf("status after: %+v, %v", status, err)
	}
	entries, err := migrate.History(ctx, db, m, nil)
	if err != nil || len(entries) != 2 || entries[0].Version != "2" || entries[1].Version != "10" {
		t.Fatalf("history: %+v, %v", entries, err)
	}
	if e := entries[1]; e.File != "10_b.sql" || e.Schema != "story" || e.At.IsZero() || e.Duration <= 0 || e.Attempts != 1 ||
		!strings.HasPrefix(e.Tool, "pgdbm ") || e.State != migrate.Applied {
		t.Errorf("entry %+v", e)
	}
	newest, err := migrate.History(ctx, db, m, &migrate.HistoryOptions{Limit: 1})
	if err != nil || len(newest) != 1 || newest[0].Version != "10" {
		t.Errorf("newest: %+v, %v", newest, err)
	}
}

func TestHistoryOfAllSchemas(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	one := handle(t, "one")
	two, err := one.Pool().Schema("two")
	if err != nil {
		t.Fatal(err)
	}
	m := pgdbm.Module{Name: "m", Files: files("1_a.sql", createA)}
	for _, db := range []*pgdbm.DB{one, two} {
		if _, err := migrate.Up(ctx, db, m, nil); err != nil {
			t.Fatal(err)
		}
	}
	for all, want := range map[bool]int{false: 1, true: 2} {
		entries, err := migrate.History(ctx, one, m, &migrate.HistoryOptions{AllSchemas: all})
		if err != nil || len(entries) != want {
			t.Errorf("all %v: %d entries, %v; want %d", all, len(entries), err, want)
		}
	}
}

func TestAFailedFileIsRecordedAndWhatCameBeforeItIsReported(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := handle(t, "m")
	m := pgdbm.Module{Name: "m", Files: files("1_a.sql", createA, "2_b.sql", broken)}
	for attempt := 1; attempt <= 2; attempt++ {
		res, err := migrate.Up(ctx, db, m, nil)
		var me *pgdbm.MigrationError
		var pe *pgconn.PgError
		if !errors.As(err, &me) || !errors.As(err, &pe) || pe.Code != "42P01" {
			t.Fatalf("got %v", err)
		}
		if me.File != "2_b.sql" || me.Version != "2" || me.Line != 2 || me.Column != 15 || me.Module != "m" || me.Schema != "m" {
			t.Errorf("place %+v", me)
		}
		if want := 2 - attempt; len(res.Applied) != want {
			t.Errorf("attempt %d applied %+v", attempt, res.Applied)
		}
		entries, err := migrate.History(ctx, db, m, nil)
		if err != nil || len(entries) != 2 {
			t.Fatalf("history %+v, %v", entries, err)
		}
		if e := entries[1]; e.State != migrate.Failed || e.SQLState != "42P01" || e.Attempts != attempt || e.Error == "" {
			t.Errorf("entry %+v", e)
		}
	}
	m.Files = files("1_a.sql", createA, "2_b.sql", createB)
	if _, err := migrate.Up(ctx, db, m, nil); err != nil {
		t.Errorf("mended: %v", err)
	}
}

func TestStatusSaysWhetherSomethingIsPendingAsPlanDoes(t *testing.T) {
	t.Parallel()
	db := handle(t, "app")
	module := func(view string, more ...string) pgdbm.Module {
		return pgdbm.Module{Name: "app", Files: files(append([]string{"1_a.sql", createA, "R__v.sql", view}, more...)...)}
	}
	const view = "CREATE OR REPLACE VIEW {{tables.v}} AS SELECT 1 AS one"
	if _, err := migrate.Up(t.Context(), db, module(view), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := migrate.Up(t.Context(), db, module(view, "2_b.sql", "SELECT 1/0"), nil); err == nil {
		t.Fatal("no error")
	}
	for name, m := range map[string]pgdbm.Module{
		"as it was, and a file that failed is gone": module(view),
		"a changed view":     module(view + " WHERE true"),
		"a file that failed": module(view, "2_b.sql", "SELECT 1"),
	} {
		plan, err := migrate.Plan(t.Context(), db, m, nil)
		if err != nil {
			t.Fatal(err)
		}
		status, err := migrate.Status(t.Context(), db, m, nil)
		if err != nil || status.Pending() != (len(plan.Pending) > 0) {
			t.Errorf("%s: status says %t, plan %v, %v", name, status.Pending(), plan.Pending, err)
		}
	}
}

func TestStatusShowsWhatUpRefuses(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := handle(t, "m")
	m := pgdbm.Module{Name: "m", Files: files("1_a.sql", createA, "3_b.sql", createB)}
	if _, err := migrate.Up(ctx, db, m, nil); err != nil {
		t.Fatal(err)
	}
	m.Files = files("1_a.sql", "DROP TABLE {{tables.a}};", "2_late.sql", createB, "4_new.sql", createB)
	status, err := migrate.Status(ctx, db, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, v := range status.Versions {
		states = append(states, v.Version+" "+string(v.State))
	}
	if want := []string{"1 changed", "2 late", "3 missing", "4 pending"}; !reflect.DeepEqual(states, want) {
		t.Errorf("states %q, want %q", states, want)
	}
	for i, want := range []error{migrate.ErrChanged, migrate.ErrOrder, migrate.ErrMissing, nil} {
		var me *pgdbm.MigrationError
		if got := status.Versions[i].Err; !errors.Is(got, want) || want != nil && !errors.As(got, &me) {
			t.Errorf("version %s: %v, want %v", status.Versions[i].Version, got, want)
		}
	}
	_, upErr := migrate.Up(ctx, db, m, nil)
	_, planErr := migrate.Plan(ctx, db, m, nil)
	for name, err := range map[string]error{"Problem": status.Problem, "Up": upErr, "Plan": planErr} {
		if !errors.Is(err, migrate.ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAModuleOrHandleThatCannotBeIsAnError(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := handle(t, "m")
	good := pgdbm.Module{Name: "m", Files: files("1_a.sql", createA)}
	att, err := pgdbm.Attach(ctx, db.Pool(), pgdbm.Module{Name: "other", Files: good.Files})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		db   *pgdbm.DB
		m    pgdbm.Module
		want string
	}{
		{"no name", db, pgdbm.Module{Files: good.Files}, "name"},
		{"no files", db, pgdbm.Module{Name: "m"}, "Files"},
		{"nil handle", nil, good, "nil"},
		{"another module's handle", att.DB, good, "other"},
		{"requires what is not there", db, pgdbm.Module{Name: "m", Files: good.Files, Requires: []string{"nobody"}}, "nobody"},
	} {
		_, up := migrate.Up(ctx, c.db, c.m, nil)
		_, plan := migrate.Plan(ctx, c.db, c.m, nil)
		_, status := migrate.Status(ctx, c.db, c.m, nil)
		_, history := migrate.History(ctx, c.db, c.m, nil)
		for call, err := range map[string]error{"Up": up, "Plan": plan, "Status": status, "History": history} {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %s: %v", c.name, call, err)
			}
		}
	}
}

func TestDownAndRedoTellWhatTheyDid(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := handle(t, "m")
	m := pgdbm.Module{Name: "m", Files: files("1_a.up.sql", createA, "1_a.down.sql", "DROP TABLE {{tables.a}};",
		"2_b.sql", createB+"\n-- pgdbm:down\nDROP TABLE {{tables.b}};", "3_c.sql", "CREATE TABLE c ();")}
	up, err := migrate.Up(ctx, db, m, &migrate.UpOptions{To: "2"})
	if err != nil || !reflect.DeepEqual(versions(up.Applied), []string{"1 1_a.up.sql", "2 2_b.sql"}) {
		t.Fatalf("up: %+v, %v", up, err)
	}
	redo, err := migrate.Redo(ctx, db, m, &migrate.RedoOptions{Steps: 2})
	if err != nil || !reflect.DeepEqual(versions(redo.Reverted), []string{"2 2_b.sql", "1 1_a.down.sql"}) ||
		!reflect.DeepEqual(versions(redo.Applied), versions(up.Applied)) {
		t.Errorf("redo: %+v, %v", redo, err)
	}
	down, err := migrate.Down(ctx, db, m, nil)
	if err != nil || down.Schema != "m" || !reflect.DeepEqual(versions(down.Reverted), []string{"2 2_b.sql"}) || down.Reverted[0].Duration <= 0 {
		t.Errorf("down: %+v, %v", down, err)
	}
	if _, err := migrate.Up(ctx, db, m, nil); err != nil {
		t.Fatal(err)
	}
	var me *pgdbm.MigrationError
	if down, err = migrate.Down(ctx, db, m, &migrate.DownOptions{To: "1"}); !errors.Is(err, migrate.ErrNoDown) || !errors.As(err, &me) || me.File != "3_c.sql" {
		t.Errorf("no down: %+v, %v", down, err)
	}
	if down, err = migrate.Down(ctx, db, pgdbm.Module{}, nil); down == nil || err == nil {
		t.Errorf("no module: %v, %v", down, err)
	}
}

func TestBaselineRepairVerifyAndRemove(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := handle(t, "m")
	m := pgdbm.Module{Name: "m", Files: files("1_a.sql", createA, "2_b.sql", createB)}
	for _, sql := range []string{"CREATE SCHEMA m", "CREATE TABLE m.a (id int, more int)"} {
		if _, err := db.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	base, err := migrate.Baseline(ctx, db, m, &migrate.BaselineOptions{To: "1"})
	if err != nil || !reflect.DeepEqual(versions(base.Recorded), []string{"1 1_a.sql"}) {
		t.Fatalf("baseline: %+v, %v", base, err)
	}
	if up, err := migrate.Up(ctx, db, m, nil); err != nil || !reflect.DeepEqual(versions(up.Applied), []string{"2 2_b.sql"}) {
		t.Fatalf("up: %+v, %v", up, err)
	}
	verified, err := migrate.Verify(ctx, db, m, nil)
	want := []migrate.Difference{{Kind: "column", Name: "a.more", Have: "integer"}}
	if err != nil || verified.OK() || !reflect.DeepEqual(verified.Differences, want) || len(verified.Versions) != 2 {
		t.Fatalf("verify: %+v, %v", verified, err)
	}
	m.Files = files("1_a.sql", "CREATE TABLE {{tables.a}} (id int, more int);", "2_b.sql", createB)
	if verified, err = migrate.Verify(ctx, db, m, nil); err != nil || len(verified.Problems) != 1 || !errors.Is(verified.Problems[0], migrate.ErrChanged) {
		t.Errorf("verify: %+v, %v", verified, err)
	}
	var me *pgdbm.MigrationError
	if _, err := migrate.Repair(ctx, db, m, nil); !errors.As(err, &me) || !strings.Contains(err.Error(), "reason") {
		t.Errorf("no reason: %v", err)
	}
	repair, err := migrate.Repair(ctx, db, m, &migrate.RepairOptions{Reason: "as it was by hand"})
	if err != nil || !reflect.DeepEqual(repair.Repaired, []migrate.Repaired{{Version: "1", File: "1_a.sql", Was: migrate.Changed, Schemas: []string{"m"}}}) {
		t.Errorf("repair: %+v, %v", repair, err)
	}
	if verified, err = migrate.Verify(ctx, db, m, nil); err != nil || !verified.OK() {
		t.Errorf("verify: %+v, %v", verified, err)
	}
	entries, err := migrate.History(ctx, db, m, nil)
	if err != nil || entries[0].RepairReason != "as it was by hand" || entries[0].RepairedBy == "" || entries[0].RepairedAt.IsZero() || !entries[1].RepairedAt.IsZero() {
		t.Errorf("history: %+v, %v", entries, err)
	}
	twin, err := db.Pool().Schema("twin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrate.Up(ctx, twin, m, nil); err != nil {
		t.Fatal(err)
	}
	if verified, err = migrate.Verify(ctx, db, m, &migrate.VerifyOptions{Against: twin}); err != nil || !verified.OK() {
		t.Errorf("verify against a twin: %+v, %v", verified, err)
	}
	if _, err := pgdbm.Attach(ctx, db.Pool(), pgdbm.Module{Name: "other", Requires: []string{"twins"}, Files: files("1_a.sql", createA)}); err == nil {
		t.Error("a module that is not there was found")
	}
	removed, err := migrate.Remove(ctx, db, m, nil)
	if err != nil || !removed.Dropped {
		t.Errorf("remove: %+v, %v", removed, err)
	}
	if _, err := pgdbm.Attach(ctx, db.Pool(), pgdbm.Module{Name: "other", Requires: []string{"m"}, Files: files("1_a.sql", createA)}); err != nil {
		t.Fatal(err)
	}
	if _, err := migrate.Remove(ctx, twin, m, nil); !errors.Is(err, migrate.ErrRequired) || !errors.As(err, &me) {
		t.Errorf("required: %v", err)
	}
	if _, err := migrate.Remove(ctx, db, m, nil); !errors.Is(err, migrate.ErrNotRecorded) {
		t.Errorf("again: %v", err)
	}
	if _, err := migrate.DropSchema(ctx, twin, nil); !errors.Is(err, migrate.ErrRequired) {
		t.Errorf("drop: %v", err)
	}
	other, err := db.Pool().Schema("other")
	if err != nil {
		t.Fatal(err)
	}
	if dropped, err := migrate.DropSchema(ctx, other, nil); err != nil || dropped.Schema != "other" || len(dropped.Modules) != 1 {
		t.Errorf("drop: %+v, %v", dropped, err)
	}
	if _, err := migrate.DropSchema(ctx, other, &migrate.DropSchemaOptions{Check: true}); !errors.Is(err, migrate.ErrNoSchema) {
		t.Errorf("drop again: %v", err)
	}
}

func TestAFileOutsideATransactionNeedsRoomInThePool(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m := pgdbm.Module{Name: "m", Files: files("1_a.sql", createA, "2_i.sql", "-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY i ON {{tables.a}} (id);")}
	cfg := pgdbm.Config{URL: testdb.URL(t), MaxConns: 1, Logger: slog.New(slog.DiscardHandler)}
	var me *pgdbm.MigrationError
	if _, err := pgdbm.Attach(ctx, cfg, m); !errors.Is(err, migrate.ErrOneConnection) || !errors.As(err, &me) || me.File != "2_i.sql" {
		t.Errorf("one connection: %v", err)
	}
	cfg.MaxConns = 2
	att, err := pgdbm.Attach(ctx, cfg, m)
	if err != nil {
		t.Fatal(err)
	}
	defer att.Close()
	entries, err := migrate.History(ctx, att.DB, m, nil)
	if err != nil || len(entries) != 2 || entries[1].State != migrate.Applied || entries[1].Statements != 1 || entries[1].StatementsDone != 1 {
		t.Errorf("history %+v, %v", entries, err)
	}
}
