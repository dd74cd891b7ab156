package tenant_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/tenant"
)

var blog = pgdbm.Module{Name: "blog", Files: files(`CREATE TABLE {{tables.posts}} (id int)`)}

// ids are those of a list of tenants.
func ids(list []*tenant.Tenant, err error) string {
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, t := range list {
		all = append(all, t.ID)
	}
	return strings.Join(all, " ")
}

func TestProgramsOfDifferentPrefixesHaveTenantsOfTheirOwn(t *testing.T) {
	both(t, func(t *testing.T, pool *pgdbm.Pool, _ *tenant.Tenants) {
		shops := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{shop}, Prefix: "shop_"})
		blogs := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{blog}, Prefix: "blog_"})
		create(t, shops, "acme")
		create(t, shops, "bolt")
		for name, err := range map[string]error{
			"DB":      func() error { _, err := blogs.DB(t.Context(), "acme"); return err }(),
			"Get":     func() error { _, err := blogs.Get(t.Context(), "acme"); return err }(),
			"Suspend": func() error { _, err := blogs.Suspend(t.Context(), "acme"); return err }(),
			"Rename":  func() error { _, err := blogs.Rename(t.Context(), "acme", "x"); return err }(),
			"Clone":   func() error { _, err := blogs.Clone(t.Context(), "acme", "x"); return err }(),
			"Drop":    blogs.Drop(t.Context(), "acme"),
		} {
			if !errors.Is(err, tenant.ErrNotFound) {
				t.Errorf("%s of another's: %v", name, err)
			}
		}
		db := create(t, blogs, "acme")
		create(t, blogs, "cape")
		if db.Schema() != "blog_acme" || handle(t, shops, "acme").Schema() != "shop_acme" {
			t.Errorf("schemas %s and %s", db.Schema(), handle(t, shops, "acme").Schema())
		}
		more := pgdbm.Module{Name: "blog", Files: files(`CREATE TABLE {{tables.posts}} (id int)`, `CREATE TABLE {{tables.tags}} (id int)`)}
		newer := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{more}, Prefix: "blog_"})
		if res, err := newer.Migrate(t.Context(), nil); err != nil || res[0].Schemas != 2 || res[0].Migrated != 2 {
			t.Errorf("%+v, %v", res, err)
		}
		if n := value[int](t, handle(t, shops, "bolt"), `SELECT count(*) FROM pg_tables WHERE tablename IN ('posts', 'tags') AND schemaname LIKE 'shop%'`); n != 0 {
			t.Errorf("%d tables of a blog are in shops", n)
		}
		if _, err := blogs.Suspend(t.Context(), "acme"); err != nil {
			t.Error(err)
		}
		mustExec(t, handle(t, tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{shop}, Prefix: "shop_"}), "acme"), `SELECT FROM {{tables.items}}`)
		if _, err := blogs.Rename(t.Context(), "cape", "bolt"); err != nil {
			t.Error(err)
		}
		if _, err := blogs.Rename(t.Context(), "bolt", "acme"); !errors.Is(err, tenant.ErrExists) {
			t.Error(err)
		}
		if err := blogs.Drop(t.Context(), "acme"); err != nil {
			t.Error(err)
		}
		if got := ids(shops.List(t.Context())) + ", " + ids(blogs.List(t.Context())) + ", " + ids(tenant.All(t.Context(), pool)); got != "acme bolt, bolt, acme bolt bolt" {
			t.Error(got)
		}
		if _, err := blogs.Adopt(t.Context(), "mine", "shop_acme"); err == nil {
			t.Error("another's tenant is adopted")
		}
	})
}

func TestAProgramThatHasGrownKeepsItsTenants(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	create(t, tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{shop}}), "acme")
	grown := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{shop, blog}})
	if _, err := grown.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	mustExec(t, handle(t, grown, "acme"), `SELECT FROM {{tables.items}}, {{tables.blog.posts}}`)
}

// olderList is the list as a program made it that knew no prefixes.
const olderList = `CREATE TABLE pgdbm.tenants (
    id text COLLATE "C" PRIMARY KEY,
    schema text COLLATE "C" NOT NULL UNIQUE,
    role text,
    state text COLLATE "C" NOT NULL CHECK (state IN ('creating', 'active', 'suspended', 'dropping')),
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
); COMMENT ON TABLE pgdbm.tenants IS 'pgdbm tenants, format 1'`

func TestAnOlderListIsReadAndThenBroughtUpToDate(t *testing.T) {
	t.Parallel()
	admin, login := testdb.Login(t, "CREATEROLE NOINHERIT")
	pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: login, MaxConns: 4, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pgdbm.Attach(t.Context(), pool, geo); err != nil {
		t.Fatal(err)
	}
	for schema, m := range map[string]pgdbm.Module{"shop_acme": shop, "customer_7": shop, "blog_bolt": blog, "weblog": blog} {
		db, err := pool.Schema(schema)
		if err == nil {
			_, err = pgdbm.Attach(t.Context(), db, m)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	shops := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{shop}, Prefix: "shop_"})
	blogs := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{blog}, Prefix: "blog_"})
	any := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{}})
	list, err := pool.Schema("pgdbm")
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, list, olderList)
	mustExec(t, list, `INSERT INTO {{tables.tenants}} (id, schema, state) VALUES ('acme', 'shop_acme', 'active'), ('seven', 'customer_7', 'active'),
		('bolt', 'blog_bolt', 'active'), ('web', 'weblog', 'suspended')`)
	const want = "acme seven, bolt web, acme bolt seven web"
	lists := func() string {
		return ids(shops.List(t.Context())) + ", " + ids(blogs.List(t.Context())) + ", " + ids(any.List(t.Context()))
	}
	if got := lists(); got != want {
		t.Error(got)
	}
	if _, err := shops.DB(t.Context(), "bolt"); !errors.Is(err, tenant.ErrNotFound) {
		t.Error(err)
	}
	if _, err := blogs.Resume(t.Context(), "web"); err != nil {
		t.Error(err)
	}
	// Who may not change the table is told what does.
	testdb.Exec(t, admin, `ALTER TABLE pgdbm.tenants OWNER TO postgres; GRANT ALL ON pgdbm.tenants TO `+user(t, login))
	_, err = shops.Create(t.Context(), "new")
	pe, ok := errors.AsType[*pgdbm.PrivilegeError](err)
	if !ok || !strings.Contains(fmt.Sprint(pe.Statements), "add column") {
		t.Fatal(err)
	}
	testdb.Exec(t, admin, strings.Join(pe.Statements, ";"))
	testdb.Exec(t, admin, `ALTER TABLE pgdbm.tenants OWNER TO `+user(t, login))
	create(t, shops, "new")
	create(t, blogs, "acme")
	// An older program goes on to list what it makes.
	mustExec(t, list, `INSERT INTO {{tables.tenants}} (id, schema, state) VALUES ('late', 'shop_late', 'active'); CREATE SCHEMA shop_late`)
	if got := lists(); got != "acme late new seven, acme bolt web, acme bolt late seven web" {
		t.Error(got)
	}
	for _, id := range []string{"acme", "late"} {
		if err := shops.Drop(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if got := lists(); got != "new seven, acme bolt web, bolt seven web" {
		t.Error(got)
	}
}

func TestAnOlderListIsBroughtUpToDateByTheOneWhoMayWhileOthersReadIt(t *testing.T) {
	t.Parallel()
	pool := open(t, 6)
	ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{blog}})
	list, err := pool.Schema("pgdbm")
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, list, olderList)
	mustExec(t, list, `INSERT INTO {{tables.tenants}} (id, schema, state) VALUES ('first', 'tenant_first', 'active'); CREATE SCHEMA tenant_first`)
	errs := make(chan error)
	for i := range 4 {
		go func() {
			_, err := ts.Create(t.Context(), fmt.Sprint(i))
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
		handle(t, ts, "first")
	}
	if got := value[string](t, list, `SELECT obj_description('pgdbm.tenants'::regclass)`); got != "pgdbm tenants, format 2" {
		t.Error(got)
	}
}

func user(t *testing.T, login string) string {
	t.Helper()
	u, err := url.Parse(login)
	if err != nil {
		t.Fatal(err)
	}
	return u.User.Username()
}
