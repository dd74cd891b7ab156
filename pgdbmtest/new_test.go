package pgdbmtest_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

func TestFiftyParallelTestsHaveADatabaseEach(t *testing.T) {
	t.Parallel()
	for i := range 50 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			db := attach(t, pgdbmtest.New(t, diary), diary)
			mustExec(t, db, `INSERT INTO {{tables.notes}} VALUES (1)`) // a second one would fail
			if n := count(t, db); n != 1 {
				t.Errorf("%d notes", n)
			}
		})
	}
}

func TestAttachFindsNothingToDoInACopy(t *testing.T) {
	t.Parallel()
	users, billing := module("users"), module("billing")
	billing.Requires = []string{"users"}
	billing.Schema = "Money"
	pool := pgdbmtest.New(t, billing, users)
	applied := func() (n int) {
		if err := pool.Pgx().QueryRow(t.Context(), `SELECT count(*) FROM pgdbm.migrations`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := applied(); n != 2 {
		t.Errorf("%d migrations in the copy, want 2", n)
	}
	db := attach(t, pool, billing)
	mustExec(t, db, `INSERT INTO {{tables.notes}} SELECT 1 FROM (SELECT count(*) FROM {{tables.users.notes}}) n`)
	if db.Schema() != "Money" || applied() != 2 {
		t.Errorf("schema %s, %d migrations", db.Schema(), applied())
	}
}

func TestAForgottenTemplateFailsTheTest(t *testing.T) {
	t.Parallel()
	public := diary
	public.Schema = "public"
	for _, m := range []pgdbm.Module{diary, public} {
		db := attach(t, pgdbmtest.New(t, m), m)
		tx := pgdbmtest.Tx(t, m)
		for name, q := range map[string]pgdbm.Querier{"New": db, "Tx": tx} {
			_, err := q.Exec(t.Context(), `SELECT FROM notes`)
			if got := state(err); got != "42P01" {
				t.Errorf("%s in %s: %v", name, db.Schema(), err)
			}
			mustExec(t, q, `SELECT FROM {{tables.notes}}`)
		}
	}
}

func TestExtensionsAreInTheSearchPath(t *testing.T) {
	t.Parallel()
	m := diary
	m.Extensions = []string{"citext"}
	pool := pgdbmtest.New(t, m)
	var available bool
	err := pool.Pgx().QueryRow(t.Context(), `SELECT 'A'::citext = 'a'::citext AND current_setting('search_path') = '"public"'`).Scan(&available)
	if err != nil || !available {
		t.Errorf("%v, %v", available, err)
	}
}

func TestATemplateIsMadeOnceForAllTestsThatShareIt(t *testing.T) {
	t.Parallel()
	seeds := 0 // builders take turns
	cfg := pgdbmtest.Config{SeedKey: rand.Text(), Seed: func(ctx context.Context, pool *pgdbm.Pool) error {
		seeds++
		db, err := pool.Schema("diary")
		if err != nil {
			return err
		}
		_, err = db.Exec(ctx, `INSERT INTO {{tables.notes}} VALUES (1, 'seed')`)
		return err
	}}
	t.Run("group", func(t *testing.T) {
		for i := range 5 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				if n := count(t, attach(t, cfg.New(t, diary), diary)); n != 1 {
					t.Errorf("%d notes", n)
				}
				if n := count(t, cfg.Tx(t, diary)); n != 1 {
					t.Errorf("%d notes in a transaction", n)
				}
			})
		}
	})
	if seeds != 1 {
		t.Errorf("seeded %d times", seeds)
	}
}

func TestAnotherFileIsAnotherTemplate(t *testing.T) {
	t.Parallel()
	more := module("diary")
	more.Files.(fstest.MapFS)["002_more.sql"] = &fstest.MapFile{Data: []byte(`CREATE TABLE {{tables.more}} ();`)}
	mustExec(t, attach(t, pgdbmtest.New(t, diary), diary), `SELECT FROM {{tables.notes}}`)
	mustExec(t, attach(t, pgdbmtest.New(t, more), more), `SELECT FROM {{tables.more}}`)
}

func TestAMigrationThatFailsIsReported(t *testing.T) {
	t.Parallel()
	bad := pgdbm.Module{Name: "bad", Files: fstest.MapFS{"001_bad.sql": {Data: []byte("SELECT 1;\nSELECT x;")}}}
	for range 2 { // the second finds no half-built template
		log := record(t).run(func(tb testing.TB) { pgdbmtest.New(tb, bad) })
		if !strings.Contains(log, "bad/001_bad.sql:2:8") {
			t.Errorf("log: %s", log)
		}
	}
}

func TestAFailedTestKeepsItsDatabase(t *testing.T) {
	t.Parallel()
	var pool *pgdbm.Pool
	log := record(t).run(func(tb testing.TB) {
		pool = pgdbmtest.New(tb, diary)
		mustExec(tb, attach(tb, pool, diary), `INSERT INTO {{tables.notes}} VALUES (7)`)
		tb.Error("something is wrong")
	})
	_, rest, ok := strings.Cut(log, `open: psql "`)
	url, _, _ := strings.Cut(rest, `"`)
	if !ok || !strings.Contains(log, "drop: psql") {
		t.Fatalf("log: %s", log)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var id int
	if err := conn.QueryRow(t.Context(), `SELECT id FROM diary.notes`).Scan(&id); err != nil || id != 7 {
		t.Errorf("%d, %v", id, err)
	}
}

func TestAPassedTestsDatabaseIsDropped(t *testing.T) {
	t.Parallel()
	var name string
	watch := pgdbmtest.New(t)
	if log := record(t).run(func(tb testing.TB) {
		name = pgdbmtest.New(tb, diary).Pgx().Config().ConnConfig.Database
	}); log != "" {
		t.Errorf("log: %s", log)
	}
	waitUntil(t, func() bool { return !exists(t, watch, name) })
}

func TestADatabaseIsDroppedWithASessionThatIsNotAPools(t *testing.T) {
	t.Parallel()
	var name string
	watch := pgdbmtest.New(t)
	if log := record(t).run(func(tb testing.TB) {
		conn, err := pgx.Connect(context.Background(), pgdbmtest.URL(tb, diary))
		if err != nil {
			tb.Fatal(err)
		}
		name = conn.Config().Database
		t.Cleanup(func() { conn.Close(context.Background()) })
	}); log != "" {
		t.Errorf("log: %s", log)
	}
	waitUntil(t, func() bool { return !exists(t, watch, name) })
}

func TestALeakedConnectionFailsTheTest(t *testing.T) {
	t.Parallel()
	r := record(t)
	log := r.run(func(tb testing.TB) {
		db := attach(tb, pgdbmtest.New(tb, diary), diary)
		if _, err := db.Query(tb.Context(), `SELECT 1 FROM pg_class`); err != nil {
			tb.Fatal(err)
		}
	})
	if !r.Failed() || !strings.Contains(log, "new_test.go:") {
		t.Errorf("log: %s", log)
	}
}

func TestCloseByTheTestDoesNoHarm(t *testing.T) {
	t.Parallel()
	pgdbmtest.New(t, diary).Close()
}

func exists(tb testing.TB, pool *pgdbm.Pool, database string) (ok bool) {
	tb.Helper()
	err := pool.Pgx().QueryRow(tb.Context(), `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, database).Scan(&ok)
	if err != nil {
		tb.Fatal(err)
	}
	return ok
}

// waitUntil polls, since drops are not waited for.
func waitUntil(tb testing.TB, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			tb.Fatal("waited in vain")
		}
	}
}

func state(err error) string {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pe.Code
	}
	return fmt.Sprint(err)
}

func TestATestThatWantsMoreConnectionsThanTheServerHasFails(t *testing.T) {
	t.Parallel()
	r := record(t)
	log := r.run(func(tb testing.TB) {
		pgdbmtest.Config{Pool: func(cfg *pgdbm.Config) { cfg.MaxConns = 100_000 }}.New(tb, diary)
	})
	if !r.Failed() || !strings.Contains(log, "pgdbmtest: wait for 100000 connections: the server has room for ") {
		t.Errorf("log: %s", log)
	}
}
