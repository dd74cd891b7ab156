package pgdbm_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// files is a file system of migrations: name, text, name, text, ...
func files(pairs ...string) fs.FS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

var shop = pgdbm.Module{Name: "shop", Files: files(
	"001_items.sql", `CREATE TABLE {{tables.items}} (id int PRIMARY KEY, name text NOT NULL);`,
	"002_tea.sql", `INSERT INTO {{tables.items}} VALUES (1, 'tea'), (2, 'cake');`,
)}

// attachPool opens a pool on a database of the test's own.
func attachPool(t *testing.T) *pgdbm.Pool {
	t.Helper()
	pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: testdb.URL(t), MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func mustAttach(t *testing.T, src pgdbm.Source, m pgdbm.Module) *pgdbm.Attached {
	t.Helper()
	a, err := pgdbm.Attach(t.Context(), src, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func mustSchema(t *testing.T, p *pgdbm.Pool, name string) *pgdbm.DB {
	t.Helper()
	db, err := p.Schema(name)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// library embeds a handle, as a program's own type may.
type library struct{ *pgdbm.DB }

func TestTheSameModuleGivesTheSameAnswersWithEverySource(t *testing.T) {
	t.Parallel()
	url := func(t *testing.T) string { return testdb.URL(t) }
	for _, c := range []struct {
		name   string
		source func(t *testing.T) pgdbm.Source
		schema string
	}{
		{"URL", func(t *testing.T) pgdbm.Source { return pgdbm.URL(url(t)) }, "shop"},
		{"Config", func(t *testing.T) pgdbm.Source { return pgdbm.Config{URL: url(t)} }, "shop"},
		{"Config with a schema", func(t *testing.T) pgdbm.Source { return pgdbm.Config{URL: url(t), Schema: "Odd Name"} }, "Odd Name"},
		{"Pool", func(t *testing.T) pgdbm.Source { return attachPool(t) }, "shop"},
		{"DB", func(t *testing.T) pgdbm.Source { return mustSchema(t, attachPool(t), "tenant_1") }, "tenant_1"},
		{"DB of schema public", func(t *testing.T) pgdbm.Source { return mustSchema(t, attachPool(t), "public") }, "public"},
		{"view of a pool", func(t *testing.T) pgdbm.Source { return mustSchema(t, attachPool(t), "x").Pool() }, "shop"},
		{"struct that embeds a DB", func(t *testing.T) pgdbm.Source { return library{mustSchema(t, attachPool(t), "lib")} }, "lib"},
		{"Attached of the same module", func(t *testing.T) pgdbm.Source { return mustAttach(t, attachPool(t), shop) }, "shop"},
		{"borrowed pgxpool.Pool", func(t *testing.T) pgdbm.Source {
			p, err := pgdbm.Borrow(attachPool(t).Pgx())
			if err != nil {
				t.Fatal(err)
			}
			return p
		}, "shop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			a := mustAttach(t, c.source(t), shop)
			if a.Schema() != c.schema {
				t.Errorf("schema %q, want %q", a.Schema(), c.schema)
			}
			names, err := pgdbm.All[string](ctx, a, `SELECT name FROM {{tables.items}} ORDER BY id`)
			if want := []string{"tea", "cake"}; err != nil || !reflect.DeepEqual(names, want) {
				t.Errorf("got %q, %v; want %q", names, err, want)
			}
			where, err := pgdbm.Value[string](ctx, a, `SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
				WHERE c.oid = '{{tables.items}}'::regclass`)
			if err != nil || where != c.schema {
				t.Errorf("table in schema %q, %v; want %q", where, err, c.schema)
			}
			// A forgotten template fails in every mode; only schema public is in
			// the server's default search_path.
			_, err = a.Exec(ctx, `SELECT name FROM items`)
			var pe *pgconn.PgError
			if c.schema != "public" && (!errors.As(err, &pe) || pe.Code != "42P01") {
				t.Errorf("SQL without a template: got %v", err)
			}
		})
	}
}

func TestTheSchemaOfAnAttachmentIsTheHandlesThenTheConfigsThenTheModules(t *testing.T) {
	t.Parallel()
	own := shop
	own.Schema = "own"
	for _, c := range []struct {
		name   string
		cfg    string
		handle string
		module pgdbm.Module
		want   string
	}{
		{"module name", "", "", shop, "shop"},
		{"module schema", "", "", own, "own"},
		{"config before module", "cfg", "", own, "cfg"},
		{"handle before config", "cfg", "hand", own, "hand"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: testdb.URL(t), Schema: c.cfg})
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			var src pgdbm.Source = pool
			if c.handle != "" {
				src = mustSchema(t, pool, c.handle)
			}
			if got := mustAttach(t, src, c.module).Schema(); got != c.want {
				t.Errorf("schema %q, want %q", got, c.want)
			}
		})
	}
}

func TestNilSourcesAreErrors(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]pgdbm.Source{
		"nil":                       nil,
		"nil Pool":                  (*pgdbm.Pool)(nil),
		"zero Pool":                 new(pgdbm.Pool),
		"nil DB":                    (*pgdbm.DB)(nil),
		"zero DB":                   new(pgdbm.DB),
		"nil Attached":              (*pgdbm.Attached)(nil),
		"struct with a nil DB":      library{},
		"pointer to no such struct": (*library)(nil),
	} {
		if a, err := pgdbm.Attach(t.Context(), src, shop); err == nil || a != nil {
			t.Errorf("%s: got %v, %v", name, a, err)
		}
	}
}

func TestABadModuleIsRefusedBeforeAnythingIsTouched(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		module pgdbm.Module
		want   string
	}{
		{"no name", pgdbm.Module{Files: shop.Files}, "without a name"},
		{"upper case", pgdbm.Module{Name: "Shop", Files: shop.Files}, "Shop"},
		{"newline", pgdbm.Module{Name: "shop\n", Files: shop.Files}, "shop"},
		{"reserved pgdbm", pgdbm.Module{Name: "pgdbm", Files: shop.Files}, "pgdbm"},
		{"reserved pg_", pgdbm.Module{Name: "pg_shop", Files: shop.Files}, "pg_shop"},
		{"public", pgdbm.Module{Name: "public", Files: shop.Files}, "public"},
		{"schema", pgdbm.Module{Name: "shop", Schema: "a\"b", Files: shop.Files}, "schema"},
		{"schema too long", pgdbm.Module{Name: "shop", Schema: strings.Repeat("x", 64), Files: shop.Files}, "schema"},
		{"requires itself", pgdbm.Module{Name: "shop", Requires: []string{"shop"}, Files: shop.Files}, "requires"},
		{"requires no name", pgdbm.Module{Name: "shop", Requires: []string{""}, Files: shop.Files}, "requires"},
		{"no files", pgdbm.Module{Name: "shop", Files: files()}, "shop"},
		{"own transaction", pgdbm.Module{Name: "shop", Files: files("1_x.sql", "BEGIN;\nSELECT 1;")}, "shop/1_x.sql:1:1"},
		{"bad template", pgdbm.Module{Name: "shop", Files: files("1_x.sql", "SELECT 1;\n SELECT {{tabels.x}};")}, "shop/1_x.sql:2:9"},
		{"extension without schema", pgdbm.Module{Name: "shop", Files: files("1_x.sql", "CREATE EXTENSION citext;")}, "shop/1_x.sql:1:1"},
	} {
		// A server that does not exist: whoever is asked to connect, fails.
		_, err := pgdbm.Attach(t.Context(), pgdbm.URL("postgres://x@127.0.0.1:1/x"), c.module)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "connect") {
			t.Errorf("%s: got %v, want it to name %q", c.name, err, c.want)
		}
	}
}

func TestAHandleOfAnotherModuleIsRefused(t *testing.T) {
	t.Parallel()
	a := mustAttach(t, attachPool(t), shop)
	other := pgdbm.Module{Name: "other", Files: shop.Files}
	for name, src := range map[string]pgdbm.Source{"Attached": a, "its DB": a.DB, "embedded": library{a.DB}} {
		if _, err := pgdbm.Attach(t.Context(), src, other); err == nil || !strings.Contains(err.Error(), "shop") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// The way to have several modules in one schema.
	if got := mustAttach(t, mustSchema(t, a.Pool(), a.Schema()), pgdbm.Module{Name: "other", Files: files(
		"1_x.sql", "CREATE TABLE {{tables.more}} ();")}).Schema(); got != a.Schema() {
		t.Errorf("schema %q", got)
	}
}

var audit = pgdbm.Module{Name: "audit", Requires: []string{"shop"}, Files: files("1_log.sql", `
	CREATE TABLE {{tables.log}} (item int REFERENCES {{tables.shop.items}});
	INSERT INTO {{tables.log}} SELECT id FROM {{tables.shop.items}};`)}

const logged = `SELECT count(*) FROM {{tables.log}} JOIN {{tables.shop.items}} ON id = item`

func TestARequiredModuleIsFoundInTheLedger(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]func(pool *pgdbm.Pool, url string) pgdbm.Source{
		"Pool": func(p *pgdbm.Pool, _ string) pgdbm.Source { return p },
		"URL":  func(_ *pgdbm.Pool, url string) pgdbm.Source { return pgdbm.URL(url) },
		"DB":   func(p *pgdbm.Pool, _ string) pgdbm.Source { return mustSchema(t, p, "elsewhere") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := testdb.URL(t)
			pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: url})
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			mustAttach(t, mustSchema(t, pool, "goods"), shop)
			a := mustAttach(t, source(pool, url), audit)
			if n, err := pgdbm.Value[int](t.Context(), a, logged); err != nil || n != 2 {
				t.Errorf("got %d, %v", n, err)
			}
		})
	}
}

func TestARequiredModuleThatIsNotThereOrThereTwiceIsAnError(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := attachPool(t)
	_, err := pgdbm.Attach(ctx, pool, audit)
	if err == nil || !strings.Contains(err.Error(), "module audit: required module shop is recorded in no schema") {
		t.Fatalf("not there: got %v", err)
	}
	mustAttach(t, mustSchema(t, pool, "one"), shop)
	mustAttach(t, mustSchema(t, pool, "two"), shop)
	_, err = pgdbm.Attach(ctx, pool, audit)
	if err == nil || !strings.Contains(err.Error(), "one, two") {
		t.Fatalf("there twice: got %v", err)
	}
	aliased, err := pool.Handle(pgdbm.HandleConfig{Schema: "audit", Aliases: map[string]string{"shop": "two"}})
	if err != nil {
		t.Fatal(err)
	}
	a := mustAttach(t, aliased, audit)
	if sql, err := a.Expand(`{{tables.shop.items}}`); err != nil || sql != `"two"."items"` {
		t.Errorf("got %s, %v", sql, err)
	}
}

func TestOnlyRequiredModulesCanBeNamed(t *testing.T) {
	t.Parallel()
	pool := attachPool(t)
	mustAttach(t, pool, shop)
	a := mustAttach(t, pool, pgdbm.Module{Name: "nosy", Files: files("1_x.sql", "SELECT 1;")})
	if _, err := a.Exec(t.Context(), `SELECT * FROM {{tables.shop.items}}`); err == nil || !strings.Contains(err.Error(), "1:15") {
		t.Errorf("got %v", err)
	}
}

func TestAttachAllGoesInDependencyOrderAndReturnsTheOrderGiven(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := testdb.URL(t)
	as, err := pgdbm.AttachAll(ctx, pgdbm.URL(url), audit, shop)
	if err != nil {
		t.Fatal(err)
	}
	if as[0].Schema() != "audit" || as[1].Schema() != "shop" {
		t.Errorf("schemas %s, %s", as[0].Schema(), as[1].Schema())
	}
	if n, err := pgdbm.Value[int](ctx, as[0], logged); err != nil || n != 2 {
		t.Errorf("got %d, %v", n, err)
	}
	// The pool that AttachAll opened ends with the last of them.
	as[0].Close()
	as[0].Close()
	if err := as[1].Ping(ctx); err != nil {
		t.Errorf("after the first Close: %v", err)
	}
	as[1].Close()
	if err := as[1].Ping(ctx); !errors.Is(err, pgdbm.ErrClosed) {
		t.Errorf("after the last Close: %v", err)
	}
	if err := as[0].Shutdown(ctx); err != nil {
		t.Errorf("Shutdown after Close: %v", err)
	}
}

func TestAttachAllRefusesCyclesAndModulesGivenTwice(t *testing.T) {
	t.Parallel()
	a := pgdbm.Module{Name: "a", Requires: []string{"b"}, Files: shop.Files}
	b := pgdbm.Module{Name: "b", Requires: []string{"a"}, Files: shop.Files}
	nowhere := pgdbm.URL("postgres://x@127.0.0.1:1/x")
	if _, err := pgdbm.AttachAll(t.Context(), nowhere, a, b); err == nil || !strings.Contains(err.Error(), "a -> b -> a") {
		t.Errorf("cycle: got %v", err)
	}
	if _, err := pgdbm.AttachAll(t.Context(), nowhere, shop, shop); err == nil || !strings.Contains(err.Error(), "shop: given twice") {
		t.Errorf("twice: got %v", err)
	}
}

func TestClosingAnAttachmentEndsOnlyWhatAttachOpened(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := attachPool(t)
	a := mustAttach(t, pool, shop)
	a.Close()
	a.Pool().Close()
	if err := a.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := pool.Ping(ctx); err != nil {
		t.Errorf("the host's pool: %v", err)
	}
	own := mustAttach(t, pgdbm.URL(testdb.URL(t)), shop)
	own.Close()
	own.Close()
	if err := own.Ping(ctx); !errors.Is(err, pgdbm.ErrClosed) {
		t.Errorf("a pool of its own: %v", err)
	}
}

func TestAFailedMigrationIsAnErrorWithItsPlaceAndLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := testdb.URL(t)
	broken := pgdbm.Module{Name: "shop", Files: files(
		"001_items.sql", "CREATE TABLE {{tables.items}} (id int);",
		"002_more.sql", "CREATE TABLE {{tables.more}} (id int);\n\nSELECT * FROM\n  {{tables.nothing}};")}
	_, err := pgdbm.Attach(ctx, pgdbm.URL(url), broken)
	var me *pgdbm.MigrationError
	var pe *pgconn.PgError
	if !errors.As(err, &me) || !errors.As(err, &pe) {
		t.Fatalf("got %v", err)
	}
	want := pgdbm.MigrationError{Module: "shop", Schema: "shop", Version: "2", File: "002_more.sql", Line: 4, Column: 3, Err: me.Err}
	if *me != want || pe.Code != "42P01" {
		t.Errorf("got %+v, %s", *me, pe.Code)
	}
	if !strings.Contains(err.Error(), "migrate shop/002_more.sql:4:3: ") || !strings.Contains(err.Error(), "SQLSTATE 42P01") {
		t.Errorf("text %q", err)
	}
	pool, err := pgdbm.Open(ctx, pgdbm.Config{URL: url, OnDuplicate: pgdbm.DuplicateFail}) // the failed one's pool is gone
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	db := mustSchema(t, pool, "shop")
	for table, want := range map[string]bool{"items": true, "more": false} {
		if got, err := db.TableExists(ctx, table); err != nil || got != want {
			t.Errorf("%s: %v, %v", table, got, err)
		}
	}
	fixed := pgdbm.Module{Name: "shop", Files: files(
		"001_items.sql", "CREATE TABLE {{tables.items}} (id int);",
		"002_more.sql", "CREATE TABLE {{tables.more}} (id int);")}
	mustAttach(t, pool, fixed)
}

func TestAModuleWithoutFilesGetsItsSchema(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := attachPool(t)
	a := mustAttach(t, pool, pgdbm.Module{Name: "bare"})
	if _, err := a.Exec(ctx, `CREATE TABLE {{tables.x}} ()`); err != nil {
		t.Error(err)
	}
	mustAttach(t, pool, pgdbm.Module{Name: "bare"})
}

func TestExtensionsAreCreatedOnceWhereTheyAre(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := attachPool(t)
	m := pgdbm.Module{Name: "words", Extensions: []string{"citext", "pg_trgm"}, Files: files(
		"1_x.sql", `CREATE TABLE {{tables.words}} (word public.citext);`)}
	mustAttach(t, pool, m)
	mustAttach(t, mustSchema(t, pool, "words_2"), m)
	n, err := pgdbm.Value[int](ctx, mustSchema(t, pool, "x"),
		`SELECT count(*) FROM pg_extension WHERE extname IN ('citext', 'pg_trgm') AND extnamespace = 'public'::regnamespace`)
	if err != nil || n != 2 {
		t.Errorf("got %d, %v", n, err)
	}
	m.Extensions = []string{"no_such_extension"}
	if _, err := pgdbm.Attach(ctx, pool, m); err == nil || !strings.Contains(err.Error(), "no_such_extension") {
		t.Errorf("got %v", err)
	}
}

func TestAttachInsideATransactionOfTheSamePoolIsRefused(t *testing.T) {
	t.Parallel()
	pool := attachPool(t)
	db := mustSchema(t, pool, "x")
	err := db.InTx(t.Context(), func(ctx context.Context, _ *pgdbm.Tx) error {
		_, err := pgdbm.Attach(ctx, pool, shop)
		return err
	})
	if !errors.Is(err, pgdbm.ErrNestedAcquire) {
		t.Errorf("got %v", err)
	}
}

func TestAttachWorksOnAPoolOfOneConnection(t *testing.T) {
	t.Parallel()
	as, err := pgdbm.AttachAll(t.Context(), pgdbm.Config{URL: testdb.URL(t), MaxConns: 1}, shop, audit)
	if err != nil {
		t.Fatal(err)
	}
	as[0].Close()
	as[1].Close()
}

func TestMigrationFilesMayLieInAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/migrations", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/migrations/V1__x.sql", []byte("CREATE TABLE {{tables.x}} ();"), 0o644); err != nil {
		t.Fatal(err)
	}
	a := mustAttach(t, attachPool(t), pgdbm.Module{Name: "m", Files: os.DirFS(dir)})
	if ok, err := a.TableExists(t.Context(), "x"); err != nil || !ok {
		t.Errorf("got %v, %v", ok, err)
	}
}
