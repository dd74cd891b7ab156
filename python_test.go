package pgdbm_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// Each test is named after a fault of the Python original that this package
// must not have.

// Its registry of pools was keyed by host, port and database of the config,
// which are defaults when a connection string is used.
func TestPythonBugPoolsOfConnectionStringsLookAlike(t *testing.T) {
	t.Parallel()
	one, two := testdb.URL(t), testdb.URL(t)
	var log logRecorder
	cfg := func(url string) pgdbm.Config {
		return pgdbm.Config{URL: url, Logger: slog.New(&log), OnDuplicate: pgdbm.DuplicateFail}
	}
	openPool(t, cfg(one))
	openPool(t, cfg(two)) // a false alarm there
	cc := realServer(t, one)
	parts := pgdbm.Config{Host: cc.Host, Port: cc.Port, Database: cc.Database, User: cc.User, Password: cc.Password,
		SSLMode: "disable", OnDuplicate: pgdbm.DuplicateFail}
	if cc.TLSConfig != nil {
		parts.SSLMode = "prefer"
	}
	if _, err := pgdbm.Open(t.Context(), parts); !errors.Is(err, pgdbm.ErrDuplicatePool) {
		t.Errorf("the same database by its parts: got %v", err)
	}
}

// It counted a pool before the connect succeeded, never uncounted one, and
// knew neither shared pools nor those of others; without a lock.
func TestPythonBugPoolsAreCountedForEver(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	strict := pgdbm.Config{URL: url, OnDuplicate: pgdbm.DuplicateFail}
	failing := strict
	failing.InitSQL = "SELECT 1/0"
	_, err := pgdbm.Open(t.Context(), failing)
	wantState(t, err, "22012")
	for range 2 {
		pool, err := pgdbm.Open(t.Context(), strict)
		if err != nil {
			t.Fatal(err)
		}
		pool.Close()
	}
	_, pool := borrow(t, url)
	if err := pool.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := pgdbm.Open(t.Context(), strict); !errors.Is(err, pgdbm.ErrDuplicatePool) {
		t.Errorf("beside the pool of another: got %v", err)
	}
}

// Its shared pool, the recommended one, did not retry a refused connection.
func TestPythonBugRefusedConnectionIsNotRetried(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	tries := 0
	_, err = pgdbm.Open(t.Context(), pgdbm.Config{Host: dir, User: "x", Retry: quick(4), Logger: onWarning(func() { tries++ })})
	var op *net.OpError
	if !errors.As(err, &op) || tries != 3 {
		t.Errorf("%d further tries, %v", tries, err)
	}
}

// Each new connection of its own pools ran SET search_path, that of shared
// pools did not; so SQL without a template worked in one mode alone.
func TestPythonBugModesDifferInTheirSearchPath(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	own := mustSchema(t, openPool(t, pgdbm.Config{URL: url, Schema: "tenant"}), "tenant")
	_, pool := borrow(t, url)
	shared := mustSchema(t, pool, "tenant")
	mustExec(t, own, `CREATE SCHEMA {{schema}}; CREATE TABLE {{tables.t}} (id int)`)
	for name, db := range map[string]*pgdbm.DB{"own": own, "shared": shared} {
		if got := value[string](t, db, `SHOW search_path`); got != `"$user", public` {
			t.Errorf("%s: search_path %s", name, got)
		}
		_, err := db.Exec(t.Context(), `INSERT INTO t VALUES (1)`)
		wantState(t, err, "42P01")
		mustExec(t, db, `INSERT INTO {{tables.t}} VALUES (1)`)
	}
}

// It quoted schemas and not tables, or neither: reserved words broke, and
// schema Acme became acme.
func TestPythonBugNamesAreNotQuoted(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{})
	for _, schema := range []string{"Acme", "select", "with space", "schéma", "dot.ted", "semi;colon", "dash-ed", "{{x}}", strings.Repeat("é", 31)} {
		db := mustSchema(t, pool, schema)
		mustExec(t, db, `CREATE SCHEMA {{schema}}`)
		for _, table := range []string{"user", "order", `"Mixed"`, `"with space"`, `"a.b"`, `"sélect"`} {
			mustExec(t, db, `CREATE TABLE {{tables.`+table+`}} (id int)`)
			mustExec(t, db, `INSERT INTO {{tables.`+table+`}} VALUES (1)`)
			if ok, err := db.TableExists(t.Context(), table); err != nil || !ok {
				t.Errorf("%s.%s: %v, %v", schema, table, ok, err)
			}
		}
		if got := value[int](t, db, `SELECT count(*) FROM pg_namespace n JOIN pg_class ON relnamespace = n.oid WHERE nspname = {{schema:literal}} AND relkind = 'r'`); got != 6 {
			t.Errorf("%s: %d tables", schema, got)
		}
	}
}

// {{schema}} became a name in double quotes even within quotes, and bare
// public without a schema.
func TestPythonBugSchemaInAString(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "Acme", pgdbm.Config{})
	if n := value[int](t, db, `SELECT count(*) FROM information_schema.schemata WHERE schema_name = {{schema:literal}}`); n != 1 {
		t.Error("the literal does not name the schema")
	}
	if got := value[bool](t, db, `SELECT to_regnamespace('{{schema}}') IS NOT NULL`); !got {
		t.Error("the name in a string does not name the schema")
	}
	if _, err := offline(t).Schema(""); err == nil {
		t.Error("a handle without a schema")
	}
}

// It replaced text everywhere, in literals and comments too, and let what it
// did not know pass to the server.
func TestPythonBugSubstitutionIsTextual(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "Acme", pgdbm.Config{})
	for sql, want := range map[string]string{
		`SELECT '{{1,2},{3,4}}'`:                      `{{1,2},{3,4}}`,
		`SELECT 'Dear {{user}}, {{ name }}'`:          `Dear {{user}}, {{ name }}`,
		`SELECT 'x' -- {{tables.t}} {{nonsense`:       `x`,
		`SELECT /* {{tables.t} {{ */ 'x'`:             `x`,
		`SELECT $${{user}}$$`:                         `{{user}}`,
		`SELECT '{{ tables.t }}'`:                     `"Acme"."t"`,
		`SELECT 'x' /* it's {{schema}} */ WHERE true`: `x`,
	} {
		if got := value[string](t, db, sql); got != want {
			t.Errorf("%s: got %s, want %s", sql, got, want)
		}
	}
	for _, sql := range []string{"SELECT\n {{table.t}}", "SELECT\n {{tables.}}", "SELECT\n {{ tables }}", "SELECT\n {{tables.a-b}}", "SELECT\n {{tables.t}}_2024"} {
		if _, err := db.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "2:2") {
			t.Errorf("%q: got %v, want its line and column", sql, err)
		}
	}
}

// {{tables.other.t}} reached every schema.
func TestPythonBugEverySchemaCanBeNamed(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{})
	other := mustSchema(t, pool, "other")
	mustExec(t, other, `CREATE SCHEMA {{schema}}; CREATE TABLE {{tables.t}} (id int)`)
	db := mustSchema(t, pool, "mine")
	_, err := db.Exec(t.Context(), `SELECT * FROM {{tables.other.t}}`)
	if err == nil || !strings.Contains(err.Error(), "1:15") || state(err) != "" {
		t.Errorf("got %v", err)
	}
	allowed, err := pool.Handle(pgdbm.HandleConfig{Schema: "mine", Aliases: map[string]string{"other": "other"}})
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, allowed, `SELECT * FROM {{tables.other.t}}`)
	if _, err := db.TableExists(t.Context(), "other.t"); err == nil {
		t.Error("TableExists looks into another schema")
	}
}

// Its check of names let "abc\n", pg_temp and information_schema pass, and did
// not know that PostgreSQL cuts names after 63 bytes.
func TestPythonBugBadSchemaNamesPass(t *testing.T) {
	t.Parallel()
	pool := offline(t)
	for _, name := range []string{"", "abc\n", "\nabc", "a\x00b", "a\tb", "pg_temp", "pg_toast", "pg_catalog", "pg_", "information_schema",
		`a"b`, "a'b", `a\b`, "a$b", "a%b", strings.Repeat("x", 64), strings.Repeat("é", 32), "\xff", "a\u0085b", "a\x7fb"} {
		if db, err := pool.Schema(name); err == nil || db != nil {
			t.Errorf("%q passes", name)
		}
		if _, err := pool.Handle(pgdbm.HandleConfig{Schema: "a", Aliases: map[string]string{"m": name}}); err == nil {
			t.Errorf("%q passes as an alias", name)
		}
		if _, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: "postgres://127.0.0.1:1/x", Schema: name}); name != "" &&
			(err == nil || !strings.Contains(err.Error(), "Schema")) {
			t.Errorf("%q passes in Config: %v", name, err)
		}
	}
	for _, name := range []string{"public", "pgdbm", "pga", "PG_X", "a", strings.Repeat("x", 63), "Ω"} {
		if _, err := pool.Schema(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A transaction was tied to one handle, so work over two modules was not
// atomic or deadlocked the pool; and in it errors and logs were others.
func TestPythonBugTransactionsAreOfOneModule(t *testing.T) {
	t.Parallel()
	var log logRecorder
	one, two := twoModules(t, pgdbm.Config{MaxConns: 1, Logger: slog.New(&log)})
	err := one.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
		if _, err := two.Exec(ctx, `SELECT 1`); !errors.Is(err, pgdbm.ErrNestedAcquire) {
			t.Errorf("the other module's handle: got %v", err)
		}
		if err := insert(ctx, tx, 1); err != nil {
			return err
		}
		_, err := in(t, tx, two).Exec(ctx, `SELECT 'inside' FROM {{tables.nothing}}`)
		return err
	})
	wantState(t, err, "42P01")
	_, outside := two.Exec(t.Context(), `SELECT 'inside' FROM {{tables.nothing}}`)
	var a, b *pgconn.PgError
	if !errors.As(err, &a) || !errors.As(outside, &b) || *a != *b {
		t.Errorf("inside %v, outside %v", a, b)
	}
	if n := log.said("DEBUG SQL", "schema=Ledger", "'inside'", "sqlstate=42P01"); n != 2 {
		t.Errorf("logged %d times", n)
	}
}

// It sent jit, three timeouts and search_path at startup unasked, which
// poolers refuse; this one gets its name only, and RESET ALL never runs.
func TestPythonBugStartupParametersNobodyAskedFor(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	to := realServer(t, url)
	var once sync.Once
	server := listen(t, func(_ int, c *client) {
		for name := range c.startup.Parameters {
			if name != "user" && name != "database" && name != "application_name" {
				once.Do(func() { t.Errorf("sends %s", name) })
				c.refuse("08P01")
				return
			}
		}
		c.forward(to)
	})
	cfg := server.through(t, url)
	cfg.InitSQL = "SET work_mem = '5MB'"
	db := mustSchema(t, openPool(t, cfg), "x")
	for range 3 {
		if got := value[string](t, db, `SHOW work_mem`); got != "5MB" {
			t.Errorf("after a release, work_mem is %s", got)
		}
	}
}

// It opened ten connections at once and waited for one without limit.
func TestPythonBugEagerPoolsAndEndlessWaits(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 1, AcquireTimeout: 20 * time.Millisecond})
	if n := pool.Stat().NewConnsCount(); n != 1 {
		t.Errorf("%d connections for nothing", n)
	}
	db := mustSchema(t, pool, "x")
	tx := begin(t, db)
	defer tx.Rollback(context.Background())
	if err := db.Ping(t.Context()); !errors.Is(err, pgdbm.ErrAcquireTimeout) {
		t.Errorf("got %v", err)
	}
	// And took one to say that none is free.
	if s := pool.Stat(); s.AcquiredConns() != 1 {
		t.Errorf("%d in use", s.AcquiredConns())
	}
}

// Its disconnect had no limit, and handles went on with the closed pool.
func TestPythonBugDisconnectWaitsForEver(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{})
	db := mustSchema(t, pool, "x")
	tx := begin(t, db)
	var se *pgdbm.ShutdownError
	if err := pool.Shutdown(soon(t)); !errors.As(err, &se) || len(se.Holders) != 1 {
		t.Errorf("got %v", err)
	}
	if _, err := db.Exec(t.Context(), `SELECT 1`); !errors.Is(err, pgdbm.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
}

// Schema and config were attributes that anybody could set on a live handle.
func TestPythonBugHandlesCanBeRetargeted(t *testing.T) {
	t.Parallel()
	cfg := pgdbm.Config{URL: testdb.URL(t), Schema: "a", Settings: map[string]string{"work_mem": "5MB"}}
	pool := openPool(t, cfg)
	cfg.Schema, cfg.Settings["work_mem"] = "b", "9MB"
	if got := value[string](t, mustSchema(t, pool, "x"), `SHOW work_mem`); got != "5MB" {
		t.Errorf("work_mem %s", got)
	}
	if a := mustAttach(t, pool, pgdbm.Module{Name: "m"}); a.Schema() != "a" {
		t.Errorf("schema %s", a.Schema())
	}
}

// It looked for tables in information_schema, which is slow and hides those
// that the role may not read, and took "other.t".
func TestPythonBugTableExistsHidesTables(t *testing.T) {
	t.Parallel()
	var tracer sqlTracer
	db := notes(t, pgdbm.Config{Tracer: &tracer})
	if ok, err := db.TableExists(t.Context(), "notes"); err != nil || !ok {
		t.Errorf("got %v, %v", ok, err)
	}
	for _, sql := range tracer.sqls {
		if strings.Contains(sql, "information_schema") {
			t.Errorf("asks %s", sql)
		}
	}
	_, asRole := role(t, db.Pool().Pgx().Config().ConnString())
	theirs := mustSchema(t, openPool(t, pgdbm.Config{URL: asRole}), "diary")
	if ok, err := theirs.TableExists(t.Context(), "notes"); err != nil || !ok {
		t.Errorf("a role without privileges: got %v, %v", ok, err)
	}
}

// A prepared statement was lost as soon as the pool made a new connection.
func TestPythonBugStatementsArePreparedAgainEachTime(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 1})
	for range 5 {
		count(t, db)
	}
	if n := value[int](t, db, `SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT count(*) FROM "diary"."notes"'`); n != 1 {
		t.Errorf("%d prepared statements for one text", n)
	}
}

// offline is a pool that never connects, for what needs no server.
func offline(t *testing.T) *pgdbm.Pool {
	t.Helper()
	theirs, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/none?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(theirs.Close)
	pool, err := pgdbm.Borrow(theirs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}
