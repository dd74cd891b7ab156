package sqllint_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/pgdbmvet/sqllint"
)

// noTransaction is what PostgreSQL 14 to 18 refuse in a transaction, with how a finding names it.
var noTransaction = []struct{ sql, command string }{
	{"VACUUM", "VACUUM"},
	{"VACUUM ANALYZE {{tables.t}}", "VACUUM"},
	{"VACUUM (ANALYZE) {{tables.t}}", "VACUUM"},
	{"CREATE DATABASE d", "CREATE DATABASE"},
	{"ALTER DATABASE d SET TABLESPACE fast", "ALTER DATABASE SET TABLESPACE"},
	{"CREATE TABLESPACE fast LOCATION '/x'", "CREATE TABLESPACE"},
	{"DROP TABLESPACE fast", "DROP TABLESPACE"},
	{"ALTER SYSTEM SET work_mem = '1MB'", "ALTER SYSTEM"},
	{"CREATE UNIQUE INDEX CONCURRENTLY j ON {{tables.t}} (x)", "CREATE INDEX CONCURRENTLY"},
	{"DROP INDEX CONCURRENTLY {{tables.i}}", "DROP INDEX CONCURRENTLY"},
	{"REINDEX INDEX CONCURRENTLY {{tables.i}}", "REINDEX CONCURRENTLY"},
	{"REINDEX (CONCURRENTLY) TABLE {{tables.t}}", "REINDEX CONCURRENTLY"},
	{"REINDEX (CONCURRENTLY true, VERBOSE) TABLE {{tables.t}}", "REINDEX CONCURRENTLY"},
	{"REINDEX SCHEMA {{schema}}", "REINDEX SCHEMA"},
	{"REINDEX DATABASE", "REINDEX DATABASE"},
	{"REINDEX (VERBOSE) SYSTEM", "REINDEX SYSTEM"},
	{"CLUSTER", "CLUSTER"},
	{"CLUSTER (VERBOSE)", "CLUSTER"},
	{"DISCARD ALL", "DISCARD ALL"},
	{"ALTER TABLE {{tables.p}} DETACH PARTITION {{tables.t}} CONCURRENTLY", "DETACH PARTITION CONCURRENTLY"},
	{"CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p", "CREATE SUBSCRIPTION"},
	{"CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (enabled = false, create_slot = true)", "CREATE SUBSCRIPTION"},
	{"CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (create_slot)", "CREATE SUBSCRIPTION"},
	{"ALTER SUBSCRIPTION s REFRESH PUBLICATION WITH (copy_data = false)", "ALTER SUBSCRIPTION REFRESH PUBLICATION"},
	{"ALTER SUBSCRIPTION s SET PUBLICATION p", "ALTER SUBSCRIPTION SET PUBLICATION"},
	{"ALTER SUBSCRIPTION s ADD PUBLICATION p WITH (refresh = on)", "ALTER SUBSCRIPTION ADD PUBLICATION"},
	{"ALTER SUBSCRIPTION s DROP PUBLICATION p, q", "ALTER SUBSCRIPTION DROP PUBLICATION"},
	{"ALTER SUBSCRIPTION s SET (failover = true)", "ALTER SUBSCRIPTION SET (failover)"},
	{"ALTER SUBSCRIPTION s SET (two_phase = false)", "ALTER SUBSCRIPTION SET (two_phase)"},
}

// inTransaction are statements like those that a transaction may hold.
var inTransaction = []string{
	"ANALYZE {{tables.t}}",
	"ALTER DATABASE d SET work_mem = '1MB'",
	"ALTER TABLE {{tables.p}} DETACH PARTITION {{tables.t}} FINALIZE",
	"REINDEX (CONCURRENTLY false) TABLE {{tables.t}}",
	"REINDEX (CONCURRENTLY off, VERBOSE) TABLE {{tables.t}}",
	"REFRESH MATERIALIZED VIEW CONCURRENTLY {{tables.v}}",
	"DISCARD PLANS",
	"CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (create_slot = false)",
	"CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (slot_name = none, connect = 'false')",
	"ALTER SUBSCRIPTION s SET PUBLICATION p WITH (copy_data = true, refresh = false)",
	"ALTER SUBSCRIPTION s SET (slot_name = NONE)",
	"ALTER SUBSCRIPTION s SET (two_phase = true)",
	"ALTER SUBSCRIPTION s DISABLE",
}

func found(t *testing.T, sql string) []sqllint.Finding {
	t.Helper()
	all, err := sqllint.Run(fstest.MapFS{"1_before.sql": {Data: []byte(before)}, "2_x.sql": {Data: []byte(sql)}}, nil)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return all
}

func TestWhatNoTransactionMayHoldIsFoundInOne(t *testing.T) {
	t.Parallel()
	for _, c := range noTransaction {
		want := "2_x.sql:2:1: error: PostgreSQL refuses it in a transaction: " + c.command + " (needs-no-transaction)"
		n := 0
		for _, f := range found(t, "SELECT 1;\n"+c.sql+";\n") {
			if f.Rule == "needs-no-transaction" {
				if n++; f.String() != want {
					t.Errorf("%s:\ngot  %s\nwant %s", c.sql, f, want)
				}
			}
		}
		if n != 1 {
			t.Errorf("%s: %d findings", c.sql, n)
		}
		for _, f := range found(t, outside+c.sql) {
			if f.Rule == "needs-no-transaction" {
				t.Errorf("outside: %s", f)
			}
		}
	}
	for _, sql := range inTransaction {
		for _, f := range found(t, sql) {
			if f.Rule == "needs-no-transaction" {
				t.Errorf("%s: %s", sql, f)
			}
		}
	}
}

// The server at hand says the same, but for what it refuses before it comes to that.
func TestTheServerRefusesInATransactionWhatLintSays(t *testing.T) {
	t.Parallel()
	conn := table(t)
	plain := strings.NewReplacer("{{tables.", "m.", "{{schema}}", "m", "}}", "")
	code := func(sql string) string {
		_, err := conn.Exec(t.Context(), "BEGIN")
		if err == nil {
			_, err = conn.Exec(t.Context(), plain.Replace(sql))
			if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
				t.Fatal(err)
			}
		}
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
			return pg.Code
		}
		return ""
	}
	for _, c := range noTransaction {
		if strings.HasPrefix(c.sql, "ALTER SUBSCRIPTION") { // it looks at the subscription first
			continue
		}
		if got := code(c.sql); got != "25001" && got != "42601" { // which later versions may hold, without a name
			t.Errorf("in a transaction the server does not refuse %s: %s", c.sql, got)
		}
	}
	for _, sql := range inTransaction {
		if code(sql) == "25001" {
			t.Errorf("in a transaction the server refuses %s", sql)
		}
	}
}

func TestAStatementThatIsNoneIsFound(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"SELECT 1;\n  SELEC 1;":                 `2_x.sql:2:3: error: no SQL statement begins like this: SELEC (unknown-statement)`,
		"{{tables.t}};":                         `2_x.sql:1:1: error: no SQL statement begins like this: {{tables.t}} (unknown-statement)`,
		"42":                                    `2_x.sql:1:1: error: no SQL statement begins like this: 42 (unknown-statement)`,
		"CREATE TABEL {{tables.x}} (id bigint)": `2_x.sql:1:1: error: no SQL statement begins like this: CREATE TABEL (unknown-statement)`,
		"CREATE OR REPLACE VEIW {{tables.x}} AS TABLE": `2_x.sql:1:1: error: no SQL statement begins like this: CREATE OR REPLACE VEIW (unknown-statement)`,
		"ALTER TBALE {{tables.t}} ADD n int":           `2_x.sql:1:1: error: no SQL statement begins like this: ALTER TBALE (unknown-statement)`,
		"DROP IF EXISTS {{tables.t}}":                  `2_x.sql:1:1: error: no SQL statement begins like this: DROP IF (unknown-statement)`,
		"CREATE":                                       `2_x.sql:1:1: error: no SQL statement begins like this: CREATE (unknown-statement)`,
	} {
		all := found(t, sql)
		if len(all) == 0 || all[0].String() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", sql, all, want)
		}
	}
	for _, sql := range commands {
		for _, f := range found(t, sql) {
			if f.Rule == "unknown-statement" {
				t.Errorf("%s: %s", sql, f)
			}
		}
	}
}

// The server at hand does not take what begins them for a mistake either.
func TestTheServerKnowsHowTheseStatementsBegin(t *testing.T) {
	t.Parallel()
	conn := table(t)
	for _, sql := range commands {
		words := strings.Fields(sql)
		_, err := conn.Exec(t.Context(), sql)
		pg, ok := errors.AsType[*pgconn.PgError](err)
		if ok && pg.Code == "42601" && strings.Contains(pg.Message, `"`+strings.ToLower(words[0])+`"`) {
			t.Errorf("%s: %v", sql, err)
		}
		if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
	}
}

// commands begin like each of PostgreSQL's statements, and mean nothing more.
var commands = []string{
	"(SELECT 1)", "ABORT", "ANALYSE", "ANALYZE", "BEGIN", "CALL x()", "CHECKPOINT x", "CLOSE x", "CLUSTER x", "COMMENT ON TABLE x IS ''", "COMMIT",
	"COPY x TO STDOUT", "DEALLOCATE x", "DECLARE x CURSOR FOR SELECT 1", "DELETE FROM x", "DISCARD PLANS", "DO ''", "END", "EXECUTE x", "EXPLAIN SELECT 1",
	"FETCH x", "GRANT x TO y", "IMPORT FOREIGN SCHEMA x FROM SERVER x INTO x", "INSERT INTO x VALUES (1)", "LISTEN x", "LOAD 'x'", "LOCK x",
	"MOVE x", "NOTIFY x", "PREPARE x AS SELECT 1", "REASSIGN OWNED BY x TO y", "REFRESH MATERIALIZED VIEW x", "REINDEX TABLE x",
	"RELEASE x", "RESET work_mem", "REVOKE x FROM y", "ROLLBACK", "SAVEPOINT x", "SECURITY LABEL ON TABLE x IS ''", "SELECT", "SET work_mem = '1MB'",
	"SHOW work_mem", "START TRANSACTION", "TABLE x", "TRUNCATE x", "UNLISTEN x", "UPDATE x SET x = 1", "VACUUM x", "VALUES (1)", "WITH x AS (SELECT 1) TABLE x",
	"CREATE ACCESS METHOD x", "CREATE AGGREGATE x", "CREATE CAST x", "CREATE COLLATION x", "CREATE CONSTRAINT TRIGGER x", "CREATE DEFAULT CONVERSION x",
	"CREATE CONVERSION x", "CREATE DATABASE", "CREATE DOMAIN x", "CREATE EVENT TRIGGER x", "CREATE EXTENSION x SCHEMA", "CREATE FOREIGN TABLE x", "CREATE FUNCTION x",
	"CREATE GLOBAL TEMP TABLE x", "CREATE GROUP", "CREATE INDEX x", "CREATE LOCAL TEMPORARY TABLE x", "CREATE MATERIALIZED VIEW x", "CREATE OPERATOR x",
	"CREATE OR REPLACE TRUSTED PROCEDURAL LANGUAGE x", "CREATE POLICY x", "CREATE PROCEDURE x", "CREATE PUBLICATION", "CREATE RECURSIVE VIEW x",
	"CREATE ROLE", "CREATE RULE x", "CREATE SCHEMA", "CREATE SEQUENCE", "CREATE SERVER x", "CREATE STATISTICS x", "CREATE SUBSCRIPTION x",
	"CREATE TABLESPACE x", "CREATE TEXT SEARCH x", "CREATE TRANSFORM x", "CREATE TRIGGER x", "CREATE TYPE", "CREATE UNIQUE INDEX x", "CREATE UNLOGGED TABLE x",
	"CREATE USER", "CREATE USER MAPPING x", "CREATE VIEW x", "ALTER DEFAULT PRIVILEGES x", "ALTER LARGE OBJECT x", "ALTER ROUTINE x", "ALTER SYSTEM x",
	"ALTER PROCEDURAL LANGUAGE x", "DROP OWNED BY x", "DROP ROUTINE x", "DROP ACCESS METHOD x", "DROP TRANSFORM x",
}

func TestFindingsNameWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"CREATE INDEX j ON {{tables.t}} (x)":                                            "nobody writes beside: t (create-index)",
		"CREATE INDEX j ON {{tables.t}} (id, x, s, u)":                                  "more than three columns: t (wide-index)",
		"ALTER TABLE {{tables.t}} DROP COLUMN x":                                        "may read it: t.x (drop-column)",
		"ALTER TABLE {{tables.t}} ADD CHECK (x > 0)":                                    "nobody reads beside: t (add-check)",
		"ALTER TABLE {{tables.t}} ADD n int NOT NULL":                                   "no default: t.n (add-column-not-null)",
		"ALTER TABLE {{tables.t}} ALTER x SET NOT NULL":                                 "nobody reads beside: t.x (set-not-null)",
		"ALTER TABLE {{tables.t}} RENAME TO z":                                          "running programs: t (rename)",
		"ALTER TABLE {{tables.p}} DETACH PARTITION {{tables.t}}":                        "nobody reads beside: p (detach-partition)",
		"ALTER TYPE {{types.mood}} RENAME TO feeling":                                   "running programs: mood (rename)",
		"CREATE TABLE {{tables.p1}} PARTITION OF {{tables.p}} DEFAULT":                  "nobody reads beside: p (create-partition)",
		"CREATE TRIGGER g BEFORE UPDATE ON {{tables.t}} EXECUTE FUNCTION x":             "nobody writes beside: t (create-trigger)",
		"CREATE TABLE {{tables.n}} (a json)":                                            "instead of jsonb: n.a (json)",
		"CREATE VIEW {{tables.n}} AS SELECT * FROM {{tables.t}}":                        "SELECT * in a view: n (select-star)",
		"DROP TABLE {{tables.t}}":                                                       "may use it: t (drop-table)",
		"DROP INDEX {{tables.i}}":                                                       "nobody reads beside: i (drop-index)",
		"DROP POLICY x ON {{tables.t}}":                                                 "policy goes: x on t (drop-policy)",
		"DROP SCHEMA old":                                                               "schema goes: old (drop-schema)",
		"DROP TYPE IF EXISTS {{types.mood}}":                                            "may use it: mood (drop-object)",
		"DELETE FROM {{tables.t}}":                                                      "all rows are written: t (without-where)",
		"TRUNCATE {{tables.t}}, {{tables.u}}":                                           "all rows go: t, u (truncate)",
		"LOCK TABLE {{tables.t}}":                                                       "locked by hand: t (lock-table)",
		"CLUSTER {{tables.t}} USING i":                                                  "written anew: t (cluster)",
		"REINDEX TABLE {{tables.t}}":                                                    "nobody writes beside: t (reindex)",
		"REFRESH MATERIALIZED VIEW {{tables.v}}":                                        "nobody reads beside: v (refresh-view)",
		outside + "VACUUM FULL {{tables.t}}":                                            "written anew: t (vacuum-full)",
		outside + "VACUUM (FULL, VERBOSE) {{tables.t}} (x), {{tables.u}}":               "written anew: t, u (vacuum-full)",
		"ALTER TABLE {{tables.t}} ENABLE ROW LEVEL SECURITY":                            "without a policy: t (row-security)",
		"SET work_mem = '1MB'":                                                          "outlives the file: work_mem (set-without-local)",
		"ALTER TABLE {{tables.t}} SET UNLOGGED;\nALTER TABLE {{tables.u}} SET UNLOGGED": "until the file ends: t, u (several-tables)",
	} {
		all := found(t, sql)
		if len(all) == 0 || !strings.Contains(all[len(all)-1].String(), want) {
			t.Errorf("%s:\ngot  %v\nwant %s", sql, all, want)
		}
	}
}
