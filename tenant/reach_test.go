package tenant_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
	"github.com/pgdbm/pgdbm/tenant"
)

const plainItems = `CREATE TABLE {{tables.items}} (id int)`

// spies are files that make a view of another tenant's table; committed are those
// of which a server keeps it before anybody can look.
var spies = map[string]struct {
	sql       string
	committed bool
}{
	"in a transaction":    {sql: `CREATE VIEW {{tables.spy}} AS SELECT id FROM tenant_a.items`},
	"that sets something": {sql: `SET LOCAL statement_timeout = '1h'; CREATE VIEW {{tables.spy}} AS SELECT id FROM tenant_a.items`},
	"outside of one":      {sql: "-- pgdbm:no-transaction\nCREATE VIEW {{tables.spy}} AS SELECT id FROM tenant_a.items;\nVACUUM {{tables.items}}"},
	"in a procedure that commits": {committed: true, sql: `-- pgdbm:no-transaction
		CREATE PROCEDURE {{functions.p}}() LANGUAGE plpgsql AS $$ BEGIN
			CREATE OR REPLACE VIEW {{tables.spy}} AS SELECT id FROM tenant_a.items; COMMIT; END $$;
		CALL {{functions.p}}()`},
}

func TestWhatReachesIntoAnotherTenantIsNotCommitted(t *testing.T) {
	t.Parallel()
	for name, spy := range spies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := open(t, 4)
			one := pgdbm.Module{Name: "shop", Files: files(plainItems)}
			two := pgdbm.Module{Name: "shop", Files: files(plainItems, spy.sql)}
			ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{one}, Isolate: true})
			for _, id := range []string{"a", "b", "c", "d"} {
				create(t, ts, id)
			}
			b := handle(t, ts, "b")
			ts = tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{two}, Isolate: true})
			for way, migrates := range map[string]func() error{
				"Migrate": func() error {
					_, err := ts.Migrate(t.Context(), &migrate.FleetOptions{MaxFailures: -1})
					return err
				},
				"a fleet": func() error {
					_, err := migrate.Fleet(t.Context(), pool, two, []string{"tenant_b", "tenant_c"}, nil)
					return err
				},
				"a batch": func() error {
					_, err := migrate.Fleet(t.Context(), pool, two, []string{"tenant_b", "tenant_c", "tenant_d"}, &migrate.FleetOptions{Mode: migrate.FleetBatched, MaxFailures: -1})
					return err
				},
				"Up": func() error {
					plain, err := pool.Schema("tenant_c")
					if err == nil {
						_, err = migrate.Up(t.Context(), plain, two, nil)
					}
					return err
				},
				"Up of its handle": func() error { _, err := migrate.Up(t.Context(), b, two, nil); return err },
				"Attach":           func() error { _, err := pgdbm.Attach(t.Context(), b, two); return err },
			} {
				for range 2 { // it is not forgotten
					if err := migrates(); !errors.Is(err, pgdbm.ErrEscape) || !strings.Contains(err.Error(), "view ") || !strings.Contains(err.Error(), "002_x.sql") {
						t.Errorf("%s: %v", way, err)
					}
				}
				if !spy.committed && value[bool](t, b, `SELECT to_regclass('tenant_b.spy') IS NOT NULL`) {
					t.Errorf("%s: the view is there", way)
				}
			}
			if got, err := ts.Get(t.Context(), "b"); err != nil || got.Versions["shop"] != "1" {
				t.Errorf("%+v, %v", got, err)
			}
			// Where it reaches nobody else it is fine.
			if got, err := ts.Get(t.Context(), "a"); err != nil || got.Versions["shop"] != "2" {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestWhatAllTenantsMayReadIsNoReach(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	// The module that is migrated does not require what the other one reads.
	one := []pgdbm.Module{{Name: "own", Files: files(plainItems)}, {Name: "reads", Requires: []string{"geo"},
		Files: files(`CREATE VIEW {{tables.codes}} AS SELECT code FROM {{tables.geo.countries}}`)}}
	two := []pgdbm.Module{{Name: "own", Files: files(plainItems, `CREATE TABLE {{tables.more}} (id int)`, "-- pgdbm:no-transaction\nCREATE TABLE {{tables.most}} (id int)")}, one[1]}
	ts := tenants(t, pool, tenant.Config{Modules: one, Isolate: true})
	for _, id := range []string{"a", "b", "c"} {
		create(t, ts, id)
	}
	ts = tenants(t, pool, tenant.Config{Modules: two, Isolate: true})
	if _, err := ts.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	mustExec(t, handle(t, ts, "b"), `INSERT INTO {{tables.most}} SELECT FROM {{tables.more}}, {{tables.codes}}`)
}
