package sqllint_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/pgdbmtest"
	"github.com/pgdbm/pgdbm/pgdbmvet/sqllint"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// modes are the table locks from the weakest to the strongest, as the manual and as pg_locks name them.
var modes = []struct{ manual, name string }{
	{"", "AccessShareLock"}, {"", "RowShareLock"}, {"", "RowExclusiveLock"}, {"", "ShareUpdateExclusiveLock"},
	{"SHARE", "ShareLock"}, {"SHARE ROW EXCLUSIVE", "ShareRowExclusiveLock"}, {"EXCLUSIVE", "ExclusiveLock"}, {"ACCESS EXCLUSIVE", "AccessExclusiveLock"},
}

// effect is what a statement does to the table t.
type effect struct {
	lock     string // the strongest, as the manual names it
	rewrites bool
}

// run runs a statement in a transaction and looks at the table t.
func run(t *testing.T, conn *pgx.Conn, sql string) effect {
	t.Helper()
	return runOn(t, conn, "m.t", sql)
}

func runOn(t *testing.T, conn *pgx.Conn, relation, sql string) (e effect) {
	t.Helper()
	names, err := sqltemplate.NewNames("m", nil)
	if err != nil {
		t.Fatal(err)
	}
	template, err := sqltemplate.Parse(sql)
	if err != nil {
		t.Fatal(err)
	}
	if sql, err = template.Expand(names); err != nil {
		t.Fatal(err)
	}
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	var oid, before uint32
	var after *uint32
	if err := tx.QueryRow(t.Context(), `SELECT $1::text::regclass::oid, pg_relation_filenode($1::text::regclass)`, relation).Scan(&oid, &before); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	rows, err := tx.Query(t.Context(), `SELECT mode FROM pg_locks WHERE locktype = 'relation' AND relation = $1 AND pid = pg_backend_pid()`, oid)
	if err != nil {
		t.Fatal(err)
	}
	held, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range modes {
		if slices.Contains(held, mode.name) {
			e.lock = mode.manual
		}
	}
	if err := tx.QueryRow(t.Context(), `SELECT pg_relation_filenode($1::oid)`, oid).Scan(&after); err != nil {
		t.Fatal(err)
	}
	e.rewrites = after != nil && *after != before
	return e
}

func table(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pgdbmtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	if _, err := conn.Exec(t.Context(), `CREATE SCHEMA m; CREATE TABLE m.t (id int, x int, s varchar(9)); CREATE INDEX i ON m.t (x);
		CREATE TRIGGER tt BEFORE UPDATE ON m.t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
		CREATE POLICY pt ON m.t FOR DELETE USING (false);
		INSERT INTO m.t SELECT g, g, g FROM generate_series(1, 100) g; CREATE TABLE m.u (id int PRIMARY KEY);
		INSERT INTO m.u SELECT id FROM m.t; CREATE TABLE m.p (LIKE m.t) PARTITION BY RANGE (id);
		CREATE MATERIALIZED VIEW m.v AS SELECT id FROM m.u`); err != nil {
		t.Fatal(err)
	}
	return conn
}

// What a rule says of locks is asked of the server that the tests run on.
func TestEachRulesStatementTakesTheLockThatItSays(t *testing.T) {
	t.Parallel()
	conn := table(t)
	seen := 0
	for _, r := range sqllint.Rules() {
		if r.Example == "" || r.Name == "add-column-not-null" { // which fails, as the rule says
			continue
		}
		seen++
		got := run(t, conn, r.Example)
		want := effect{r.Lock, r.Rewrites || r.Name == "truncate"} // which begins an empty file
		if got != want {
			t.Errorf("%s: %s: got %+v, want %+v", r.Name, r.Example, got, want)
		}
		found := lint(t, nil, "-- "+r.Name+"\n"+r.Example+";")
		if want := r.Name + ":2:"; len(found) < len(want) || found[:len(want)] != want {
			t.Errorf("%s: %s: found %q", r.Name, r.Example, found)
		}
	}
	// One more for each rule that gets an example; one less is an example lost.
	if seen != 25 {
		t.Errorf("%d rules have an example", seen)
	}
}

// What the rules call safe writes no table anew.
func TestWhatIsSafeDoesNotRewriteTheTable(t *testing.T) {
	t.Parallel()
	conn := table(t)
	for _, c := range []struct{ sql, lock string }{
		{"ALTER TABLE {{tables.t}} ADD COLUMN n int NOT NULL DEFAULT 7", "ACCESS EXCLUSIVE"},
		{"ALTER TABLE {{tables.t}} ADD COLUMN n timestamptz DEFAULT now()", "ACCESS EXCLUSIVE"},
		{"ALTER TABLE {{tables.t}} ALTER COLUMN s TYPE text", "ACCESS EXCLUSIVE"},
		{"ALTER TABLE {{tables.t}} ALTER COLUMN s TYPE varchar(20)", "ACCESS EXCLUSIVE"},
		{"ALTER TABLE {{tables.t}} ALTER COLUMN x SET DEFAULT random()", "ACCESS EXCLUSIVE"},
		{"ALTER TABLE {{tables.t}} ADD CONSTRAINT c CHECK (x > 0) NOT VALID", "ACCESS EXCLUSIVE"},
		{"ALTER TABLE {{tables.t}} ADD CONSTRAINT c FOREIGN KEY (x) REFERENCES {{tables.u}} NOT VALID", "SHARE ROW EXCLUSIVE"},
	} {
		if got := run(t, conn, c.sql); got != (effect{c.lock, false}) {
			t.Errorf("%s: %+v", c.sql, got)
		}
		if found := lint(t, nil, c.sql); found != "" {
			t.Errorf("%s: found %s", c.sql, found)
		}
	}
	// VALIDATE CONSTRAINT lets all read and write, SET NOT NULL rewrites nothing.
	if _, err := conn.Exec(t.Context(), `ALTER TABLE m.t ADD CONSTRAINT v CHECK (x > 0) NOT VALID`); err != nil {
		t.Fatal(err)
	}
	if got := run(t, conn, `ALTER TABLE {{tables.t}} VALIDATE CONSTRAINT v`); got != (effect{}) {
		t.Errorf("validate: %+v", got)
	}
	if _, err := conn.Exec(t.Context(), `ALTER TABLE m.t ADD COLUMN n int NOT NULL`); err == nil {
		t.Error(fmt.Errorf("a column without a default was added NOT NULL"))
	}
}

// Claims that are not about what one statement does to one table.
func TestWhatElseTheRulesSayIsSo(t *testing.T) {
	t.Parallel()
	conn := table(t)
	if got := runOn(t, conn, "m.v", `REFRESH MATERIALIZED VIEW {{tables.v}}`); got.lock != "ACCESS EXCLUSIVE" {
		t.Errorf("refresh-view: %+v", got)
	}
	if got := runOn(t, conn, "m.u", `CREATE TABLE {{tables.z}} (id int REFERENCES {{tables.u}})`); got.lock != "SHARE ROW EXCLUSIVE" {
		t.Errorf("shared-foreign-key: %+v", got)
	}
	for sql, want := range map[string]string{
		`CREATE TYPE m.mood AS ENUM ('sad')`: "",
		`SELECT DISTINCT '{}'::json`:         "42883", // json
		`SELECT DISTINCT '{}'::jsonb`:        "",
	} {
		if got := state(conn, t, sql); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
	for sql, want := range map[string]string{
		`ALTER TYPE m.mood ADD VALUE 'fine'; SELECT 'fine'::m.mood`: "55P04", // enum-value-used
		`CREATE INDEX CONCURRENTLY j ON m.t (x)`:                    "25001", // needs-no-transaction
		`DROP INDEX CONCURRENTLY m.i`:                               "25001",
		`REINDEX TABLE CONCURRENTLY m.t`:                            "25001",
	} {
		if got := state(conn, t, "BEGIN; "+sql); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
		state(conn, t, "ROLLBACK")
	}
	// VACUUM FULL takes no transaction: it fails where somebody reads, and writes the table anew where nobody does.
	other, err := pgx.ConnectConfig(t.Context(), conn.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	if got := state(other, t, `BEGIN; SELECT count(*) FROM m.t`); got != "" {
		t.Fatal(got)
	}
	state(conn, t, `SET lock_timeout = '50ms'`)
	if got := state(conn, t, `VACUUM FULL m.t`); got != "55P03" {
		t.Errorf("vacuum-full beside a reader: %q", got)
	}
	state(other, t, `ROLLBACK`)
	var before, after uint32
	if err := conn.QueryRow(t.Context(), `SELECT pg_relation_filenode('m.t')`).Scan(&before); err != nil {
		t.Fatal(err)
	}
	if got := state(conn, t, `VACUUM FULL m.t`); got != "" {
		t.Fatal(got)
	}
	if err := conn.QueryRow(t.Context(), `SELECT pg_relation_filenode('m.t')`).Scan(&after); err != nil || before == after {
		t.Errorf("vacuum-full: %d, %d, %v", before, after, err)
	}
}

// state runs SQL and returns the SQLSTATE of its error.
func state(conn *pgx.Conn, t *testing.T, sql string) string {
	t.Helper()
	_, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refused.Code
	} else if err != nil {
		t.Fatal(err)
	}
	return ""
}
