package statement

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A procedure or a DO block may commit, where nobody has begun a transaction, and
// goes on without the role that was set for it. In a transaction the server
// refuses that.

// execInTx runs a statement in a transaction of its own.
func (c *Cache) execInTx(ctx context.Context, conn *pgx.Conn, sh *Shape, ns *Namespace, args []any) (tag pgconn.CommandTag, err error) {
	err = renewed(func() error {
		return c.inTx(ctx, conn, ns, func() (err error) {
			tag, err = c.Exec(ctx, conn, sh, ns, args)
			return err
		})
	})
	return tag, err
}

// queryInTx is execInTx for rows, with which the transaction ends.
func (c *Cache) queryInTx(ctx context.Context, conn *pgx.Conn, sh *Shape, ns *Namespace, args []any) (rs pgx.Rows, err error) {
	err = renewed(func() error {
		tx, err := c.Begin(ctx, conn, ns, pgx.TxOptions{})
		if err != nil {
			rs = endedRows{conn: conn, err: err}
			return err
		}
		if rs, err = c.Query(ctx, conn, sh, ns, args); err != nil {
			return endTx(ctx, tx, err)
		}
		rs = &watchedRows{plainRows: plainRows{rs, conn}, end: func(err error) error { return endTx(ctx, tx, err) }}
		return nil
	})
	return rs, err
}

// renewed runs f, a whole transaction, again while what was known of its statement
// was out of date.
func renewed(f func() error) (err error) {
	for range attempts {
		if err = f(); !errors.Is(err, ErrStale) {
			return err
		}
	}
	return err
}
