package tenant_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/tenant"
)

func TestACloneHasAllRowsOfTablesThatHideThemFromTheirOwnerOrIsRefused(t *testing.T) {
	t.Parallel()
	m := pgdbm.Module{Name: "notes", Files: files(`CREATE TABLE {{tables.plain}} (n int); CREATE TABLE {{tables.notes}} (n int, shown bool);
		ALTER TABLE {{tables.notes}} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
		CREATE POLICY p ON {{tables.notes}} USING (shown) WITH CHECK (shown)`)}
	admin, login := testdb.Login(t, "CREATEROLE NOINHERIT")
	ts := tenants(t, openAs(t, login), tenant.Config{Modules: []pgdbm.Module{m}})
	create(t, ts, "acme")
	testdb.Exec(t, admin, `INSERT INTO tenant_acme.notes SELECT n, n % 2 = 0 FROM generate_series(1, 10) n; INSERT INTO tenant_acme.plain VALUES (1)`)
	_, err := ts.Clone(t.Context(), "acme", "copy")
	pe, ok := errors.AsType[*pgdbm.PrivilegeError](err)
	if !ok || !strings.Contains(err.Error(), "notes") || strings.Contains(err.Error(), "plain") {
		t.Fatal(err)
	}
	if _, err := ts.Get(t.Context(), "copy"); !errors.Is(err, tenant.ErrNotFound) {
		t.Error(err)
	}
	testdb.Exec(t, admin, strings.Join(pe.Statements, ";"))
	for name, ts := range map[string]*tenant.Tenants{"told": ts, "super": tenants(t, openAs(t, admin), tenant.Config{Modules: []pgdbm.Module{m}})} {
		if _, err := ts.Clone(t.Context(), "acme", name); err != nil {
			t.Fatal(err)
		}
		root := openAs(t, admin)
		db, err := root.Schema("tenant_" + name)
		if err != nil {
			t.Fatal(err)
		}
		if got := value[string](t, db, `SELECT count(*) || ' ' || (SELECT relforcerowsecurity FROM pg_class WHERE oid = to_regclass({{schema:literal}} || '.notes')) FROM {{tables.notes}}`); got != "10 true" {
			t.Errorf("%s: %s", name, got)
		}
	}
}
