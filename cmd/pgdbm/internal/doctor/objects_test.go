package doctor_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
)

// What SQL makes wrong, the fix makes right.
func TestItFindsWhatIsWrongInADatabaseAndTheFixEndsIt(t *testing.T) {
	t.Parallel()
	const ledger = "INSERT INTO pgdbm.migrations (module, target_schema, version, state, file_name, stmt_done, stmt_total, applied_at) VALUES "
	for _, c := range []struct {
		name     string
		sql      []string
		furnish  bool
		code     string
		part     string
		severity doctor.Severity
	}{
		{"an invalid index", []string{"CREATE TABLE x (a int); CREATE INDEX xa ON x (a); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'xa'::regclass"}, false,
			"invalid-index", "public.xa", doctor.Warning},
		{"an invalid unique index", []string{`CREATE SCHEMA "S"; CREATE TABLE "S".x (a int); CREATE UNIQUE INDEX "x a" ON "S".x (a); UPDATE pg_index SET indisvalid = false WHERE indexrelid = '"S"."x a"'::regclass`}, false,
			"invalid-index", `"S"."x a"`, doctor.Error},
		{"an index that REINDEX left", []string{"CREATE TABLE x (a int); CREATE UNIQUE INDEX x_ccnew ON x (a); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'x_ccnew'::regclass"}, false,
			"invalid-index", "x_ccnew", doctor.Warning},
		{"an index without those of its partitions", []string{"CREATE TABLE x (a int) PARTITION BY LIST (a); CREATE TABLE x1 PARTITION OF x DEFAULT; CREATE INDEX xa ON ONLY x (a)"}, false,
			"invalid-index", "public.xa", doctor.Warning},
		{"an index of a partitioned primary key", []string{"CREATE TABLE x (a int, b int) PARTITION BY LIST (a); CREATE TABLE x1 PARTITION OF x FOR VALUES IN (1); CREATE TABLE x2 PARTITION OF x FOR VALUES IN (2)",
			"ALTER TABLE x ALTER a SET NOT NULL, ALTER b SET NOT NULL", `ALTER TABLE ONLY x ADD CONSTRAINT "the key" PRIMARY KEY (a, b)`, "ALTER TABLE x2 ADD PRIMARY KEY (a, b)"}, false,
			"invalid-index", "the key", doctor.Error},
		{"an index of an exclusion", []string{"CREATE TABLE x (a int, CONSTRAINT one EXCLUDE (a WITH =)); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'one'::regclass"}, false,
			"invalid-index", "public.one", doctor.Warning},
		{"a constraint that is not valid", []string{"CREATE TABLE x (a int); ALTER TABLE x ADD CONSTRAINT positive CHECK (a > 0) NOT VALID"}, false,
			"unvalidated-constraint", "positive", doctor.Warning},
		{"a foreign key without an index", []string{"CREATE TABLE x (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE y (c int, a int, b int, FOREIGN KEY (a, b) REFERENCES x); CREATE INDEX ON y (c, a, b)"}, false,
			"foreign-key-index", "public.y", doctor.Info},
		{"a sequence that is near the end of its column", []string{"CREATE TABLE x (id serial); SELECT setval('x_id_seq', 1800000000)"}, false,
			"sequence-end", "2147483647", doctor.Warning},
		{"an identity that is at its end", []string{"CREATE TABLE x (id int GENERATED ALWAYS AS IDENTITY); SELECT setval('x_id_seq', 2100000000)"}, false,
			"sequence-end", "public.x_id_seq", doctor.Error},
		{"a sequence beyond what a column that it fills holds", []string{"CREATE SEQUENCE s; CREATE TABLE x (id int DEFAULT nextval('s')); SELECT setval('s', 3000000000)"}, false,
			"sequence-end", "more than column id of public.x holds, which is integer", doctor.Error},
		{"a column that holds less than its smallint sequence", []string{"CREATE TABLE x (id smallserial); SELECT setval('x_id_seq', 32767)"}, false,
			"sequence-end", "32767", doctor.Error},
		{"a sequence that fills no column", []string{"CREATE SEQUENCE s AS integer MAXVALUE 100; SELECT setval('s', 90)"}, false,
			"sequence-end", "the last value is 100", doctor.Warning},
		{"a sequence that began below 1", []string{"CREATE SEQUENCE s MINVALUE -10 START -10 MAXVALUE 100; SELECT setval('s', 100)"}, false,
			"sequence-end", "the last value is 100", doctor.Error},
		{"a sequence that goes down", []string{"CREATE SEQUENCE s INCREMENT -1 MINVALUE -100; SELECT setval('s', -99)"}, false,
			"sequence-end", "the last value is -100", doctor.Error},
		{"a bigint sequence at its end", []string{"CREATE TABLE x (id bigserial PRIMARY KEY); SELECT setval('x_id_seq', 9223372036854775807)"}, false,
			"sequence-end", "no type is wider", doctor.Error},
		{"a bigint sequence that goes down to its end", []string{"CREATE SEQUENCE s INCREMENT -1; SELECT setval('s', -9223372036854775808)"}, false,
			"sequence-end", "no type is wider", doctor.Error},
		{"a bigint sequence that is to end", []string{"CREATE SEQUENCE s MAXVALUE 100; SELECT setval('s', 100)"}, false,
			"sequence-end", "the last value is 100", doctor.Error},
		{"a sequence of a partitioned table", []string{"CREATE TABLE x (a int, id serial) PARTITION BY LIST (a); CREATE TABLE a1 PARTITION OF x DEFAULT; SELECT setval('x_id_seq', 2147483647)"}, false,
			"sequence-end", "column id of public.x holds", doctor.Error},
		{"a sequence of a column that views use", []string{"CREATE SCHEMA v; CREATE TABLE x (id serial); CREATE VIEW v.a AS SELECT id FROM x; CREATE MATERIALIZED VIEW b AS SELECT id + 1 AS id FROM v.a; CREATE VIEW c AS SELECT a.id FROM v.a JOIN b USING (id)",
			"SELECT setval('x_id_seq', 2147483647)"}, false,
			"sequence-end", "has to be dropped before", doctor.Error},
		{"an empty schema that no module has", []string{"CREATE SCHEMA leftover"}, true,
			"schema-unowned", "leftover", doctor.Info},
		{"an empty schema named like a tenant's", []string{"CREATE SCHEMA tenant_ghost"}, true,
			"schema-unowned", "named like a tenant's", doctor.Warning},
		{"a tenant's schema that is gone", []string{"DROP SCHEMA tenant_acme CASCADE"}, true,
			"schema-gone", "tenant 'acme'", doctor.Error},
		{"a tenant half made", []string{"UPDATE pgdbm.tenants SET state = 'creating', role = NULL, created_at = now() - interval '1 hour' WHERE id = 'Bolt & Co'"}, true,
			"tenant-unfinished", "began 60 min ago", doctor.Warning},
		{"a tenant half dropped", []string{"UPDATE pgdbm.tenants SET state = 'dropping', created_at = now() - interval '1 hour' WHERE id = 'acme'"}, true,
			"tenant-unfinished", "to be dropped", doctor.Warning},
		{"a tenant's schema that everybody may use", []string{"DO $$ DECLARE s name := (SELECT schema FROM pgdbm.tenants WHERE id <> 'acme'); BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO PUBLIC', s); END $$"}, true,
			"tenant-grant", "everybody may use its schema", doctor.Error},
		{"a tenant's schema that another's role may read", []string{"DO $$ DECLARE s name := (SELECT schema FROM pgdbm.tenants WHERE id <> 'acme'); r name := (SELECT role FROM pgdbm.tenants WHERE id = 'acme'); BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I; GRANT SELECT ON ALL TABLES IN SCHEMA %1$I TO %2$I; GRANT USAGE ON ALL SEQUENCES IN SCHEMA %1$I TO %2$I', s, r); END $$"}, true,
			"tenant-grant", "the role of tenant 'acme' may use its schema, and has privileges on 1 table, such as notes", doctor.Error},
		{"a tenant's schema that another's role may read a column of", []string{"DO $$ DECLARE s name := (SELECT schema FROM pgdbm.tenants WHERE id <> 'acme'); r name := (SELECT role FROM pgdbm.tenants WHERE id = 'acme'); BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I; GRANT SELECT (text) ON %1$I.notes TO %2$I', s, r); END $$"}, true,
			"tenant-grant", "has privileges on 1 table, such as notes", doctor.Error},
		{"a tenant's role that is a member of another's", []string{"DO $$ DECLARE a name := (SELECT role FROM pgdbm.tenants WHERE id <> 'acme'); b name := (SELECT role FROM pgdbm.tenants WHERE id = 'acme'); BEGIN EXECUTE format('GRANT %I TO %I', a, b); END $$"}, true,
			"tenant-grant", "the role of tenant 'acme' may use its schema, as a member of ", doctor.Error},
		{"a tenant's role that is gone", []string{"DO $$ DECLARE r name := (SELECT role FROM pgdbm.tenants WHERE id <> 'acme'); BEGIN EXECUTE format('DROP OWNED BY %I; DROP ROLE %1$I', r); END $$"}, true,
			"tenant-grant", "is gone", doctor.Error},
		{"a tenant's role that lacks privileges", []string{"DO $$ DECLARE r record; BEGIN SELECT role, schema INTO r FROM pgdbm.tenants WHERE id <> 'acme'; EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I; REVOKE ALL ON ALL SEQUENCES IN SCHEMA %1$I FROM %2$I; REVOKE USAGE ON SCHEMA %1$I FROM %2$I', r.schema, r.role); END $$"}, true,
			"tenant-grant", "read and write 1 table, such as notes", doctor.Error},
		{"a suspended tenant whose role may work", []string{"DO $$ DECLARE r name := (SELECT role FROM pgdbm.tenants WHERE id = 'acme'); BEGIN EXECUTE format('GRANT USAGE ON SCHEMA tenant_acme TO %I', r); END $$"}, true,
			"tenant-grant", "is suspended", doctor.Error},
		{"a migration that failed", []string{ledger + "('shop', 'shop', '2', 'failed', '002_x.sql', 1, 3, now())"}, true,
			"migration-unfinished", "1 of 3 statements", doctor.Error},
		{"a migration of what is there already", []string{ledger + "('shop', 'shop', '2', 'failed', '002_x.sql', 0, 1, now()); UPDATE pgdbm.migrations SET error_sqlstate = '42P07' WHERE state = 'failed'"}, true,
			"migration-unfinished", "record the file instead of running it: pgdbm migrate baseline --to 2", doctor.Error},
		{"a migration that was interrupted", []string{ledger + "('shop', 'shop', '2', 'running', '002_x.sql', 1, 3, now() - interval '1 day')"}, true,
			"migration-unfinished", "was interrupted", doctor.Warning},
		{"a recorded schema that is gone", []string{ledger + "('billing', 'billing', '1', 'applied', '001_x.sql', 1, 1, now())"}, true,
			"schema-gone", "module billing", doctor.Error},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, url := create(t, shared(t), "")
			if c.furnish {
				furnish(t, url)
			}
			o := doctor.Options{Only: []string{c.code}}
			if r := look(t, url, o); len(r.Findings) > 0 {
				t.Errorf("before: %+v", r.Findings)
			}
			execute(t, url, c.sql...)
			f := one(t, look(t, url, o), c.code, c.part, c.severity)
			if len(f.Fix.SQL) == 0 {
				return // a command: the scripts run them
			}
			execute(t, url, f.Fix.SQL...)
			if r := look(t, url, o); len(r.Findings) > 0 {
				t.Errorf("after %s: %+v", f.Fix.SQL, r.Findings)
			}
		})
	}
}

// PostgreSQL 18 knows constraints that are not enforced, which nobody can validate,
// and NOT NULL that is not valid.
func TestAConstraintThatIsNotEnforcedIsNoFinding(t *testing.T) {
	t.Parallel()
	_, url := create(t, shared(t), "")
	var version int
	if err := connect(t, url).QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		t.Fatal(err)
	}
	if version < 180000 {
		t.Skip("needs PostgreSQL 18")
	}
	execute(t, url, "CREATE TABLE x (a int, CONSTRAINT idle CHECK (a > 0) NOT ENFORCED)", "ALTER TABLE x ADD CONSTRAINT filled NOT NULL a NOT VALID")
	o := doctor.Options{Only: []string{"unvalidated-constraint"}}
	f := one(t, look(t, url, o), "unvalidated-constraint", "", doctor.Warning)
	execute(t, url, f.Fix.SQL...)
	if r := look(t, url, o); len(r.Findings) > 0 {
		t.Errorf("after %s: %+v", f.Fix.SQL, r.Findings)
	}
}

// Where the same is wrong in many schemas, findings say that they are alike.
func TestFindingsOfManySchemasAreOfOneKind(t *testing.T) {
	t.Parallel()
	_, url := create(t, shared(t), "")
	for _, schema := range []string{"a", "b"} {
		execute(t, url, "CREATE SCHEMA "+schema, "CREATE TABLE "+schema+".x (id serial); SELECT setval('"+schema+".x_id_seq', 2147483647)")
	}
	r := look(t, url, doctor.Options{Only: []string{"sequence-end"}})
	if len(r.Findings) != 2 || r.Findings[0].Kind == "" || r.Findings[0].Kind != r.Findings[1].Kind {
		t.Errorf("%+v", r.Findings)
	}
	furnish(t, url)
	execute(t, url, "CREATE SCHEMA tenant_empty; CREATE SCHEMA tenant_void; CREATE SCHEMA tenant_full; CREATE TABLE tenant_full.t ()")
	kinds := make(map[string][]string)
	for _, f := range look(t, url, doctor.Options{Only: []string{"schema-unowned"}}).Findings {
		kinds[f.Kind] = append(kinds[f.Kind], f.What)
	}
	for kind, texts := range kinds {
		if kind != "" && len(slices.Compact(texts)) != 1 {
			t.Errorf("kind %q: %q", kind, texts)
		}
	}
	if len(kinds) != 3 { // those of a and b, which have none
		t.Errorf("%q", kinds)
	}
}

// A unique index that cannot be built has duplicates, which the fix shows first.
func TestTheFixOfAUniqueIndexShowsItsDuplicates(t *testing.T) {
	t.Parallel()
	_, url := create(t, shared(t), "")
	conn := connect(t, url)
	execute(t, url, `CREATE TABLE x (a int, b text); INSERT INTO x VALUES (1, 'A'), (1, 'a'), (2, 'b'), (3, 'c'), (3, 'C'), (NULL, 'd'), (NULL, 'd')`)
	if _, err := conn.Exec(t.Context(), `CREATE UNIQUE INDEX CONCURRENTLY "one of a" ON x (a, lower(b)) WHERE a IS NULL OR a <> 3`); err == nil {
		t.Fatal("no duplicates")
	}
	o := doctor.Options{Only: []string{"invalid-index"}}
	f := one(t, look(t, url, o), "invalid-index", "one of a", doctor.Error)
	rows, err := conn.Query(t.Context(), f.Fix.SQL[0])
	if err != nil {
		t.Fatalf("%s: %v", f.Fix.SQL[0], err)
	}
	type duplicate struct {
		A int
		B string
		N int
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[duplicate])
	if err != nil || len(found) != 1 || found[0] != (duplicate{1, "a", 2}) {
		t.Errorf("%+v, %v", found, err)
	}
	execute(t, url, "DELETE FROM x WHERE b = 'A'")
	execute(t, url, f.Fix.SQL...)
	if r := look(t, url, o); len(r.Findings) > 0 {
		t.Errorf("after %s: %+v", f.Fix.SQL, r.Findings)
	}
}

// What is not a table is something, too.
func TestASchemaOfFunctionsIsNotEmpty(t *testing.T) {
	t.Parallel()
	_, url := create(t, shared(t), "")
	furnish(t, url)
	execute(t, url, "CREATE SCHEMA f; CREATE FUNCTION f.one() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE f.color AS ENUM ('red')")
	f := one(t, look(t, url, doctor.Options{}), "schema-unowned", "schema f", doctor.Info)
	if !strings.HasPrefix(f.What, "with 2 objects") {
		t.Error(f.What)
	}
	var names []string
	rows, err := connect(t, url).Query(t.Context(), f.Fix.SQL[0])
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var name string
		var size *string
		if err := rows.Scan(&name, &size); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if got := strings.Join(names, ", "); rows.Err() != nil || len(names) != 2 || !strings.Contains(got, "function f.one()") {
		t.Error(got, rows.Err())
	}
}
