package pgdbm

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
)

// inTransaction returns a view of p whose handles all run in one transaction
// that somebody else holds, for tests. Its transactions are savepoints, whose
// options PostgreSQL cannot honour, and nobody closes anything.
func (p *Pool) inTransaction(held *bridge.Held) *Pool {
	c := newCore(p.core.pgx, false, 0)
	c.logger, c.schema, c.isolates = held.Logger, p.core.schema, p.core.isolates
	c.entry = p.core.entry
	c.held = held
	c.run = sessionExecutor{session: held.Tx}
	return &Pool{core: c, view: true}
}

// beginHeld sets a savepoint in the transaction that c lives in.
func (c *core) beginHeld(ctx context.Context, h *handle) (*Tx, error) {
	sp, err := c.held.Tx.Begin(ctx)
	if err != nil {
		return nil, err
	}
	return newTx(h, sp, nil, nil), nil
}

// withHeld is WithConn on the connection of the transaction that c lives in.
func (c *core) withHeld(ctx context.Context, h *handle, fn func(ctx context.Context, c *Conn) error) error {
	conn := &Conn{h: h.owningSession(), pgx: c.held.Tx.Conn(), tx: c.held.Tx}
	conn.run = sessionExecutor{c.held.Tx, conn}
	return fn(ctx, conn)
}

// heldRunner reads the ledger on the connection of the transaction that c
// lives in; it migrates nothing.
func (c *core) heldRunner() *engine.Runner {
	return &engine.Runner{
		Acquire: func(ctx context.Context) (*pgx.Conn, func(discard bool), error) {
			conn, release, err := c.held.Hold(ctx)
			return conn, func(bool) { release() }, err
		},
		Logger:        c.log(),
		Tool:          tool,
		InTransaction: true,
	}
}

func init() {
	bridge.InTransaction = func(pool any, held *bridge.Held) any {
		return pool.(*Pool).inTransaction(held)
	}
}
