package tenant_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
	"github.com/pgdbm/pgdbm/tenant"
)

func TestAModuleIsNotRemovedWithTheSchemaOfATenant(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	m := pgdbm.Module{Name: "one", Files: files(`CREATE TABLE {{tables.t}} (n int)`)}
	ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}})
	db := create(t, ts, "acme")
	mustExec(t, db, `INSERT INTO {{tables.t}} VALUES (1)`)
	_, err := migrate.Remove(t.Context(), db, m, nil)
	if !errors.Is(err, migrate.ErrRequired) || !strings.Contains(err.Error(), `schema "tenant_acme" is that of tenant "acme"`) {
		t.Errorf("removed: %v", err)
	}
	if _, err := migrate.DropSchema(t.Context(), db, nil); !errors.Is(err, migrate.ErrRequired) || !strings.Contains(err.Error(), `that of tenant "acme"`) {
		t.Errorf("dropped: %v", err)
	}
	if n := value[int](t, db, `SELECT n FROM {{tables.t}}`); n != 1 {
		t.Error(n)
	}
	// The history alone is the module's.
	if _, err := migrate.Remove(t.Context(), db, m, &migrate.RemoveOptions{KeepObjects: true}); err != nil {
		t.Error(err)
	}
}

func TestWhoeverMayNotReadTheTenantsRemovesNoSchema(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	m := pgdbm.Module{Name: "one", Files: files(`CREATE TABLE {{tables.t}} (n int)`)}
	create(t, tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}}), "acme")
	db, err := pool.Schema("one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrate.Up(t.Context(), db, m, nil); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, `DO $$ BEGIN EXECUTE format('REVOKE ALL ON pgdbm.tenants FROM %I', current_user); END $$`)
	_, err = migrate.Remove(t.Context(), db, m, nil)
	lacks, ok := errors.AsType[*pgdbm.PrivilegeError](err)
	if !ok || len(lacks.Statements) != 1 || !strings.HasPrefix(lacks.Statements[0], "GRANT SELECT ON pgdbm.tenants TO ") {
		t.Fatalf("%+v, %v", lacks, err)
	}
	mustExec(t, db, lacks.Statements[0])
	if res, err := migrate.Remove(t.Context(), db, m, nil); err != nil || !res.Dropped {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestATenantWhoseSchemaIsGoneIsNotMadeAnew(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	one := pgdbm.Module{Name: "one", Files: files(`CREATE TABLE {{tables.t}} (n int)`)}
	ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{one}})
	create(t, ts, "acme")
	db := create(t, ts, "bolt")
	create(t, ts, "coil")
	mustExec(t, db, `DROP SCHEMA tenant_acme CASCADE`)
	mustExec(t, db, `DELETE FROM pgdbm.migrations WHERE target_schema = 'tenant_acme'`) // so that nothing is recorded
	mustExec(t, db, `DROP SCHEMA tenant_coil CASCADE`)
	two := pgdbm.Module{Name: "one", Files: files(`CREATE TABLE {{tables.t}} (n int)`, `CREATE TABLE {{tables.u}} (n int)`)}
	ts = tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{two}})
	plans, err := ts.Plan(t.Context(), nil)
	if err != nil || len(plans[0].Refused) != 2 || len(plans[0].Pending) != 1 {
		t.Errorf("plan: %+v, %v", plans, err)
	}
	res, err := ts.Migrate(t.Context(), &migrate.FleetOptions{MaxFailures: -1})
	_, partial := errors.AsType[*migrate.FleetError](err)
	if !partial || !errors.Is(err, migrate.ErrSchemaGone) || !errors.Is(err, tenant.ErrSchemaGone) ||
		!strings.Contains(err.Error(), `tenant "acme": its schema is gone: "tenant_acme"`) || !strings.Contains(err.Error(), `tenant "coil": its schema is gone: "tenant_coil"`) {
		t.Errorf("migrated: %v", err)
	}
	if len(res) != 1 || res[0].Created != 0 || res[0].Migrated != 1 || len(res[0].Failed) != 2 {
		t.Errorf("%+v", res[0])
	}
	if n := value[int](t, db, `SELECT count(*)::int FROM pg_namespace WHERE nspname IN ('tenant_acme', 'tenant_coil')`); n != 0 {
		t.Errorf("%d schemas were made anew", n)
	}
	for _, id := range []string{"acme", "coil"} {
		if err := ts.Drop(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if _, err := ts.Migrate(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestATenantThatIsDroppedMeanwhileIsNotMadeAnew(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	one := pgdbm.Module{Name: "one", Files: files(`CREATE TABLE {{tables.t}} (n int)`)}
	ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{one}})
	db := create(t, ts, "acme")
	create(t, ts, "bolt")
	two := pgdbm.Module{Name: "one", Files: files(`CREATE TABLE {{tables.t}} (n int)`, `CREATE TABLE {{tables.u}} (n int)`)}
	ts = tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{two}})
	_, err := ts.Migrate(t.Context(), &migrate.FleetOptions{Mode: migrate.FleetCareful, Progress: func(e migrate.FleetEvent) {
		if e.Schema == "tenant_acme" {
			if err := ts.Drop(t.Context(), "bolt"); err != nil {
				t.Error(err)
			}
		}
	}})
	if !errors.Is(err, tenant.ErrSchemaGone) {
		t.Errorf("migrated: %v", err)
	}
	if n := value[int](t, db, `SELECT count(*)::int FROM pg_namespace WHERE nspname = 'tenant_bolt'`); n != 0 {
		t.Error("the schema was made anew")
	}
}
