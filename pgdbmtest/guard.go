package pgdbmtest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrBusy is returned by a handle of [Tx] when its one connection is in use: by
// another goroutine, by rows that are not closed, or by a transaction begun on
// the handle and not ended.
var ErrBusy = errors.New("pgdbmtest: transaction of the test is busy")

// errEnded is returned after the end of the test.
var errEnded = errors.New("pgdbmtest: test is over")

// guard lets one statement at a time onto a connection.
type guard struct {
	conn *pgx.Conn

	mu        sync.Mutex // guards the fields below
	statement string     // that has the connection; empty: none
	open      int        // transactions begun and not ended, each in the one before
	begun     bool       // the savepoint of the handle's own statements exists
	prepared  bool       // the session may have prepared statements of the test's own, or other things that last
	ended     bool
}

// savepoint is what each statement of the handle itself runs in, so that its
// failure undoes it alone.
const savepoint = "pgdbmtest_statement"

// testSavepoint begins the test, so that at its end it shows whether the
// transaction is still the same one.
const testSavepoint = "pgdbmtest_test"

// lasting matches what a rollback does not undo in the session.
var lasting = regexp.MustCompile(`(?i)\b(prepare|deallocate|discard|load|setseed)\b`)

// enter takes the connection for a statement of the transaction of this depth;
// 0 is the handle itself.
func (g *guard) enter(ctx context.Context, depth int, sql string) error {
	statement := brief(sql)
	if err := g.claim(depth, statement); err != nil {
		return err
	}
	g.prepared = g.prepared || lasting.MatchString(sql)
	if depth > 0 {
		return nil
	}
	if err := g.refresh(ctx); err != nil {
		g.leave()
		return err
	}
	return nil
}

func (g *guard) claim(depth int, statement string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.ended:
		return errEnded
	case g.statement != "":
		return fmt.Errorf("%w: %s while %s is not finished", ErrBusy, statement, g.statement)
	case depth == 0 && g.open > 0:
		return fmt.Errorf("%w: %s on the handle while a transaction begun on it is open", ErrBusy, statement)
	}
	g.statement = statement
	return nil
}

// refresh sets the savepoint anew, or goes back to it after a failure.
func (g *guard) refresh(ctx context.Context) error {
	sql := "SAVEPOINT " + savepoint
	switch {
	case !g.begun:
	case g.conn.PgConn().TxStatus() == 'E':
		sql = "ROLLBACK TO " + savepoint
	default:
		sql = "RELEASE " + savepoint + "; " + sql
	}
	_, err := g.conn.PgConn().Exec(ctx, sql).ReadAll()
	g.begun = g.begun || err == nil
	return err
}

func (g *guard) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.statement = ""
}

// hold takes the connection for the ledger to be read.
func (g *guard) hold(ctx context.Context) (*pgx.Conn, func(), error) {
	if err := g.enter(ctx, 0, "reading the ledger"); err != nil {
		return nil, nil, err
	}
	return g.conn, g.leave, nil
}

// close refuses what is to come and returns what still has the connection.
func (g *guard) close() (left string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	switch {
	case g.statement != "":
		return g.statement
	case g.open > 0 && !g.conn.IsClosed():
		return "a transaction begun on the handle"
	}
	return ""
}

func brief(sql string) string {
	return fmt.Sprintf("%.100q", strings.Join(strings.Fields(sql), " "))
}

// heldTx is the transaction of a test, or a savepoint in it, behind the guard.
type heldTx struct {
	pgx.Tx
	*guard
	depth int
	done  bool // a savepoint that has ended
}

func (t *heldTx) Begin(ctx context.Context) (pgx.Tx, error) {
	if err := t.enter(ctx, t.depth, "begin"); err != nil {
		return nil, err
	}
	defer t.leave()
	sp, err := t.Tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.open++
	t.mu.Unlock()
	return &heldTx{Tx: sp, guard: t.guard, depth: t.depth + 1}, nil
}

func (t *heldTx) Commit(ctx context.Context) error {
	return t.finish("commit", func() error {
		if t.conn.PgConn().TxStatus() == 'E' {
			// What the server would answer to COMMIT.
			return errors.Join(pgx.ErrTxCommitRollback, t.Tx.Rollback(ctx))
		}
		return t.Tx.Commit(ctx)
	})
}

func (t *heldTx) Rollback(ctx context.Context) error {
	return t.finish("rollback", func() error { return t.Tx.Rollback(ctx) })
}

func (t *heldTx) finish(what string, end func() error) error {
	if t.done {
		return pgx.ErrTxClosed
	}
	if err := t.claim(t.depth, what); err != nil {
		return err
	}
	defer t.leave()
	err := end()
	t.done = true
	t.mu.Lock()
	t.open = min(t.open, t.depth-1) // those begun in it have ended with it
	t.mu.Unlock()
	return err
}

func (t *heldTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if err := t.enter(ctx, t.depth, sql); err != nil {
		return pgconn.CommandTag{}, err
	}
	defer t.leave()
	return t.Tx.Exec(ctx, sql, args...)
}

func (t *heldTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := t.enter(ctx, t.depth, sql); err != nil {
		return failedRows(err), err
	}
	rows, err := t.Tx.Query(ctx, sql, args...)
	if err != nil {
		t.leave()
		return rows, err
	}
	return &heldRows{Rows: rows, guard: t.guard}, nil
}

func (t *heldTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	rows, err := t.Query(ctx, sql, args...)
	return heldRow{rows, err}
}

func (t *heldTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if pgx.FailedBatchResults(b, ErrBusy).Tx() != nil {
		return pgx.FailedBatchResults(b, errors.New("pgdbmtest: a batch cannot begin a transaction in that of a test"))
	}
	if err := t.enter(ctx, t.depth, "batch"); err != nil {
		return pgx.FailedBatchResults(b, err)
	}
	for _, q := range b.QueuedQueries {
		t.prepared = t.prepared || lasting.MatchString(q.SQL)
	}
	return &heldBatch{BatchResults: t.Tx.SendBatch(ctx, b), guard: t.guard}
}

func (t *heldTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	if err := t.enter(ctx, t.depth, "COPY "+table.Sanitize()); err != nil {
		return 0, err
	}
	defer t.leave()
	return t.Tx.CopyFrom(ctx, table, columns, src)
}

func (t *heldTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	if err := t.enter(ctx, t.depth, sql); err != nil {
		return nil, err
	}
	defer t.leave()
	t.prepared = true
	return t.Tx.Prepare(ctx, name, sql)
}

// heldRows give the connection back when they end.
type heldRows struct {
	pgx.Rows
	*guard
	closed bool
}

func (r *heldRows) Close() {
	r.Rows.Close()
	if !r.closed {
		r.closed = true
		r.leave()
	}
}

func (r *heldRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

// Scan and Values end the rows when they fail, as pgx does.

func (r *heldRows) Scan(dest ...any) error {
	err := r.Rows.Scan(dest...)
	if err != nil {
		r.Close()
	}
	return err
}

func (r *heldRows) Values() ([]any, error) {
	vs, err := r.Rows.Values()
	if err != nil {
		r.Close()
	}
	return vs, err
}

// heldRow is the first of rows.
type heldRow struct {
	rows pgx.Rows
	err  error
}

func (r heldRow) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

// heldBatch gives the connection back when it is closed.
type heldBatch struct {
	pgx.BatchResults
	*guard
	closed bool
}

func (b *heldBatch) Close() error {
	defer func() { // a callback may panic
		if !b.closed {
			b.closed = true
			b.leave()
		}
	}()
	return b.BatchResults.Close()
}

// failedRows are rows that never were: a batch's, which pgx knows to make.
func failedRows(err error) pgx.Rows {
	rows, _ := pgx.FailedBatchResults(&pgx.Batch{}, err).Query()
	return rows
}
