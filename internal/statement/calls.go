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
func (c *Cache) execInTx(ctx context.Context, conn *pgx.Conn, sh *Shape, ns *Namespace, args []any) (tag pgconn.CommandTag, err error) {
	err = c.inTx(ctx, conn, ns, func() (err error) {
		tag, err = c.Exec(ctx, conn, sh, ns, args)
		return err
	})
	return tag, err
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
	return &watchedRows{plainRows: plainRows{rs, conn}, end: func(err error) error { return endTx(ctx, tx, err) }}, nil
}
