package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/tenant"
)

// killer terminates a server process of the pool's database now and then, ever
// less often, until stop is called.
func killer(t *testing.T, pool *pgdbm.Pool) (stop func()) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), pool.Pgx().Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer conn.Close(context.WithoutCancel(ctx))
		for longest := 20 * time.Millisecond; ctx.Err() == nil; longest += 10 * time.Millisecond {
			time.Sleep(rand.N(longest))
			_, err := conn.Exec(context.WithoutCancel(ctx), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid() AND state <> 'idle' ORDER BY random() LIMIT 1`)
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	stop = func() {
		cancel()
		<-ended
		pool.Pgx().Reset() // one that was killed when its work was done would be next
	}
	t.Cleanup(stop)
	return stop
}

// until does something again until it has been done, through this call or one
// whose answer was lost.
func until(t *testing.T, what string, done error, do func() error) {
	t.Helper()
	var err error
	for i := range 100 {
		err = do()
		if err == nil || i > 0 && errors.Is(err, done) {
			return
		}
		if errors.Is(err, done) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	t.Fatalf("%s: never: %v", what, err)
}

func TestTenantsSurviveTheDeathOfServerProcesses(t *testing.T) {
	t.Parallel()
	const sql = `CREATE TABLE {{tables.items}} (id int PRIMARY KEY, parent int REFERENCES {{tables.items}}, name text);
		CREATE FUNCTION {{functions.count}}() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM {{tables.items}}'; INSERT INTO {{tables.items}} VALUES (0)`
	for name, second := range map[string]string{
		"in a transaction": `CREATE INDEX ON {{tables.items}} (name)`,
		"in several":       "-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY items_name ON {{tables.items}} (name)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := open(t, 4)
			m := pgdbm.Module{Name: "mod", Requires: []string{"geo"}, Files: files(sql, second, `ALTER TABLE {{tables.items}} ADD more int`)}
			ts, err := tenant.New(pool, tenant.Config{Modules: []pgdbm.Module{m}, Isolate: true})
			if err != nil {
				t.Fatal(err)
			}
			for round := range 3 {
				id := fmt.Sprint("round ", round)
				stop := killer(t, pool)
				until(t, "create", tenant.ErrExists, func() error { _, err := ts.Create(t.Context(), id); return err })
				stop()
				db := handle(t, ts, id)
				mustExec(t, db, `INSERT INTO {{tables.items}} SELECT n, n - 1 FROM generate_series(1, 500) n`)
				stop = killer(t, pool)
				until(t, "clone", tenant.ErrExists, func() error { _, err := ts.Clone(t.Context(), id, "copy"); return err })
				until(t, "rename", tenant.ErrNotFound, func() error { _, err := ts.Rename(t.Context(), "copy", "renamed"); return err })
				stop()
				if n := value[int](t, handle(t, ts, "renamed"), `SELECT {{functions.count}}()`); n != 501 {
					t.Errorf("%d items", n)
				}
				mustExec(t, handle(t, ts, "renamed"), `INSERT INTO {{tables.items}} (id, parent) VALUES (501, 500)`)
				stop = killer(t, pool)
				for _, id := range []string{"renamed", id} {
					until(t, "drop", tenant.ErrNotFound, func() error { return ts.Drop(t.Context(), id) })
				}
				stop()
			}
			nothingIsLeft(t, pool)
		})
	}
}
