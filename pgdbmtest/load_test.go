package pgdbmtest_test

import (
	"context"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

// shop has tables of all kinds to load.
var shop = pgdbm.Module{Name: "shop", Schema: "The Shop", Files: fstest.MapFS{"001_shop.sql": {Data: []byte(`
	CREATE TYPE {{types.mood}} AS ENUM ('happy', 'sad');
	CREATE TABLE {{tables.people}} (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		name varchar(5) NOT NULL,
		born date, code char(2), mood {{types.mood}} DEFAULT 'happy', tags text[], grid int[], data jsonb, raw bytea, key uuid,
		shout text GENERATED ALWAYS AS (upper(name)) STORED,
		boss bigint REFERENCES {{tables.people}}, mentor bigint REFERENCES {{tables.people}}
	);
	CREATE TABLE {{tables.orders}} (id serial PRIMARY KEY, buyer bigint NOT NULL REFERENCES {{tables.people}}, total numeric(8, 2));
	CREATE TABLE {{tables."Odd Lines"}} (orders_id int REFERENCES {{tables.orders}}, "a ""b""" text);
	CREATE TABLE {{tables.hens}} (id int PRIMARY KEY, egg int);
	CREATE TABLE {{tables.eggs}} (id int PRIMARY KEY, hen int REFERENCES {{tables.hens}});
	ALTER TABLE {{tables.hens}} ADD FOREIGN KEY (egg) REFERENCES {{tables.eggs}} DEFERRABLE;
	CREATE TABLE {{tables.yin}} (id int PRIMARY KEY, other int);
	CREATE TABLE {{tables.yang}} (id int PRIMARY KEY, other int REFERENCES {{tables.yin}});
	ALTER TABLE {{tables.yin}} ADD FOREIGN KEY (other) REFERENCES {{tables.yang}};`)}}}

func text(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

type handle interface {
	pgdbmtest.Handle
	pgdbm.Querier
}

// shops are the handles that can be loaded into.
func shops(t *testing.T, fn func(t *testing.T, h handle)) {
	t.Run("New", func(t *testing.T) {
		t.Parallel()
		fn(t, attach(t, pgdbmtest.New(t, shop), shop))
	})
	t.Run("Tx", func(t *testing.T) {
		t.Parallel()
		fn(t, pgdbmtest.Tx(t, shop))
	})
	t.Run("InTx", func(t *testing.T) {
		t.Parallel()
		err := attach(t, pgdbmtest.New(t, shop), shop).InTx(t.Context(), func(_ context.Context, tx *pgdbm.Tx) error {
			fn(t, tx)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestFixturesAreLoadedInTheOrderOfForeignKeys(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{
		"Odd Lines.csv": text("orders_id,\"a \"\"b\"\"\"\n7,\"two\nlines, \"\"quoted\"\"\"\n"),
		"01_orders.csv": text("\ufeffid,buyer,total\n7,2,9.50\n"),
		"02_people.json": text(`[
			{"id": 1, "name": "Ann", "boss": 2, "mentor": 3},
			{"id": 2, "name": "Bob", "born": "1990-02-03", "code": "b", "mood": "sad", "tags": ["a b", "c\"d", null, "", "e\\f"],
			 "grid": [[1, 2], [3, 4]], "data": {"x": [1, "two", null]}, "raw": "\\xdead", "key": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "mentor": 3},
			{"id": 3, "name": "Cy", "boss": 3}
		]`),
		"hens.csv":   text("id,egg\n1,1\n"),
		"eggs.csv":   text("id,hen\n1,1\n"),
		"README.txt": text("not a fixture"),
	}
	shops(t, func(t *testing.T, h handle) {
		pgdbmtest.Load(t, h, files)
		got := value[string](t, h, `SELECT concat_ws('|', born, code, mood, tags, grid, data, encode(raw, 'hex'), key, shout) FROM {{tables.people}} WHERE id = 2`)
		const want = `1990-02-03|b |sad|{"a b","c\"d",NULL,"","e\\f"}|{{1,2},{3,4}}|{"x": [1, "two", null]}|dead|6ba7b810-9dad-11d1-80b4-00c04fd430c8|BOB`
		if got != want {
			t.Errorf("row is\n%s, not\n%s", got, want)
		}
		if got := value[string](t, h, `SELECT "a ""b""" FROM {{tables."Odd Lines"}}`); got != "two\nlines, \"quoted\"" {
			t.Errorf("%q", got)
		}
		// Sequences go on behind what was loaded.
		if id := value[int](t, h, `INSERT INTO {{tables.people}} (name) VALUES ('new') RETURNING id`); id < 4 { // sequences are not rolled back
			t.Errorf("identity %d", id)
		}
		if id := value[int](t, h, `INSERT INTO {{tables.orders}} (buyer) VALUES (1) RETURNING id`); id < 8 {
			t.Errorf("serial %d", id)
		}
	})
}

func TestFixturesOfSQLExpandPlaceholdersAndGoInOrder(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{
		"1.sql": text("-- people\nINSERT INTO {{tables.people}} (name) VALUES ('a;b');\nINSERT INTO {{tables.people}} (name)\nVALUES ('c');\n-- end"),
		"2.csv": text("id\n"), "3.json": text("[]"),
		"people.csv": text("name\nd\n"),
		"z.sql":      text("UPDATE {{tables.people}} SET code = 'z' WHERE name = 'd'"),
	}
	shops(t, func(t *testing.T, h handle) {
		pgdbmtest.Load(t, h, files, "1.sql", "p*.csv", "z.sql")
		if got := value[string](t, h, `SELECT string_agg(name || coalesce(code, ''), ',' ORDER BY id) FROM {{tables.people}}`); got != "a;b,c,dz" {
			t.Errorf("%q", got)
		}
	})
}

func TestEmptyFieldsAreNullUnlessQuoted(t *testing.T) {
	t.Parallel()
	db := pgdbmtest.Tx(t, shop)
	pgdbmtest.Load(t, db, fstest.MapFS{"people.csv": text("name,code,born\r\n\"\",\"\",\r\nBob,,2020-01-01\r\n")})
	got := value[string](t, db, `SELECT string_agg(concat_ws('|', name, coalesce(code, 'null'), coalesce(born::text, 'null')), ' ' ORDER BY id) FROM {{tables.people}}`)
	if got != "|  |null Bob|null|2020-01-01" {
		t.Errorf("%q", got)
	}
}

func TestBadFixturesNameTheirPlaceAndChangeNothing(t *testing.T) {
	t.Parallel()
	shops(t, func(t *testing.T, h handle) {
		for _, tt := range []struct{ file, text, want string }{
			{"people.csv", "name\nBob\nBarbara\n", `load people.csv:3: ERROR: value too long for type character varying(5)`},
			{"people.csv", "name,born\nBob,2020-01-01\nAnn,someday\n", `load people.csv:3: column "born": ERROR: invalid input syntax for type date: "someday"`},
			{"people.csv", "name,born\n,2020-01-01\n", `load people.csv:2: column "name": ERROR: null value`},
			{"people.csv", "name,age\nBob,1\n", `load people.csv:1: column "age": table "people" has none of this name`},
			{"people.csv", "name,name\nBob,1\n", `load people.csv:1: column "name": named twice`},
			{"people.csv", "name,shout\nBob,1\n", `load people.csv:1: column "shout": PostgreSQL computes it`},
			{"people.csv", "name\nBob\nAnn,1\n", `load people.csv:3: 2 fields for 1 columns`},
			{"people.csv", "name\nBob\n\"Ann\n", `load people.csv:3:6: extraneous or missing " in quoted-field`},
			{"people.csv", "", `load people.csv:1: no record that names the columns`},
			{"nobody.csv", "name\n", `load nobody.csv: table "nobody" in schema "The Shop": no such table`},
			{"01_nobody.csv", "name\n", `load 01_nobody.csv: table "nobody" in schema "The Shop": no such table`},
			{"people.json", `{"name": "Bob"}`, `load people.json:1: { where [ should be: an array of objects is needed`},
			{"people.json", "[\n{\"name\": \"Bob\"},\n1]", `load people.json:3: 1 where { should be`},
			{"people.json", "[\n{\"name\": \"Bob\"},\n{\"name\": }]", `load people.json:3: invalid character '}'`},
			{"people.json", "[\n{\"name\": \"Bob\"}", `load people.json:2: unexpected EOF`},
			{"people.json", "[] []", `load people.json:1: something follows the array`},
			{"people.json", "[\n{\"name\": \"Bob\", \"name\": \"Ann\"}]", `load people.json:2: column "name": named twice`},
			{"people.json", "[\n{\"name\": \"Bob\", \"born\": 7}]", `load people.json:2: column "born": ERROR: invalid input syntax for type date: "7"`},
			{"orders.csv", "id,buyer\n1,99\n", `load orders.csv:2: ERROR: insert or update on table "orders" violates foreign key constraint`},
			{"hens.csv", "id,egg\n1,99\n", `load hens.csv: ERROR: insert or update on table "hens" violates foreign key constraint`},
			{"x.sql", "SELECT 1;\nSELECT x;", `load x.sql:2: ERROR: column "x" does not exist`},
			{"x.sql", "SELECT 1;\n-- now\nCOMMIT;", `load x.sql:3: transaction control in a fixture`},
			{"x.sql", "COPY {{tables.people}} (name) FROM stdin;\nBob\n\\.\n", `load x.sql:1: COPY ... FROM STDIN and psql commands are not for fixtures`},
			{"x.sql", "SELECT {{tables.}}", `load x.sql:1: `},
			{"x.txt", "", `load: x.txt: neither .sql nor .csv nor .json`},
		} {
			err := pgdbmtest.LoadFiles(t.Context(), h, fstest.MapFS{
				"first.sql": text(`INSERT INTO {{tables.people}} (name) VALUES ('first')`), tt.file: text(tt.text),
			}, "first.sql", tt.file)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("%s %q:\n%v, not\n%s", tt.file, tt.text, err, tt.want)
			}
		}
		for _, names := range [][]string{{"gone.csv"}, {"["}, nil} {
			if err := pgdbmtest.LoadFiles(t.Context(), h, fstest.MapFS{"x.txt": text("")}, names...); err == nil {
				t.Errorf("%q loaded", names)
			}
		}
		err := pgdbmtest.LoadFiles(t.Context(), h, fstest.MapFS{"yin.csv": text("id\n"), "yang.csv": text("id\n")})
		if err == nil || err.Error() != "load yang.csv, yin.csv: foreign keys that are not DEFERRABLE go round in a circle" {
			t.Error(err)
		}
		if n := value[int](t, h, `SELECT count(*) FROM {{tables.people}}`); n != 0 {
			t.Errorf("%d people", n)
		}
	})
}

func TestASeedCanLoadFiles(t *testing.T) {
	t.Parallel()
	c := pgdbmtest.Config{SeedKey: "one person", Seed: func(ctx context.Context, pool *pgdbm.Pool) error {
		db, err := pool.Schema("The Shop")
		if err != nil {
			return err
		}
		return pgdbmtest.LoadFiles(ctx, db, fstest.MapFS{"people.csv": text("name\nBob\n")})
	}}
	if n := value[int](t, c.Tx(t, shop), `SELECT count(*) FROM {{tables.people}}`); n != 1 {
		t.Errorf("%d people", n)
	}
}

func TestPythonBugColumnsOfTheFirstRowOnly(t *testing.T) {
	t.Parallel()
	db := pgdbmtest.Tx(t, shop)
	pgdbmtest.Load(t, db, fstest.MapFS{"people.json": text(`[{"name": "Ann"}, {"mood": "sad", "code": "x", "name": "Bob"}, {"mood": null, "name": "Cy"}]`)})
	got := value[string](t, db, `SELECT string_agg(concat_ws('/', name, coalesce(mood::text, 'null'), code), ' ' ORDER BY id) FROM {{tables.people}}`)
	if got != "Ann/happy Bob/sad/x  Cy/null" {
		t.Errorf("%q", got)
	}
}

func FuzzFixtures(f *testing.F) {
	f.Add("people.csv", "name,born\nBob,\"\"\n")
	f.Add("people.json", `[{"name": "Bob", "tags": ["a", ["b"]]}]`)
	f.Add("x.sql", "SELECT 1; -- x")
	f.Fuzz(func(t *testing.T, name, content string) {
		_ = pgdbmtest.LoadFiles(t.Context(), pgdbmtest.Tx(t, shop), fstest.MapFS{name: text(content)})
	})
}
