package pgdbm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

const racers = 16

// raced fails where it runs twice or half: the table has one row per file.
var raced = pgdbm.Module{Name: "raced", Files: files(
	"001_a.sql", `CREATE TABLE {{tables.runs}} (file int PRIMARY KEY); INSERT INTO {{tables.runs}} VALUES (1);`,
	"002_b.sql", `INSERT INTO {{tables.runs}} VALUES (2); SELECT pg_sleep(0.02);`,
	"003_c.sql", `INSERT INTO {{tables.runs}} VALUES (3);`,
)}

func nth(i int) pgdbm.Module {
	return pgdbm.Module{Name: fmt.Sprintf("module_%d", i), Files: raced.Files}
}

// all runs f for each racer at once and reports every error.
func all(t *testing.T, f func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range racers {
		wg.Go(func() {
			<-start
			if err := f(i); err != nil {
				t.Errorf("racer %d: %v", i, err)
			}
		})
	}
	close(start)
	wg.Wait()
}

func attachOnce(ctx context.Context, src pgdbm.Source, m pgdbm.Module) error {
	a, err := pgdbm.Attach(ctx, src, m)
	if err != nil {
		return err
	}
	defer a.Close()
	n, err := pgdbm.Value[int](ctx, a, `SELECT count(*) FROM {{tables.runs}}`)
	if err == nil && n != 3 {
		err = fmt.Errorf("attached with %d of 3 files applied", n)
	}
	return err
}

// ledgerRows counts what the ledger has, and how often anything was tried.
func ledgerRows(t *testing.T, url string) (rows, attempts int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	err = conn.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE state = 'applied'), sum(attempts) FROM pgdbm.migrations`).
		Scan(&rows, &attempts)
	if err != nil {
		t.Fatal(err)
	}
	return rows, attempts
}

func TestSixteenGoroutinesAttachTheSameModuleAndItIsAppliedOnce(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	all(t, func(int) error { return attachOnce(t.Context(), pgdbm.Config{URL: url, MaxConns: 2}, raced) })
	if rows, attempts := ledgerRows(t, url); rows != 3 || attempts != 3 {
		t.Errorf("%d rows, %d attempts; want 3 and 3", rows, attempts)
	}
}

func TestSixteenGoroutinesAttachTheSameModuleOnOneSmallPool(t *testing.T) {
	t.Parallel()
	pool := attachPool(t)
	all(t, func(int) error { return attachOnce(t.Context(), pool, raced) })
}

func TestSixteenGoroutinesAttachDifferentModulesToAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	all(t, func(i int) error { return attachOnce(t.Context(), pgdbm.Config{URL: url, MaxConns: 2}, nth(i)) })
	if rows, attempts := ledgerRows(t, url); rows != 3*racers || attempts != 3*racers {
		t.Errorf("%d rows, %d attempts; want %d", rows, attempts, 3*racers)
	}
}

// Two modules in one schema exclude each other while they migrate, which is
// what Python pgdbm's lock, keyed by module alone, did not do.
func TestPythonBugDifferentModulesInOneSchemaRace(t *testing.T) {
	t.Parallel()
	pool := attachPool(t)
	all(t, func(i int) error {
		db, err := pool.Schema("common")
		if err != nil {
			return err
		}
		m := pgdbm.Module{Name: fmt.Sprintf("module_%d", i), Files: files("1_x.sql",
			fmt.Sprintf(`CREATE TABLE {{tables.t%d}} (); CREATE TABLE IF NOT EXISTS {{tables.both}} (id int);`, i))}
		_, err = pgdbm.Attach(t.Context(), db, m)
		return err
	})
}

// TestAttachInAProcessOfItsOwn is what the processes of the tests below run.
func TestAttachInAProcessOfItsOwn(t *testing.T) {
	url, module := os.Getenv("PGDBM_TEST_RACER_URL"), os.Getenv("PGDBM_TEST_RACER_MODULE")
	if url == "" {
		t.Skip("runs in the processes of other tests only")
	}
	m := raced
	m.Name = module
	// Wait for the others, on a pipe that closes for all at once.
	if _, err := os.Stdin.Read(make([]byte, 1)); err == nil {
		t.Fatal("standard input has data")
	}
	if err := attachOnce(t.Context(), pgdbm.Config{URL: url, MaxConns: 2}, m); err != nil {
		t.Fatal(err)
	}
}

func attachInProcesses(t *testing.T, url string, module func(i int) string) {
	t.Helper()
	gate, open, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	var cmds []*exec.Cmd
	for i := range racers {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAttachInAProcessOfItsOwn$", "-test.v")
		cmd.Env = append(os.Environ(), "PGDBM_TEST_RACER_URL="+url, "PGDBM_TEST_RACER_MODULE="+module(i))
		cmd.Stdin = gate
		cmds = append(cmds, cmd)
	}
	var wg sync.WaitGroup
	for i, cmd := range cmds {
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("process %d: %v\n%s", i, err, out)
			}
		})
	}
	open.Close()
	wg.Wait()
}

func TestSixteenProcessesAttachTheSameModuleAndItIsAppliedOnce(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	attachInProcesses(t, url, func(int) string { return "raced" })
	if rows, attempts := ledgerRows(t, url); rows != 3 || attempts != 3 {
		t.Errorf("%d rows, %d attempts; want 3 and 3", rows, attempts)
	}
}

func TestSixteenProcessesAttachDifferentModulesToAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	attachInProcesses(t, url, func(i int) string { return fmt.Sprintf("module_%d", i) })
	if rows, attempts := ledgerRows(t, url); rows != 3*racers || attempts != 3*racers {
		t.Errorf("%d rows, %d attempts; want %d", rows, attempts, 3*racers)
	}
}

func TestExtensionsAreCreatedByOneOfManyWhoNeedThem(t *testing.T) {
	t.Parallel()
	pool := attachPool(t)
	all(t, func(i int) error {
		m := nth(i)
		m.Extensions = []string{"citext", "earthdistance"} // which brings cube along
		return attachOnce(t.Context(), pool, m)
	})
}

func TestAttachGivesUpWithItsContextWhileAnotherMigrates(t *testing.T) {
	t.Parallel()
	pool := attachPool(t)
	db := mustSchema(t, pool, "raced")
	// Another session is in the middle of a migration that does not end.
	started := make(chan struct{})
	stop, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	slow := pgdbm.Module{Name: "slow", Files: files("1_x.sql", `SELECT pg_notify('slow', ''); SELECT pg_sleep(600);`)}
	go func() {
		close(started)
		_, err := pgdbm.Attach(stop, db, slow)
		done <- err
	}()
	<-started
	waitUntil(t, func() bool {
		n, err := pgdbm.Value[int](t.Context(), db, `SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()`)
		return err == nil && n == 1
	})
	ctx, cancelWait := context.WithCancel(t.Context())
	cause := errors.New("deploy was called off")
	ctx, cancelCause := context.WithCancelCause(ctx)
	defer cancelWait()
	waiter := make(chan error, 1)
	go func() {
		_, err := pgdbm.Attach(ctx, mustSchema(t, pool, "raced"), raced)
		waiter <- err
	}()
	waitUntil(t, func() bool { return pool.Stat().AcquireCount() > 5 })
	cancelCause(cause)
	if err := <-waiter; !errors.Is(err, context.Canceled) {
		t.Errorf("the waiter: %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the migration: %v", err)
	}
	if err := attachOnce(t.Context(), db, raced); err != nil {
		t.Errorf("after both have gone: %v", err)
	}
}
