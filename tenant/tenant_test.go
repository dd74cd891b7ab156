package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/tenant"
)

func files(sql ...string) fstest.MapFS {
	fs := make(fstest.MapFS)
	for i, s := range sql {
		fs[fmt.Sprintf("%03d_x.sql", i+1)] = &fstest.MapFile{Data: []byte(s)}
	}
	return fs
}

var shop = pgdbm.Module{Name: "shop", Requires: []string{"geo"}, Files: files(
	`CREATE TABLE {{tables.items}} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL,
		parent bigint REFERENCES {{tables.items}}, country text REFERENCES {{tables.geo.countries}}, upper text GENERATED ALWAYS AS (upper(name)) STORED);
	CREATE FUNCTION {{functions.names}}() RETURNS text LANGUAGE sql AS 'SELECT string_agg(name, '','' ORDER BY id) FROM {{tables.items}}';
	INSERT INTO {{tables.items}} (name, country) VALUES ('seed', 'IS')`)}

var bills = pgdbm.Module{Name: "bills", Requires: []string{"shop"}, Files: files(
	`CREATE TABLE {{tables.bills}} (id serial PRIMARY KEY, item bigint REFERENCES {{tables.shop.items}});
	CREATE MATERIALIZED VIEW {{tables.sums}} AS SELECT count(*) AS n FROM {{tables.bills}}`,
	`CREATE TABLE {{tables.log}} (text text) PARTITION BY LIST (text);
	CREATE TABLE {{tables.log_rest}} PARTITION OF {{tables.log}} DEFAULT;
	CREATE FUNCTION {{functions.note}}() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN INSERT INTO {{tables.log}} VALUES ('bill ' || NEW.id || ' of ' || {{schema:literal}}); RETURN NEW; END $$;
	CREATE TRIGGER note AFTER INSERT ON {{tables.bills}} FOR EACH ROW EXECUTE FUNCTION {{functions.note}}()`)}

var geo = pgdbm.Module{Name: "geo", Files: files(`CREATE TABLE {{tables.countries}} (code text PRIMARY KEY); INSERT INTO {{tables.countries}} VALUES ('IS')`)}

// open opens a pool to a new database, as a login that may create roles, and
// attaches the module that tenants share.
func open(t *testing.T, conns int32) *pgdbm.Pool {
	t.Helper()
	_, login := testdb.Login(t, "CREATEROLE NOINHERIT")
	pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: login, MaxConns: conns, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := pgdbm.Attach(t.Context(), pool, geo); err != nil {
		t.Fatal(err)
	}
	return pool
}

func tenants(t *testing.T, pool *pgdbm.Pool, c tenant.Config) *tenant.Tenants {
	t.Helper()
	if c.Modules == nil {
		c.Modules = []pgdbm.Module{bills, shop}
	}
	ts, err := tenant.New(pool, c)
	if err != nil {
		t.Fatal(err)
	}
	return ts
}

func create(t *testing.T, ts *tenant.Tenants, id string) *pgdbm.DB {
	t.Helper()
	if _, err := ts.Create(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return handle(t, ts, id)
}

func handle(t *testing.T, ts *tenant.Tenants, id string) *pgdbm.DB {
	t.Helper()
	db, err := ts.DB(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func value[T any](t *testing.T, q pgdbm.Querier, sql string, args ...any) T {
	t.Helper()
	v, err := pgdbm.Value[T](t.Context(), q, sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func mustExec(t *testing.T, q pgdbm.Querier, sql string, args ...any) {
	t.Helper()
	if _, err := q.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func state(err error) string {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pe.Code
	}
	return ""
}

// both runs f with tenants that have roles and with such that have none.
func both(t *testing.T, f func(t *testing.T, pool *pgdbm.Pool, ts *tenant.Tenants)) {
	t.Parallel()
	for _, isolate := range []bool{false, true} {
		t.Run(fmt.Sprintf("isolate %v", isolate), func(t *testing.T) {
			t.Parallel()
			pool := open(t, 4)
			f(t, pool, tenants(t, pool, tenant.Config{Isolate: isolate}))
		})
	}
}

func TestATenantIsCreatedUsedRenamedClonedSuspendedAndDropped(t *testing.T) {
	both(t, func(t *testing.T, pool *pgdbm.Pool, ts *tenant.Tenants) {
		ctx := t.Context()
		if list, err := ts.List(ctx); err != nil || len(list) != 0 { // there is no table yet
			t.Fatalf("%v, %v", list, err)
		}
		if _, err := ts.DB(ctx, "Acme & Co"); !errors.Is(err, tenant.ErrNotFound) {
			t.Fatal(err)
		}
		made, err := ts.Create(ctx, "Acme & Co")
		if err != nil {
			t.Fatal(err)
		}
		got, err := ts.Get(ctx, "Acme & Co")
		if err != nil || got.Schema != made.Schema || got.Role != made.Role || got.State != tenant.Active ||
			fmt.Sprint(got.Versions) != "map[bills:2 shop:1]" || fmt.Sprint(made.Versions) != fmt.Sprint(got.Versions) {
			t.Fatalf("%+v, created as %+v, %v", got, made, err)
		}
		if _, err := ts.Create(ctx, "Acme & Co"); !errors.Is(err, tenant.ErrExists) {
			t.Errorf("created twice: %v", err)
		}
		db := handle(t, ts, "Acme & Co")
		if db != handle(t, ts, "Acme & Co") {
			t.Error("another handle")
		}
		mustExec(t, db, `INSERT INTO {{tables.items}} (name, parent) VALUES ('tea', 1)`)
		mustExec(t, db, `INSERT INTO {{tables.bills.bills}} (item) VALUES (2), (2)`)
		if got := value[string](t, db, `SELECT {{functions.names}}() || (SELECT code FROM {{tables.geo.countries}})`); got != "seed,teaIS" {
			t.Errorf("%q", got)
		}

		// A clone has the rows, and goes on by itself.
		if _, err := ts.Clone(ctx, "Acme & Co", "copy"); err != nil {
			t.Fatal(err)
		}
		clone := handle(t, ts, "copy")
		if got := value[string](t, clone, `SELECT {{functions.names}}() || ' ' || (SELECT string_agg(upper, ',' ORDER BY id) FROM {{tables.items}})`); got != "seed,tea SEED,TEA" {
			t.Errorf("clone: %q", got)
		}
		mustExec(t, clone, `INSERT INTO {{tables.items}} (name) VALUES ('more')`)
		mustExec(t, clone, `INSERT INTO {{tables.bills}} (item) VALUES (3)`)
		if got := value[string](t, clone, `SELECT string_agg(text, ';' ORDER BY text) FROM {{tables.log}}`); got !=
			fmt.Sprintf("bill 1 of %[1]s;bill 2 of %[1]s;bill 3 of %[2]s", made.Schema, clone.Schema()) {
			t.Errorf("clone: %q", got)
		}
		if got := value[int](t, clone, `SELECT n FROM {{tables.sums}}`); got != 2 { // as when it was copied
			t.Errorf("clone: %d bills", got)
		}
		if _, err := clone.Exec(ctx, `INSERT INTO {{tables.bills}} (item) VALUES (99)`); state(err) != "23503" {
			t.Errorf("clone without its keys: %v", err)
		}
		if got := value[string](t, db, `SELECT {{functions.names}}()`); got != "seed,tea" {
			t.Errorf("the first has %q", got)
		}

		// Renamed, it is the same.
		renamed, err := ts.Rename(ctx, "Acme & Co", "umbrella")
		if err != nil || renamed.Schema != "tenant_umbrella" || renamed.ID != "umbrella" {
			t.Fatalf("%+v, %v", renamed, err)
		}
		if _, err := ts.DB(ctx, "Acme & Co"); !errors.Is(err, tenant.ErrNotFound) {
			t.Errorf("by its old id: %v", err)
		}
		db = handle(t, ts, "umbrella")
		mustExec(t, db, `INSERT INTO {{tables.bills}} (item) VALUES (1)`)
		if got := value[string](t, db, `SELECT {{functions.names}}() || ' ' || (SELECT max(text) FROM {{tables.log}})`); got != "seed,tea bill 3 of tenant_umbrella" {
			t.Errorf("renamed: %q", got)
		}
		if got, err := ts.Get(ctx, "umbrella"); err != nil || len(got.Versions) != 2 || (got.Role != "") != (made.Role != "") || got.Role != "" && got.Role == made.Role {
			t.Errorf("%+v, %v", got, err)
		}
		// The old id is free again, and its tenant another one.
		again := create(t, ts, "Acme & Co")
		if got := value[string](t, again, `SELECT {{functions.names}}()`); got != "seed" {
			t.Errorf("a new one of the old id has %q", got)
		}
		if _, err := ts.Rename(ctx, "umbrella", "copy"); !errors.Is(err, tenant.ErrExists) {
			t.Errorf("renamed to one that is there: %v", err)
		}

		// Suspended.
		if _, err := ts.Suspend(ctx, "umbrella"); err != nil {
			t.Fatal(err)
		}
		if _, err := ts.DB(ctx, "umbrella"); !errors.Is(err, tenant.ErrSuspended) {
			t.Errorf("suspended: %v", err)
		}
		if made.Role != "" {
			if _, err := db.Exec(ctx, `SELECT FROM {{tables.items}}`); state(err) != "42501" {
				t.Errorf("suspended, by a handle that is out: %v", err)
			}
		}
		if _, err := ts.Migrate(ctx, nil); err != nil {
			t.Error(err)
		}
		if _, err := pgdbm.Attach(ctx, db, pgdbm.Module{Name: "late", Files: files(`CREATE TABLE {{tables.late}} ()`)}); err != nil {
			t.Error(err)
		}
		if made.Role != "" {
			if _, err := db.Exec(ctx, `SELECT FROM {{tables.items}}`); state(err) != "42501" {
				t.Errorf("suspended, and a module attached: %v", err)
			}
		}
		if _, err := ts.DB(ctx, "umbrella"); !errors.Is(err, tenant.ErrSuspended) {
			t.Errorf("suspended and migrated: %v", err)
		}
		if _, err := ts.Resume(ctx, "umbrella"); err != nil {
			t.Fatal(err)
		}
		mustExec(t, handle(t, ts, "umbrella"), `SELECT FROM {{tables.items}}`)

		for _, id := range []string{"umbrella", "copy", "Acme & Co"} {
			if err := ts.Drop(ctx, id); err != nil {
				t.Fatal(err)
			}
			if _, err := ts.DB(ctx, id); !errors.Is(err, tenant.ErrNotFound) {
				t.Errorf("dropped: %v", err)
			}
			if err := ts.Drop(ctx, id); !errors.Is(err, tenant.ErrNotFound) {
				t.Errorf("dropped twice: %v", err)
			}
		}
		nothingIsLeft(t, pool)
	})
}

func nothingIsLeft(t *testing.T, pool *pgdbm.Pool) {
	t.Helper()
	db, err := pool.Schema("pgdbm")
	if err != nil {
		t.Fatal(err)
	}
	for what, sql := range map[string]string{
		"schemas": `SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tenant\_%'`,
		"roles": `SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pgdbm\_tenant\_%'
			AND shobj_description(oid, 'pg_authid') LIKE '%"' || current_database() || '"'`,
		"ledger rows": `SELECT count(*) FROM {{tables.migrations}} WHERE target_schema LIKE 'tenant\_%'`,
		"tenants":     `SELECT count(*) FROM {{tables.tenants}}`,
	} {
		if n := value[int](t, db, sql); n != 0 {
			t.Errorf("%d %s are left", n, what)
		}
	}
}

func TestNobodyElseSeesAnErrorWhileTenantsComeAndGo(t *testing.T) {
	both(t, func(t *testing.T, pool *pgdbm.Pool, ts *tenant.Tenants) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		const users = 32
		var wg sync.WaitGroup
		var done atomic.Int64
		for i := range 4 {
			create(t, ts, fmt.Sprint("user ", i))
		}
		for i := range users {
			id := fmt.Sprint("user ", i%4)
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					db, err := ts.DB(t.Context(), id)
					if err == nil {
						_, err = db.Exec(t.Context(), `INSERT INTO {{tables.items}} (name, country) VALUES ($1, 'IS')`, fmt.Sprint(n))
					}
					if err == nil {
						err = db.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
							_, err := pgdbm.Value[int](ctx, tx, `SELECT count(*) FROM {{tables.items}} JOIN {{tables.geo.countries}} ON code = country WHERE id = $1`, n)
							return err
						})
					}
					if err != nil {
						t.Errorf("%s: %v", id, err)
						return
					}
					done.Add(1)
				}
			})
		}
		const rounds = 4
		for i := range rounds {
			id, other := fmt.Sprint("guest ", i), fmt.Sprint("renamed ", i)
			db := create(t, ts, id)
			mustExec(t, db, `INSERT INTO {{tables.items}} (name) VALUES ('x')`)
			if _, err := ts.Clone(t.Context(), "user 0", "clone"); err != nil {
				t.Error(err)
			}
			if _, err := ts.Rename(t.Context(), id, other); err != nil {
				t.Error(err)
			}
			if n := value[int](t, handle(t, ts, other), `SELECT count(*) FROM {{tables.items}}`); n != 2 {
				t.Errorf("%d items", n)
			}
			for _, id := range []string{other, "clone"} {
				if err := ts.Drop(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
		}
		stop()
		wg.Wait()
		if done.Load() < users {
			t.Errorf("%d rounds of work", done.Load())
		}
	})
}

func TestATenantThatCannotBeMadeLeavesNothing(t *testing.T) {
	both(t, func(t *testing.T, pool *pgdbm.Pool, _ *tenant.Tenants) {
		for name, c := range map[string]struct{ sql, want string }{
			"server":  {"CREATE TABLE {{tables.a}} ();\nSELECT nonsense", `/002_x.sql:2:8: `},
			"outside": {"-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY ON {{tables.missing}} (x)", `/002_x.sql:2:`},
			"ends":    {"COMMIT", `002_x.sql:1:1: `},
		} {
			m := pgdbm.Module{Name: "bad_" + name, Files: files(`CREATE TABLE {{tables.good}} ()`, c.sql)}
			ts, err := tenant.New(pool, tenant.Config{Modules: []pgdbm.Module{m}, Isolate: true})
			if err == nil {
				_, err = ts.Create(t.Context(), "acme")
			}
			if _, ok := errors.AsType[*pgdbm.MigrationError](err); !ok || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		ts := tenants(t, pool, tenant.Config{})
		create(t, ts, "x")
		if err := ts.Drop(t.Context(), "x"); err != nil {
			t.Error(err)
		}
		nothingIsLeft(t, pool)
	})
}

func TestAFileOutsideATransactionTakesSeveral(t *testing.T) {
	both(t, func(t *testing.T, pool *pgdbm.Pool, _ *tenant.Tenants) {
		m := pgdbm.Module{Name: "indexed", Files: files(`CREATE TABLE {{tables.items}} (name text)`,
			"-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY items_name ON {{tables.items}} (name)")}
		ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}, Isolate: true})
		db := create(t, ts, "acme")
		mustExec(t, db, `INSERT INTO {{tables.items}} VALUES ('tea')`)
		if _, err := ts.Clone(t.Context(), "acme", "copy"); err != nil {
			t.Fatal(err)
		}
		if got := value[string](t, handle(t, ts, "copy"), `SELECT name FROM {{tables.items}}`); got != "tea" {
			t.Errorf("%q", got)
		}
		// What a process that was killed had begun goes on.
		admin, err := pool.Schema("pgdbm")
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, admin, `INSERT INTO {{tables.tenants}} (id, schema, state) VALUES ('half', 'tenant_half', 'creating'); CREATE SCHEMA tenant_half`)
		if _, err := ts.DB(t.Context(), "half"); !errors.Is(err, tenant.ErrNotReady) {
			t.Errorf("half made: %v", err)
		}
		mustExec(t, create(t, ts, "half"), `SELECT FROM {{tables.items}}`)
	})
}

func TestOneTenantIsMadeOnceHoweverManyTry(t *testing.T) {
	both(t, func(t *testing.T, pool *pgdbm.Pool, ts *tenant.Tenants) {
		var wg sync.WaitGroup
		var made, exist atomic.Int64
		for range 6 {
			wg.Go(func() {
				switch _, err := ts.Create(t.Context(), "acme"); {
				case err == nil:
					made.Add(1)
				case errors.Is(err, tenant.ErrExists):
					exist.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		for i := range 6 {
			wg.Go(func() {
				if _, err := ts.Create(t.Context(), fmt.Sprint("other ", i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if made.Load() != 1 || exist.Load() != 5 {
			t.Errorf("made %d times, %d times there", made.Load(), exist.Load())
		}
	})
}

func TestATenantThatOthersDependOnIsNotDropped(t *testing.T) {
	both(t, func(t *testing.T, pool *pgdbm.Pool, ts *tenant.Tenants) {
		db := create(t, ts, "acme")
		plain, err := pool.Schema("geo")
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, plain, `CREATE VIEW {{tables.spy}} AS SELECT name FROM `+db.Schema()+`.items`)
		if err := ts.Drop(t.Context(), "acme"); !errors.Is(err, tenant.ErrRequired) || !strings.Contains(err.Error(), "geo.spy") {
			t.Error(err)
		}
		mustExec(t, db, `SELECT FROM {{tables.items}}`)
		mustExec(t, plain, `DROP VIEW {{tables.spy}}`)
		if err := ts.Drop(t.Context(), "acme"); err != nil {
			t.Error(err)
		}
	})
}

func TestATenantWhoseNameIsInTextIsNotRenamed(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	for name, sql := range map[string]string{
		"default of column t.a": `CREATE TABLE {{tables.t}} (a text DEFAULT {{schema:literal}})`,
		"view v":                `CREATE VIEW {{tables.v}} AS SELECT {{schema:literal}} AS tenant`,
		"constraint t_a_check":  `CREATE TABLE {{tables.t}} (a text CHECK (a = {{schema:literal}}))`,
		"policy p":              `CREATE TABLE {{tables.t}} (a text); CREATE POLICY p ON {{tables.t}} USING (a = {{schema:literal}})`,
	} {
		m := pgdbm.Module{Name: "named_" + strings.ToLower(strings.Fields(name)[0]), Files: files(sql)}
		ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}})
		id := m.Name
		create(t, ts, id)
		if _, err := ts.Rename(t.Context(), id, id+"_new"); !errors.Is(err, tenant.ErrRequired) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		handle(t, ts, id)
	}
}

func TestACloneOfATenantThatDiffersIsRefused(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	ts := tenants(t, pool, tenant.Config{})
	db := create(t, ts, "acme")
	mustExec(t, db, `ALTER TABLE {{tables.items}} ADD own text`)
	if _, err := ts.Clone(t.Context(), "acme", "copy"); !errors.Is(err, tenant.ErrDiffers) || !strings.Contains(err.Error(), "items has the columns") {
		t.Error(err)
	}
	mustExec(t, db, `ALTER TABLE {{tables.items}} DROP own; DELETE FROM pgdbm.migrations WHERE target_schema = {{schema:literal}} AND module = 'bills' AND version = '2'`)
	if _, err := ts.Clone(t.Context(), "acme", "copy"); !errors.Is(err, tenant.ErrDiffers) || !strings.Contains(err.Error(), "version") {
		t.Error(err)
	}
	if _, err := ts.Clone(t.Context(), "nobody", "copy"); !errors.Is(err, tenant.ErrNotFound) {
		t.Error(err)
	}
}

func TestTenantsAreMigratedWithWhatIsGrantedToThem(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	one := pgdbm.Module{Name: "shop", Files: files(`CREATE TABLE {{tables.a}} (id int)`)}
	ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{one}, Isolate: true})
	for i := range 5 {
		create(t, ts, fmt.Sprint(i))
	}
	two := pgdbm.Module{Name: "shop", Files: files(`CREATE TABLE {{tables.a}} (id int)`, `CREATE TABLE {{tables.b}} (id int)`)}
	ts = tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{two}, Isolate: true})
	if plan, err := ts.Plan(t.Context(), nil); err != nil || len(plan) != 1 || len(plan[0].Pending) != 5 || plan[0].Pending[0].Files[0].Version != "2" {
		t.Fatalf("%+v, %v", plan, err)
	}
	res, err := ts.Migrate(t.Context(), nil)
	if err != nil || len(res) != 1 || res[0].Migrated != 5 {
		t.Fatalf("%+v, %v", res, err)
	}
	for i := range 5 {
		mustExec(t, handle(t, ts, fmt.Sprint(i)), `INSERT INTO {{tables.b}} VALUES (1)`)
	}
	three := pgdbm.Module{Name: "shop", Files: files(`CREATE TABLE {{tables.a}} (id int)`, `CREATE TABLE {{tables.b}} (id int)`,
		`CREATE VIEW {{tables.spy}} AS SELECT id FROM tenant_3.a`)}
	ts = tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{three}, Isolate: true})
	if _, err = ts.Migrate(t.Context(), nil); !errors.Is(err, pgdbm.ErrEscape) || !strings.Contains(err.Error(), "tenant_3.a") {
		t.Errorf("a view of another tenant: %v", err)
	}
	if _, err := ts.Create(t.Context(), "new"); !errors.Is(err, pgdbm.ErrEscape) {
		t.Errorf("a new one: %v", err)
	}
}

func TestAHandleIsKeptForAWhileAndNoLonger(t *testing.T) {
	t.Parallel()
	pool := open(t, 2)
	ts := tenants(t, pool, tenant.Config{Cached: 2, Refresh: time.Nanosecond})
	other := tenants(t, pool, tenant.Config{Refresh: time.Hour})
	dbs := make(map[string]*pgdbm.DB)
	for _, id := range []string{"a", "b", "c"} {
		dbs[id] = create(t, ts, id)
	}
	if handle(t, ts, "c") != dbs["c"] || handle(t, ts, "a") == dbs["a"] {
		t.Error("the last two are to be kept, and no others")
	}
	seen := handle(t, other, "c")
	if _, err := ts.Suspend(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if _, err := ts.DB(t.Context(), "c"); !errors.Is(err, tenant.ErrSuspended) {
		t.Errorf("here: %v", err)
	}
	if handle(t, other, "c") != seen { // until its Refresh
		t.Error("another handle")
	}
}

func TestAnExistingSchemaIsAdopted(t *testing.T) {
	both(t, func(t *testing.T, pool *pgdbm.Pool, ts *tenant.Tenants) {
		old, err := pool.Schema("customer_7")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pgdbm.Attach(t.Context(), old, shop); err != nil {
			t.Fatal(err)
		}
		mustExec(t, old, `INSERT INTO {{tables.items}} (name) VALUES ('old')`)
		if _, err := ts.Adopt(t.Context(), "seven", "customer_8"); !errors.Is(err, tenant.ErrNotFound) {
			t.Errorf("no such schema: %v", err)
		}
		if _, err := ts.Adopt(t.Context(), "seven", "customer_7"); err != nil {
			t.Fatal(err)
		}
		if got := value[string](t, handle(t, ts, "seven"), `SELECT {{functions.names}}()`); got != "seed,old" {
			t.Errorf("%q", got)
		}
		if _, err := ts.Adopt(t.Context(), "eight", "customer_7"); !errors.Is(err, tenant.ErrExists) {
			t.Errorf("twice: %v", err)
		}
	})
}

func TestBadInputIsRefusedBeforeAnythingHappens(t *testing.T) {
	t.Parallel()
	pool := open(t, 2)
	ts := tenants(t, pool, tenant.Config{})
	for _, id := range []string{"", "a\x00b", "a\nb", "\xff", strings.Repeat("x", 1025)} {
		if tenant.ValidateID(id) == nil {
			t.Errorf("%q is valid", id)
		}
		if _, err := ts.Create(t.Context(), id); err == nil {
			t.Errorf("%q is created", id)
		}
		if _, err := ts.DB(t.Context(), id); err == nil {
			t.Errorf("%q is found", id)
		}
		if _, err := ts.Rename(t.Context(), "x", id); err == nil {
			t.Errorf("renamed to %q", id)
		}
	}
	for _, c := range []tenant.Config{
		{Prefix: "pg_"}, {Prefix: `a"b`}, {Prefix: "Ä"}, {Prefix: strings.Repeat("x", 60)}, {Cached: -1}, {Refresh: -1},
		{Modules: []pgdbm.Module{{Name: "A"}}}, {Modules: []pgdbm.Module{shop, shop}}, {Handle: pgdbm.HandleConfig{MaxConns: -1}},
		{Handle: pgdbm.HandleConfig{MinConns: 1}},
	} {
		if _, err := tenant.New(pool, c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	if _, err := tenant.New(nil, tenant.Config{}); err == nil {
		t.Error("a nil pool is accepted")
	}
}

func TestAnotherLoginServesTheTenantsThatOneHasMade(t *testing.T) {
	t.Parallel()
	admin, login := testdb.Login(t, "CREATEROLE NOINHERIT")
	u, err := url.Parse(login)
	if err != nil {
		t.Fatal(err)
	}
	server := strings.Replace(u.User.Username(), "_login_", "_server_", 1)
	testdb.Exec(t, admin, "CREATE ROLE "+server+" LOGIN PASSWORD 'secret' NOINHERIT")
	t.Cleanup(func() { testdb.Exec(t, admin, "DROP OWNED BY "+server+"; DROP ROLE "+server) })
	u.User = url.UserPassword(server, "secret")
	open := func(url string) *pgdbm.Pool {
		pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: url, MaxConns: 2, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return pool
	}
	maker := open(login)
	if _, err := pgdbm.Attach(t.Context(), maker, geo); err != nil {
		t.Fatal(err)
	}
	ts := tenants(t, maker, tenant.Config{Isolate: true, Logins: []string{server}})
	for _, id := range []string{"a", "b"} {
		create(t, ts, id)
	}
	theirs := tenants(t, open(u.String()), tenant.Config{})
	db := handle(t, theirs, "a")
	if got := value[string](t, db, `SELECT {{functions.names}}() || code FROM {{tables.geo.countries}}`); got != "seedIS" {
		t.Errorf("%q", got)
	}
	// It has nothing but by its roles, so a statement without one fails.
	for _, schema := range []string{"tenant_a", "tenant_b"} {
		plain, err := theirs.Pool().Schema(schema)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := plain.Exec(t.Context(), `SELECT FROM {{tables.items}}`); state(err) != "42501" {
			t.Errorf("without a role: %v", err)
		}
	}
	if _, err := theirs.Create(t.Context(), "c"); state(err) != "42501" {
		if _, ok := errors.AsType[*pgdbm.PrivilegeError](err); !ok {
			t.Errorf("one more: %v", err)
		}
	}
}
