package tenant_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/tenant"
)

func TestASchemaThatIsNotOnlyATenantsIsNotAdopted(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	attach := func(schema string, m pgdbm.Module) {
		t.Helper()
		db, err := pool.Schema(schema)
		if err == nil {
			_, err = pgdbm.Attach(t.Context(), db, m)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	users := pgdbm.Module{Name: "users", Files: files(`CREATE TABLE {{tables.users}} (id int)`)}
	reports := pgdbm.Module{Name: "reports", Requires: []string{"users"}, Files: files(`CREATE TABLE {{tables.reports}} (id int)`)}
	attach("users", users)
	attach("reports", reports)
	attach("mixed", shop)
	attach("mixed", pgdbm.Module{Name: "blog", Files: files(`CREATE TABLE {{tables.posts}} (id int)`)})
	attach("customer", shop)
	shops := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{shop}})
	own := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{users}, Prefix: "own_"})
	lent := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{shop}, Aliases: map[string]string{"geo": "customer"}, Prefix: "lent_"})
	for _, c := range []struct {
		ts           *tenant.Tenants
		schema, want string
		is           error
	}{
		{shops, "public", `schema "public"`, nil},
		{shops, "geo", "module geo", nil},
		{shops, "mixed", "module blog", nil},
		{shops, "reports", "module reports", nil},
		{own, "users", "required by module reports in schema reports", tenant.ErrRequired},
		{lent, "customer", "module geo", nil},
	} {
		_, err := c.ts.Adopt(t.Context(), "acme", c.schema)
		if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", c.schema, err)
		}
	}
	plain, err := pool.Schema("pgdbm")
	if err != nil {
		t.Fatal(err)
	}
	if n := value[int](t, plain, `SELECT count(*) FROM {{tables.migrations}} WHERE module = 'shop' AND target_schema NOT IN ('mixed', 'customer')`); n != 0 {
		t.Errorf("%d schemas were migrated", n)
	}
	if _, err := shops.Adopt(t.Context(), "acme", "customer"); err != nil {
		t.Error(err)
	}
}

// What an older program has adopted stays, too.
func TestASchemaThatOthersNeedIsNeitherDroppedNorRenamed(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{shop}})
	create(t, ts, "acme")
	admin, err := pool.Schema("pgdbm")
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, admin, `INSERT INTO {{tables.tenants}} (id, schema, state, prefix) VALUES ('wide', 'public', 'active', 'tenant_'), ('shared', 'geo', 'active', 'tenant_')`)
	for id, want := range map[string]string{"wide": `schema "public"`, "shared": `required by module shop in schema tenant_acme`} {
		if err := ts.Drop(t.Context(), id); !errors.Is(err, tenant.ErrRequired) || !strings.Contains(err.Error(), want) {
			t.Errorf("drop %s: %v", id, err)
		}
		if _, err := ts.Rename(t.Context(), id, id+"_new"); !errors.Is(err, tenant.ErrRequired) || !strings.Contains(err.Error(), want) {
			t.Errorf("rename %s: %v", id, err)
		}
	}
	mustExec(t, handle(t, ts, "acme"), `SELECT FROM {{tables.geo.countries}}`)
}
