package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/migrate"
	"github.com/pgdbm/pgdbm/tenant"
)

func openAs(t *testing.T, url string) *pgdbm.Pool {
	t.Helper()
	pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: url, MaxConns: 4, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func TestFollowingWhatAPrivilegeErrorSaysIsEnough(t *testing.T) {
	t.Parallel()
	admin, login := testdb.Login(t, "NOINHERIT")
	theirs := tenants(t, openAs(t, admin), tenant.Config{Modules: []pgdbm.Module{blog}})
	for _, id := range []string{"acme", "bolt", "cape"} {
		create(t, theirs, id)
	}
	testdb.Exec(t, admin, `REVOKE CREATE ON DATABASE `+pgx.Identifier{database(t, admin)}.Sanitize()+` FROM `+user(t, login))
	ts := tenants(t, openAs(t, login), tenant.Config{Modules: []pgdbm.Module{blog}})
	for _, c := range []struct {
		what, grants string
		do           func(ctx context.Context) error
	}{
		{"list", "SELECT ON pgdbm.tenants", func(ctx context.Context) error { _, err := ts.List(ctx); return err }},
		{"suspend", "UPDATE ON pgdbm.tenants", func(ctx context.Context) error { _, err := ts.Suspend(ctx, "acme"); return err }},
		{"resume", "", func(ctx context.Context) error { _, err := ts.Resume(ctx, "acme"); return err }},
		{"rename", "ALTER SCHEMA", func(ctx context.Context) error { _, err := ts.Rename(ctx, "acme", "new"); return err }},
		{"create", "INSERT, UPDATE ON pgdbm.tenants", func(ctx context.Context) error { _, err := ts.Create(ctx, "mine"); return err }},
		{"drop", "DELETE ON pgdbm.migrations", func(ctx context.Context) error { return ts.Drop(ctx, "mine") }},
		{"drop another's", "ALTER SCHEMA", func(ctx context.Context) error { return ts.Drop(ctx, "bolt") }},
	} {
		var told []string
		err := c.do(t.Context())
		for range 5 {
			pe, ok := errors.AsType[*pgdbm.PrivilegeError](err)
			if !ok {
				break
			}
			told = append(told, pe.Statements...)
			testdb.Exec(t, admin, strings.Join(pe.Statements, ";"))
			err = c.do(t.Context())
		}
		if err != nil || !strings.Contains(strings.Join(told, "\n"), c.grants) {
			t.Errorf("%s: %v, after %q", c.what, err, told)
		}
	}
}

func database(t *testing.T, url string) string {
	t.Helper()
	c, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return c.Database
}

func TestAFileOutsideATransactionBehindAPoolerSaysSoBeforeAnythingIsMade(t *testing.T) {
	t.Parallel()
	direct := testdb.URL(t)
	pool := openAs(t, testdb.PgBouncer(t, direct)(direct))
	one := pgdbm.Module{Name: "blog", Files: files(`CREATE TABLE {{tables.posts}} (id int)`)}
	two := pgdbm.Module{Name: "blog", Files: files(`CREATE TABLE {{tables.posts}} (id int)`,
		"-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY posts_id ON {{tables.posts}} (id)")}
	create(t, tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{one}}), "old")
	ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{two}})
	if _, err := ts.Create(t.Context(), "acme"); !errors.Is(err, migrate.ErrPooled) || !strings.Contains(err.Error(), "002_x.sql") {
		t.Error(err)
	}
	if _, err := ts.Migrate(t.Context(), nil); !errors.Is(err, migrate.ErrPooled) {
		t.Error(err)
	}
	ts = tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{two}, ThroughPooler: true})
	if _, err := ts.Migrate(t.Context(), nil); err != nil {
		t.Error(err)
	}
	mustExec(t, create(t, ts, "acme"), `SELECT FROM {{tables.posts}}`)
	if _, err := ts.Clone(t.Context(), "acme", "copy"); err != nil {
		t.Error(err)
	}
}

func TestAConstraintThatIsCheckedLateNamesTheFile(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	const first = `CREATE TABLE {{tables.a}} (id int PRIMARY KEY, other int REFERENCES {{tables.a}} DEFERRABLE INITIALLY DEFERRED);
		INSERT INTO {{tables.a}} VALUES (1, 2), (2, 1)`
	late := func(more ...string) *tenant.Tenants {
		m := pgdbm.Module{Name: "late", Files: files(append([]string{first}, more...)...)}
		return tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}})
	}
	_, err := late(`INSERT INTO {{tables.a}} VALUES (3, 4)`, `INSERT INTO {{tables.a}} VALUES (4, 3)`).Create(t.Context(), "acme")
	if me, ok := errors.AsType[*pgdbm.MigrationError](err); !ok || me.File != "002_x.sql" || state(err) != "23503" {
		t.Error(err)
	}
	mustExec(t, create(t, late(`INSERT INTO {{tables.a}} VALUES (3, 4), (4, 3)`), "acme"), `SELECT FROM {{tables.a}}`)
}

func TestWhatIsDoneWithATenantReturnsItsVersions(t *testing.T) {
	t.Parallel()
	ts := tenants(t, open(t, 2), tenant.Config{})
	create(t, ts, "acme")
	for what, do := range map[string]func() (*tenant.Tenant, error){
		"suspend": func() (*tenant.Tenant, error) { return ts.Suspend(t.Context(), "acme") },
		"resume":  func() (*tenant.Tenant, error) { return ts.Resume(t.Context(), "acme") },
		"rename":  func() (*tenant.Tenant, error) { return ts.Rename(t.Context(), "acme", "acme") },
	} {
		if got, err := do(); err != nil || fmt.Sprint(got.Versions) != "map[bills:2 shop:1]" {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	if got, err := ts.Rename(t.Context(), "acme", "bolt"); err != nil || fmt.Sprint(got.Versions) != "map[bills:2 shop:1]" || got.CreatedAt.IsZero() {
		t.Errorf("rename: %+v, %v", got, err)
	}
}

func TestACloneOfASuspendedTenantIsActive(t *testing.T) {
	both(t, func(t *testing.T, _ *pgdbm.Pool, ts *tenant.Tenants) {
		create(t, ts, "acme")
		if _, err := ts.Suspend(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
		if made, err := ts.Clone(t.Context(), "acme", "copy"); err != nil || made.State != tenant.Active {
			t.Fatalf("%+v, %v", made, err)
		}
		mustExec(t, handle(t, ts, "copy"), `SELECT FROM {{tables.items}}`)
	})
}

func TestACloneThatWasInterruptedDoesNotBecomeAnEmptyTenant(t *testing.T) {
	both(t, func(t *testing.T, pool *pgdbm.Pool, _ *tenant.Tenants) {
		m, waiting, release := slow(t, pool)
		plain := pgdbm.Module{Name: "slow", Files: files(`CREATE TABLE {{tables.t}} (n int)`)}
		mustExec(t, create(t, tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{plain}}), "acme"), `INSERT INTO {{tables.t}} VALUES (7)`)
		ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}, Isolate: true})
		ctx, cancel := context.WithCancel(t.Context())
		cloned := make(chan error)
		go func() {
			_, err := ts.Clone(ctx, "acme", "copy")
			cloned <- err
		}()
		waiting()
		cancel()
		if err := <-cloned; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		release()
		for what, do := range map[string]func() error{
			"create":           func() error { _, err := ts.Create(t.Context(), "copy"); return err },
			"clone of another": func() error { _, err := ts.Clone(t.Context(), "copy", "copy"); return err },
		} {
			if err := do(); !errors.Is(err, tenant.ErrExists) || !strings.Contains(err.Error(), `half made, as a clone of tenant "acme"`) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := ts.Migrate(t.Context(), nil); err != nil { // the first
			t.Error(err)
		}
		if _, err := ts.Clone(t.Context(), "acme", "copy"); err != nil {
			t.Fatal(err)
		}
		if n := value[int](t, handle(t, ts, "copy"), `SELECT n FROM {{tables.t}}`); n != 7 {
			t.Error(n)
		}
	})
}
