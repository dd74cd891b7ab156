package sqllint_test

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/pgdbmtest"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// reads are the server's own words, at the level debug1, for a table of which it reads all rows or writes them anew.
var reads = regexp.MustCompile(`^(verifying|rewriting) table "(t|q)"|^validating foreign key constraint`)

// scanner is a connection that notes whether all rows of t or q were read.
type scanner struct {
	*pgx.Conn
	said []string
}

func newScanner(t *testing.T) *scanner {
	t.Helper()
	cfg, err := pgx.ParseConfig(pgdbmtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	s := new(scanner)
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if reads.MatchString(n.Message) {
			s.said = append(s.said, n.Message)
		}
	}
	if s.Conn, err = pgx.ConnectConfig(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// version is the server's major version.
func version(t *testing.T, conn *pgx.Conn) (major int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `SELECT current_setting('server_version_num')::int / 10000`).Scan(&major); err != nil {
		t.Fatal(err)
	}
	return major
}

func expand(t *testing.T, sql string) string {
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
	return sql
}

const scanned = `CREATE TABLE {{tables.u}} (id bigint PRIMARY KEY);
CREATE DOMAIN {{types.positive}} AS bigint CHECK (value > 0);
CREATE DOMAIN {{types.any}} AS bigint;
CREATE TABLE {{tables.p}} (id bigint, x bigint) PARTITION BY RANGE (id);
CREATE TABLE {{tables.q}} (id bigint NOT NULL, x bigint);
CREATE TABLE {{tables.t}} (id bigint, x bigint, y bigint, s varchar(9), n numeric(5, 2), a cidr, c varchar(9) CHECK (c <> ''), at timestamp(3));
CREATE UNIQUE INDEX kx ON {{tables.t}} (x);
CREATE UNIQUE INDEX ky ON {{tables.t}} (y);
ALTER TABLE {{tables.t}} ADD CONSTRAINT c CHECK (x IS NOT NULL);`

// The last statement is the one that is judged; since is the version that has it.
var scans = []struct {
	sql   string
	reads bool
	since int
}{
	{"ALTER TABLE {{tables.t}} ALTER y SET NOT NULL", true, 0},
	{"ALTER TABLE {{tables.t}} ALTER x SET NOT NULL", false, 0},
	{"ALTER TABLE {{tables.t}} ALTER x SET NOT NULL, DROP CONSTRAINT c", true, 0},
	{"ALTER TABLE {{tables.t}} ADD CONSTRAINT d CHECK (y IS NOT NULL OR x > 0);\nALTER TABLE {{tables.t}} ALTER y SET NOT NULL", true, 0},
	{"ALTER TABLE {{tables.t}} ADD CONSTRAINT d CHECK (y IS NOT NULL AND x > 0);\nALTER TABLE {{tables.t}} ALTER y SET NOT NULL", false, 0},
	{"ALTER TABLE {{tables.t}} ADD CONSTRAINT d CHECK (y IS NOT NULL) NOT VALID;\nALTER TABLE {{tables.t}} ALTER y SET NOT NULL", true, 0},
	{"ALTER TABLE {{tables.t}} ADD CONSTRAINT k PRIMARY KEY USING INDEX ky", true, 0},
	{"ALTER TABLE {{tables.t}} ADD CONSTRAINT k PRIMARY KEY USING INDEX kx", false, 0},
	{"ALTER TABLE {{tables.t}} ADD CONSTRAINT k UNIQUE USING INDEX ky", false, 0},
	{"ALTER TABLE {{tables.t}} ADD CONSTRAINT d NOT NULL y", true, 18},
	{"ALTER TABLE {{tables.t}} ADD CONSTRAINT d NOT NULL y NOT VALID", false, 18},
	{"ALTER TABLE {{tables.t}} ADD CONSTRAINT d CHECK (y > 0)", true, 0},
	{"ALTER TABLE {{tables.t}} ADD CONSTRAINT d CHECK (y > 0) NOT VALID", false, 0},
	{"ALTER TABLE {{tables.t}} ADD FOREIGN KEY (y) REFERENCES {{tables.u}}", true, 0},
	{"ALTER TABLE {{tables.t}} ADD FOREIGN KEY (y) REFERENCES {{tables.u}} NOT VALID", false, 0},
	{"ALTER TABLE {{tables.t}} ADD d bigint REFERENCES {{tables.u}}", false, 0},
	{"ALTER TABLE {{tables.t}} ADD d bigint DEFAULT 1 REFERENCES {{tables.u}}", true, 0},
	{"ALTER TABLE {{tables.t}} ADD d bigint CHECK (d > 0)", true, 0},
	{"ALTER TABLE {{tables.t}} ADD d bigint NOT NULL DEFAULT 0", false, 0},
	{"ALTER TABLE {{tables.t}} ADD d {{types.positive}}", true, 0},
	{"ALTER TABLE {{tables.t}} ADD d {{types.any}}", false, 0},
	{"ALTER TABLE {{tables.t}} ADD d bigint GENERATED ALWAYS AS (x * 2) STORED", true, 0},
	{"ALTER TABLE {{tables.t}} ADD d bigint GENERATED ALWAYS AS (x * 2) VIRTUAL", false, 18},
	{"ALTER TABLE {{tables.t}} ADD d bigint GENERATED ALWAYS AS (x * 2) VIRTUAL NOT NULL", true, 18},
	{"ALTER TABLE {{tables.t}} ADD d bigint GENERATED ALWAYS AS IDENTITY", true, 0},
	{"ALTER TABLE {{tables.t}} ADD d bigserial", true, 0},
	{"ALTER TABLE {{tables.t}} ADD d timestamptz DEFAULT clock_timestamp()", true, 0},
	{"ALTER TABLE {{tables.t}} ADD d uuid DEFAULT gen_random_uuid()", true, 0},
	{"ALTER TABLE {{tables.t}} ADD d text DEFAULT coalesce(NULL, timeofday())", true, 0},
	{"ALTER TABLE {{tables.t}} ADD d text DEFAULT to_char(now(), 'YYYY') || repeat('x', 3)", false, 0},
	{"ALTER TABLE {{tables.t}} ADD d date DEFAULT (now() + interval '1 day')", false, 0},
	{"ALTER TABLE {{tables.t}} ADD d numeric DEFAULT 0::decimal(10, 2)", false, 0},
	{"ALTER TABLE {{tables.t}} ADD d timestamptz DEFAULT timezone('utc', now())", false, 0},
	{"ALTER TABLE {{tables.t}} ADD d text[] DEFAULT ARRAY[]::text[], ADD e jsonb DEFAULT jsonb_build_object()", false, 0},
	{"ALTER TABLE {{tables.t}} ALTER s TYPE text", false, 0},
	{"ALTER TABLE {{tables.t}} ALTER s TYPE text USING s::text", false, 0},
	{"ALTER TABLE {{tables.t}} ALTER s TYPE varchar(20)", false, 0},
	{"ALTER TABLE {{tables.t}} ALTER s TYPE varchar(5)", true, 0},
	{"ALTER TABLE {{tables.t}} ALTER c TYPE text", true, 0},
	{"ALTER TABLE {{tables.t}} ALTER n TYPE numeric(9, 2)", false, 0},
	{"ALTER TABLE {{tables.t}} ALTER n TYPE numeric", false, 0},
	{"ALTER TABLE {{tables.t}} ALTER n TYPE numeric(9, 3)", true, 0},
	{"ALTER TABLE {{tables.t}} ALTER a TYPE inet", false, 0},
	{"ALTER TABLE {{tables.t}} ALTER x TYPE int", true, 0},
	{"ALTER TABLE {{tables.t}} SET UNLOGGED", true, 0},
	{"ALTER TABLE {{tables.t}} SET UNLOGGED;\nALTER TABLE {{tables.t}} SET LOGGED", true, 0},
	{"ALTER TABLE {{tables.t}} ADD d bigint GENERATED ALWAYS AS (x * 2) STORED;\nALTER TABLE {{tables.t}} ALTER d SET EXPRESSION AS (x * 3)", true, 17},
	{"ALTER TABLE {{tables.t}} ALTER x SET DEFAULT random(), ALTER x SET STATISTICS 9, ALTER y DROP NOT NULL", false, 0},
	{"ALTER TABLE {{tables.p}} ATTACH PARTITION {{tables.q}} FOR VALUES FROM (1) TO (9)", true, 0},
	{"CREATE VIEW {{tables.w}} AS SELECT x FROM {{tables.t}}", false, 0},
}

// reading are the rules that speak of all rows.
var reading = regexp.MustCompile(`set-not-null|add-check|add-foreign-key|add-column-rewrite|alter-type|rewrite|attach-partition`)

// What the rules find is what the server reads or writes whole, and nothing else.
func TestTheRulesFindWhatTheServerReadsWhole(t *testing.T) {
	t.Parallel()
	conn := newScanner(t)
	if _, err := conn.Exec(t.Context(), "CREATE SCHEMA m; SET search_path = m; "+expand(t, scanned)+`
		INSERT INTO m.t SELECT 1, 1, 1, 's', 1, '10.0.0.0/8', 'c', now(); INSERT INTO m.u VALUES (1); INSERT INTO m.q VALUES (1);
		SET client_min_messages = debug1`); err != nil {
		t.Fatal(err)
	}
	major := version(t, conn.Conn)
	// A CHECK that says that the rows fit spares the reading; whether it does, the rules cannot know.
	if _, err := conn.Exec(t.Context(), `BEGIN; ALTER TABLE m.q ADD CONSTRAINT f CHECK (id >= 1 AND id < 9) NOT VALID; ALTER TABLE m.q VALIDATE CONSTRAINT f`); err != nil {
		t.Fatal(err)
	}
	conn.said = nil
	if _, err := conn.Exec(t.Context(), `ALTER TABLE m.p ATTACH PARTITION m.q FOR VALUES FROM (1) TO (9); ROLLBACK`); err != nil || len(conn.said) > 0 {
		t.Errorf("attach behind a CHECK: %q, %v", conn.said, err)
	}
	for _, c := range scans {
		// Statements are files of their own, so that each has the one before it behind it.
		texts := append([]string{scanned}, strings.Split(c.sql, ";\n")...)
		if found := files(t, nil, texts...); reading.MatchString(found) != c.reads {
			t.Errorf("%s: the rules find %q", c.sql, found)
		}
		if major < c.since {
			continue
		}
		if _, err := conn.Exec(t.Context(), "BEGIN"); err != nil {
			t.Fatal(err)
		}
		for _, text := range texts[1:] {
			conn.said = nil
			if _, err := conn.Exec(t.Context(), expand(t, text)); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
		if got := len(conn.said) > 0; got != c.reads {
			t.Errorf("%s: the server says %q", c.sql, conn.said)
		}
		if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
	}
}
