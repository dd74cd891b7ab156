package statement

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Begin begins a transaction on a connection that the caller holds, in which the
// role of the namespace is in effect, in one round trip.
func (c *Cache) Begin(ctx context.Context, conn *pgx.Conn, ns *Namespace, o pgx.TxOptions) (pgx.Tx, error) {
	if ns.Role != "" {
		if err := c.session(conn).learnOwnRole(ctx, conn); err != nil {
			return nil, err
		}
		o.BeginQuery = beginText(o) + `; SET LOCAL ROLE "` + ns.Role + `"`
	}
	tx, err := conn.BeginTx(ctx, o)
	if err != nil {
		if !conn.IsClosed() && conn.PgConn().TxStatus() != 'I' { // it has begun, without the role
			_, _ = conn.Exec(ctx, "rollback")
		}
		if pe, ok := errors.AsType[*pgconn.PgError](err); ok && ns.Role != "" {
			err = fmt.Errorf("%w: role %q of schema %q: %w", ErrRole, ns.Role, ns.Names.Schema(), pe)
		}
		return nil, err
	}
	c.Begun(conn, ns)
	return tx, nil
}

// beginText is the statement that pgx would begin the transaction with; it keeps
// it to itself, but a batch that begins one shows it.
func beginText(o pgx.TxOptions) string {
	var b pgx.Batch
	b.BeginTx(o)
	return b.QueuedQueries[0].SQL
}

// inTx runs fn in a transaction of its own, in which the role of the namespace is
// in effect.
func (c *Cache) inTx(ctx context.Context, conn *pgx.Conn, ns *Namespace, fn func() error) error {
	tx, err := c.Begin(ctx, conn, ns, pgx.TxOptions{})
	if err != nil {
		return err
	}
	returned := false
	defer func() {
		if !returned { // what the caller has given may panic
			_ = rollback(ctx, tx)
		}
	}()
	err = fn()
	returned = true
	return endTx(ctx, tx, err)
}

// endTx commits, or rolls back what failed.
func endTx(ctx context.Context, tx pgx.Tx, err error) error {
	if err == nil {
		return tx.Commit(ctx)
	}
	_ = rollback(ctx, tx) // err says why
	return err
}

// cleanupTimeout bounds a rollback whose caller's context has ended.
const cleanupTimeout = 5 * time.Second

func rollback(ctx context.Context, tx pgx.Tx) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	return tx.Rollback(ctx)
}
