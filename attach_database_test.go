package pgdbm_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/migrate"
)

// role makes a login role without any privilege and returns its name and its
// URL of the database.
func role(t *testing.T, dbURL string) (name, roleURL string) {
	t.Helper()
	name = "pgdbm_test_" + strings.ToLower(rand.Text()[:10])
	testdb.Exec(t, dbURL, "CREATE ROLE "+name+" LOGIN PASSWORD 'secret'")
	t.Cleanup(func() {
		cfg, err := pgconn.Connect(context.Background(), dbURL)
		if err != nil {
			return
		}
		defer cfg.Close(context.Background())
		_, _ = cfg.Exec(context.Background(), "DROP OWNED BY "+name+" CASCADE; DROP ROLE "+name).ReadAll()
	})
	u, err := url.Parse(dbURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, "secret")
	q := u.Query()
	q.Del("user") // where it stands depends on the server that is used
	q.Del("password")
	u.RawQuery = q.Encode()
	return name, u.String()
}

func TestARoleWithoutPrivilegesIsToldWhatAnAdministratorMustRun(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	admin := testdb.URL(t)
	name, asRole := role(t, admin)

	// Whatever is missing, running the statements of the error mends it.
	granted := 0
	for {
		a, err := pgdbm.Attach(ctx, pgdbm.URL(asRole), shop)
		if err == nil {
			a.Close()
			break
		}
		var pe *pgdbm.PrivilegeError
		if !errors.As(err, &pe) {
			t.Fatalf("got %v", err)
		}
		if pe.Role != name || pe.Schema == "" || len(pe.Statements) == 0 {
			t.Fatalf("got %+v", pe)
		}
		if granted++; granted > 3 {
			t.Fatalf("still refused: %+v", pe)
		}
		testdb.Exec(t, admin, strings.Join(pe.Statements, ";"))
	}
	if granted == 0 {
		t.Fatal("a role without privileges was not refused")
	}
	// The role could not have created a schema.
	if err := tryExec(ctx, asRole, "CREATE SCHEMA mine"); err == nil || !strings.Contains(err.Error(), "42501") {
		t.Errorf("CREATE SCHEMA: %v", err)
	}
}

func tryExec(ctx context.Context, dbURL, sql string) error {
	conn, err := pgconn.Connect(ctx, dbURL)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql).ReadAll()
	return err
}

func TestTwoRolesShareOneLedger(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	admin := testdb.URL(t)
	mustAttach(t, pgdbm.URL(admin), shop)
	name, asRole := role(t, admin)
	testdb.Exec(t, admin, "CREATE SCHEMA theirs AUTHORIZATION "+name)
	m := pgdbm.Module{Name: "theirs", Files: files("1_x.sql", "CREATE TABLE {{tables.x}} ();")}
	_, err := pgdbm.Attach(ctx, pgdbm.URL(asRole), m)
	var pe *pgdbm.PrivilegeError
	if !errors.As(err, &pe) || pe.Schema != "pgdbm" {
		t.Fatalf("got %v", err)
	}
	testdb.Exec(t, admin, strings.Join(pe.Statements, ";"))
	mustAttach(t, pgdbm.URL(asRole), m)
}

// Python pgdbm ran CREATE SCHEMA on every new connection of its own pools,
// which needs a privilege that a role of production has not.
func TestPythonBugCreateSchemaOnEveryConnection(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	admin := testdb.URL(t)
	mustAttach(t, pgdbm.URL(admin), shop)
	name, asRole := role(t, admin)
	testdb.Exec(t, admin, "GRANT USAGE ON SCHEMA pgdbm, shop TO "+name+"; GRANT SELECT ON pgdbm.migrations, shop.items TO "+name)
	a := mustAttach(t, pgdbm.URL(asRole), shop) // may read only, and there is nothing to do
	if n, err := pgdbm.Value[int](ctx, a, `SELECT count(*) FROM {{tables.items}}`); err != nil || n != 2 {
		t.Errorf("got %d, %v", n, err)
	}
}

// logRecorder collects log records' messages.
type logRecorder struct {
	slog.Handler
	mu    sync.Mutex // guards texts
	texts []string
}

func (l *logRecorder) Enabled(context.Context, slog.Level) bool { return true }
func (l *logRecorder) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logRecorder) WithGroup(string) slog.Handler            { return l }
func (l *logRecorder) Handle(_ context.Context, r slog.Record) error {
	text := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.texts = append(l.texts, text)
	return nil
}

func (l *logRecorder) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.texts, func(text string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(text, p) })
	})
}

func TestADatabaseAheadOfTheProgramAttachesWithAWarning(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dbURL := testdb.URL(t)
	mustAttach(t, pgdbm.URL(dbURL), shop)
	older := pgdbm.Module{Name: "shop", Files: files("001_items.sql", `CREATE TABLE {{tables.items}} (id int PRIMARY KEY, name text NOT NULL);`)}
	log := new(logRecorder)
	a, err := pgdbm.Attach(ctx, pgdbm.Config{URL: dbURL, Logger: slog.New(log)}, older)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if !log.has("WARN", "newer", "version=2", "module=shop") {
		t.Errorf("no warning: %q", log.texts)
	}
}

func TestHistoryThatDoesNotFitTheFilesIsRefused(t *testing.T) {
	t.Parallel()
	const one, two, three = "CREATE TABLE {{tables.a}} ();", "CREATE TABLE {{tables.b}} ();", "CREATE TABLE {{tables.c}} ();"
	for _, c := range []struct {
		name          string
		before, after []string
		want          error
	}{
		{"late lower version", []string{"1_a.sql", one, "3_c.sql", three}, []string{"1_a.sql", one, "2_b.sql", two, "3_c.sql", three}, migrate.ErrOrder},
		{"missing file", []string{"1_a.sql", one, "2_b.sql", two}, []string{"2_b.sql", two}, migrate.ErrMissing},
		{"changed file", []string{"1_a.sql", one}, []string{"1_a.sql", "CREATE TABLE {{tables.a}} (id int);"}, migrate.ErrChanged},
		{"cosmetic change", []string{"1_a.sql", one}, []string{"1_a.sql", "-- The letter a.\ncreate table\t{{ tables.a }} ( );"}, nil},
		{"another name of a file", []string{"1_a.sql", one}, []string{"V001__first.sql", one}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pool := attachPool(t)
			mustAttach(t, pool, pgdbm.Module{Name: "m", Files: files(c.before...)})
			_, err := pgdbm.Attach(t.Context(), pool, pgdbm.Module{Name: "m", Files: files(c.after...)})
			var me *pgdbm.MigrationError
			if !errors.Is(err, c.want) || c.want != nil && !errors.As(err, &me) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestTwoModulesOfOneNameAreNoticedInAnySchema(t *testing.T) {
	t.Parallel()
	pool := attachPool(t)
	mustAttach(t, mustSchema(t, pool, "one"), shop)
	impostor := pgdbm.Module{Name: "shop", Files: files("001_items.sql", "CREATE TABLE {{tables.other}} ();")}
	_, err := pgdbm.Attach(t.Context(), mustSchema(t, pool, "two"), impostor)
	if !errors.Is(err, migrate.ErrConflict) {
		t.Errorf("got %v", err)
	}
	mustAttach(t, mustSchema(t, pool, "three"), shop)
}

func TestThroughTheDebugLogNoArgumentAndNoURLIsSeen(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dbURL := testdb.URL(t)
	log := new(logRecorder)
	a, err := pgdbm.Attach(ctx, pgdbm.Config{URL: dbURL, Logger: slog.New(log)}, shop)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Exec(ctx, `UPDATE {{tables.items}} SET name = $1`, "my-secret-value"); err != nil {
		t.Fatal(err)
	}
	if !log.has("DEBUG", "UPDATE {{tables.items}}", "duration=", "schema=shop") {
		t.Errorf("the statement was not logged: %q", log.texts)
	}
	if log.has("my-secret-value") || log.has("postgres://") {
		t.Errorf("the log shows too much: %q", log.texts)
	}
}
