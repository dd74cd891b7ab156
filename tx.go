package pgdbm

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// cleanupTimeout bounds what must happen after a caller's context has ended.
const cleanupTimeout = 5 * time.Second

// Tx is a transaction, or a savepoint in one, seen from one schema. It
// implements pgx.Tx. It is not safe for concurrent use.
//
// Who began a transaction ends it: Commit and Rollback of a view made by
// [Tx.In] do nothing but return [ErrTxNotOwner].
type Tx struct {
	h    *handle
	pgx  pgx.Tx
	run  sessionExecutor
	end  txEnd
	done func() // gives the connection back; nil for savepoints and views
}

var _ pgx.Tx = (*Tx)(nil)

// txEnd says which ways of ending a Tx are its user's.
type txEnd int

const (
	endByUser   txEnd = iota // began with Begin
	endByInTx                // Rollback is the user's, Commit is InTx's
	endByOthers              // a view
)

// newTx wraps t, which runs on the lease's connection; without a lease, the
// connection is held by somebody else, by c if that is not nil.
func newTx(h *handle, t pgx.Tx, l *lease, c *Conn) *Tx {
	tx := &Tx{h: h, pgx: t, run: sessionExecutor{t, c}}
	if l != nil {
		tx.done = l.release
	}
	return tx
}

// Begin sets a savepoint; the result is a [*Tx]. Its Commit releases the
// savepoint, its Rollback rolls back to it.
func (tx *Tx) Begin(ctx context.Context) (pgx.Tx, error) {
	sp, err := tx.savepoint(ctx)
	if err != nil {
		return nil, err
	}
	return sp, nil
}

func (tx *Tx) savepoint(ctx context.Context) (*Tx, error) {
	sp, err := tx.pgx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return newTx(tx.h, sp, nil, tx.run.conn), nil
}

// Commit commits and gives the connection back; for a savepoint it releases
// it. A closed transaction returns pgx.ErrTxClosed; one that the server had
// to roll back, pgx.ErrTxCommitRollback.
func (tx *Tx) Commit(ctx context.Context) error {
	if tx.end != endByUser {
		return ErrTxNotOwner
	}
	return tx.commit(ctx)
}

// Rollback rolls back and gives the connection back; for a savepoint it rolls
// back to it. A closed transaction returns pgx.ErrTxClosed, so that Rollback
// may be deferred. Inside [DB.InTx] it is the way to undo everything without
// an error of one's own; InTx then returns pgx.ErrTxClosed.
func (tx *Tx) Rollback(ctx context.Context) error {
	if tx.end == endByOthers {
		return ErrTxNotOwner
	}
	return tx.rollback(ctx)
}

func (tx *Tx) commit(ctx context.Context) error {
	defer tx.giveBack()
	return tx.pgx.Commit(ctx)
}

func (tx *Tx) rollback(ctx context.Context) error {
	defer tx.giveBack()
	err := tx.pgx.Rollback(ctx)
	if tx.done == nil && !errors.Is(err, pgx.ErrTxClosed) { // a savepoint; a closed one's connection may be another's
		tx.h.core.statements.RolledBack(tx.pgx.Conn())
	}
	return err
}

func (tx *Tx) giveBack() {
	if done := tx.done; done != nil {
		tx.done = nil
		done()
	}
}

// In returns the same transaction seen from the schema of db, another module's
// handle: what both write is committed or rolled back together. db must belong
// to the same database, else the error is [ErrOtherDatabase]. The view ends
// with tx.
func (tx *Tx) In(db *DB) (*Tx, error) {
	if db == nil || !tx.h.core.sameDatabase(db.h.core) {
		return nil, ErrOtherDatabase
	}
	view := newTx(&handle{core: tx.h.core, ns: db.h.ns, schema: db.h.schema, module: db.h.module}, tx.pgx, nil, tx.run.conn)
	view.end = endByOthers
	return view, nil
}

// Schema returns the schema that tx is seen from.
func (tx *Tx) Schema() string { return tx.h.schema }

// Expand returns sql as it would go to the server.
func (tx *Tx) Expand(sql string) (string, error) { return tx.h.expand(sql) }

// Exec executes sql in the transaction and returns its command tag.
func (tx *Tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return tx.run.exec(ctx, tx.h, sql, args)
}

// Query executes sql in the transaction and returns its rows, which must be
// closed or read to the end before the next statement.
func (tx *Tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return tx.run.query(ctx, tx.h, sql, args)
}

// QueryRow executes sql in the transaction and returns its first row.
func (tx *Tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return tx.run.queryRow(ctx, tx.h, sql, args)
}

// SendBatch sends b, which is not changed, in the transaction.
func (tx *Tx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return tx.run.sendBatch(ctx, tx.h, b)
}

// CopyFrom copies rows into table in the transaction; see [DB.CopyFrom].
func (tx *Tx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	return tx.run.copyFrom(ctx, tx.h, table, columns, src)
}

// Prepare prepares sql, with templates expanded, as name on the transaction's
// connection.
func (tx *Tx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	sh, err := tx.h.shape(sql)
	if err != nil {
		return nil, err
	}
	text, err := tx.h.expand(sql)
	if err != nil {
		return nil, err
	}
	tx.run.conn.spoil()
	if err := tx.h.core.statements.TakeRole(ctx, tx.pgx.Conn(), tx.h.ns.Namespace); err != nil {
		return nil, err
	}
	sd, err := tx.pgx.Prepare(ctx, name, text)
	if err == nil {
		tx.h.core.statements.Prepared(tx.pgx.Conn(), name, sh)
	}
	return sd, err
}

// LargeObjects returns the large objects of the database. They work as tx's role
// until the transaction is used from another schema.
func (tx *Tx) LargeObjects() pgx.LargeObjects {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	// When it fails, the transaction has failed.
	_ = tx.h.core.statements.TakeRole(ctx, tx.pgx.Conn(), tx.h.ns.Namespace)
	return tx.pgx.LargeObjects()
}

// Conn returns the connection below, for what this package does not offer.
// SQL given to it is not expanded, and runs as the role that the transaction has
// at that moment. It must not outlive the transaction.
func (tx *Tx) Conn() *pgx.Conn {
	tx.run.conn.spoil()
	tx.h.core.statements.Lent(tx.pgx.Conn(), false)
	return tx.pgx.Conn()
}
