package pgdbm

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/internal/engine"
)

// GoMigration is a migration written in Go, for what SQL cannot say well:
// data that is computed, or moved in batches. One of Tx and Conn is set.
//
// Its version and name are all that is recorded of it, since nothing tells
// whether a function has changed: write another migration instead of changing
// one. The functions may be called for several schemas, at the same time, and
// more than once when others block them; they have no effect outside the
// database.
type GoMigration struct {
	// Version is the place among the module's migrations; no other has it.
	Version int64

	// Name says what it does; it matches [a-z0-9_]+. In the ledger and in
	// errors the migration is VERSION_NAME.go.
	Name string

	// Tx runs in the migration's transaction, which ends with the record of
	// it: Commit and Rollback of tx do nothing but return [ErrTxNotOwner].
	Tx func(ctx context.Context, tx *Tx) error

	// Conn runs on a connection of its own outside a transaction, under the
	// conditions of files with pgdbm:no-transaction. After a crash it is called
	// again, so it must be able to go on with what it has done half.
	Conn func(ctx context.Context, c *Conn) error

	// DownTx and DownConn revert it, in the same two ways. At most one is set;
	// without, it cannot be reverted.
	DownTx   func(ctx context.Context, tx *Tx) error
	DownConn func(ctx context.Context, c *Conn) error
}

// addGo puts the Go migrations among the files.
func (m Module) addGo(files []*engine.File) ([]*engine.File, error) {
	files = slices.Clone(files)
	for _, g := range m.Go {
		up, down, err := g.calls()
		if err != nil {
			return nil, fmt.Errorf("module %s: Go migration %d: %w", m.Name, g.Version, err)
		}
		f, err := engine.NewGoFile(m.Name, g.Version, g.Name, up, down)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return engine.SortFiles(m.Name, files)
}

func (g GoMigration) calls() (up, down *engine.Call, err error) {
	call := func(tx func(context.Context, *Tx) error, conn func(context.Context, *Conn) error) *engine.Call {
		switch {
		case tx != nil:
			return &engine.Call{Func: tx}
		case conn != nil:
			return &engine.Call{Func: conn, NoTransaction: true}
		}
		return nil
	}
	switch {
	case (g.Tx == nil) == (g.Conn == nil):
		return nil, nil, fmt.Errorf("one of Tx and Conn must be set")
	case g.DownTx != nil && g.DownConn != nil:
		return nil, nil, fmt.Errorf("DownTx and DownConn are both set")
	}
	return call(g.Tx, g.Conn), call(g.DownTx, g.DownConn), nil
}

// runGo calls a function of a Go migration on a connection of the engine's.
func (c *core) runGo(ctx context.Context, conn *pgx.Conn, t engine.Target, fn any) error {
	db, err := c.handle(t.Names.Schema(), t.Module, maps.Collect(t.Names.Aliases()), "", nil)
	if err != nil {
		return err
	}
	marked, held := markHeld(ctx, c.pgx)
	defer held.done.Store(true)
	switch fn := fn.(type) {
	case func(context.Context, *Tx) error:
		// A savepoint, since the transaction is the engine's.
		t, err := conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: "savepoint go_migration", CommitQuery: "release savepoint go_migration"})
		if err != nil {
			return err
		}
		tx := newTx(db.h, t, nil, nil)
		tx.end = endByOthers
		if err := fn(marked, tx); err != nil {
			return err
		}
		if conn.PgConn().TxStatus() == 'E' { // fn has swallowed an error of the server
			return pgx.ErrTxCommitRollback
		}
		return t.Commit(ctx)
	case func(context.Context, *Conn) error:
		held := &Conn{h: db.h, pgx: conn}
		held.run = sessionExecutor{conn, held}
		return fn(marked, held)
	}
	return fmt.Errorf("bug: Go migration of type %s", strings.TrimPrefix(fmt.Sprintf("%T", fn), "*"))
}
