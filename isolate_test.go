package pgdbm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

var notesModule = pgdbm.Module{Name: "notes", Files: fstest.MapFS{
	"001_notes.sql": {Data: []byte(`CREATE TABLE {{tables.notes}} (id serial PRIMARY KEY, text text);
		CREATE VIEW {{tables.texts}} AS SELECT text FROM {{tables.notes}};
		CREATE FUNCTION {{functions.count}}() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM {{tables.notes}}'`)}}}

// asLogins runs f with a database's URL as a superuser, and as a login that may
// create roles and inherits nothing.
func asLogins(t *testing.T, f func(t *testing.T, url string)) {
	t.Parallel()
	t.Run("superuser", func(t *testing.T) {
		t.Parallel()
		admin, _ := testdb.Login(t, "")
		f(t, admin)
	})
	t.Run("login", func(t *testing.T) {
		t.Parallel()
		_, login := testdb.Login(t, "CREATEROLE NOINHERIT")
		f(t, login)
	})
}

// isolated attaches the notes to schemas of these names with roles of their own,
// each with one note, its name.
func isolated(t *testing.T, pool *pgdbm.Pool, names ...string) []*pgdbm.DB {
	t.Helper()
	var dbs []*pgdbm.DB
	for _, name := range names {
		db, err := pool.Isolate(t.Context(), pgdbm.HandleConfig{Schema: name})
		if err != nil {
			t.Fatal(err)
		}
		a := mustAttach(t, db, notesModule)
		mustExec(t, a, `INSERT INTO {{tables.notes}} (text) VALUES ($1)`, name)
		dbs = append(dbs, a.DB)
	}
	return dbs
}

func TestAnIsolatedSchemaIsUsedAsAnyOther(t *testing.T) {
	asLogins(t, func(t *testing.T, url string) {
		pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 2})
		isolated(t, pool, "Acme & Co")
		db, err := pool.Isolate(t.Context(), pgdbm.HandleConfig{Schema: "Acme & Co"}) // all is in place
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range sessionKinds {
			kind.with(t, db, func(ctx context.Context, s session) {
				if s.Schema() != db.Schema() {
					t.Fatalf("%s: schema %q", kind.name, s.Schema())
				}
				for range 5 { // until the statements have names
					if got := value[string](t, s, `SELECT text FROM {{tables.notes}} WHERE id = $1`, 1); got != db.Schema() {
						t.Errorf("%s: %q", kind.name, got)
					}
					if got := value[bool](t, s, `SELECT current_user <> session_user`); !got {
						t.Errorf("%s: no role", kind.name)
					}
				}
				mustExec(t, s, `INSERT INTO {{tables.notes}} (text) VALUES ('a'), ('b')`)
				mustExec(t, s, `UPDATE {{tables.notes}} SET text = 'c' WHERE text = $1`, "a")
				mustExec(t, s, `DELETE FROM {{tables.notes}} WHERE text = 'b'; DELETE FROM {{tables.notes}} WHERE text = 'c'`)
				if got := value[int](t, s, `SELECT {{functions.count}}()`); got != 1 {
					t.Errorf("%s: %d notes", kind.name, got)
				}
				for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
					pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
					if got := value[string](t, s, `SELECT text FROM {{tables.texts}}`, mode); got != db.Schema() {
						t.Errorf("%s, %v: %q", kind.name, mode, got)
					}
				}
				var b pgx.Batch
				b.Queue(`INSERT INTO {{tables.notes}} (text) VALUES ($1)`, "x")
				b.Queue(`SELECT count(*) FROM {{tables.notes}}`).QueryRow(func(row pgx.Row) error {
					var n int
					if err := row.Scan(&n); err != nil || n != 2 {
						t.Errorf("%s: %d notes, %v", kind.name, n, err)
					}
					return nil
				})
				b.Queue(`DELETE FROM {{tables.notes}} WHERE text = 'x'`)
				if err := s.SendBatch(ctx, &b).Close(); err != nil {
					t.Errorf("%s: batch: %v", kind.name, err)
				}
				n, err := s.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"text"}, pgx.CopyFromRows([][]any{{"copied"}}))
				if err != nil || n != 1 {
					t.Errorf("%s: copy: %d, %v", kind.name, n, err)
				}
				mustExec(t, s, `DELETE FROM {{tables.notes}} WHERE text = 'copied'`)
			})
			wantIdle(t, pool)
		}
		// Nothing is left on the connections.
		if got := value[bool](t, mustSchema(t, pool, "x"), `SELECT current_user = session_user`); !got {
			t.Error("a role is left")
		}
	})
}

// escape is a mistake that reaches from schema a into schema b.
type escape struct {
	name string
	sql  string // %s is the other schema
	args []any
	own  bool // refused by pgdbm, not by the server
}

var escapes = []escape{
	{"another schema's table", `SELECT text FROM %s.notes`, nil, false},
	{"with an argument", `SELECT text FROM %s.notes WHERE id = $1`, []any{1}, false},
	{"another module's template", `SELECT text FROM {{tables.other.notes}}`, nil, false},
	{"in a join", `SELECT n.text FROM {{tables.notes}} n JOIN %s.notes o USING (id)`, nil, false},
	{"insert", `INSERT INTO %s.notes (text) VALUES ('x')`, nil, false},
	{"update", `UPDATE %s.notes SET text = 'x'`, nil, false},
	{"delete", `DELETE FROM %s.notes`, nil, false},
	{"insert from", `INSERT INTO {{tables.notes}} (text) SELECT text FROM %s.notes`, nil, false},
	{"truncate", `TRUNCATE %s.notes`, nil, false},
	{"truncate with its own", `TRUNCATE {{tables.notes}}, %s.notes`, nil, false},
	{"lock", `LOCK TABLE %s.notes IN ACCESS SHARE MODE`, nil, false},
	{"another schema's view", `SELECT text FROM %s.texts`, nil, false},
	{"another schema's function", `SELECT %s.count()`, nil, false},
	{"another schema's sequence", `SELECT nextval('%s.notes_id_seq')`, nil, false},
	{"in a DO block", `DO $$ BEGIN PERFORM text FROM %s.notes; END $$`, nil, false},
	{"DO block with EXECUTE", `DO $$ BEGIN EXECUTE 'DELETE FROM %s.notes'; END $$`, nil, false},
	{"a query in XML", `SELECT query_to_xml('SELECT * FROM %s.notes', true, false, '')`, nil, false},
	{"copy out", `COPY %s.notes TO STDOUT`, nil, false},
	{"copy to a file", `COPY {{tables.notes}} TO '/tmp/notes'`, nil, false},
	{"copy to a program", `COPY {{tables.notes}} TO PROGRAM 'cat'`, nil, false},
	{"a file", `SELECT pg_read_file('PG_VERSION')`, nil, false},
	{"explain analyze", `EXPLAIN ANALYZE DELETE FROM %s.notes`, nil, false},
	{"a view over it", `CREATE VIEW {{tables.spy}} AS SELECT * FROM %s.notes`, nil, false},
	{"a foreign key to it", `ALTER TABLE {{tables.notes}} ADD FOREIGN KEY (id) REFERENCES %s.notes`, nil, false},
	{"a table of its own", `CREATE TABLE {{tables.more}} (id int)`, nil, false},
	{"drop its own table", `DROP TABLE {{tables.notes}}`, nil, false},
	{"drop the other's", `DROP SCHEMA %s CASCADE`, nil, false},
	{"a new schema", `CREATE SCHEMA spy`, nil, false},
	{"the ledger", `SELECT * FROM pgdbm.migrations`, nil, false},

	{"the user's own role", `RESET ROLE`, nil, true},
	{"another role", `SET LOCAL ROLE postgres`, nil, true},
	{"no role", `SET ROLE NONE`, nil, true},
	{"another role by function", `SELECT set_config('role', 'none', true)`, nil, true},
	{"another user", `SET SESSION AUTHORIZATION DEFAULT`, nil, true},
	{"after a commit", `COMMIT; SELECT text FROM %s.notes`, nil, true},
	{"after a rollback", `SELECT 1; ROLLBACK; DELETE FROM %s.notes`, nil, true},
	{"discard", `DISCARD ALL`, nil, true},
	{"listen", `LISTEN %s`, nil, true},
	{"notify", `NOTIFY %s`, nil, true},
	{"notify by function", `SELECT pg_notify('%s', 'x')`, nil, true},
	{"a temporary table", `CREATE TEMPORARY TABLE spy (id int)`, nil, true},
	{"a temporary view", `CREATE OR REPLACE TEMP VIEW spy AS SELECT 1`, nil, true},
	{"a temporary table from a query", `SELECT * INTO TEMP spy FROM {{tables.notes}}`, nil, true},
	{"the temporary schema", `CREATE TABLE pg_temp.spy (id int)`, nil, true},
}

var preparedNames atomic.Int64

// tries are the ways to run a statement.
var tries = []struct {
	name string
	run  func(ctx context.Context, s session, sql string, args []any) error
}{
	{"Exec", func(ctx context.Context, s session, sql string, args []any) error {
		_, err := s.Exec(ctx, sql, args...)
		return err
	}},
	{"Query", func(ctx context.Context, s session, sql string, args []any) error {
		rows, err := s.Query(ctx, sql, args...)
		if err == nil {
			rows.Close()
			err = rows.Err()
		}
		return err
	}},
	{"QueryRow", func(ctx context.Context, s session, sql string, args []any) error {
		var v any
		return s.QueryRow(ctx, sql, args...).Scan(&v)
	}},
	{"Query by the simple protocol", func(ctx context.Context, s session, sql string, args []any) error {
		rows, err := s.Query(ctx, sql, append([]any{pgx.QueryExecModeSimpleProtocol}, args...)...)
		if err == nil {
			rows.Close()
			err = rows.Err()
		}
		return err
	}},
	{"Prepare", func(ctx context.Context, s session, sql string, args []any) error {
		tx, ok := s.(*pgdbm.Tx)
		if !ok { // which nobody else has
			_, err := s.Exec(ctx, sql, args...)
			return err
		}
		name := fmt.Sprintf("prepared_%d", preparedNames.Add(1)) // it outlives the transaction
		if _, err := tx.Prepare(ctx, name, sql); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, name, args...)
		return err
	}},
	{"SendBatch", func(ctx context.Context, s session, sql string, args []any) error {
		var b pgx.Batch
		b.Queue(`SELECT 1`)
		b.Queue(sql, args...)
		return s.SendBatch(ctx, &b).Close()
	}},
}

func TestMistakesThatReachIntoAnotherSchemaFail(t *testing.T) {
	asLogins(t, func(t *testing.T, url string) {
		pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 4})
		dbs := isolated(t, pool, "a", "b")
		other := dbs[1].Schema()
		role := value[string](t, dbs[0], `SELECT current_user::text`)
		a, err := pool.Handle(pgdbm.HandleConfig{Schema: "a", Role: role, Aliases: map[string]string{"other": "b"}})
		if err != nil {
			t.Fatal(err)
		}
		plain := mustSchema(t, pool, "b")
		for _, kind := range sessionKinds {
			if kind.name == "Attached" {
				continue // whose module names no other
			}
			for _, e := range escapes {
				sql := strings.ReplaceAll(e.sql, "%s", other)
				for _, try := range tries {
					kind.with(t, a, func(ctx context.Context, s session) {
						err := try.run(ctx, s, sql, e.args)
						what := fmt.Sprintf("%s, %s, %s", kind.name, try.name, e.name)
						switch st := state(err); {
						case err == nil:
							t.Errorf("%s: no error", what)
						case try.name == "SendBatch" && strings.HasPrefix(sql, "DO") && errors.Is(err, pgdbm.ErrEscape): // outside a transaction
						case e.own != errors.Is(err, pgdbm.ErrEscape):
							t.Errorf("%s: %v", what, err)
						case e.own:
						case st == "42501":
						case st == "25P01" && e.name == "lock": // outside a transaction
						case st == "42601" && (try.name == "SendBatch" || try.name == "Prepare" || strings.Contains(e.sql, ";")): // several statements, or none that can be described
						default:
							t.Errorf("%s: %v", what, err)
						}
					})
				}
			}
			// Where the rows come from the caller.
			kind.with(t, a, func(ctx context.Context, s session) {
				_, err := s.CopyFrom(ctx, pgx.Identifier{other, "notes"}, []string{"text"}, pgx.CopyFromRows([][]any{{"x"}}))
				wantState(t, err, "42501")
			})
		}
		if got := value[string](t, plain, `SELECT string_agg(text, ',') FROM {{tables.notes}}`); got != "b" {
			t.Errorf("the other schema has %q", got)
		}
		if got := value[string](t, a, `SELECT string_agg(text, ',') FROM {{tables.notes}}`); got != "a" {
			t.Errorf("the schema has %q", got)
		}
	})
}

func TestAMigrationThatReachesIntoAnotherSchemaIsRefused(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 4, Isolate: true})
	mustAttach(t, pool, pgdbm.Module{Name: "b", Files: notesModule.Files})
	for name, c := range map[string]struct{ sql, want string }{
		"view":              {`CREATE VIEW {{tables.spy}} AS SELECT text FROM b.notes`, `view %s.spy depends on table b.notes of schema b`},
		"materialized view": {`CREATE MATERIALIZED VIEW {{tables.spy}} AS SELECT text FROM b.texts`, `materialized view %s.spy depends on view b.texts of schema b`},
		"foreign key":       {`CREATE TABLE {{tables.t}} (id int REFERENCES b.notes)`, `constraint t_id_fkey on table %s.t depends on table b.notes of schema b`},
		"default":           {`CREATE TABLE {{tables.t}} (id int DEFAULT nextval('b.notes_id_seq'))`, `default value for column id of table %s.t depends on sequence b.notes_id_seq of schema b`},
		"rule":              {`CREATE TABLE {{tables.t}} (id int); CREATE RULE r AS ON INSERT TO {{tables.t}} DO ALSO DELETE FROM b.notes`, `rule of %s.t depends on table b.notes of schema b`},
		"policy":            {`CREATE TABLE {{tables.t}} (id int); CREATE POLICY p ON {{tables.t}} USING (id IN (SELECT id FROM b.notes))`, `policy p on table %s.t depends on table b.notes of schema b`},
		"definer":           {`CREATE FUNCTION {{functions.f}}() RETURNS bigint SECURITY DEFINER LANGUAGE sql AS 'SELECT count(*) FROM b.notes'`, `function %s.f() is SECURITY DEFINER`},
		"inherits":          {`CREATE TABLE {{tables.t}} () INHERITS (b.notes)`, `table %s.t depends on table b.notes of schema b`},
	} {
		schema := "x_" + strings.ReplaceAll(name, " ", "_")
		_, err := pgdbm.Attach(t.Context(), pool, pgdbm.Module{Name: schema, Files: fstest.MapFS{"001_x.sql": {Data: []byte(c.sql)}}})
		if !errors.Is(err, pgdbm.ErrEscape) || !strings.Contains(err.Error(), strings.ReplaceAll(c.want, "%s", schema)) {
			t.Errorf("%s: %v", name, err)
		}
		if n := value[int](t, mustSchema(t, pool, schema), `SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass
			AND refobjid = to_regnamespace({{schema:literal}})`); n != 0 {
			t.Errorf("%s: %d objects are made", name, n)
		}
	}
}

func TestARoleReadsWhatItsModuleRequiresAndNothingElse(t *testing.T) {
	asLogins(t, func(t *testing.T, url string) {
		pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 4, Isolate: true})
		mustAttach(t, pool, pgdbm.Module{Name: "shared", Files: notesModule.Files})
		files := fstest.MapFS{"001_x.sql": {Data: []byte(`CREATE TABLE {{tables.mine}} (id int REFERENCES {{tables.shared.notes}});
			CREATE VIEW {{tables.view}} AS SELECT text FROM {{tables.shared.notes}}`)}}
		m := pgdbm.Module{Name: "reads", Files: files, Requires: []string{"shared"}}
		db := mustAttach(t, pool, m)
		if got := value[int](t, db, `SELECT count(*) FROM {{tables.shared.notes}} LEFT JOIN {{tables.view}} USING (text)`); got != 0 {
			t.Errorf("%d notes", got)
		}
		_, err := db.Exec(t.Context(), `INSERT INTO {{tables.shared.notes}} (text) VALUES ('x')`)
		wantState(t, err, "42501")
		// What the required module makes later can be read as well.
		more := pgdbm.Module{Name: "shared", Files: fstest.MapFS{"001_notes.sql": notesModule.Files.(fstest.MapFS)["001_notes.sql"],
			"002_more.sql": {Data: []byte(`CREATE TABLE {{tables.more}} (id int)`)}}}
		shared := mustAttach(t, pool, more)
		mustExec(t, shared, `INSERT INTO {{tables.more}} VALUES (1)`)
		if got := value[int](t, db, `SELECT id FROM {{tables.shared.more}}`); got != 1 {
			t.Errorf("id %d", got)
		}
		_, err = shared.Exec(t.Context(), `SELECT * FROM reads.mine`)
		wantState(t, err, "42501")
	})
}

func TestATransactionMovesBetweenRoles(t *testing.T) {
	asLogins(t, func(t *testing.T, url string) {
		pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 1})
		dbs := isolated(t, pool, "a", "b")
		plain := mustSchema(t, pool, "b")
		check := func(s session, want string) {
			t.Helper()
			got := value[string](t, s, `SELECT coalesce((SELECT 'role' WHERE current_user LIKE 'pgdbm\_' || $1 || '\_%'), 'none')`, s.Schema())
			if got != want {
				t.Errorf("%s in schema %s, want %s", got, s.Schema(), want)
			}
		}
		for _, begin := range []*pgdbm.DB{dbs[0], plain} {
			first := "role"
			if begin == plain {
				first = "none"
			}
			err := begin.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
				check(tx, first)
				a, b, p := in(t, tx, dbs[0]), in(t, tx, dbs[1]), in(t, tx, plain)
				for range 4 {
					check(a, "role")
					check(b, "role")
					check(p, "none")
					check(tx, first)
				}
				mustExec(t, b, `INSERT INTO {{tables.notes}} (text) VALUES ('together')`)
				mustExec(t, a, `INSERT INTO {{tables.notes}} (text) VALUES ('together')`)
				_ = tx.InTx(ctx, func(ctx context.Context, sp *pgdbm.Tx) error {
					check(in(t, sp, dbs[1]), "role")
					if _, err := in(t, sp, dbs[1]).Exec(ctx, `SELECT * FROM a.notes`); state(err) != "42501" {
						t.Errorf("b reads a: %v", err)
					}
					return errStop
				})
				check(tx, first)
				_ = b.InTx(ctx, func(ctx context.Context, sp *pgdbm.Tx) error {
					check(in(t, sp, plain), "none")
					return errStop
				})
				check(b, "role")
				check(p, "none")
				// What a rollback to a savepoint brings back is another role than the last one.
				for _, last := range []*pgdbm.Tx{a, b, p} {
					for _, before := range []*pgdbm.Tx{a, b, p} {
						for _, next := range []*pgdbm.Tx{a, b, p} {
							value[int](t, before, `SELECT 1`)
							sp := savepoint(t, tx)
							value[int](t, last, `SELECT 1`)
							if err := sp.Rollback(ctx); err != nil {
								t.Error(err)
							}
							check(next, map[bool]string{true: "none", false: "role"}[next == p])
						}
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			check(plain, "none")
		}
		for _, db := range dbs {
			if n := value[int](t, db, `SELECT count(*) FROM {{tables.notes}} WHERE text = 'together'`); n != 2 {
				t.Errorf("%d rows in %s", n, db.Schema())
			}
		}
	})
}

// savepoint sets a savepoint in a transaction.
func savepoint(t *testing.T, tx *pgdbm.Tx) *pgdbm.Tx {
	t.Helper()
	sp, err := tx.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return sp.(*pgdbm.Tx)
}

func TestAConnectionThatTheCallerHasHadIsNotTrusted(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 1})
	db := isolated(t, pool, "a")[0]
	isRole := func(q pgdbm.Querier) {
		t.Helper()
		if !value[bool](t, q, `SELECT current_user <> session_user`) {
			t.Error("no role")
		}
	}
	err := db.WithConn(t.Context(), func(ctx context.Context, c *pgdbm.Conn) error {
		isRole(c)
		for range 2 {
			tx, err := c.Pgx().Begin(ctx)
			if err != nil {
				return err
			}
			isRole(c)
			if _, err := tx.Exec(ctx, `RESET ROLE`); err != nil {
				return err
			}
			isRole(c)
			if err := tx.Commit(ctx); err != nil {
				return err
			}
			isRole(c)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	err = db.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
		isRole(tx)
		if _, err := tx.Conn().Exec(ctx, `RESET ROLE`); err != nil {
			return err
		}
		isRole(tx)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestARoleThatIsGoneIsAClearError(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 1})
	db, err := pool.Handle(pgdbm.HandleConfig{Schema: "a", Role: "nobody at all"})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"DB", "Tx"} {
		run := func() error { _, err := db.Exec(t.Context(), `SELECT 1`); return err }
		if kind == "Tx" {
			run = func() error { _, err := db.Begin(t.Context()); return err }
		}
		if err := run(); !errors.Is(err, pgdbm.ErrRole) || !strings.Contains(err.Error(), `role "nobody at all" of schema "a"`) || state(err) != "22023" {
			t.Errorf("%s: %v", kind, err)
		}
		wantIdle(t, pool)
	}
	if got := value[int](t, mustSchema(t, pool, "a"), `SELECT 1`); got != 1 {
		t.Error("the pool is spoilt")
	}
	for _, name := range []string{"none", `a"b`, "pg_signal_backend", strings.Repeat("x", 64)} {
		if _, err := pool.Handle(pgdbm.HandleConfig{Schema: "a", Role: name}); err == nil {
			t.Errorf("role %q is accepted", name)
		}
	}
}

func TestALoginThatMayNotCreateRolesIsToldWhatToRun(t *testing.T) {
	t.Parallel()
	admin, login := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: login, MaxConns: 2})
	_, err := pool.Isolate(t.Context(), pgdbm.HandleConfig{Schema: "a"})
	pe, ok := errors.AsType[*pgdbm.PrivilegeError](err)
	if !ok || pe.Schema != "a" || state(err) != "42501" {
		t.Fatalf("got %v", err)
	}
	testdb.Exec(t, admin, strings.Join(pe.Statements, ";\n"))
	db, err := pool.Isolate(t.Context(), pgdbm.HandleConfig{Schema: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if got := value[bool](t, db, `SELECT current_user <> session_user`); !got {
		t.Error("no role")
	}
}

func TestAnErrorsPlaceIsThatInTheTextAlsoBehindARole(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 1})
	db := isolated(t, pool, "a")[0]
	for _, sql := range []string{`SELECT ä`, `SELECT 1; SELECT ä`} {
		_, err := db.Exec(t.Context(), sql)
		pe, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || int(pe.Position) != len([]rune(sql)) {
			t.Errorf("%s: %+v", sql, err)
		}
	}
}

func TestARoleCostsNoRoundTrip(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	var w writes
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 1, Pgx: w.Config})
	db := isolated(t, pool, "a")[0]
	read := func(q pgdbm.Querier) {
		value[string](t, q, `SELECT text FROM {{tables.notes}} WHERE id = $1`, 1)
	}
	for range 6 { // the statement and the role's get their names, the pooler is looked for
		read(db)
	}
	if n := w.of(func() { read(db) }); n != 1 {
		t.Errorf("%d round trips for a named statement", n)
	}
	for range 2 {
		mustExec(t, db, `UPDATE {{tables.notes}} SET text = $1 WHERE id = $2`, "a", 1)
	}
	if n := w.of(func() { mustExec(t, db, `UPDATE {{tables.notes}} SET text = $1 WHERE id = $2`, "a", 1) }); n != 1 {
		t.Errorf("%d round trips for one that gets its name", n)
	}
	if n := w.of(func() { mustExec(t, db, `DELETE FROM {{tables.notes}} WHERE false`) }); n != 2 { // it is described
		t.Errorf("%d round trips for one that is new", n)
	}
	if n := w.of(func() { mustExec(t, db, `DELETE FROM {{tables.notes}} WHERE false`) }); n != 1 {
		t.Errorf("%d round trips for one without arguments", n)
	}
	if n := w.of(func() { mustExec(t, db, `DELETE FROM {{tables.notes}} WHERE false; SELECT 1`) }); n != 1 {
		t.Errorf("%d round trips for several statements", n)
	}
	n := w.of(func() {
		err := db.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
			read(tx)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	if n != 3 {
		t.Errorf("%d round trips for begin, a query and commit", n)
	}
}

func TestAStatementThatAnotherRoleHasPreparedIsPreparedAnew(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 1})
	dbs := isolated(t, pool, "a", "b")
	mustExec(t, mustSchema(t, pool, "b"), `CREATE FUNCTION {{functions.one}}() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'`)
	for _, sql := range []string{`SELECT b.one(), $1::int`, `SELECT 'x', b.count(), $1::int`, `SELECT text, $1::int FROM b.texts`} {
		for range 5 { // until it has a name
			mustExec(t, dbs[1], sql, 1)
			mustExec(t, mustSchema(t, pool, "a"), sql, 1)
		}
		for range 5 {
			_, err := dbs[0].Exec(t.Context(), sql, 1)
			wantState(t, err, "42501")
		}
	}
}

func TestRolesWorkThroughPgBouncer(t *testing.T) {
	t.Parallel()
	const schemas, goroutines, reads = 8, 8, 4000
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: testdb.PgBouncer(t, admin)(admin), MaxConns: goroutines})
	var names []string
	for i := range schemas {
		names = append(names, fmt.Sprintf("t%d", i))
	}
	dbs := isolated(t, pool, names...)
	var done atomic.Int64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for n := done.Add(1); n <= reads; n = done.Add(1) {
				db := dbs[n%schemas]
				var text, user string
				err := db.QueryRow(t.Context(), `SELECT text, current_user FROM {{tables.notes}} WHERE id = $1`, 1).Scan(&text, &user)
				if err != nil || text != db.Schema() || !strings.HasPrefix(user, "pgdbm_"+db.Schema()+"_") {
					t.Errorf("read %d: %s as %s in %s, %v", n, text, user, db.Schema(), err)
					return
				}
				_, err = db.Exec(t.Context(), `SELECT text FROM t`+fmt.Sprint((n+1)%schemas)+`.notes`)
				if state(err) != "42501" {
					t.Errorf("another schema's notes: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	plain := mustSchema(t, pool, "t0")
	for range goroutines {
		if got := value[bool](t, plain, `SELECT current_user = session_user`); !got {
			t.Error("a role is left on a connection")
		}
	}
}

func TestNoStatementRunsAsAnothersRoleWhateverHappens(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	const conns, goroutines, rounds = 4, 12, 150
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: conns})
	dbs := isolated(t, pool, "a", "b", "c")
	for _, name := range []string{"a", "b"} {
		dbs = append(dbs, mustSchema(t, pool, name)) // as the pool's user
	}
	right := func(db *pgdbm.DB, user string) bool {
		isRole := strings.HasPrefix(user, "pgdbm_"+db.Schema()+"_")
		return isRole == (db == dbs[0] || db == dbs[1] || db == dbs[2]) && (isRole || !strings.HasPrefix(user, "pgdbm_"))
	}
	var ran atomic.Int64
	var wg sync.WaitGroup
	for g := range goroutines {
		r := rand.New(rand.NewPCG(7, uint64(g)))
		wg.Go(func() {
			for n := range rounds {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(4000))*time.Microsecond)
				if n%3 == 0 {
					cancel()
					ctx, cancel = context.WithCancel(t.Context())
				}
				db, other := dbs[r.IntN(len(dbs))], dbs[r.IntN(len(dbs))]
				check := func(db *pgdbm.DB, q pgdbm.Querier) error {
					var user string
					sql := `SELECT current_user::text, count(*) FROM {{tables.notes}} WHERE id > $1` + strings.Repeat(" ", r.IntN(6))
					err := q.QueryRow(ctx, sql, 0).Scan(&user, new(int))
					if err != nil {
						return err
					}
					ran.Add(1)
					if !right(db, user) {
						t.Errorf("in schema %s as %s", db.Schema(), user)
					}
					return nil
				}
				switch r.IntN(8) {
				case 0, 1, 2:
					_ = check(db, db)
				case 3: // an error, then another statement
					_, _ = db.Exec(ctx, `SELECT 1 / (id - 1) FROM {{tables.notes}}`)
					_ = check(other, other)
				case 4:
					_ = db.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
						view, err := tx.In(other)
						if err != nil {
							return err
						}
						_ = tx.InTx(ctx, func(ctx context.Context, sp *pgdbm.Tx) error {
							inside, err := sp.In(other)
							if err == nil {
								err = check(other, inside)
							}
							if err == nil {
								_, err = sp.Exec(ctx, `SELECT 1 / 0`)
							}
							return err
						})
						if err := check(other, view); err != nil {
							return err
						}
						return check(db, tx)
					})
				case 5:
					_, _ = db.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"text"}, pgx.CopyFromRows([][]any{{"x"}}))
				case 6:
					var b pgx.Batch
					for range 3 {
						b.Queue(`SELECT current_user::text`).QueryRow(func(row pgx.Row) error {
							var user string
							if err := row.Scan(&user); err != nil {
								return err
							}
							ran.Add(1)
							if !right(db, user) {
								t.Errorf("batch in schema %s as %s", db.Schema(), user)
							}
							return nil
						})
					}
					_ = db.SendBatch(ctx, &b).Close()
				case 7:
					if r.IntN(4) == 0 {
						_, _ = dbs[4].Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
							WHERE datname = current_database() AND pid <> pg_backend_pid() LIMIT 1`)
					}
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if ran.Load() < goroutines*rounds/8 {
		t.Errorf("%d statements were checked", ran.Load())
	}
}

func TestModulesInOneIsolatedSchemaRequireWhatEachNeeds(t *testing.T) {
	asLogins(t, func(t *testing.T, url string) {
		pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 4, Isolate: true})
		for _, name := range []string{"x", "y"} {
			mustAttach(t, pool, pgdbm.Module{Name: name, Files: notesModule.Files})
		}
		isolate := func() *pgdbm.DB {
			db, err := pool.Isolate(t.Context(), pgdbm.HandleConfig{Schema: "both"})
			if err != nil {
				t.Fatal(err)
			}
			return db
		}
		module := func(name string, requires ...string) pgdbm.Module {
			sql := fmt.Sprintf(`CREATE TABLE {{tables.%s}} (id int)`, name)
			for _, r := range requires {
				sql += fmt.Sprintf(`; ALTER TABLE {{tables.%s}} ADD %s int REFERENCES {{tables.%[2]s.notes}}`, name, r)
			}
			return pgdbm.Module{Name: name, Requires: requires, Files: fstest.MapFS{"001_x.sql": {Data: []byte(sql)}}}
		}
		for range 2 {
			a := mustAttach(t, isolate(), module("a", "x"))
			b := mustAttach(t, isolate(), module("b", "y"))
			mustAttach(t, isolate(), module("c"))
			mustExec(t, a, `SELECT FROM {{tables.x.notes}}`)
			mustExec(t, b, `SELECT FROM {{tables.y.notes}}`)
		}
		_, err := isolate().Exec(t.Context(), `INSERT INTO x.notes (text) VALUES ('x')`)
		wantState(t, err, "42501")
	})
}
