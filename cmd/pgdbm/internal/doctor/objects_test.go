package doctor_test

import (
	"testing"

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
		{"a tenant's role that is gone", []string{"DO $$ DECLARE r name := (SELECT role FROM pgdbm.tenants WHERE id <> 'acme'); BEGIN EXECUTE format('DROP OWNED BY %I; DROP ROLE %1$I', r); END $$"}, true,
			"tenant-grant", "is gone", doctor.Error},
		{"a tenant's role that lacks privileges", []string{"DO $$ DECLARE r record; BEGIN SELECT role, schema INTO r FROM pgdbm.tenants WHERE id <> 'acme'; EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I; REVOKE ALL ON ALL SEQUENCES IN SCHEMA %1$I FROM %2$I; REVOKE USAGE ON SCHEMA %1$I FROM %2$I', r.schema, r.role); END $$"}, true,
			"tenant-grant", "read and write 1 table, such as notes", doctor.Error},
		{"a suspended tenant whose role may work", []string{"DO $$ DECLARE r name := (SELECT role FROM pgdbm.tenants WHERE id = 'acme'); BEGIN EXECUTE format('GRANT USAGE ON SCHEMA tenant_acme TO %I', r); END $$"}, true,
			"tenant-grant", "is suspended", doctor.Error},
		{"a migration that failed", []string{ledger + "('shop', 'shop', '2', 'failed', '002_x.sql', 1, 3, now())"}, true,
			"migration-unfinished", "1 of 3 statements", doctor.Error},
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
			if f.Fix.SQL == "" {
				return // a command: the scripts run them
			}
			execute(t, url, f.Fix.SQL)
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
	execute(t, url, f.Fix.SQL)
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
}
