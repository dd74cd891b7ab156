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

// odd has one of each thing that a copy of rows may stumble over, or lose.
var odd = []struct {
	name string
	sql  string // the migration
	rows string // of the tenant that is cloned
	want string // one text, the same in both
}{
	{"unlogged table", `CREATE UNLOGGED TABLE {{tables.u}} (n int); INSERT INTO {{tables.u}} VALUES (1)`,
		`INSERT INTO {{tables.u}} VALUES (2)`, `SELECT string_agg(n::text, ',' ORDER BY n) FROM {{tables.u}}`},
	{"types of the schema", `CREATE TYPE {{types.mood}} AS ENUM ('sad', 'it''s fine'); CREATE TYPE {{types.pair}} AS (a int, b {{types.mood}}, c float8);
		CREATE DOMAIN {{types.small}} AS int CHECK (VALUE < 10); CREATE TYPE {{types.floats}} AS RANGE (subtype = float8);
		CREATE TABLE {{tables.base}} (n int);
		CREATE TABLE {{tables.t}} (m {{types.mood}}, ms {{types.mood}}[], p {{types.pair}}, d {{types.small}}, ds {{types.small}}[], r {{types.floats}}, row {{tables.base}})`,
		`INSERT INTO {{tables.t}} VALUES ('it''s fine', '{sad,"it''s fine"}', (1, 'sad', 0.1::float8 + 0.2::float8), 3, '{1,2}', '[1.1,2.2]', ROW(7)), (NULL, NULL, NULL, NULL, NULL, NULL, NULL)`,
		`SELECT string_agg(t::text, ';' ORDER BY t::text) FROM {{tables.t}} t`},
	{"triggers as they are", `CREATE TABLE {{tables.t}} (n int) PARTITION BY LIST (n); CREATE TABLE {{tables.t_rest}} PARTITION OF {{tables.t}} DEFAULT; CREATE TABLE {{tables.log}} (text text);
		CREATE FUNCTION {{functions.note}}() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO {{tables.log}} VALUES (TG_NAME); RETURN NULL; END$$;
		CREATE TRIGGER whole AFTER INSERT ON {{tables.t}} FOR EACH ROW EXECUTE FUNCTION {{functions.note}}();
		CREATE TRIGGER part AFTER INSERT ON {{tables.t_rest}} FOR EACH ROW EXECUTE FUNCTION {{functions.note}}();
		CREATE TRIGGER off AFTER INSERT ON {{tables.t_rest}} FOR EACH ROW EXECUTE FUNCTION {{functions.note}}(); ALTER TABLE {{tables.t_rest}} DISABLE TRIGGER off;
		CREATE TRIGGER replica AFTER INSERT ON {{tables.log}} FOR EACH ROW EXECUTE FUNCTION {{functions.note}}(); ALTER TABLE {{tables.log}} ENABLE REPLICA TRIGGER replica;
		CREATE TRIGGER always BEFORE TRUNCATE ON {{tables.log}} EXECUTE FUNCTION {{functions.note}}(); ALTER TABLE {{tables.log}} ENABLE ALWAYS TRIGGER always`,
		`INSERT INTO {{tables.t}} VALUES (1)`,
		`SELECT (SELECT string_agg(text, ',' ORDER BY text) FROM {{tables.log}}) || ' ' || string_agg(tgrelid::regclass::name || tgname || tgenabled::text, ',' ORDER BY tgrelid::regclass::name || tgname)
		FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = {{schema:literal}}::regnamespace)`},
	{"keys", `CREATE TABLE {{tables.a}} (id int PRIMARY KEY, b int, a int CONSTRAINT self REFERENCES {{tables.a}} DEFERRABLE INITIALLY DEFERRED);
		CREATE TABLE {{tables.b}} (id int PRIMARY KEY, a int CONSTRAINT ba REFERENCES {{tables.a}} ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, c text CONSTRAINT bc REFERENCES {{tables.geo.countries}} DEFERRABLE INITIALLY DEFERRED);
		ALTER TABLE {{tables.a}} ADD CONSTRAINT ab FOREIGN KEY (b) REFERENCES {{tables.b}} DEFERRABLE NOT VALID; COMMENT ON CONSTRAINT ab ON {{tables.a}} IS 'it''s a key';
		INSERT INTO {{tables.b}} VALUES (9, 9, 'IS'); INSERT INTO {{tables.a}} VALUES (9, 9, 9)`,
		`SET CONSTRAINTS ALL DEFERRED; INSERT INTO {{tables.a}} VALUES (2, NULL, 1), (1, NULL, 2); INSERT INTO {{tables.b}} VALUES (1, 2, 'IS'); UPDATE {{tables.a}} SET b = 1 WHERE id < 3`,
		`SELECT string_agg(x::text, ';' ORDER BY id) || (SELECT string_agg(y::text, ';' ORDER BY id) FROM {{tables.b}} y) || (SELECT string_agg(conname || condeferrable || condeferred || convalidated || confdeltype::text || coalesce(obj_description(oid, 'pg_constraint'), ''), ',' ORDER BY conname)
		FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 AND connamespace = {{schema:literal}}::regnamespace) FROM {{tables.a}} x`},
	{"constraint that old rows do not fit", `CREATE TABLE {{tables.t}} (n int); CREATE TABLE {{tables.kid}} () INHERITS ({{tables.t}});
		ALTER TABLE {{tables.t}} ADD CONSTRAINT positive CHECK (n > 0) NOT VALID; COMMENT ON CONSTRAINT positive ON {{tables.t}} IS 'from now on'`,
		`ALTER TABLE {{tables.t}} DROP CONSTRAINT positive; INSERT INTO {{tables.t}} VALUES (-1); INSERT INTO {{tables.kid}} VALUES (-2);
		ALTER TABLE {{tables.t}} ADD CONSTRAINT positive CHECK (n > 0) NOT VALID; COMMENT ON CONSTRAINT positive ON {{tables.t}} IS 'from now on'`,
		`SELECT string_agg(n::text, ',' ORDER BY n) || (SELECT string_agg(conname || convalidated || coninhcount || coalesce(obj_description(oid, 'pg_constraint'), ''), ',' ORDER BY conrelid) FROM pg_constraint WHERE connamespace = {{schema:literal}}::regnamespace AND contype = 'c') FROM {{tables.t}}`},
	{"rows without columns", `CREATE TABLE {{tables.none}} (); CREATE TABLE {{tables.made}} (n int GENERATED ALWAYS AS (1) STORED)`,
		`INSERT INTO {{tables.none}} DEFAULT VALUES; INSERT INTO {{tables.none}} DEFAULT VALUES; INSERT INTO {{tables.made}} DEFAULT VALUES`,
		`SELECT (SELECT count(*) FROM {{tables.none}}) || ' ' || (SELECT count(n) FROM {{tables.made}})`},
	{"rules", `CREATE TABLE {{tables.t}} (n int); CREATE TABLE {{tables.log}} (n int); CREATE TABLE {{tables.frozen}} (n int); INSERT INTO {{tables.frozen}} VALUES (5);
		CREATE RULE note AS ON INSERT TO {{tables.t}} DO ALSO INSERT INTO {{tables.log}} VALUES (NEW.n); CREATE RULE no AS ON INSERT TO {{tables.frozen}} DO INSTEAD NOTHING`,
		`INSERT INTO {{tables.t}} VALUES (1)`,
		`SELECT (SELECT count(*) FROM {{tables.t}}) || ' ' || (SELECT count(*) FROM {{tables.log}}) || ' ' || (SELECT sum(n) FROM {{tables.frozen}}) || (SELECT string_agg(rulename || ev_enabled::text, ',' ORDER BY rulename) FROM pg_rewrite r JOIN pg_class c ON c.oid = ev_class WHERE relnamespace = {{schema:literal}}::regnamespace)`},
	{"sequences and identities", `CREATE SEQUENCE {{sequences.s}} INCREMENT -2; CREATE TABLE {{tables.t}} (a int GENERATED ALWAYS AS IDENTITY, b int GENERATED BY DEFAULT AS IDENTITY (START 100), c serial, d bigint DEFAULT nextval('{{sequences.s}}'));
		CREATE TABLE {{tables.other}} (n int DEFAULT nextval('{{sequences.s}}'))`,
		`INSERT INTO {{tables.t}} DEFAULT VALUES; INSERT INTO {{tables.t}} DEFAULT VALUES; DELETE FROM {{tables.t}} WHERE a = 2; INSERT INTO {{tables.other}} DEFAULT VALUES`,
		`WITH i AS (INSERT INTO {{tables.t}} DEFAULT VALUES RETURNING t.*), o AS (INSERT INTO {{tables.other}} DEFAULT VALUES RETURNING n) SELECT i::text || (SELECT string_agg(t::text, ';') FROM {{tables.t}} t) || o.n FROM i, o`},
	{"inheritance and partitions", `CREATE TABLE {{tables.p}} (n int PRIMARY KEY); CREATE TABLE {{tables.c}} (m int) INHERITS ({{tables.p}});
		CREATE TABLE {{tables.parts}} (n int, r int4range, PRIMARY KEY (n)) PARTITION BY RANGE (n); CREATE TABLE {{tables.low}} (r int4range, gone int, n int NOT NULL); ALTER TABLE {{tables.low}} DROP gone; ALTER TABLE {{tables.parts}} ATTACH PARTITION {{tables.low}} FOR VALUES FROM (0) TO (10);
		CREATE TABLE {{tables.high}} PARTITION OF {{tables.parts}} FOR VALUES FROM (10) TO (100) PARTITION BY LIST (n); CREATE TABLE {{tables.highest}} PARTITION OF {{tables.high}} DEFAULT;
		CREATE TABLE {{tables.ref}} (n int REFERENCES {{tables.parts}} DEFERRABLE); CREATE TABLE {{tables.x}} (r int4range, EXCLUDE USING gist (r WITH &&) DEFERRABLE INITIALLY DEFERRED)`,
		`INSERT INTO {{tables.p}} VALUES (1); INSERT INTO {{tables.c}} VALUES (2, 3); INSERT INTO {{tables.parts}} VALUES (1, '[1,2)'), (50, NULL); INSERT INTO {{tables.ref}} VALUES (50); INSERT INTO {{tables.x}} VALUES ('[1,3)'), ('[3,4)')`,
		`SELECT string_agg(tableoid::regclass::name || n, ',' ORDER BY n) || (SELECT string_agg(tableoid::regclass::name || parts::text, ',' ORDER BY n) FROM {{tables.parts}}) || (SELECT sum(n) FROM {{tables.ref}}) || (SELECT string_agg(r::text, ',' ORDER BY r) FROM {{tables.x}}) FROM {{tables.p}}`},
	{"row security", `CREATE TABLE {{tables.t}} (n int); ALTER TABLE {{tables.t}} ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON {{tables.t}} USING (n > 1) WITH CHECK (true)`,
		`INSERT INTO {{tables.t}} VALUES (1), (2)`, `SELECT (SELECT sum(n) FROM {{tables.t}}) || ' ' || relrowsecurity FROM pg_class WHERE oid = '{{tables.t}}'::regclass`},
}

func TestACloneHasAllThatTheOtherHas(t *testing.T) {
	t.Parallel()
	pool := open(t, 8)
	for i, o := range odd {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			m := pgdbm.Module{Name: fmt.Sprint("odd", i), Requires: []string{"geo"}, Files: files(o.sql)}
			ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}})
			id := m.Name
			db := create(t, ts, id)
			mustExec(t, db, o.rows)
			if _, err := ts.Clone(t.Context(), id, id+"_copy"); err != nil {
				t.Fatal(err)
			}
			clone := handle(t, ts, id+"_copy")
			text := func(db *pgdbm.DB) string {
				return strings.ReplaceAll(value[string](t, db, o.want), db.Schema()+".", "")
			}
			if got, want := text(clone), text(db); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
			v, err := migrate.Verify(t.Context(), clone, m, nil)
			if err != nil || !v.OK() {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
}

func TestACloneOfAColumnOfAnotherTypeIsRefused(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	m := pgdbm.Module{Name: "typed", Files: files(`CREATE TABLE {{tables.t}} (n int)`)}
	ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}})
	db := create(t, ts, "acme")
	mustExec(t, db, `ALTER TABLE {{tables.t}} ALTER n TYPE numeric; INSERT INTO {{tables.t}} VALUES (1.5)`)
	if _, err := ts.Clone(t.Context(), "acme", "copy"); !errors.Is(err, tenant.ErrDiffers) || !strings.Contains(err.Error(), "numeric") {
		t.Error(err)
	}
}

func TestACloneIsKeptApartAsWhatItIsOf(t *testing.T) {
	t.Parallel()
	pool := open(t, 4)
	m := pgdbm.Module{Name: "one", Files: files(`CREATE TABLE {{tables.t}} (n int)`)}
	create(t, tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}, Isolate: true}), "acme")
	ts := tenants(t, pool, tenant.Config{Modules: []pgdbm.Module{m}})
	create(t, ts, "open")
	for from, isolated := range map[string]bool{"acme": true, "open": false} {
		c, err := ts.Clone(t.Context(), from, "copy of "+from)
		if err != nil || (c.Role != "") != isolated {
			t.Fatalf("%s: %+v, %v", from, c, err)
		}
	}
	if _, err := handle(t, ts, "copy of acme").Exec(t.Context(), `SELECT FROM tenant_open.t`); state(err) != "42501" {
		t.Errorf("the copy reads others: %v", err)
	}
}
