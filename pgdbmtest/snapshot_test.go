package pgdbmtest_test

import (
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

func TestRestoreBringsTheDatabaseBackAsOftenAsWanted(t *testing.T) {
	t.Parallel()
	pool := pgdbmtest.New(t, diary)
	db := attach(t, pool, diary)
	empty := pgdbmtest.Snapshot(t, pool)
	mustExec(t, db, `INSERT INTO {{tables.notes}} VALUES (1)`)
	one := pgdbmtest.Snapshot(t, pool)
	for range 3 {
		mustExec(t, db, `INSERT INTO {{tables.notes}} VALUES (2)`)
		mustExec(t, db, `CREATE SCHEMA more`)
		one.Restore(t)
		if n := count(t, db); n != 1 {
			t.Errorf("%d notes, not 1", n)
		}
		empty.Restore(t)
		if n := count(t, db); n != 0 {
			t.Errorf("%d notes, not 0", n)
		}
		one.Restore(t)
	}
	attach(t, pool, diary)
	// A restored database is as strict as a new one.
	if _, err := db.Exec(t.Context(), `SELECT FROM notes`); state(err) != "42P01" {
		t.Errorf("a forgotten template: %v", err)
	}
}

func TestRestoreOfADatabaseInUseChangesNothing(t *testing.T) {
	t.Parallel()
	pool := pgdbmtest.New(t, diary)
	db := attach(t, pool, diary)
	saved := pgdbmtest.Snapshot(t, pool)
	mustExec(t, db, `INSERT INTO {{tables.notes}} VALUES (1)`)
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]func(testing.TB){
		"restore":  saved.Restore,
		"snapshot": func(tb testing.TB) { pgdbmtest.Snapshot(tb, pool) },
	} {
		if log := record(t).run(f); !strings.Contains(log, what+": 1 connections of the pool are in use") {
			t.Errorf("log: %s", log)
		}
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: pool.Pgx().Config().ConnString(), Logger: pgdbmtest.Logger(t, nil)})
	if err != nil {
		t.Fatal(err)
	}
	if log := record(t).run(saved.Restore); !strings.Contains(log, "restore: somebody is connected to database pgdbmt_") {
		t.Errorf("log: %s", log)
	}
	other.Close()
	if n := count(t, db); n != 1 {
		t.Errorf("%d notes", n)
	}
	saved.Restore(t)
	if n := count(t, db); n != 0 {
		t.Errorf("%d notes", n)
	}
}

func TestOnlyADatabaseOfNewIsCopied(t *testing.T) {
	t.Parallel()
	tx := pgdbmtest.Tx(t, diary)
	log := record(t).run(func(tb testing.TB) { pgdbmtest.Snapshot(tb, tx.Pool()) })
	if !strings.Contains(log, "snapshot: ") {
		t.Errorf("log: %s", log)
	}
}

func TestCopiesAreDroppedWithTheTest(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, nil)
	f.must(t, "snapshot")
	if got := f.databases(t, clone); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

func childSnapshot(t *testing.T) {
	pool := pgdbmtest.New(t, diary)
	pgdbmtest.Snapshot(t, pool)
	pgdbmtest.Snapshot(t, pool).Restore(t)
}
