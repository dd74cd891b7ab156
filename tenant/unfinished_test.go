package tenant_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/tenant"
)

func TestAnAdoptionThatFailsLeavesTheSchemaToItsOwner(t *testing.T) {
	both(t, func(t *testing.T, pool *pgdbm.Pool, _ *tenant.Tenants) {
		one := pgdbm.Module{Name: "one", Files: files(`CREATE TABLE {{tables.t}} (n int)`)}
		old, err := pool.Schema("tenant_acme")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pgdbm.Attach(t.Context(), old, one); err != nil {
			t.Fatal(err)
		}
		mustExec(t, old, `INSERT INTO {{tables.t}} VALUES (1)`)
		bad := pgdbm.Module{Name: "one", Files: files(`CREATE TABLE {{tables.t}} (n int)`, `SELECT nonsense`)}
		ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{bad}})
		if _, err := ts.Adopt(t.Context(), "acme", "tenant_acme"); state(err) != "42703" {
			t.Fatal(err)
		}
		if list, err := ts.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
		if _, err := ts.Create(t.Context(), "acme"); !errors.Is(err, tenant.ErrExists) {
			t.Errorf("created: %v", err)
		}
		if n := value[int](t, old, `SELECT n FROM {{tables.t}}`); n != 1 {
			t.Error(n)
		}
	})
}

func TestTheLedgersSchemaIsNotAdopted(t *testing.T) {
	t.Parallel()
	pool := open(t, 2)
	ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{}})
	for _, schema := range []string{"pgdbm", "pg_catalog", "information_schema", ""} {
		if _, err := ts.Adopt(t.Context(), "acme", schema); err == nil {
			t.Errorf("%q is adopted", schema)
		}
	}
}

// slow is a module whose creation waits, outside a transaction, until release is
// called; waiting returns when it does.
func slow(t *testing.T, pool *pgdbm.Pool) (m pgdbm.Module, waiting, release func()) {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), pool.Pgx().Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	if _, err := conn.Exec(t.Context(), `SELECT pg_advisory_lock(4711)`); err != nil {
		t.Fatal(err)
	}
	m = pgdbm.Module{Name: "slow", Files: files(`CREATE TABLE {{tables.t}} (n int)`,
		"-- pgdbm:no-transaction\n-- pgdbm:lock-timeout 1h\nSELECT pg_advisory_lock_shared(4711), pg_advisory_unlock_shared(4711)")}
	waiting = func() {
		for waits := false; !waits; {
			if err := conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
				AND objid = 4711 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`).Scan(&waits); err != nil {
				t.Fatal(err)
			}
		}
	}
	return m, waiting, func() {
		if _, err := conn.Exec(t.Context(), `SELECT pg_advisory_unlock(4711)`); err != nil {
			t.Error(err)
		}
	}
}

// another is how long a second one gets to come to where the first one holds it
// up, which nothing shows: it asks for the lock again and again.
const another = 200 * time.Millisecond

func TestTwoThatFinishOneTenantDoNotDoItTwice(t *testing.T) {
	both(t, func(t *testing.T, pool *pgdbm.Pool, _ *tenant.Tenants) {
		m, waiting, release := slow(t, pool)
		ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}, Isolate: true})
		errs := make(chan error)
		for range 2 {
			go func() {
				_, err := ts.Create(t.Context(), "acme")
				errs <- err
			}()
			waiting()
		}
		time.Sleep(another)
		release()
		first, second := <-errs, <-errs
		if first != nil || !errors.Is(second, tenant.ErrExists) {
			t.Errorf("%v, %v", first, second)
		}
		mustExec(t, handle(t, ts, "acme"), `INSERT INTO {{tables.t}} VALUES (1)`)
	})
}

func TestATenantThatIsDroppedWhileItIsMadeIsGone(t *testing.T) {
	both(t, func(t *testing.T, pool *pgdbm.Pool, _ *tenant.Tenants) {
		m, waiting, release := slow(t, pool)
		ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}, Isolate: true})
		made, dropped := make(chan error), make(chan error)
		go func() {
			_, err := ts.Create(t.Context(), "acme")
			made <- err
		}()
		waiting()
		go func() { dropped <- ts.Drop(t.Context(), "acme") }()
		time.Sleep(another)
		release()
		if err := <-made; err != nil && !errors.Is(err, tenant.ErrNotFound) {
			t.Error(err)
		}
		if err := <-dropped; err != nil {
			t.Error(err)
		}
		nothingIsLeft(t, pool)
	})
}

func TestACloneInStepsThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	m := pgdbm.Module{Name: "indexed", Files: files(`CREATE TABLE {{tables.items}} (name text)`,
		"-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY items_name ON {{tables.items}} (name)")}
	ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}, Isolate: true})
	mustExec(t, create(t, tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}}), "acme"), `ALTER TABLE {{tables.items}} ADD own text`)
	if _, err := ts.Clone(t.Context(), "acme", "copy"); !errors.Is(err, tenant.ErrDiffers) {
		t.Error(err)
	}
	if err := ts.Drop(t.Context(), "acme"); err != nil {
		t.Error(err)
	}
	nothingIsLeft(t, pool)
}

func TestWhatWasBegunUnderAnotherPrefixIsNotFinishedUnderThisOne(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	ts := tenants(t, pool, tenant.Config{})
	create(t, ts, "first")
	admin, err := pool.Schema("pgdbm")
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, admin, `INSERT INTO {{tables.tenants}} (id, schema, state, prefix) VALUES ('half', 'other_half', 'creating', 'other_'),
		('odd', 'odd_half', 'creating', 'tenant_'); CREATE SCHEMA other_half; CREATE SCHEMA odd_half`)
	if db := create(t, ts, "half"); db.Schema() != "tenant_half" {
		t.Error(db.Schema())
	}
	if _, err := ts.Create(t.Context(), "odd"); !errors.Is(err, tenant.ErrExists) || !strings.Contains(err.Error(), "odd_half") {
		t.Error(err)
	}
	for _, ts := range []*tenant.Tenants{ts, tenants(t, pool, tenant.Config{Prefix: "other_"})} {
		if err := ts.Drop(t.Context(), "half"); err != nil {
			t.Error(err)
		}
	}
}

func TestATenantIsAsOldAsTheListSays(t *testing.T) {
	t.Parallel()
	ts := tenants(t, open(t, 2), tenant.Config{})
	made, err := ts.Create(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ts.Get(t.Context(), "acme"); err != nil || !got.CreatedAt.Equal(made.CreatedAt) {
		t.Errorf("%v, %v, %v", got.CreatedAt, made.CreatedAt, err)
	}
}

// orphan leaves a statement of a killed process running in the server, in the
// schema of a tenant that is half made, until end is called.
func orphan(t *testing.T, pool *pgdbm.Pool, locks bool) (end func()) {
	t.Helper()
	connect := func() *pgx.Conn {
		conn, err := pgx.ConnectConfig(t.Context(), pool.Pgx().Config().ConnConfig)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
		return conn
	}
	user, work := connect(), connect()
	exec := func(conn *pgx.Conn, sql string, args ...any) {
		if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	exec(user, `INSERT INTO pgdbm.tenants (id, prefix, schema, state) VALUES ('half', 'tenant_', 'tenant_half', 'creating')`)
	exec(user, `CREATE SCHEMA tenant_half; CREATE TABLE tenant_half.t (n int)`)
	exec(user, `BEGIN; INSERT INTO tenant_half.t VALUES (1)`)
	if locks {
		sum := sha256.Sum256([]byte("pgdbm.work\x00tenant_half"))
		exec(work, `SELECT pg_advisory_lock($1)`, int64(binary.BigEndian.Uint64(sum[:8])))
	}
	done := make(chan error)
	go func() {
		_, err := work.Exec(t.Context(), `CREATE INDEX CONCURRENTLY t_n ON tenant_half.t (n)`)
		work.Close(context.WithoutCancel(t.Context()))
		done <- err
	}()
	for waits := false; !waits; {
		if err := user.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)`, work.PgConn().PID()).Scan(&waits); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		exec(user, `COMMIT`)
		if err := <-done; err != nil && !locks {
			t.Log(err) // it may be the one that is dropped under
		} else if err != nil {
			t.Error(err)
		}
	}
}

func TestATenantIsDroppedWhenWhatAKilledProcessHasLeftRunningHasEnded(t *testing.T) {
	t.Parallel()
	for _, locks := range []bool{true, false} {
		t.Run(fmt.Sprintf("through a pooler %v", !locks), func(t *testing.T) {
			t.Parallel()
			for range 3 {
				pool := open(t, 4)
				ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{blog}})
				create(t, ts, "first")
				if err := ts.Drop(t.Context(), "first"); err != nil {
					t.Fatal(err)
				}
				end := orphan(t, pool, locks)
				dropped := make(chan error)
				go func() { dropped <- ts.Drop(t.Context(), "half") }()
				time.Sleep(another)
				end()
				if err := <-dropped; err != nil {
					t.Error(err)
				}
				nothingIsLeft(t, pool)
			}
		})
	}
}

func TestATenantIsDroppedAlthoughSomethingInItIsChangedAtThatMoment(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	ts := tenants(t, pool, tenant.Config{})
	db := create(t, ts, "acme")
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, tx, `CREATE OR REPLACE FUNCTION {{functions.names}}() RETURNS text LANGUAGE sql AS 'SELECT ''other'''`)
	dropped := make(chan error)
	go func() { dropped <- ts.Drop(t.Context(), "acme") }()
	admin, err := pool.Schema("pgdbm")
	if err != nil {
		t.Fatal(err)
	}
	for !value[bool](t, admin, `SELECT EXISTS (SELECT FROM pg_locks l WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
		OR locktype = 'transactionid' AND NOT granted)`) {
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-dropped; err != nil {
		t.Error(err)
	}
	nothingIsLeft(t, pool)
}
