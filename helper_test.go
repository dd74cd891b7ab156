package pgdbm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

// The tests say themselves where they connect and how: the libpq environment
// of whoever runs them must not change what they see.
func TestMain(m *testing.M) {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "PGDBM_") {
			_ = os.Unsetenv(name)
		}
	}
	code := m.Run()
	pgdbmtest.Shutdown()
	if leak := leaked(); code == 0 && leak != "" {
		fmt.Fprintf(os.Stderr, "goroutines of pools that are still open:\n\n%s\n", leak)
		code = 1
	}
	os.Exit(code)
}

// leaked waits for the goroutines of pools to end and returns those that do
// not. What a closed pool destroys ends a moment later.
func leaked() (stacks string) {
	for range 500 {
		buf := make([]byte, 1<<20)
		stacks = ""
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "pgxpool.") || strings.Contains(g, "puddle") || strings.Contains(g, "pgdbm.(*core)") {
				stacks += g + "\n\n"
			}
		}
		if stacks == "" {
			return ""
		}
		<-time.After(10 * time.Millisecond)
	}
	return stacks
}

// openPool opens a pool, on a database of the test's own unless cfg has a URL.
// When the test ends, every connection must be back.
func openPool(t *testing.T, cfg pgdbm.Config) *pgdbm.Pool {
	t.Helper()
	if cfg.URL == "" {
		cfg.URL = testdb.URL(t)
	}
	pool, err := pgdbm.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	opened.Store(pool.Pgx(), pool)
	t.Cleanup(func() {
		opened.Delete(pool.Pgx())
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := pool.Shutdown(ctx); err != nil {
			t.Errorf("the test leaves connections in use: %v", err)
		}
	})
	return pool
}

// opened maps the pgxpool.Pool of each pool that is open to it: a handle leads
// to a view only.
var opened sync.Map

// ownerOf is the pool that a handle came from, not a view of it.
func ownerOf(db *pgdbm.DB) *pgdbm.Pool {
	p, _ := opened.Load(db.Pool().Pgx())
	return p.(*pgdbm.Pool)
}

// openSchema opens a pool and returns a handle to a schema, which exists.
func openSchema(t *testing.T, schema string, cfg pgdbm.Config) *pgdbm.DB {
	t.Helper()
	db := mustSchema(t, openPool(t, cfg), schema)
	mustExec(t, db, `CREATE SCHEMA IF NOT EXISTS {{schema}}`)
	return db
}

// notes is openSchema with a table in it: notes (id int PRIMARY KEY, text text).
func notes(t *testing.T, cfg pgdbm.Config) *pgdbm.DB {
	t.Helper()
	db := openSchema(t, "diary", cfg)
	createNotes(t, db)
	return db
}

func createNotes(t *testing.T, q pgdbm.Querier) {
	t.Helper()
	mustExec(t, q, `CREATE TABLE {{tables.notes}} (id int PRIMARY KEY, text text)`)
}

func mustExec(t *testing.T, q pgdbm.Querier, sql string, args ...any) {
	t.Helper()
	if _, err := q.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func value[T any](t *testing.T, q pgdbm.Querier, sql string, args ...any) T {
	t.Helper()
	v, err := pgdbm.Value[T](t.Context(), q, sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// count is the number of notes.
func count(t *testing.T, q pgdbm.Querier) int {
	t.Helper()
	return value[int](t, q, `SELECT count(*) FROM {{tables.notes}}`)
}

// wantIdle waits until nothing is taken from the pool. A connection that is
// destroyed comes back a moment later.
func wantIdle(t *testing.T, pool *pgdbm.Pool) {
	t.Helper()
	waitUntil(t, func() bool { return pool.Stat().AcquiredConns() == 0 })
}

// wantState fails unless err carries this SQLSTATE.
func wantState(t *testing.T, err error, code string) {
	t.Helper()
	if got := state(err); got != code {
		t.Errorf("got SQLSTATE %q (%v), want %s", got, err, code)
	}
}

func state(err error) string {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pe.Code
	}
	return ""
}

// pid is the number of the server's process, which tells connections apart.
func pid(t *testing.T, q pgdbm.Querier) int {
	t.Helper()
	return value[int](t, q, `SELECT pg_backend_pid()`)
}

// admin is a connection of the test's own to the pool's database, to look at
// it from outside.
func admin(t *testing.T, pool *pgdbm.Pool) *pgx.Conn {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), pool.Pgx().Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// sessions counts the database's connections in this state, seen from outside.
func sessions(t *testing.T, conn *pgx.Conn, state string) (n int) {
	t.Helper()
	err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE $1`, state).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
