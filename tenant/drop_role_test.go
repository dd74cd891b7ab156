package tenant_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/tenant"
)

// The next tenant of the same id must get nothing of the last one.
func TestADroppedTenantsRoleTakesItsLargeObjectsAndPrivilegesAlong(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{shop}, Isolate: true})
	for _, id := range []string{"old", "other"} {
		if _, err := ts.Create(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	old, err := ts.DB(t.Context(), "old")
	if err != nil {
		t.Fatal(err)
	}
	var oid uint32
	err = old.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) (err error) {
		lo := tx.LargeObjects()
		oid, err = lo.Create(ctx, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	was, err := ts.Get(t.Context(), "old")
	if err != nil {
		t.Fatal(err)
	}
	role := pgx.Identifier{was.Role}.Sanitize()
	if _, err := pool.Pgx().Exec(t.Context(), `GRANT USAGE ON SCHEMA tenant_other TO `+role+`; GRANT SELECT ON ALL TABLES IN SCHEMA tenant_other TO `+role+`;
		GRANT USAGE ON ALL SEQUENCES IN SCHEMA tenant_other TO `+role+`; ALTER DEFAULT PRIVILEGES IN SCHEMA tenant_other GRANT SELECT ON TABLES TO `+role+`;
		ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON ROUTINES TO `+role); err != nil {
		t.Fatal(err)
	}
	if err := ts.Drop(t.Context(), "old"); err != nil {
		t.Fatal(err)
	}
	var left, objects int
	err = pool.Pgx().QueryRow(t.Context(), `SELECT (SELECT count(*) FROM pg_roles WHERE rolname = $1), (SELECT count(*) FROM pg_largeobject_metadata WHERE oid = $2)`,
		was.Role, oid).Scan(&left, &objects)
	if err != nil || left+objects > 0 {
		t.Errorf("%d roles and %d large objects are left, %v", left, objects, err)
	}
}
