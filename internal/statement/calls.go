package statement

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A procedure or a DO block may commit, where nobody has begun a transaction, and
// goes on without the role that was set for it. In a transaction the server
// refuses that.

// execInTx runs a statement in a transaction of its own.
func (c *Cache) execInTx(ctx context.Context, conn *pgx.Conn, sh *Shape, ns *Namespace, args []any) (pgconn.CommandTag, error) {
	tx, err := c.Begin(ctx, conn, ns, pgx.TxOptions{})
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	tag, err := c.Exec(ctx, conn, sh, ns, args)
	return tag, endTx(ctx, tx, err)
}

// queryInTx is execInTx for rows, with which the transaction ends.
func (c *Cache) queryInTx(ctx context.Context, conn *pgx.Conn, sh *Shape, ns *Namespace, args []any) (pgx.Rows, error) {
	tx, err := c.Begin(ctx, conn, ns, pgx.TxOptions{})
	if err != nil {
		return endedRows{conn: conn, err: err}, err
	}
	rs, err := c.Query(ctx, conn, sh, ns, args)
	if err != nil {
		return rs, endTx(ctx, tx, err)
	}
	return &txRows{Rows: rs, end: func(err error) error { return endTx(ctx, tx, err) }}, nil
}

// endTx commits, or rolls back what failed.
func endTx(ctx context.Context, tx pgx.Tx, err error) error {
	if err == nil {
		return tx.Commit(ctx)
	}
	_ = rollback(ctx, tx) // err says why
	return err
}

// txRows end a transaction when they end.
type txRows struct {
	pgx.Rows
	end func(error) error
	err error
}

func (r *txRows) Close() {
	r.Rows.Close()
	if r.end != nil {
		end := r.end
		r.end = nil
		r.err = end(r.Rows.Err())
	}
}

func (r *txRows) Err() error {
	if err := r.Rows.Err(); err != nil {
		return err
	}
	return r.err
}

func (r *txRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

// Scan and Values end the result set when they fail, as pgx does.

func (r *txRows) Scan(dest ...any) error {
	err := r.Rows.Scan(dest...)
	if err != nil {
		r.Close()
	}
	return err
}

func (r *txRows) Values() ([]any, error) {
	vs, err := r.Rows.Values()
	if err != nil {
		r.Close()
	}
	return vs, err
}
