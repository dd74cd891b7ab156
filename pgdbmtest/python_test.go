package pgdbmtest_test

import (
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgdbm/pgdbm/localpg"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

// What the testing module of pgdbm for Python got wrong. Its fixtures and
// snapshots are in load_python_test.go.

func TestPythonBugMigrationsRunAgainInEachTest(t *testing.T) {
	t.Parallel()
	var when [2]time.Time
	for i := range when {
		err := pgdbmtest.New(t, diary).Pgx().QueryRow(t.Context(), `SELECT max(applied_at) FROM pgdbm.migrations`).Scan(&when[i])
		if err != nil {
			t.Fatal(err)
		}
	}
	if !when[0].Equal(when[1]) {
		t.Errorf("migrated at %v and %v", when[0], when[1])
	}
}

func TestPythonBugIsolatedTestsMakeADatabaseEach(t *testing.T) {
	t.Parallel()
	const name = `SELECT current_database()::text`
	a, b := pgdbmtest.Tx(t, diary), pgdbmtest.Tx(t, diary)
	if x, y := value[string](t, a, name), value[string](t, b, name); x != y {
		t.Errorf("%s and %s", x, y)
	}
	mustExec(t, a, `INSERT INTO {{tables.notes}} VALUES (1)`)
	if n := count(t, b); n != 0 {
		t.Errorf("%d notes of another test", n)
	}
}

func TestPythonBugLeftoversAreNeverSwept(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, nil)
	killed, _, _ := f.start(t, "hang")
	killed.Process.Kill()
	killed.Wait()
	f.must(t, "pass")
	if got := f.databases(t, clone); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

func TestPythonBugAFailedTestsDatabaseIsGone(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, nil)
	if _, err := f.run(t, "fail"); err == nil || len(f.databases(t, clone)) != 1 {
		t.Errorf("%v, %v", err, f.databases(t, clone))
	}
}

// childBroken fails to make a database again and again, and then needs one.
func childBroken(t *testing.T) {
	bad := module("bad")
	bad.Requires = []string{"nobody"}
	for range 20 {
		record(t).run(func(tb testing.TB) { pgdbmtest.New(tb, bad) })
	}
	var sessions int
	err := pgdbmtest.New(t, diary).Pgx().QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'`).Scan(&sessions)
	if err != nil || sessions > 20 {
		t.Errorf("%d sessions, %v", sessions, err)
	}
}

func TestPythonBugAFailedCreateLeaksItsConnections(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, nil)
	f.must(t, "broken")
	if got := f.databases(t, clone); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
	if got := f.databases(t, template); len(got) != 1 {
		t.Errorf("templates: %v", got)
	}
}

func TestPythonBugATestHasConnectionsThatItDoesNotUse(t *testing.T) {
	t.Parallel()
	var sessions int
	err := pgdbmtest.New(t, diary).Pgx().QueryRow(t.Context(),
		`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'`).Scan(&sessions)
	if err != nil || sessions != 1 {
		t.Errorf("%d sessions, %v", sessions, err)
	}
}

func TestPythonBugPasswordIsPastedIntoTheURL(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, &localpg.Options{TCP: true})
	const password = `p@ss/w:rd?'"# %41&`
	if _, err := f.conn.Exec(t.Context(), `CREATE ROLE tester LOGIN CREATEDB PASSWORD '`+strings.ReplaceAll(password, "'", "''")+`'`); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(f.url)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("tester", password)
	f.url = u.String()
	f.must(t, "parallel")
	log, err := f.run(t, "fail")
	if err == nil || strings.Contains(log, "p@ss") || strings.Contains(log, "p%40ss") {
		t.Errorf("%v\n%s", err, log)
	}
}

func TestPythonBugLoggingChangesTheEnvironment(t *testing.T) {
	t.Parallel()
	before := os.Environ()
	pgdbmtest.Logger(t, nil).Info("a line of the test's")
	pgdbmtest.New(t, diary)
	if after := os.Environ(); !slices.Equal(before, after) {
		t.Errorf("%d variables, then %d", len(before), len(after))
	}
}
