package pgdbm_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
)

// writes counts what pgx sends: once for each answer that it waits for.
type writes struct{ n atomic.Int64 }

func (w *writes) Config(c *pgxpool.Config) error {
	c.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return countedConn{conn, &w.n}, err
	}
	return nil
}

// of returns how many writes f makes.
func (w *writes) of(f func()) int64 {
	before := w.n.Load()
	f()
	return w.n.Load() - before
}

type countedConn struct {
	net.Conn
	n *atomic.Int64
}

func (c countedConn) Write(b []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(b)
}

// tenants opens a pool and makes n schemas, t0 to t<n-1>, each with a table of
// notes (id, owner) that holds the schema's name 20 times.
func tenants(t *testing.T, n int, cfg pgdbm.Config) []*pgdbm.DB {
	t.Helper()
	pool := openPool(t, cfg)
	dbs := make([]*pgdbm.DB, n)
	for i := range dbs {
		dbs[i] = mustSchema(t, pool, fmt.Sprintf("t%d", i))
		mustExec(t, dbs[i], `CREATE SCHEMA {{schema}}; CREATE TABLE {{tables.notes}} (id int PRIMARY KEY, owner text NOT NULL);
			INSERT INTO {{tables.notes}} SELECT i, {{schema:literal}} FROM generate_series(1, 20) i`)
	}
	return dbs
}

const ownerSQL = `SELECT owner FROM {{tables.notes}} WHERE id = $1`

func wantOwner(t *testing.T, db *pgdbm.DB, id int) {
	t.Helper()
	if got := value[string](t, db, ownerSQL, id); got != db.Schema() {
		t.Errorf("%s: a row of %s", db.Schema(), got)
	}
}

func TestAReadIsOneRoundTripInASchemaNeverSeenBefore(t *testing.T) {
	t.Parallel()
	var sent writes
	dbs := tenants(t, 200, pgdbm.Config{MaxConns: 1, Pgx: sent.Config})
	wantOwner(t, dbs[0], 1) // describes the statement, once for all
	for round := range 5 {
		// In the third round the statements get names, and 200 of them stay.
		if n := sent.of(func() {
			for i, db := range dbs {
				wantOwner(t, db, i%20+1)
			}
		}); n != int64(len(dbs)) && (round != 2 || n != int64(len(dbs))+1) {
			t.Errorf("round %d: %d round trips for %d queries", round, n, len(dbs))
		}
	}
}

func TestAWriteIsOneRoundTripFromItsSecondUseInASchema(t *testing.T) {
	t.Parallel()
	var sent writes
	dbs := tenants(t, 20, pgdbm.Config{MaxConns: 1, Pgx: sent.Config})
	id := 100
	write := func() {
		for _, db := range dbs {
			id++
			mustExec(t, db, `INSERT INTO {{tables.notes}} VALUES ($1, $2)`, id, "x")
		}
	}
	write()
	if n := sent.of(write); n != int64(len(dbs)) {
		t.Errorf("%d round trips for %d writes", n, len(dbs))
	}
}

func TestTransactionsBatchesAndHeldConnectionsShareDescriptions(t *testing.T) {
	t.Parallel()
	var sent writes
	dbs := tenants(t, 40, pgdbm.Config{MaxConns: 1, Pgx: sent.Config})
	wantOwner(t, dbs[0], 1)
	ctx := t.Context()
	for i, db := range dbs[1:] {
		var got string
		n := sent.of(func() {
			if err := db.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
				return tx.QueryRow(ctx, ownerSQL, 3).Scan(&got)
			}); err != nil {
				t.Error(err)
			}
		})
		if n != 4 || got != db.Schema() { // with the one that checks the types of the schema
			t.Errorf("transaction: %d round trips, a row of %s for %s", n, got, db.Schema())
		}
		var b pgx.Batch
		for id := range 5 {
			b.Queue(ownerSQL, id+1).QueryRow(func(row pgx.Row) error { return row.Scan(&got) })
		}
		if n := sent.of(func() {
			if err := db.SendBatch(ctx, &b).Close(); err != nil {
				t.Error(err)
			}
		}); n != 1 || got != db.Schema() {
			t.Errorf("batch %d: %d round trips, a row of %s for %s", i, n, got, db.Schema())
		}
	}
}

func TestNamedStatementsAreBounded(t *testing.T) {
	t.Parallel()
	dbs := tenants(t, 300, pgdbm.Config{MaxConns: 1})
	for range 4 {
		for _, db := range dbs {
			for range 3 { // a name each
				wantOwner(t, db, 1)
			}
		}
	}
	n := value[int](t, dbs[0], `SELECT count(*)::int FROM pg_prepared_statements WHERE name LIKE 'pgdbm%'`)
	if n > 256 || n < 200 {
		t.Errorf("%d named statements", n)
	}
}

func TestAnErrorOfTheDataCostsNoStatement(t *testing.T) {
	t.Parallel()
	var sent writes
	db := tenants(t, 1, pgdbm.Config{MaxConns: 1, Pgx: sent.Config})[0]
	const insert = `INSERT INTO {{tables.notes}} VALUES ($1, $2)`
	for id := range 6 {
		mustExec(t, db, insert, 100+id, "x")
	}
	for range 3 {
		if n := sent.of(func() {
			_, err := db.Exec(t.Context(), insert, 100, "x")
			wantState(t, err, "23505")
		}); n != 1 {
			t.Errorf("%d round trips for a unique violation", n)
		}
	}
}

func TestAConnectionIsRecycledAfterItsBudgetOfSchemas(t *testing.T) {
	t.Parallel()
	dbs := tenants(t, 50, pgdbm.Config{MaxConns: 1, SchemasPerConn: 5})
	pool := dbs[0].Pool()
	backends := make(map[int]bool)
	made := pool.Stat().NewConnsCount()
	for _, db := range dbs {
		wantOwner(t, db, 1)
		backends[value[int](t, db, `SELECT pg_backend_pid()`)] = true
		for range 3 {
			wantOwner(t, db, 2) // the same schema costs nothing
		}
	}
	if len(backends) < 8 || len(backends) > 11 {
		t.Errorf("%d connections for 50 schemas of 5 each", len(backends))
	}
	if n := int(pool.Stat().NewConnsCount() - made); n > 11 {
		t.Errorf("%d connections made", n)
	}
	wantIdle(t, pool)
}

func TestWithoutABudgetAConnectionStays(t *testing.T) {
	t.Parallel()
	dbs := tenants(t, 30, pgdbm.Config{MaxConns: 1, SchemasPerConn: -1})
	made := dbs[0].Pool().Stat().NewConnsCount()
	for _, db := range dbs {
		wantOwner(t, db, 1)
	}
	if now := dbs[0].Pool().Stat().NewConnsCount(); now != made {
		t.Errorf("%d connections made", now-made)
	}
}

// The user's tracer sees each statement as pgx would show it.
func TestTheTracerSeesStatementsAsTheyGoToTheServer(t *testing.T) {
	t.Parallel()
	var tr recorder
	dbs := tenants(t, 2, pgdbm.Config{MaxConns: 1, Tracer: &tr})
	ctx := t.Context()
	tr.reset()
	for range 5 { // unnamed, named, and on the way
		wantOwner(t, dbs[1], 7)
	}
	for _, want := range []string{`start SELECT owner FROM "t1"."notes" WHERE id = $1 [7]`, `end SELECT 1 <nil>`} {
		if n := tr.count(want); n != 5 {
			t.Errorf("%d times %q in %q", n, want, tr.events)
		}
	}
	if n := tr.count(`prepare SELECT owner FROM "t1"."notes" WHERE id = $1`); n != 1 {
		t.Errorf("%d descriptions in %q", n, tr.events)
	}
	tr.reset()
	_, err := dbs[0].Exec(ctx, `INSERT INTO {{tables.notes}} VALUES ($1, $2)`, 1, "twice")
	wantState(t, err, "23505")
	rows, _ := dbs[0].Query(ctx, `SELECT 1/(id-2) FROM {{tables.notes}} WHERE id > $1 ORDER BY id`, 0)
	for rows.Next() {
	}
	wantState(t, rows.Err(), "22012")
	_ = dbs[0].QueryRow(ctx, `SELECT id FROM {{tables.notes}} WHERE id = $1 AND owner = $2`, 1).Scan(new(int))
	if got := tr.count("start"); got != 3 || tr.count("end") != 3 || tr.count("end") != tr.count("ERROR")+1 {
		t.Errorf("got %q", tr.events)
	}
	tr.reset()
	var b pgx.Batch
	b.Queue(ownerSQL, 1)
	b.Queue(ownerSQL, 2)
	if err := dbs[0].SendBatch(ctx, &b).Close(); err != nil {
		t.Error(err)
	}
	if tr.count("batch start") != 1 || tr.count(`batch query SELECT owner FROM "t0"."notes" WHERE id = $1 [2] SELECT 1`) != 1 || tr.count("batch end <nil>") != 1 {
		t.Errorf("got %q", tr.events)
	}
}

// recorder is a tracer that keeps what it is told.
type recorder struct {
	mu     sync.Mutex // guards events
	events []string
}

func (r *recorder) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprintf(format, args...))
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = nil
}

func (r *recorder) count(part string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if strings.Contains(e, part) {
			n++
		}
	}
	return n
}

type traceKey struct{}

func (r *recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	r.add("start %s %v", d.SQL, d.Args)
	return context.WithValue(ctx, traceKey{}, true)
}

func (r *recorder) TraceQueryEnd(ctx context.Context, conn *pgx.Conn, d pgx.TraceQueryEndData) {
	if ctx.Value(traceKey{}) == nil || conn == nil {
		r.add("end without its context")
	}
	r.add("end %v %v", d.CommandTag, d.Err)
}

func (r *recorder) TraceBatchStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceBatchStartData) context.Context {
	r.add("batch start %d", d.Batch.Len())
	return ctx
}

func (r *recorder) TraceBatchQuery(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	r.add("batch query %s %v %v %v", d.SQL, d.Args, d.CommandTag, d.Err)
}

func (r *recorder) TraceBatchEnd(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchEndData) {
	r.add("batch end %v", d.Err)
}

func (r *recorder) TracePrepareStart(ctx context.Context, _ *pgx.Conn, d pgx.TracePrepareStartData) context.Context {
	r.add("prepare %s", d.SQL)
	return ctx
}

func (r *recorder) TracePrepareEnd(context.Context, *pgx.Conn, pgx.TracePrepareEndData) {}

func TestEveryExecModeReadsTheRightSchema(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
		pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			dbs := tenants(t, 3, pgdbm.Config{MaxConns: 1, Pgx: func(c *pgxpool.Config) error {
				c.ConnConfig.DefaultQueryExecMode = mode
				return nil
			}})
			for range 5 {
				for _, db := range dbs {
					wantOwner(t, db, 5)
					for _, args := range [][]any{
						{mode, 5},
						{pgx.NamedArgs{"id": 5}},
						{mode, pgx.StrictNamedArgs{"id": 5}},
					} {
						sql := ownerSQL
						if len(args) == 1 || args[1] != 5 {
							sql = strings.Replace(sql, "$1", "@id", 1)
						}
						if got := value[string](t, db, sql, args...); got != db.Schema() {
							t.Errorf("%v: a row of %s", args, got)
						}
					}
					var b pgx.Batch
					var got string
					b.Queue(ownerSQL, 1).QueryRow(func(row pgx.Row) error { return row.Scan(&got) })
					if err := db.SendBatch(t.Context(), &b).Close(); err != nil || got != db.Schema() {
						t.Errorf("batch: a row of %s, %v", got, err)
					}
				}
			}
			wantNames := 0
			if mode == pgx.QueryExecModeCacheStatement {
				wantNames = 6 // with $1, and what @id becomes is the same
			}
			if n := value[int](t, dbs[0], `SELECT count(*)::int FROM pg_prepared_statements WHERE name LIKE 'pgdbm%'`); n > wantNames {
				t.Errorf("%d named statements", n)
			}
		})
	}
}

// rewriter is one that pgx does not know.
type rewriter struct{ id int }

func (r rewriter) RewriteQuery(_ context.Context, _ *pgx.Conn, sql string, _ []any) (string, []any, error) {
	if !strings.Contains(sql, `"notes"`) {
		return "", nil, errors.New("the template is not expanded: " + sql)
	}
	return strings.Replace(sql, "?", "$1", 1), []any{r.id}, nil
}

func TestARewriterOfTheCallersGetsTheTextForTheServer(t *testing.T) {
	t.Parallel()
	for _, db := range tenants(t, 3, pgdbm.Config{MaxConns: 1}) {
		for range 4 {
			if got := value[string](t, db, `SELECT owner FROM {{tables.notes}} WHERE id = ?`, rewriter{3}); got != db.Schema() {
				t.Errorf("a row of %s", got)
			}
		}
	}
}

func TestResultFormatsOfTheCallersAreKept(t *testing.T) {
	t.Parallel()
	db := tenants(t, 1, pgdbm.Config{MaxConns: 1})[0]
	const sql = `SELECT id FROM {{tables.notes}} WHERE id = $1`
	for range 5 {
		for _, c := range []struct {
			option any
			want   int16
		}{
			{pgx.QueryResultFormats{pgx.TextFormatCode}, pgx.TextFormatCode},
			{pgx.QueryResultFormats{pgx.BinaryFormatCode}, pgx.BinaryFormatCode},
			{pgx.QueryResultFormatsByOID{23: pgx.TextFormatCode}, pgx.TextFormatCode},
			{pgx.QueryResultFormatsByOID{23: pgx.BinaryFormatCode}, pgx.BinaryFormatCode},
		} {
			rows, err := db.Query(t.Context(), sql, c.option, 3)
			if err != nil {
				t.Fatal(err)
			}
			if got := rows.FieldDescriptions()[0].Format; got != c.want {
				t.Errorf("%v: format %d", c.option, got)
			}
			if id, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int]); err != nil || id != 3 {
				t.Errorf("%v: %d, %v", c.option, id, err)
			}
		}
	}
}

func TestRowsKnowTheirConnectionAndTypes(t *testing.T) {
	t.Parallel()
	db := tenants(t, 1, pgdbm.Config{MaxConns: 1})[0]
	for range 5 {
		rows, err := db.Query(t.Context(), ownerSQL, 1)
		if err != nil {
			t.Fatal(err)
		}
		if rows.Conn() == nil || rows.TypeMap() == nil || len(rows.FieldDescriptions()) != 1 {
			t.Errorf("connection %v, types %v, %d columns", rows.Conn(), rows.TypeMap(), len(rows.FieldDescriptions()))
		}
		rows.Close()
		if err := rows.Err(); err != nil || rows.CommandTag().String() != "SELECT 1" {
			t.Errorf("%v, %v", rows.CommandTag(), err)
		}
	}
}

func TestADeferredConstraintFailsTheStatementThatBrokeIt(t *testing.T) {
	t.Parallel()
	db := tenants(t, 1, pgdbm.Config{MaxConns: 1})[0]
	mustExec(t, db, `CREATE TABLE {{tables.lines}} (note int REFERENCES {{tables.notes}} DEFERRABLE INITIALLY DEFERRED)`)
	for n := range 6 { // unnamed, named, and in the message that names it
		_, err := db.Exec(t.Context(), `INSERT INTO {{tables.lines}} VALUES ($1)`, 99)
		wantState(t, err, "23503")
		_, err = pgdbm.Value[int](t.Context(), db, `INSERT INTO {{tables.lines}} VALUES ($1) RETURNING note`, 99)
		if wantState(t, err, "23503"); t.Failed() {
			t.Fatalf("use %d", n)
		}
	}
	if n := value[int](t, db, `SELECT count(*)::int FROM {{tables.lines}}`); n != 0 {
		t.Errorf("%d rows", n)
	}
}

func TestAStatementThatTheCallerDropsIsMadeAnew(t *testing.T) {
	t.Parallel()
	db := tenants(t, 1, pgdbm.Config{MaxConns: 1})[0]
	for _, drop := range []string{`DEALLOCATE ALL`, `DISCARD ALL`} {
		for range 5 {
			wantOwner(t, db, 1)
		}
		mustExec(t, db, drop)
		for range 5 {
			wantOwner(t, db, 1)
		}
	}
}

func TestCancelledStatementsLeaveTheConnectionUsable(t *testing.T) {
	t.Parallel()
	dbs := tenants(t, 3, pgdbm.Config{MaxConns: 2})
	for n := range 40 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := dbs[n%3].Exec(ctx, `SELECT pg_sleep($1) FROM {{tables.notes}}`, 0.2)
			done <- err
		}()
		if n%2 == 0 {
			waitUntil(t, func() bool { return dbs[0].Pool().Stat().AcquiredConns() > 0 })
		}
		cancel()
		if err := <-done; err == nil {
			t.Error("no error")
		}
		wantOwner(t, dbs[(n+1)%3], 1)
	}
}

func pgError(err error) *pgconn.PgError {
	pe, _ := errors.AsType[*pgconn.PgError](err)
	return pe
}
