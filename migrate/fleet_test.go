package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/migrate"
)

// tenants are n names of schemas.
func tenants(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("tenant_%03d", i)
	}
	return names
}

// A fleetDB is a database with a pool that counts its round trips.
type fleetDB struct {
	t     *testing.T
	url   string
	pool  *pgdbm.Pool
	trips *atomic.Int64
}

func newFleetDB(t *testing.T, maxConns int32) *fleetDB {
	t.Helper()
	return openFleetDB(t, testdb.URL(t), maxConns)
}

func openFleetDB(t *testing.T, url string, maxConns int32) *fleetDB {
	t.Helper()
	d := &fleetDB{t: t, url: url, trips: new(atomic.Int64)}
	pool, err := pgdbm.Open(t.Context(), pgdbm.Config{
		URL: url, MaxConns: maxConns, Logger: slog.New(slog.DiscardHandler),
		Pgx: func(c *pgxpool.Config) error {
			dial := c.ConnConfig.DialFunc
			c.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dial(ctx, network, addr)
				return countingConn{conn, d.trips}, err
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	d.pool = pool
	return d
}

// countingConn counts writes: the driver makes one for each message that it
// waits on.
type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func (d *fleetDB) exec(sql string) { d.t.Helper(); testdb.Exec(d.t, d.url, sql) }

// value is the only value of a query.
func (d *fleetDB) value(sql string, args ...any) int {
	d.t.Helper()
	var n int
	if err := d.pool.Pgx().QueryRow(d.t.Context(), sql, args...).Scan(&n); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// want fails the test unless the query's value is as said.
func (d *fleetDB) want(want int, sql string, args ...any) {
	d.t.Helper()
	if got := d.value(sql, args...); got != want {
		d.t.Errorf("%s: got %d, want %d", sql, got, want)
	}
}

// fleet migrates and fails the test on an error.
func (d *fleetDB) fleet(m pgdbm.Module, schemas []string, o *migrate.FleetOptions) *migrate.FleetResult {
	d.t.Helper()
	res, err := migrate.Fleet(d.t.Context(), d.pool, m, schemas, o)
	if err != nil {
		d.t.Fatalf("Fleet: %v", err)
	}
	return res
}

func module(pairs ...string) pgdbm.Module {
	return pgdbm.Module{Name: "app", Files: files(pairs...)}
}

const (
	fleetTables = `CREATE TABLE {{tables.users}} (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE {{tables.orders}} (id bigint PRIMARY KEY, user_id bigint REFERENCES {{tables.users}});
-- no semicolon at the end
CREATE INDEX orders_user ON {{tables.orders}} (user_id) -- nor a line end`
	fleetColumn = `ALTER TABLE {{tables.users}} ADD COLUMN email text;
CREATE INDEX ON {{tables.users}} (email);`
	appliedRows = `SELECT count(*) FROM pgdbm.migrations WHERE module = 'app' AND state = 'applied'`
)

func TestAFleetIsProvisionedMigratedAndThenUpToDate(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 8)
	schemas := tenants(210)
	m := module("1_tables.sql", fleetTables)
	res := d.fleet(m, schemas, nil)
	if res.Schemas != 210 || res.Migrated != 210 || res.Created != 210 || res.Applied != 210 || res.UpToDate != 0 || res.Careful != "" {
		t.Fatalf("provisioning: %+v", res)
	}
	m = module("1_tables.sql", fleetTables, "2_column.sql", fleetColumn, "3_more.sql", createA)
	var mu sync.Mutex
	perSchema, last, calls := make(map[string][]string), 0, 0
	res = d.fleet(m, append(schemas, "tenant_new", schemas[0]), &migrate.FleetOptions{Workers: 4, Progress: func(e migrate.FleetEvent) {
		if !mu.TryLock() {
			t.Error("two events at once")
			return
		}
		defer mu.Unlock()
		calls++
		perSchema[e.Schema] = append(perSchema[e.Schema], e.Version)
		if e.State != migrate.Applied || e.Err != nil || e.Total != 211 || e.Done < last || e.File == "" || e.Duration <= 0 {
			t.Errorf("event %+v after %d", e, last)
		}
		last = e.Done
	}})
	if res.Schemas != 211 || res.Migrated != 211 || res.Created != 1 || res.Applied != 2*210+3 {
		t.Fatalf("migrating: %+v", res)
	}
	if calls != 423 || last != 211 || !slices.Equal(perSchema["tenant_007"], []string{"2", "3"}) ||
		!slices.Equal(perSchema["tenant_new"], []string{"1", "2", "3"}) {
		t.Errorf("%d events, last %d: %v, %v", calls, last, perSchema["tenant_007"], perSchema["tenant_new"])
	}
	d.want(3*211, appliedRows)
	d.want(211, `SELECT count(*) FROM pg_indexes WHERE indexname = 'users_email_idx'`)
	d.want(3*211, appliedRows+` AND duration_ms > 0 AND attempts = 1 AND actor = session_user AND stmt_done = stmt_total AND stmt_done > 0`)
	// What the fleet recorded is what Up and Status read.
	db, err := d.pool.Schema("tenant_100")
	if err != nil {
		t.Fatal(err)
	}
	before := d.value(`SELECT count(*) FROM pgdbm.migrations`)
	up, err := migrate.Up(t.Context(), db, m, nil)
	if err != nil || len(up.Applied) != 0 {
		t.Errorf("Up: %+v, %v", up, err)
	}
	entries, err := migrate.History(t.Context(), db, m, nil)
	if err != nil || len(entries) != 3 || entries[0].Version != "1" || entries[2].Version != "3" {
		t.Errorf("History: %+v, %v", entries, err)
	}
	d.want(before, `SELECT count(*) FROM pgdbm.migrations`)
}

func TestAFleetWithNothingToDoIsOneQueryThatWritesNothing(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 4)
	schemas := tenants(300)
	m := module("1_tables.sql", createA, "2_column.sql", createB)
	m.Extensions, m.Requires = []string{"citext"}, []string{"nobody"}
	first := m
	first.Requires, first.Extensions = nil, nil
	d.fleet(first, schemas, nil)
	d.exec(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$`)
	d = openFleetDB(t, d.url, 4) // its sessions write nothing, short of saying that they will
	d.value(`SELECT 1`)          // a connection is open
	trips := d.trips.Load()
	res := d.fleet(m, schemas, &migrate.FleetOptions{Progress: func(e migrate.FleetEvent) { t.Errorf("event %+v", e) }})
	if n := d.trips.Load() - trips; n != 1 {
		t.Errorf("%d round trips", n)
	}
	if res.UpToDate != 300 || res.Migrated+res.Applied+res.Created != 0 || res.Remaining != nil {
		t.Errorf("%+v", res)
	}
}

func TestABadSchemaCostsOnlyItself(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 8)
	schemas := tenants(200)
	d.fleet(module("1_tables.sql", fleetTables), schemas, nil)
	d.exec(`ALTER TABLE tenant_117.users RENAME TO people; ALTER TABLE tenant_030.users ADD COLUMN email int`)
	m := module("1_tables.sql", fleetTables, "2_column.sql", fleetColumn, "3_more.sql", createA)
	var failures []string
	res, err := migrate.Fleet(t.Context(), d.pool, m, schemas, &migrate.FleetOptions{MaxFailures: -1, Progress: func(e migrate.FleetEvent) {
		if e.State == migrate.Failed {
			failures = append(failures, fmt.Sprint(e.Schema, " ", e.Version, " ", e.Err))
		}
	}})
	var partial *migrate.FleetError
	if !errors.As(err, &partial) || partial.Schemas != 200 || partial.Done != 198 || partial.Failed != 2 || partial.Remaining != 0 || partial.Err != nil {
		t.Fatalf("got %#v", err)
	}
	if !strings.Contains(err.Error(), "198 up to date, 2 failed, 0 remaining") {
		t.Errorf("text %q", err)
	}
	if res.Migrated != 198 || res.Applied != 2*198 || len(res.Failed) != 2 || len(failures) != 2 || len(res.Remaining) != 0 {
		t.Errorf("%+v, failures %q", res, failures)
	}
	for _, e := range res.Failed {
		var pe *pgconn.PgError
		if e.Module != "app" || e.Version != "2" || e.File != "2_column.sql" || e.Line != 1 || !errors.As(e, &pe) {
			t.Errorf("error %+v", e)
		}
	}
	for code, schema := range map[string]string{"42P01": "tenant_117", "42701": "tenant_030"} {
		d.want(1, `SELECT count(*) FROM pgdbm.migrations WHERE state = 'failed' AND error_sqlstate = $1 AND target_schema = $2 AND attempts = 1`, code, schema)
	}
	d.want(200+2*198, appliedRows)

	// Mended, the rest follows, and the attempts are counted.
	d.exec(`ALTER TABLE tenant_117.people RENAME TO users; ALTER TABLE tenant_030.users DROP COLUMN email`)
	if res := d.fleet(m, schemas, nil); res.UpToDate != 198 || res.Migrated != 2 || res.Applied != 4 {
		t.Errorf("mended: %+v", res)
	}
	d.want(2, appliedRows+` AND attempts = 2`)
}
