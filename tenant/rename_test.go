package tenant_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
	"github.com/pgdbm/pgdbm/tenant"
)

func TestWhatNamesItsSchemaFollowsARename(t *testing.T) {
	t.Parallel()
	pool := open(t, 8)
	for i, c := range []struct{ name, sql, call string }{
		{"placeholders", `CREATE FUNCTION {{functions.f}}() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM {{tables.items}}'`, `SELECT {{functions.f}}()`},
		{"names that the server has quoted", `DO $$ BEGIN EXECUTE format('CREATE FUNCTION %1$I.f() RETURNS bigint LANGUAGE sql AS ''SELECT count(items.n) FROM %1$I.items, LATERAL %1$I . id(1)''', {{schema:literal}}); END $$`, `SELECT {{functions.f}}()`},
		{"search_path", `CREATE FUNCTION {{functions.f}}() RETURNS bigint LANGUAGE plpgsql SET search_path = {{schema}}, pg_temp AS 'BEGIN RETURN (SELECT count(*) FROM items); END'`, `SELECT {{functions.f}}()`},
		{"dynamic SQL", `CREATE FUNCTION {{functions.f}}() RETURNS bigint LANGUAGE plpgsql AS $f$DECLARE n bigint; BEGIN EXECUTE format('SELECT count(*) FROM %I.items', {{schema:literal}}) INTO n; EXECUTE 'SELECT count(*) FROM {{tables.items}} WHERE n < length(''{{tables.items}}'')' INTO n; RETURN n; END$f$`, `SELECT {{functions.f}}()`},
		{"a body of the standard's", `CREATE FUNCTION {{functions.f}}() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM {{tables.items}} WHERE ('"' || {{schema:literal}} || '".items')::regclass IS NOT NULL; END`, `SELECT {{functions.f}}()`},
		{"a default of an argument", `CREATE FUNCTION {{functions.f}}(s text DEFAULT {{schema:literal}}) RETURNS bigint LANGUAGE plpgsql AS $f$DECLARE n bigint; BEGIN EXECUTE format('SELECT count(*) FROM %I.items', s) INTO n; RETURN n; END$f$`, `SELECT {{functions.f}}()`},
		{"a procedure", `CREATE PROCEDURE {{functions.p}}(INOUT n bigint) LANGUAGE plpgsql AS $f$BEGIN SELECT count(*) INTO n FROM {{tables.items}}; END$f$; CREATE FUNCTION {{functions.f}}() RETURNS bigint LANGUAGE plpgsql AS $f$DECLARE n bigint; BEGIN CALL {{functions.p}}(n); RETURN n; END$f$`, `SELECT {{functions.f}}()`},
		{"an aggregate and a type", `CREATE TYPE {{types.mood}} AS ENUM ('a'); CREATE FUNCTION {{functions.step}}(bigint, {{types.mood}}) RETURNS bigint LANGUAGE sql AS 'SELECT $1 + (SELECT count(*) FROM {{tables.items}} WHERE $2 = ''a''::{{types.mood}})';
			CREATE AGGREGATE {{functions.agg}}({{types.mood}}) (SFUNC = {{functions.step}}, STYPE = bigint, INITCOND = '0')`, `SELECT {{functions.agg}}('a')`},
		{"a body that calls what is missing", `CREATE FUNCTION {{functions.gone}}() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION {{functions.broken}}() RETURNS int LANGUAGE sql AS 'SELECT {{functions.gone}}()'; DROP FUNCTION {{functions.gone}}()`, `SELECT count(*) FROM {{tables.items}}`},
		{"another schema whose name begins so", `CREATE FUNCTION {{functions.f}}() RETURNS bigint LANGUAGE sql AS $$SELECT count(*) FROM {{tables.items}} WHERE '{{schema}}x' <> '"' AND 'x' || {{schema:literal}} <> ''$$`, `SELECT {{functions.f}}()`},
		{"a view, a default, a trigger", `CREATE VIEW {{tables.v}} AS SELECT * FROM {{tables.items}}; CREATE SEQUENCE {{sequences.s}}; CREATE TABLE {{tables.log}} (n bigint DEFAULT nextval('{{sequences.s}}'), c regclass DEFAULT '{{tables.items}}'::regclass);
			CREATE FUNCTION {{functions.note}}() RETURNS trigger LANGUAGE plpgsql AS $f$BEGIN INSERT INTO {{tables.log}} DEFAULT VALUES; RETURN NULL; END$f$; CREATE TRIGGER note AFTER UPDATE ON {{tables.items}} EXECUTE FUNCTION {{functions.note}}();
			CREATE FUNCTION {{functions.f}}() RETURNS bigint LANGUAGE sql AS 'UPDATE {{tables.items}} SET n = 1; SELECT n FROM {{tables.log}}'`, `SELECT {{functions.f}}()`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := pgdbm.Module{Name: fmt.Sprint("names", i), Files: files(`CREATE TABLE {{tables.items}} (n int); INSERT INTO {{tables.items}} VALUES (1); CREATE FUNCTION {{functions.id}}(int) RETURNS int LANGUAGE sql AS 'SELECT $1'`, c.sql)}
			ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}, Isolate: true})
			create(t, ts, m.Name)
			if _, err := ts.Rename(t.Context(), m.Name, m.Name+"_new"); err != nil {
				t.Fatal(err)
			}
			db := handle(t, ts, m.Name+"_new")
			if n := value[int](t, db, c.call); n != 1 {
				t.Error(n)
			}
			// What is made later is granted, as before.
			m.Files = files(`CREATE TABLE {{tables.items}} (n int); INSERT INTO {{tables.items}} VALUES (1); CREATE FUNCTION {{functions.id}}(int) RETURNS int LANGUAGE sql AS 'SELECT $1'`, c.sql, `CREATE TABLE {{tables.later}} (n int)`)
			owner, err := pool.Schema(db.Schema())
			if err == nil {
				_, err = migrate.Up(t.Context(), owner, m, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			mustExec(t, db, `INSERT INTO {{tables.later}} VALUES (1)`)
		})
	}
}

func TestWhatWouldKeepTheOldNameIsNotRenamed(t *testing.T) {
	t.Parallel()
	pool := open(t, 8)
	for i, c := range []struct{ what, sql string }{
		{"default of domain d", `CREATE DOMAIN {{types.d}} AS text DEFAULT {{schema:literal}}`},
		{"rule r", `CREATE TABLE {{tables.t}} (a text); CREATE RULE r AS ON INSERT TO {{tables.t}} WHERE NEW.a = {{schema:literal}} DO INSTEAD NOTHING`},
		{"partition t_own", `CREATE TABLE {{tables.t}} (a text) PARTITION BY LIST (a); CREATE TABLE {{tables.t_own}} PARTITION OF {{tables.t}} FOR VALUES IN ({{schema:literal}})`},
		{"view v", `CREATE TABLE {{tables.t}} (a text); CREATE VIEW {{tables.v}} AS SELECT to_regclass('{{tables.t}}') AS t`},
		{"default of column t.a", `CREATE TABLE {{tables.t}} (a text DEFAULT '{{schema}}.x')`},
		{"default of column t.n", `CREATE SEQUENCE {{sequences.s}}; CREATE TABLE {{tables.t}} (n text DEFAULT {{schema:literal}} || nextval('{{sequences.s}}'))`},
		{"default of column t.g", `CREATE TABLE {{tables.t}} (a text, g text GENERATED ALWAYS AS (a || {{schema:literal}}) STORED)`},
		{"trigger tr", `CREATE TABLE {{tables.t}} (a text); CREATE FUNCTION {{functions.f}}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER tr BEFORE INSERT ON {{tables.t}} FOR EACH ROW EXECUTE FUNCTION {{functions.f}}({{schema:literal}})`},
		{"index t_i", `CREATE TABLE {{tables.t}} (a text); CREATE INDEX t_i ON {{tables.t}} (a) WHERE a <> {{schema:literal}}`},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			m := pgdbm.Module{Name: fmt.Sprint("held", i), Files: files(c.sql)}
			ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}})
			create(t, ts, m.Name)
			if _, err := ts.Rename(t.Context(), m.Name, m.Name+"_new"); !errors.Is(err, tenant.ErrRequired) || !strings.Contains(err.Error(), c.what) {
				t.Error(err)
			}
			handle(t, ts, m.Name)
		})
	}
}

func TestTwoTenantsNeverShareARole(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	ts := tenants(t, pool, tenant.Config{Isolate: true})
	owner, err := pool.Schema("geo")
	if err != nil {
		t.Fatal(err)
	}
	role := value[string](t, create(t, ts, "b"), `SELECT current_user::text`)
	mustExec(t, owner, fmt.Sprintf(`CREATE TABLE {{tables.theirs}} (id int); CREATE VIEW {{tables.held}} AS SELECT * FROM {{tables.theirs}};
		GRANT USAGE, CREATE ON SCHEMA {{schema}} TO %[1]q; ALTER TABLE {{tables.theirs}} OWNER TO %[1]q`, role)) // so that it stays
	if err := ts.Drop(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	create(t, ts, "a")
	if _, err := ts.Rename(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	a, b := create(t, ts, "a"), handle(t, ts, "b")
	if x, y := value[string](t, a, `SELECT current_user::text`), value[string](t, b, `SELECT current_user::text`); x == y || y == role {
		t.Errorf("%s, %s, and %s was there", x, y, role)
	}
	if _, err := a.Exec(t.Context(), `SELECT FROM tenant_b.items`); state(err) != "42501" {
		t.Error(err)
	}
	for _, db := range []*pgdbm.DB{a, b} {
		mustExec(t, db, `INSERT INTO {{tables.items}} (name) VALUES ('x')`)
	}
}
