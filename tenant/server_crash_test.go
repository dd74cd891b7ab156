//go:build unix

package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/localpg"
	"github.com/pgdbm/pgdbm/tenant"
)

// crash kills a process of a server: the server ends all others at once, without
// asking, and recovers from its log. It returns when it has ended one of them.
func crash(t *testing.T, url string) {
	t.Helper()
	var conns [2]*pgx.Conn
	for i := range conns {
		var err error
		if conns[i], err = pgx.Connect(t.Context(), url); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Kill(int(conns[0].PgConn().PID()), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for conns[1].Ping(t.Context()) == nil {
	}
}

// recovered returns when the server answers again.
func recovered(t *testing.T, url string) {
	t.Helper()
	for {
		conn, err := pgx.Connect(t.Context(), url)
		if err == nil {
			conn.Close(t.Context())
			return
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestWhatACrashOfTheServerHasLeftIsFinishedOrDropped(t *testing.T) {
	t.Parallel()
	const sql = `CREATE TABLE {{tables.items}} (id int PRIMARY KEY, name text); INSERT INTO {{tables.items}} SELECT n, 'x' FROM generate_series(1, 2000) n`
	url := testdb.Server(t, &localpg.Options{Durable: true, Settings: map[string]string{"restart_after_crash": "on"}}).URL("postgres")
	pool := openAs(t, url)
	for name, m := range map[string]pgdbm.Module{
		"whole":   {Name: "whole", Files: files(sql, `CREATE INDEX items_name ON {{tables.items}} (name)`)},
		"several": {Name: "several", Files: files(sql, "-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY items_name ON {{tables.items}} (name)", `ALTER TABLE {{tables.items}} ADD more int`)},
	} {
		ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}, Isolate: true, Prefix: "tenant_" + name + "_"})
		// disturbed does something while the server crashes, and then again.
		disturbed := func(what string, took time.Duration, done error, do func(ctx context.Context) error) {
			t.Helper()
			first := make(chan error, 1)
			go func() { first <- do(t.Context()) }()
			time.Sleep(rand.N(took))
			crash(t, url)
			err := <-first
			recovered(t, url)
			pool.Pgx().Reset()
			if err == nil {
				return
			}
			if err = do(t.Context()); err != nil && !errors.Is(err, done) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		began := time.Now()
		mustExec(t, create(t, ts, "first"), `INSERT INTO {{tables.items}} VALUES (0, 'own')`)
		took := time.Since(began)
		for round := range 2 {
			id := fmt.Sprint("round", round)
			disturbed("create", took, tenant.ErrExists, func(ctx context.Context) error { _, err := ts.Create(ctx, id); return err })
			if n := value[int](t, handle(t, ts, id), `SELECT count(*) FROM {{tables.items}}`); n != 2000 {
				t.Errorf("%s: %d items", name, n)
			}
			disturbed("clone", took, tenant.ErrExists, func(ctx context.Context) error { _, err := ts.Clone(ctx, "first", "copy"); return err })
			if n := value[int](t, handle(t, ts, "copy"), `SELECT count(*) FROM {{tables.items}}`); n != 2001 {
				t.Errorf("%s: %d items in the clone", name, n)
			}
			// What is half made can be dropped as well as finished.
			first := make(chan error, 1)
			go func() { _, err := ts.Create(t.Context(), "half"); first <- err }()
			time.Sleep(rand.N(took))
			crash(t, url)
			<-first
			recovered(t, url)
			pool.Pgx().Reset()
			if err := ts.Drop(t.Context(), "half"); err != nil && !errors.Is(err, tenant.ErrNotFound) {
				t.Errorf("%s: drop what is half made: %v", name, err)
			}
			for _, id := range []string{id, "copy"} {
				disturbed("drop", took/2, tenant.ErrNotFound, func(ctx context.Context) error { return ts.Drop(ctx, id) })
			}
		}
		if err := ts.Drop(t.Context(), "first"); err != nil {
			t.Error(err)
		}
	}
	nothingIsLeft(t, pool)
}
