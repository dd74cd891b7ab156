package pgdbm_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm"
)

// session is what DB, Tx and Conn have in common.
type session interface {
	pgdbm.Querier
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error)
	Begin(ctx context.Context) (pgx.Tx, error)
	Schema() string
	Expand(sql string) (string, error)
}

var (
	_ session = (*pgdbm.DB)(nil)
	_ session = (*pgdbm.Attached)(nil)
	_ session = (*pgdbm.Tx)(nil)
	_ session = (*pgdbm.Conn)(nil)
)

// sessionKinds runs f with each kind of session, seen from the schema of db.
var sessionKinds = []struct {
	name string
	inTx bool // an error spoils what comes after it
	with func(t *testing.T, db *pgdbm.DB, f func(ctx context.Context, s session))
}{
	{"DB", false, func(t *testing.T, db *pgdbm.DB, f func(context.Context, session)) {
		f(t.Context(), db)
	}},
	{"Attached", false, func(t *testing.T, db *pgdbm.DB, f func(context.Context, session)) {
		f(t.Context(), mustAttach(t, db, pgdbm.Module{Name: "bare"}))
	}},
	{"Tx", true, func(t *testing.T, db *pgdbm.DB, f func(context.Context, session)) {
		tx := begin(t, db)
		defer tx.Rollback(context.Background())
		f(t.Context(), tx)
	}},
	{"InTx", true, func(t *testing.T, db *pgdbm.DB, f func(context.Context, session)) {
		_ = db.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
			f(ctx, tx)
			return errStop
		})
	}},
	{"savepoint", true, func(t *testing.T, db *pgdbm.DB, f func(context.Context, session)) {
		tx := begin(t, db)
		defer tx.Rollback(context.Background())
		f(t.Context(), begin(t, tx))
	}},
	{"Conn", false, func(t *testing.T, db *pgdbm.DB, f func(context.Context, session)) {
		err := db.WithConn(t.Context(), func(ctx context.Context, c *pgdbm.Conn) error {
			f(ctx, c)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}},
	{"Tx of a Conn", true, func(t *testing.T, db *pgdbm.DB, f func(context.Context, session)) {
		err := db.WithConn(t.Context(), func(ctx context.Context, c *pgdbm.Conn) error {
			_ = c.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
				f(ctx, tx)
				return errStop
			})
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}},
	{"view of a Tx", true, func(t *testing.T, db *pgdbm.DB, f func(context.Context, session)) {
		tx := begin(t, mustSchema(t, db.Pool(), "elsewhere"))
		defer tx.Rollback(context.Background())
		f(t.Context(), in(t, tx, db))
	}},
	{"view of a savepoint", true, func(t *testing.T, db *pgdbm.DB, f func(context.Context, session)) {
		tx := begin(t, mustSchema(t, db.Pool(), "elsewhere"))
		defer tx.Rollback(context.Background())
		f(t.Context(), in(t, begin(t, tx), db))
	}},
}

// begin begins a transaction or savepoint.
func begin(t *testing.T, b interface {
	Begin(context.Context) (pgx.Tx, error)
}) *pgdbm.Tx {
	t.Helper()
	tx, err := b.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tx.(*pgdbm.Tx)
}

func in(t *testing.T, tx *pgdbm.Tx, db *pgdbm.DB) *pgdbm.Tx {
	t.Helper()
	view, err := tx.In(db)
	if err != nil {
		t.Fatal(err)
	}
	return view
}

// onEach runs f with each kind of session, each in a schema of its own with
// the tables order (id int PRIMARY KEY, text text) and "Mixed" (like order).
func onEach(t *testing.T, f func(ctx context.Context, t *testing.T, s session)) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 4})
	for i, kind := range sessionKinds {
		t.Run(kind.name, func(t *testing.T) {
			db := mustSchema(t, pool, fmt.Sprintf("Acme %d", i))
			mustExec(t, db, `CREATE SCHEMA {{schema}}`)
			mustExec(t, db, `CREATE TABLE {{tables.order}} (id int PRIMARY KEY, text text)`)
			mustExec(t, db, `CREATE TABLE {{tables."Mixed"}} (LIKE {{tables.order}})`)
			kind.with(t, db, func(ctx context.Context, s session) {
				if s.Schema() != db.Schema() {
					t.Errorf("schema %q, want %q", s.Schema(), db.Schema())
				}
				f(ctx, t, s)
			})
			wantIdle(t, pool)
		})
	}
}

func TestStatementsAreExpandedAndRun(t *testing.T) {
	onEach(t, func(ctx context.Context, t *testing.T, s session) {
		tag, err := s.Exec(ctx, `INSERT INTO {{tables.order}} VALUES ($1, $2), (2, 'two')`, 1, "one")
		if err != nil || tag.RowsAffected() != 2 || tag.String() != "INSERT 0 2" {
			t.Errorf("Exec: %v, %v", tag, err)
		}
		rows, err := s.Query(ctx, `SELECT id, text FROM /*{{tables.order}}*/ "order" WHERE id < $1 ORDER BY id`, 9)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for rows.Next() {
			var id int
			var text string
			if err := rows.Scan(&id, &text); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(id, text))
		}
		if want := []string{"1one", "2two"}; rows.Err() != nil || !slices.Equal(got, want) {
			t.Errorf("Query: %q, %v", got, rows.Err())
		}
		if rows.CommandTag().RowsAffected() != 2 {
			t.Errorf("tag %v", rows.CommandTag())
		}
		rows.Close()
		var text string
		if err := s.QueryRow(ctx, `SELECT text FROM {{ tables.ORDER }} WHERE id = 2`).Scan(&text); err != nil || text != "two" {
			t.Errorf("QueryRow: %q, %v", text, err)
		}
		err = s.QueryRow(ctx, `SELECT text FROM {{tables.order}} WHERE id = 3`).Scan(&text)
		if !errors.Is(err, pgx.ErrNoRows) {
			t.Errorf("QueryRow without rows: %v", err)
		}
		mustExec(t, s, `INSERT INTO {{tables."Mixed"}} TABLE {{tables.order}}`)
		if n := value[int](t, s, `SELECT count(*) FROM {{tables."Mixed"}}`); n != 2 {
			t.Errorf("%d rows in Mixed", n)
		}
		if got := value[string](t, s, `SELECT {{schema:literal}} || ' ' || '{{schema}}' || ' ' || 'it is {{tables.order}}'`); got !=
			s.Schema()+` "`+s.Schema()+`" it is "`+s.Schema()+`"."order"` {
			t.Errorf("in strings: %s", got)
		}
		want := `SELECT * FROM "` + s.Schema() + `"."order"`
		if got, err := s.Expand(`SELECT * FROM {{tables.order}}`); err != nil || got != want {
			t.Errorf("Expand: %s, %v; want %s", got, err, want)
		}
	})
}

func TestPgxOptionsPassAsArguments(t *testing.T) {
	onEach(t, func(ctx context.Context, t *testing.T, s session) {
		mustExec(t, s, `INSERT INTO {{tables.order}} VALUES (@id, @text)`, pgx.NamedArgs{"id": 1, "text": "named"})
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
			pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
			if got := value[string](t, s, `SELECT text FROM {{tables.order}} WHERE id = $1`, mode, 1); got != "named" {
				t.Errorf("%v: %q", mode, got)
			}
		}
		if got := value[int](t, s, `SELECT count(*) FROM {{tables.order}}`, pgx.QueryResultFormats{pgx.TextFormatCode}); got != 1 {
			t.Errorf("text format: %d", got)
		}
	})
}

func TestTheServersErrorsCanBeReached(t *testing.T) {
	for _, c := range []struct {
		name, state string
		fail        func(ctx context.Context, s session) error
	}{
		{"Exec", "23505", func(ctx context.Context, s session) error {
			_, err := s.Exec(ctx, `INSERT INTO {{tables.order}} VALUES (1), (1)`)
			return err
		}},
		{"Query", "42P01", func(ctx context.Context, s session) error {
			rows, err := s.Query(ctx, `SELECT * FROM {{tables.nothing}}`)
			if rows == nil {
				return errors.New("Query returned nil rows")
			}
			rows.Close()
			if rows.Next() || !errors.Is(rows.Err(), err) {
				return fmt.Errorf("rows after an error have %w", rows.Err())
			}
			return err
		}},
		{"Query, on the way", "22012", func(ctx context.Context, s session) error {
			rows, err := s.Query(ctx, `SELECT 1 / (3 - x) FROM generate_series(1, 5) x`)
			if err != nil {
				return err
			}
			for rows.Next() {
			}
			return rows.Err()
		}},
		{"QueryRow", "42P01", func(ctx context.Context, s session) error {
			return s.QueryRow(ctx, `SELECT 1 FROM {{tables.nothing}}`).Scan(new(int))
		}},
		{"SendBatch", "23505", func(ctx context.Context, s session) error {
			var b pgx.Batch
			b.Queue(`INSERT INTO {{tables.order}} VALUES (1)`)
			b.Queue(`INSERT INTO {{tables.order}} VALUES (1)`)
			return s.SendBatch(ctx, &b).Close()
		}},
		{"CopyFrom", "23505", func(ctx context.Context, s session) error {
			_, err := s.CopyFrom(ctx, pgx.Identifier{"order"}, []string{"id"}, pgx.CopyFromRows([][]any{{1}, {1}}))
			return err
		}},
		{"CopyFrom into nothing", "42P01", func(ctx context.Context, s session) error {
			_, err := s.CopyFrom(ctx, pgx.Identifier{"nothing"}, []string{"id"}, pgx.CopyFromRows(nil))
			return err
		}},
		{"All", "42P01", func(ctx context.Context, s session) error {
			_, err := pgdbm.All[int](ctx, s, `SELECT 1 FROM {{tables.nothing}}`)
			return err
		}},
		{"a deferred constraint", "23503", func(ctx context.Context, s session) error {
			sub, err := s.Begin(ctx)
			if err != nil {
				return err
			}
			defer sub.Rollback(ctx)
			_, err = sub.Exec(ctx, `ALTER TABLE {{tables.order}} ADD mother int REFERENCES {{tables.order}} DEFERRABLE INITIALLY DEFERRED;
				INSERT INTO {{tables.order}} VALUES (1, 'x', 99); SET CONSTRAINTS ALL IMMEDIATE`, pgx.QueryExecModeSimpleProtocol)
			if err != nil {
				return err
			}
			return sub.Commit(ctx)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onEach(t, func(ctx context.Context, t *testing.T, s session) {
				err := c.fail(ctx, s)
				wantState(t, err, c.state)
				var pe *pgconn.PgError
				if errors.As(err, &pe) && pe.Code == "23505" && (pe.SchemaName != s.Schema() || pe.TableName != "order" || pe.ConstraintName != "order_pkey") {
					t.Errorf("error of %q.%q, constraint %q", pe.SchemaName, pe.TableName, pe.ConstraintName)
				}
			})
		})
	}
}

func TestABadTemplateIsAnErrorWithItsPlaceAndSpoilsNothing(t *testing.T) {
	onEach(t, func(ctx context.Context, t *testing.T, s session) {
		const bad = "SELECT 1\n  FROM {{table.order}}"
		fails := map[string]func() error{
			"Exec": func() error { _, err := s.Exec(ctx, bad); return err },
			"Query": func() error {
				rows, err := s.Query(ctx, bad)
				rows.Close()
				if !errors.Is(rows.Err(), err) || rows.Next() || rows.Scan() == nil || rows.FieldDescriptions() != nil ||
					rows.RawValues() != nil || rows.CommandTag().String() != "" || rows.Conn() != nil || rows.TypeMap() != nil {
					t.Errorf("rows of a query that failed: %v", rows)
				}
				if _, verr := rows.Values(); !errors.Is(verr, err) {
					t.Errorf("Values: %v", verr)
				}
				return err
			},
			"QueryRow": func() error { return s.QueryRow(ctx, bad).Scan(new(int)) },
			"Expand":   func() error { _, err := s.Expand(bad); return err },
			"SendBatch": func() error {
				var b pgx.Batch
				b.Queue("SELECT 1")
				b.Queue(bad)
				br := s.SendBatch(ctx, &b)
				if _, err := br.Exec(); err == nil {
					t.Error("the first statement of a bad batch ran")
				}
				if err := br.QueryRow().Scan(new(int)); err == nil {
					t.Error("QueryRow of a bad batch")
				}
				return br.Close()
			},
			"Value": func() error { _, err := pgdbm.Value[int](ctx, s, bad); return err },
			"Each": func() (err error) {
				for _, err = range pgdbm.Each[int](ctx, s, bad) {
				}
				return err
			},
		}
		if tx, ok := s.(*pgdbm.Tx); ok {
			fails["Prepare"] = func() error { _, err := tx.Prepare(ctx, "p", bad); return err }
		}
		for name, fail := range fails {
			if err := fail(); err == nil || !strings.HasPrefix(err.Error(), "pgdbm: template: 2:8: ") {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if got := value[int](t, s, `SELECT 1`); got != 1 { // a transaction goes on
			t.Error(got)
		}
	})
}

func TestACancelledContextIsTheError(t *testing.T) {
	t.Parallel()
	for _, kind := range sessionKinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			db := openSchema(t, "x", pgdbm.Config{MaxConns: 2})
			// WithConn and InTx see the outer context; so cancel one of the call.
			defer func() { wantIdle(t, db.Pool()) }()
			ctx, cancel := context.WithCancel(t.Context())
			if kind.name == "Conn" || kind.name == "Tx of a Conn" {
				_ = db.WithConn(ctx, func(ctx context.Context, c *pgdbm.Conn) error {
					cancelled(t, ctx, cancel, c)
					return nil
				})
				return
			}
			kind.with(t, db, func(_ context.Context, s session) { cancelled(t, ctx, cancel, s) })
		})
	}
}

func cancelled(t *testing.T, ctx context.Context, cancel func(), s session) {
	rows, err := s.Query(ctx, `SELECT x FROM generate_series(1, 100000) x`)
	if err != nil {
		t.Fatal(err)
	}
	rows.Next()
	cancel()
	for rows.Next() {
	}
	rows.Close()
	if !errors.Is(rows.Err(), context.Canceled) {
		t.Errorf("rows: %v", rows.Err())
	}
	if _, err := s.Exec(ctx, `SELECT 1`); !errors.Is(err, context.Canceled) && !errors.Is(err, pgconn.ErrConnClosed) {
		t.Errorf("Exec: %v", err)
	}
}

func TestBeginGivesATxThatCommitsAndRollsBack(t *testing.T) {
	onEach(t, func(ctx context.Context, t *testing.T, s session) {
		for i, commit := range []bool{true, false} {
			tx, err := s.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			sub, ok := tx.(*pgdbm.Tx)
			if !ok {
				t.Fatalf("Begin returned a %T", tx)
			}
			mustExec(t, sub, `INSERT INTO {{tables.order}} VALUES ($1)`, i)
			if commit {
				err = sub.Commit(ctx)
			} else {
				err = sub.Rollback(ctx)
			}
			if err != nil {
				t.Error(err)
			}
			for name, err := range map[string]error{"Commit": sub.Commit(ctx), "Rollback": sub.Rollback(ctx)} {
				if !errors.Is(err, pgx.ErrTxClosed) {
					t.Errorf("%s of a closed transaction: %v", name, err)
				}
			}
			if _, err := sub.Exec(ctx, `SELECT 1`); !errors.Is(err, pgx.ErrTxClosed) {
				t.Errorf("Exec in a closed transaction: %v", err)
			}
			if _, err := sub.Begin(ctx); !errors.Is(err, pgx.ErrTxClosed) {
				t.Errorf("Begin in a closed transaction: %v", err)
			}
		}
		ids, err := pgdbm.All[int](ctx, s, `SELECT id FROM {{tables.order}}`)
		if err != nil || !slices.Equal(ids, []int{0}) {
			t.Errorf("rows %v, %v", ids, err)
		}
	})
}

func TestCopyFromWritesIntoTheHandlesSchema(t *testing.T) {
	onEach(t, func(ctx context.Context, t *testing.T, s session) {
		for _, table := range []pgx.Identifier{{"order"}, {"Mixed"}, {s.Schema(), "Mixed"}} {
			src := pgx.CopyFromRows([][]any{{7, "copied"}, {8, nil}})
			n, err := s.CopyFrom(ctx, table, []string{"id", "text"}, src)
			if err != nil || n != 2 {
				t.Errorf("%v: %d, %v", table, n, err)
			}
			if len(table) > 2 {
				t.Errorf("%v was changed", table)
			}
		}
		if n := value[int](t, s, `SELECT count(*) FROM {{tables.order}}`); n != 2 {
			t.Errorf("order has %d rows", n)
		}
		if n := value[int](t, s, `SELECT count(*) FROM {{tables."Mixed"}}`); n != 4 {
			t.Errorf("Mixed has %d rows", n)
		}
	})
}

func TestCopyFromTakesNamesExactlyAndOtherSchemas(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "Acme", pgdbm.Config{})
	ctx := t.Context()
	mustExec(t, db, `CREATE TABLE {{tables."Select"}} ("From" int); CREATE TABLE public.order_2 (id int)`)
	for _, table := range []pgx.Identifier{{"Select"}, {"Acme", "Select"}} {
		if n, err := db.CopyFrom(ctx, table, []string{"From"}, pgx.CopyFromRows([][]any{{1}})); err != nil || n != 1 {
			t.Errorf("%v: %d, %v", table, n, err)
		}
	}
	if n, err := db.CopyFrom(ctx, pgx.Identifier{"public", "order_2"}, []string{"id"}, pgx.CopyFromRows([][]any{{1}})); err != nil || n != 1 {
		t.Errorf("another schema: %d, %v", n, err)
	}
	// No search_path helps a one-part name, and none is folded.
	for _, name := range []string{"order_2", "select", "SELECT", "Acme.Select", "{{tables.Select}}", ""} {
		_, err := db.CopyFrom(ctx, pgx.Identifier{name}, []string{"id"}, pgx.CopyFromRows(nil))
		if s := state(err); s != "42P01" && s != "42601" {
			t.Errorf("%q: got %v", name, err)
		}
	}
	if _, err := db.CopyFrom(ctx, nil, nil, pgx.CopyFromRows(nil)); err == nil {
		t.Error("no name at all: no error")
	}
	wantIdle(t, db.Pool())
}

func TestTheSourcesErrorEndsACopy(t *testing.T) {
	onEach(t, func(ctx context.Context, t *testing.T, s session) {
		src := pgx.CopyFromFunc(func() ([]any, error) { return nil, errStop })
		_, err := s.CopyFrom(ctx, pgx.Identifier{"order"}, []string{"id"}, src)
		if !errors.Is(err, errStop) && !strings.Contains(err.Error(), errStop.Error()) {
			t.Errorf("got %v", err)
		}
	})
}

func TestPrepareExpandsTemplates(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{})
	tx := begin(t, db)
	defer tx.Rollback(context.Background())
	sd, err := tx.Prepare(t.Context(), "insert note", `INSERT INTO {{tables.notes}} VALUES ($1, $2)`)
	if err != nil {
		t.Fatal(err)
	}
	if sd.SQL != `INSERT INTO "diary"."notes" VALUES ($1, $2)` || len(sd.ParamOIDs) != 2 {
		t.Errorf("got %+v", sd)
	}
	mustExec(t, tx, "insert note", 1, "by its name")
	if n := count(t, tx); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestLargeObjectsAndConnOfATx(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{})
	tx := begin(t, db)
	defer tx.Rollback(context.Background())
	ctx := t.Context()
	lo := tx.LargeObjects()
	oid, err := lo.Create(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	obj, err := lo.Open(ctx, oid, pgx.LargeObjectModeWrite)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := obj.Write([]byte("large")); err != nil {
		t.Error(err)
	}
	var n int
	if err := tx.Conn().QueryRow(ctx, `SELECT length(lo_get($1))`, oid).Scan(&n); err != nil || n != 5 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// scanPanics and valuePanics panic where pgx calls them.
type (
	scanPanics  struct{}
	valuePanics struct{}
)

func (*scanPanics) Scan(any) error               { panic("Scan") }
func (valuePanics) Value() (driver.Value, error) { panic("Value") }
func recovered(f func()) (v any)                 { defer func() { v = recover() }(); f(); return nil }

func TestAPanicInTheCallersTypesDoesNotLeakTheConnection(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 1})
	ctx := t.Context()
	mustExec(t, db, `INSERT INTO {{tables.notes}} VALUES (1, 'x')`)
	const sql = `SELECT text FROM {{tables.notes}} WHERE text <> $1`
	for name, f := range map[string]func(){
		"Exec, argument":     func() { _, _ = db.Exec(ctx, sql, valuePanics{}) },
		"Query, argument":    func() { _, _ = db.Query(ctx, sql, valuePanics{}) },
		"QueryRow, argument": func() { _ = db.QueryRow(ctx, sql, valuePanics{}).Scan(new(string)) },
		"QueryRow, Scan":     func() { _ = db.QueryRow(ctx, sql, "").Scan(new(scanPanics)) },
		"All, Scan":          func() { _, _ = pgdbm.All[scanPanics](ctx, db, sql, "") },
		"One, Scan":          func() { _, _ = pgdbm.One[scanPanics](ctx, db, sql, "") },
		"Value, Scan":        func() { _, _ = pgdbm.Value[scanPanics](ctx, db, sql, "") },
		"Each, Scan": func() {
			for range pgdbm.Each[scanPanics](ctx, db, sql, "") {
			}
		},
		"Each, body": func() {
			for range pgdbm.Each[string](ctx, db, sql, "") {
				panic("body")
			}
		},
		"Query with defer": func() {
			rows, err := db.Query(ctx, sql, "")
			if err != nil {
				t.Error(err)
			}
			defer rows.Close()
			rows.Next()
			_ = rows.Scan(new(scanPanics))
		},
		"SendBatch, argument": func() {
			var b pgx.Batch
			b.Queue(sql, valuePanics{})
			_ = db.SendBatch(ctx, &b).Close()
		},
		"SendBatch, callback": func() {
			var b pgx.Batch
			b.Queue(sql, "").Query(func(pgx.Rows) error { panic("callback") })
			_ = db.SendBatch(ctx, &b).Close()
		},
		"InTx": func() {
			_ = db.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
				_, err := tx.Exec(ctx, sql, valuePanics{})
				return err
			})
		},
		"InTx, Scan": func() {
			_ = db.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
				return tx.QueryRow(ctx, sql, "").Scan(new(scanPanics))
			})
		},
		"WithConn": func() {
			_ = db.WithConn(ctx, func(ctx context.Context, c *pgdbm.Conn) error {
				return c.QueryRow(ctx, sql, "").Scan(new(scanPanics))
			})
		},
	} {
		if recovered(f) == nil {
			t.Errorf("%s: no panic", name)
		}
		wantIdle(t, db.Pool())
		if n := count(t, db); n != 1 { // the pool of one is usable
			t.Errorf("%s: %d rows", name, n)
		}
	}
}

func TestRowsGiveTheConnectionBackOnce(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 1})
	ctx := t.Context()
	held := func() int32 { return db.Pool().Stat().AcquiredConns() }
	query := func(ctx context.Context) pgx.Rows {
		rows, err := db.Query(ctx, `SELECT x FROM generate_series(1, 1000) x`)
		if err != nil {
			t.Fatal(err)
		}
		if held() != 1 {
			t.Fatalf("%d connections held by open rows", held())
		}
		return rows
	}
	for name, end := range map[string]func(rows pgx.Rows, cancel func()){
		"Close": func(rows pgx.Rows, _ func()) { rows.Close() },
		"Close after some": func(rows pgx.Rows, _ func()) {
			rows.Next()
			rows.Next()
			rows.Close()
		},
		"exhaustion": func(rows pgx.Rows, _ func()) {
			for rows.Next() {
			}
			if rows.Err() != nil || rows.CommandTag().RowsAffected() != 1000 {
				t.Errorf("%v, %v", rows.Err(), rows.CommandTag())
			}
		},
		"a scan error": func(rows pgx.Rows, _ func()) {
			rows.Next()
			if rows.Scan(new(bool)) == nil || rows.Err() == nil {
				t.Error("an int scans into a bool")
			}
		},
		"too few targets": func(rows pgx.Rows, _ func()) {
			rows.Next()
			if rows.Scan() == nil {
				t.Error("no error")
			}
		},
		"cancel": func(rows pgx.Rows, cancel func()) {
			rows.Next()
			cancel()
			for rows.Next() {
			}
		},
	} {
		ctx, cancel := context.WithCancel(ctx)
		rows := query(ctx)
		end(rows, cancel)
		cancel()
		wantIdle(t, db.Pool())
		// Late calls do no harm to who has the connection now.
		other := query(t.Context())
		rows.Close()
		rows.Close()
		if rows.Next() {
			t.Errorf("%s: Next after the end", name)
		}
		_ = rows.Scan(new(int))
		_, _ = rows.Values()
		_ = rows.Err()
		if held() != 1 {
			t.Errorf("%s: late calls gave the connection back again", name)
		}
		if !other.Next() {
			t.Errorf("%s: the next query got %v", name, other.Err())
		}
		other.Close()
	}

	row := db.QueryRow(ctx, `SELECT 1`)
	if held() != 1 {
		t.Errorf("%d connections held before Scan", held())
	}
	if err := row.Scan(new(int)); err != nil {
		t.Error(err)
	}
	wantIdle(t, db.Pool())
	other := query(ctx)
	if err := row.Scan(new(int)); err == nil {
		t.Error("a second Scan succeeds")
	}
	if held() != 1 {
		t.Error("a second Scan gave the connection back again")
	}
	other.Close()
	if err := db.QueryRow(ctx, `SELECT 1`).Scan(new(bool)); err == nil {
		t.Error("an int scans into a bool")
	}
	wantIdle(t, db.Pool())
}

func TestRowsShowValuesAndDescriptions(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{})
	rows, err := db.Query(t.Context(), `SELECT 7 AS n, 'x' AS s`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	vs, err := rows.Values()
	if err != nil || !reflect.DeepEqual(vs, []any{int32(7), "x"}) {
		t.Errorf("Values %v, %v", vs, err)
	}
	if d := rows.FieldDescriptions(); len(d) != 2 || d[0].Name != "n" || rows.Conn() == nil || rows.TypeMap() == nil || len(rows.RawValues()) != 2 {
		t.Errorf("got %v", d)
	}
}

func TestHandlesAreBoundToOneSchemaForEver(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{})
	aliases := map[string]string{"shop": "goods"}
	cfg := pgdbm.HandleConfig{Schema: "tenant", Aliases: aliases}
	db, err := pool.Handle(cfg)
	if err != nil {
		t.Fatal(err)
	}
	aliases["shop"], aliases["more"], cfg.Schema = "elsewhere", "elsewhere", "elsewhere"
	if sql, err := db.Expand(`{{tables.t}} {{tables.shop.t}}`); err != nil || sql != `"tenant"."t" "goods"."t"` {
		t.Errorf("got %s, %v", sql, err)
	}
	if _, err := db.Expand(`{{tables.more.t}}`); err == nil {
		t.Error("a module added afterwards is known")
	}
	// Handles with the same schema and other aliases do not share texts.
	other, err := pool.Handle(pgdbm.HandleConfig{Schema: "tenant", Aliases: map[string]string{"shop": "wares"}})
	if err != nil {
		t.Fatal(err)
	}
	if sql, err := other.Expand(`{{tables.t}} {{tables.shop.t}}`); err != nil || sql != `"tenant"."t" "wares"."t"` {
		t.Errorf("got %s, %v", sql, err)
	}
	if db.Schema() != "tenant" || db.Pool().Pgx() != pool.Pgx() {
		t.Errorf("schema %q, pool %p", db.Schema(), db.Pool().Pgx())
	}
	for _, bad := range []pgdbm.HandleConfig{
		{},
		{Schema: "a", Aliases: map[string]string{"Bad Module": "b"}},
		{Schema: "a", Aliases: map[string]string{"m": "pg_catalog"}},
		{Schema: "a", Aliases: map[string]string{"m": ""}},
	} {
		if db, err := pool.Handle(bad); err == nil || db != nil || !strings.HasPrefix(err.Error(), "pgdbm: handle: ") {
			t.Errorf("%+v: got %v, %v", bad, db, err)
		}
	}
}

func TestManyGoroutinesShareAHandle(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 3})
	other := mustSchema(t, db.Pool(), "other")
	mustExec(t, other, `CREATE SCHEMA {{schema}}; CREATE TABLE {{tables.notes}} (id int, text text)`)
	all(t, func(i int) error {
		for j := range 20 {
			if _, err := db.Exec(t.Context(), `INSERT INTO {{tables.notes}} VALUES ($1)`, i*1000+j); err != nil {
				return err
			}
			if n, err := pgdbm.Value[int](t.Context(), other, `SELECT count(*) FROM {{tables.notes}}`); err != nil || n != 0 {
				return fmt.Errorf("the other schema has %d rows: %w", n, err)
			}
			rows, err := db.Query(t.Context(), `SELECT id FROM {{tables.notes}} WHERE id = $1`, i*1000+j)
			if err != nil {
				return err
			}
			ids, err := pgx.CollectRows(rows, pgx.RowTo[int])
			if err != nil || len(ids) != 1 || ids[0] != i*1000+j {
				return fmt.Errorf("got %v: %w", ids, err)
			}
		}
		return nil
	})
	if n := count(t, db); n != 20*racers {
		t.Errorf("%d rows", n)
	}
}

func TestTableExists(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "Acme", pgdbm.Config{})
	ctx := t.Context()
	mustExec(t, db, `
		CREATE TABLE {{tables.users}} (id int PRIMARY KEY);
		CREATE TABLE {{tables.order}} ();
		CREATE TABLE {{tables."Mixed"}} ();
		CREATE TABLE {{tables."two words"}} ();
		CREATE TABLE {{tables."dot.ted"}} ();
		CREATE TABLE {{tables.parts}} (id int) PARTITION BY RANGE (id);
		CREATE VIEW {{tables.a_view}} AS SELECT 1;
		CREATE MATERIALIZED VIEW {{tables.a_matview}} AS SELECT 1;
		CREATE SEQUENCE {{tables.a_sequence}};
		CREATE TYPE {{tables.a_type}} AS (x int);
		CREATE TABLE public.in_public ();
		CREATE SCHEMA acme; CREATE TABLE acme.folded ();
		CREATE SCHEMA other; CREATE TABLE other.t ();`)
	for table, want := range map[string]bool{
		"users": true, "USERS": true, `"users"`: true, `"USERS"`: false,
		"order": true, "Mixed": false, `"Mixed"`: true, `"mixed"`: false,
		`"two words"`: true, `"dot.ted"`: true,
		"parts": true, "a_view": true, "a_matview": true,
		"a_sequence": false, "a_type": false, "users_pkey": false,
		"in_public": false, "folded": false, "pg_class": false, "nothing": false, "t": false,
	} {
		if got, err := db.TableExists(ctx, table); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", table, got, err, want)
		}
	}
	for _, table := range []string{
		"", " ", `""`, "other.t", "other.", ".t", `"other".t`, `other."t"`, `"other"."t"`, "Acme.users", "two words", " users",
		"users\n", "users;", "users--", "users/**/", "users}}", "users}} {{tables.order", "}}", "{{", "us{ers", `us"ers`, `"us"ers"`, `"users`, `users"`,
		"'users'", "users'", "$1", "users:literal", strings.Repeat("x", 64), `"` + strings.Repeat("x", 64) + `"`, "users\x00", "\"us\xffers\"",
		"users) OR true --", "users' OR 'a'='a", "1users", "a-b", "a$b",
	} {
		if got, err := db.TableExists(ctx, table); err == nil || got || !strings.HasPrefix(err.Error(), "pgdbm: table name ") {
			t.Errorf("%q: got %v, %v; want an error", table, got, err)
		}
	}
	shop, err := db.Pool().Handle(pgdbm.HandleConfig{Schema: "Acme", Aliases: map[string]string{"other": "other"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shop.TableExists(ctx, "other.t"); err == nil {
		t.Error("a table of another module: no error")
	}
}

// The server hides nothing from who may not read a table.
func TestTableExistsNeedsNoPrivilege(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{})
	_, asRole := role(t, db.Pool().Pgx().Config().ConnString())
	theirs := mustSchema(t, openPool(t, pgdbm.Config{URL: asRole}), "diary")
	if got, err := theirs.TableExists(t.Context(), "notes"); err != nil || !got {
		t.Errorf("got %v, %v", got, err)
	}
}
