package pgdbmtest_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"testing/fstest"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

var fixtures = fstest.MapFS{ // mostly an embed.FS
	"notes.csv": {Data: []byte("id,text\n1,buy tea\n")},
}

// A test with a database of its own.
func ExampleNew() {
	test := func(t *testing.T) {
		t.Parallel()
		db, err := pgdbm.Attach(t.Context(), pgdbmtest.New(t, diary), diary)
		if err != nil {
			t.Fatal(err)
		}
		pgdbmtest.Load(t, db, fixtures)
		before := pgdbmtest.Capture(t, db)
		_, err = db.Exec(t.Context(), `UPDATE {{tables.notes}} SET text = 'nothing' WHERE id = 2`)
		if err != nil {
			t.Error(err)
		}
		before.Unchanged(t)
	}
	run("New", test)
	// Output: New passed
}

// A test in a transaction.
func ExampleTx() {
	run("Tx", func(t *testing.T) {
		t.Parallel()
		db := pgdbmtest.Tx(t, diary)
		pgdbmtest.Load(t, db, fixtures)
		n, err := pgdbm.Value[int](t.Context(), db, `SELECT count(*) FROM {{tables.notes}}`)
		if err != nil || n != 1 {
			t.Errorf("%d notes, %v", n, err)
		}
	})
	// Output: Tx passed
}

// A library's test, in every way in which it may be given its database.
func ExampleEachSource() {
	run("EachSource", func(t *testing.T) {
		pgdbmtest.EachSource(t, diary, func(t *testing.T, src pgdbm.Source) {
			db, err := pgdbm.Attach(t.Context(), src, diary) // the library's constructor does
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			pgdbmtest.Load(t, db, fixtures)
		})
	})
	// Output: EachSource passed
}

// A template that is migrated and filled, once.
func ExampleConfig() {
	seeded := pgdbmtest.Config{
		SeedKey: "notes 1",
		Seed: func(ctx context.Context, pool *pgdbm.Pool) error {
			db, err := pool.Schema("diary")
			if err != nil {
				return err
			}
			return pgdbmtest.LoadFiles(ctx, db, fixtures)
		},
	}
	run("Config", func(t *testing.T) {
		pool := seeded.New(t, diary)
		saved := pgdbmtest.Snapshot(t, pool)
		if _, err := pool.Pgx().Exec(t.Context(), `TRUNCATE diary.notes`); err != nil {
			t.Error(err)
		}
		saved.Restore(t)
	})
	// Output: Config passed
}

// run stands in for "go test".
func run(name string, test func(*testing.T)) {
	every := func(pattern, name string) (bool, error) { return true, nil }
	out := os.Stdout
	defer func() { os.Stdout = out }()
	os.Stdout = os.Stderr // what -v says is no output of the example
	if testing.RunTests(every, []testing.InternalTest{{Name: name, F: test}}) {
		fmt.Fprintln(out, name, "passed")
	}
}
