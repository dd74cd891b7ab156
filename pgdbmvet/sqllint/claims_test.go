package sqllint_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// inTurn runs statements in a transaction that is rolled back, and returns what the last one returns, or the SQLSTATE
// of the first error.
func inTurn(t *testing.T, conn *pgx.Conn, statements ...string) (got string) {
	t.Helper()
	defer state(conn, t, "ROLLBACK")
	state(conn, t, "BEGIN")
	last := len(statements) - 1
	for _, sql := range statements[:last] {
		if code := state(conn, t, sql); code != "" {
			return code
		}
	}
	if !strings.HasPrefix(statements[last], "SELECT") {
		return state(conn, t, statements[last])
	}
	if err := conn.QueryRow(t.Context(), statements[last]).Scan(&got); err != nil {
		t.Fatalf("%s: %v", statements[last], err)
	}
	return got
}

const longName = "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij"

// What the rules' pages say of PostgreSQL beyond locks and reading, each with the rule that says it.
func TestWhatTheRulesSayOfPostgreSQLIsSo(t *testing.T) {
	t.Parallel()
	conn := table(t)
	reader := []string{`CREATE ROLE pgdbm_lint_reader`, `GRANT USAGE ON SCHEMA m TO pgdbm_lint_reader`, `GRANT SELECT ON m.t TO pgdbm_lint_reader`}
	seen := []string{`SET LOCAL ROLE pgdbm_lint_reader`, `SELECT count(*)::text FROM m.t`}
	writer := []string{`CREATE ROLE pgdbm_lint_writer`, `GRANT USAGE ON SCHEMA m TO pgdbm_lint_writer`, `GRANT INSERT ON m.z TO pgdbm_lint_writer`, `SET LOCAL ROLE pgdbm_lint_writer`, `INSERT INTO m.z (x) VALUES (1)`}
	for _, c := range []struct {
		rule, want string
		statements []string
	}{
		{"char", "3", []string{`SELECT octet_length('a'::char(3))::text`}},
		{"char", "true false", []string{`SELECT ('a'::char(3) = 'a')::text || ' ' || ('a'::char(3) LIKE 'a')::text`}},
		{"create-partition", "23514", []string{`CREATE TABLE m.pd PARTITION OF m.p DEFAULT`, `INSERT INTO m.p (id) VALUES (5)`, `CREATE TABLE m.p1 PARTITION OF m.p FOR VALUES FROM (1) TO (9)`}},
		{"detach-partition", "25001", []string{`CREATE TABLE m.p1 PARTITION OF m.p DEFAULT`, `ALTER TABLE m.p DETACH PARTITION m.p1 CONCURRENTLY`}},
		{"row-security", "0", slices.Concat(reader, []string{`ALTER TABLE m.t ENABLE ROW LEVEL SECURITY`}, seen)},
		{"row-security", "42501", slices.Concat(reader, []string{`ALTER TABLE m.t ENABLE ROW LEVEL SECURITY`, `GRANT INSERT ON m.t TO pgdbm_lint_reader`, `SET LOCAL ROLE pgdbm_lint_reader`, `INSERT INTO m.t (id) VALUES (1)`})},
		{"drop-cascade", "0", []string{`CREATE TABLE m.z (id int REFERENCES m.u)`, `INSERT INTO m.z VALUES (1)`, `TRUNCATE m.u CASCADE`, `SELECT count(*)::text FROM m.z`}},
		{"drop-database", "25001", []string{`DROP DATABASE postgres`}},
		{"drop-schema", "2BP01", []string{`DROP SCHEMA m`}},
		{"drop-schema", "", []string{`CREATE SCHEMA n`, `DROP SCHEMA n`}},
		{"drop-policy", "100 0", slices.Concat(reader, []string{`ALTER TABLE m.t ENABLE ROW LEVEL SECURITY`, `CREATE POLICY p ON m.t USING (true)`,
			`CREATE TABLE m.n AS SELECT 0 AS before`, `GRANT ALL ON m.n TO pgdbm_lint_reader`, `SET LOCAL ROLE pgdbm_lint_reader`, `UPDATE m.n SET before = (SELECT count(*) FROM m.t)`,
			`RESET ROLE`, `DROP POLICY p ON m.t`, `SET LOCAL ROLE pgdbm_lint_reader`, `SELECT before || ' ' || (SELECT count(*) FROM m.t) FROM m.n`})},
		{"drop-policy", "100", slices.Concat(reader, []string{`ALTER TABLE m.t ENABLE ROW LEVEL SECURITY`, `CREATE POLICY p ON m.t USING (true)`,
			`CREATE POLICY r ON m.t AS RESTRICTIVE USING (false)`, `DROP POLICY r ON m.t`}, seen)},
		{"disable-row-security", "100", slices.Concat(reader, []string{`ALTER TABLE m.t ENABLE ROW LEVEL SECURITY`, `ALTER TABLE m.t DISABLE ROW LEVEL SECURITY`}, seen)},
		{"select-star", "1", []string{`CREATE TABLE m.z (x int)`, `CREATE VIEW m.w AS SELECT * FROM m.z`, `ALTER TABLE m.z ADD y int`, `SELECT count(*)::text FROM pg_attribute WHERE attrelid = 'm.w'::regclass AND attnum > 0`}},
		{"select-star", "2BP01", []string{`CREATE TABLE m.z (x int)`, `CREATE VIEW m.w AS SELECT * FROM m.z`, `ALTER TABLE m.z DROP x`}},
		{"serial", "42501", slices.Concat([]string{`CREATE TABLE m.z (id bigserial, x int)`}, writer)},
		{"serial", "", slices.Concat([]string{`CREATE TABLE m.z (id bigint GENERATED ALWAYS AS IDENTITY, x int)`}, writer)},
		{"serial", "", []string{`CREATE TABLE m.z (id bigserial)`, `INSERT INTO m.z VALUES (1)`}},
		{"serial", "428C9", []string{`CREATE TABLE m.z (id bigint GENERATED ALWAYS AS IDENTITY)`, `INSERT INTO m.z VALUES (1)`}},
		{"long-name", "1", []string{`CREATE INDEX ` + longName + `abcx ON m.t (x)`, `CREATE INDEX IF NOT EXISTS ` + longName + `abcy ON m.t (x)`, `SELECT count(*)::text FROM pg_class WHERE relname LIKE 'abcdefghijabc%'`}},
		{"long-name", "2", []string{`CREATE INDEX ` + longName + `abx ON m.t (x)`, `CREATE INDEX IF NOT EXISTS ` + longName + `aby ON m.t (x)`, `SELECT count(*)::text FROM pg_class WHERE relname LIKE 'abcdefghijabc%'`}},
		{"partitioned", "0A000", []string{`CREATE UNIQUE INDEX k ON m.p (id)`, `ALTER TABLE m.p ADD CONSTRAINT c UNIQUE USING INDEX k`}},
		{"partitioned", "true", []string{`CREATE TABLE m.p1 PARTITION OF m.p DEFAULT`, `CREATE INDEX k ON ONLY m.p (x)`, `CREATE INDEX k1 ON m.p1 (x)`, `ALTER INDEX m.k ATTACH PARTITION m.k1`, `SELECT indisvalid::text FROM pg_index WHERE indexrelid = 'm.k'::regclass`}},
		{"schema-in-string", "3F000", []string{`SELECT set_config('search_path', '', true)`, `SET LOCAL search_path = m`, `CREATE TABLE "no such"."x" ()`}},
		{"set-without-local", "77ms", []string{`SELECT current_setting('lock_timeout')`}}, // set below
		{"int-key", "22003", []string{`DO 'BEGIN PERFORM 2147483647::int + 1::int; END'`}},
		{"timestamp", "false", []string{`SET LOCAL timezone = 'UTC'`, `CREATE TEMP TABLE z AS SELECT '2026-01-01 12:00'::timestamp::timestamptz AS at`, `SET LOCAL timezone = 'Asia/Tokyo'`, `SELECT (at = '2026-01-01 12:00'::timestamp::timestamptz)::text FROM z`}},
		{"refresh-view", "55000", []string{`REFRESH MATERIALIZED VIEW CONCURRENTLY m.v`}},
		{"refresh-view", "", []string{`CREATE UNIQUE INDEX k ON m.v (id)`, `REFRESH MATERIALIZED VIEW CONCURRENTLY m.v`}},
		{"rename", "", []string{`CREATE SCHEMA n`, `ALTER TABLE m.t SET SCHEMA n`, `SELECT coalesce(to_regclass('m.t')::text, '')`}},
		{"drop-not-null", "", []string{`ALTER TABLE m.t ALTER x SET NOT NULL`, `ALTER TABLE m.t ALTER x DROP NOT NULL`, `INSERT INTO m.t (x) VALUES (NULL)`}},
		{"drop-cascade", "0", []string{`CREATE VIEW m.w AS SELECT x FROM m.t`, `ALTER TABLE m.t DROP x CASCADE`, `SELECT count(*)::text FROM pg_views WHERE viewname = 'w'`}},
		{"without-where", "0", []string{`EXPLAIN ANALYZE DELETE FROM m.t`, `SELECT count(*)::text FROM m.t`}},
		{"without-where", "0", []string{`EXPLAIN (COSTS off, ANALYZE) DELETE FROM m.t`, `SELECT count(*)::text FROM m.t`}},
		{"without-where", "100", []string{`EXPLAIN (ANALYZE false) DELETE FROM m.t`, `SELECT count(*)::text FROM m.t`}},
		{"truncate", "0", []string{`DO E'BEGIN PERFORM \'\\\'; TRUNCATE m.t; END' LANGUAGE 'plpgsql'`, `SELECT count(*)::text FROM m.t`}},
		{"enum-value-used", "55P04", []string{`CREATE TYPE m.mood AS ENUM ('sad')`, `COMMIT`, `BEGIN`, `ALTER TYPE m.mood ADD VALUE 'fine'`, `DO $$ BEGIN PERFORM 'fine'::m.mood; END $$`}},
		{"enum-value-used", "55P04", []string{`ALTER TYPE m.mood ADD VALUE 'fine'`, `CREATE TABLE m.z (a m.mood DEFAULT 'fine')`}},
		{"enum-value-used", "55P04", []string{`CREATE TABLE m.z (a m.mood)`, `ALTER TYPE m.mood ADD VALUE 'fine'`, `SELECT 1 FROM m.z WHERE a NOT IN ('sad', 'fine')`, `SELECT ''`}},
		{"enum-value-used", "", []string{`ALTER TYPE m.mood ADD VALUE 'fine'`, `UPDATE m.t SET s = 'fine' WHERE s IN ('sad', 'fine')`}},
		{"backfill", "AccessExclusiveLock", []string{`ALTER TABLE m.t ADD n int`, `UPDATE m.t SET n = 1`, `SELECT mode FROM pg_locks WHERE relation = 'm.t'::regclass AND mode = 'AccessExclusiveLock' AND pid = pg_backend_pid()`}},
	} {
		if c.rule == "set-without-local" {
			state(conn, t, `BEGIN; SET LOCAL lock_timeout = '88ms'; COMMIT; BEGIN; SELECT set_config('lock_timeout', '77ms', false); COMMIT`)
		}
		if got := inTurn(t, conn, c.statements...); got != c.want {
			t.Errorf("%s: %q: got %q, want %q", c.rule, c.statements, got, c.want)
		}
		if c.rule == "set-without-local" {
			state(conn, t, `RESET lock_timeout`)
		}
	}
	if got := expand(t, `SELECT '{{schema}}', {{schema:literal}}`); got != `SELECT '"m"', 'm'` {
		t.Errorf("schema-in-string: %s", got)
	}
}

func TestWhatIsRefusedForPartitionedTablesDependsOnTheVersion(t *testing.T) {
	t.Parallel()
	conn := table(t)
	for _, sql := range []string{`CREATE INDEX CONCURRENTLY k ON m.p (x)`, `CREATE INDEX CONCURRENTLY k ON ONLY m.p (x)`} {
		if got := state(conn, t, sql); got != "0A000" {
			t.Errorf("%s: %q", sql, got)
		}
	}
	// Nor can a partition be detached concurrently beside a default one.
	for _, step := range []struct{ sql, want string }{
		{`CREATE TABLE m.p1 PARTITION OF m.p FOR VALUES FROM (1) TO (9)`, ""},
		{`CREATE TABLE m.p2 PARTITION OF m.p DEFAULT`, ""},
		{`ALTER TABLE m.p DETACH PARTITION m.p1 CONCURRENTLY`, "55000"},
		{`DROP TABLE m.p2`, ""},
		{`ALTER TABLE m.p DETACH PARTITION m.p1 CONCURRENTLY`, ""},
	} {
		if got := state(conn, t, step.sql); got != step.want {
			t.Errorf("%s: %q, want %q", step.sql, got, step.want)
		}
	}
	want := "42809"
	if version(t, conn) >= 18 {
		want = ""
	}
	if got := state(conn, t, `ALTER TABLE m.p ADD FOREIGN KEY (x) REFERENCES m.u NOT VALID`); got != want {
		t.Errorf("foreign key: %q, want %q", got, want)
	}
}

func TestWhatIsTooNewIsRefusedByOlderServers(t *testing.T) {
	t.Parallel()
	conn := table(t)
	if _, err := conn.Exec(t.Context(), `CREATE TABLE m.g (id int, d int GENERATED ALWAYS AS (id * 2) STORED)`); err != nil {
		t.Fatal(err)
	}
	major := version(t, conn)
	for _, c := range newer {
		got := inTurn(t, conn, `SET LOCAL search_path = m, public`, "/**/"+expand(t, c.sql))
		if (got == "") != (major >= c.since) {
			t.Errorf("PostgreSQL %d: %s: %q", major, c.sql, got)
		}
	}
}

// Locks on others than the table of the example.
func TestPartitionsAndDomainsLockAsTheRulesSay(t *testing.T) {
	t.Parallel()
	conn := table(t)
	if _, err := conn.Exec(t.Context(), `CREATE TABLE m.p1 PARTITION OF m.p FOR VALUES FROM (1) TO (9); CREATE TABLE m.q (LIKE m.p);
		CREATE DOMAIN m.d AS int; CREATE TABLE m.z (d m.d); INSERT INTO m.z VALUES (1); ALTER DOMAIN m.d ADD CONSTRAINT c CHECK (value > 0) NOT VALID`); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ relation, sql, want string }{
		{"m.p1", "ALTER TABLE {{tables.p}} DETACH PARTITION {{tables.p1}}", "ACCESS EXCLUSIVE"},
		{"m.q", "ALTER TABLE {{tables.p}} ATTACH PARTITION {{tables.q}} FOR VALUES FROM (10) TO (19)", "ACCESS EXCLUSIVE"},
		{"m.z", "ALTER DOMAIN {{types.d}} ADD CHECK (value < 9)", "SHARE"},
		{"m.z", "ALTER DOMAIN {{types.d}} SET NOT NULL", "SHARE"},
		{"m.z", "ALTER DOMAIN {{types.d}} VALIDATE CONSTRAINT c", "SHARE"},
		{"m.z", "ALTER DOMAIN {{types.d}} ADD CHECK (value < 9) NOT VALID", ""},
		{"m.i", "REINDEX TABLE {{tables.t}}", "ACCESS EXCLUSIVE"},
		{"m.t", "CREATE POLICY r ON {{tables.t}} USING (true)", "ACCESS EXCLUSIVE"},
		{"m.t", "ALTER TABLE {{tables.t}} ALTER x SET STATISTICS 9", ""},
		{"m.t", "ALTER TABLE {{tables.t}} SET (fillfactor = 70)", ""},
		{"m.t", "CREATE TABLE {{tables.y}} () INHERITS ({{tables.t}})", ""},
		{"m.t", "CREATE TABLE {{tables.y}} (LIKE {{tables.t}})", ""},
		{"m.t", "CREATE TRIGGER g BEFORE UPDATE ON {{tables.t}} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()", "SHARE ROW EXCLUSIVE"},
		{"m.t", "LOCK TABLE {{tables.t}} IN SHARE MODE", "SHARE"},
		{"m.t", "LOCK TABLE {{tables.t}} IN EXCLUSIVE MODE", "EXCLUSIVE"},
		{"m.t", "CREATE INDEX j ON {{tables.t}} (x)", "SHARE"},
		{"m.t", "CREATE CONSTRAINT TRIGGER g AFTER UPDATE ON {{tables.t}} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()", "SHARE ROW EXCLUSIVE"},
		{"m.t", "ALTER POLICY pt ON {{tables.t}} USING (true)", "ACCESS EXCLUSIVE"},
		{"m.t", "UPDATE {{tables.t}} SET x = 1", ""},
	} {
		if got := runOn(t, conn, c.relation, c.sql); got.lock != c.want {
			t.Errorf("%s: %s: %+v, want %s", c.relation, c.sql, got, c.want)
		}
	}
	for _, c := range []struct{ sql, want string }{ // on the parent
		{"CREATE TABLE m.p2 PARTITION OF m.p FOR VALUES FROM (10) TO (19)", "AccessExclusiveLock"},
		{"ALTER TABLE m.p DETACH PARTITION m.p1", "AccessExclusiveLock"},
		{"ALTER TABLE m.p ATTACH PARTITION m.q FOR VALUES FROM (10) TO (19)", "ShareUpdateExclusiveLock"},
		{"CREATE INDEX ON ONLY m.p (x)", "ShareLock"},
	} {
		got := inTurn(t, conn, c.sql, `SELECT string_agg(mode, ' ') FROM pg_locks WHERE relation = 'm.p'::regclass AND pid = pg_backend_pid() AND mode <> 'AccessShareLock'`)
		if got != c.want {
			t.Errorf("%s: %s", c.sql, got)
		}
	}
	// Another collation builds the index anew, not the table.
	if _, err := conn.Exec(t.Context(), `CREATE INDEX si ON m.t (s)`); err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]string{`ALTER TABLE m.t ALTER s TYPE text COLLATE "C"`: "false", `ALTER TABLE m.t ALTER s TYPE text`: "true"} {
		got := inTurn(t, conn, `CREATE TEMP TABLE was AS SELECT pg_relation_filenode('m.si') AS file`, sql, `SELECT (file = pg_relation_filenode('m.si'))::text FROM was`)
		if got != want {
			t.Errorf("%s: the same index: %s", sql, got)
		}
	}
}
