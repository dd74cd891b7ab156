package pgdbm

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// TxOptions are the options of [DB.InTxOptions]. The zero value is a plain
// transaction without retries.
type TxOptions struct {
	pgx.TxOptions

	// Retries is how often the whole transaction may be run again after a
	// serialization failure (40001), a deadlock (40P01), or a statement made
	// stale by a migration ([ErrStalePlan]). Zero: never.
	Retries int
}

// InTx runs fn in a transaction, exactly once. It commits when fn returns nil
// and rolls back when fn returns an error, panics or ends its goroutine, or
// when ctx is done; clean-up does not depend on ctx. The error is fn's, ctx's
// or the commit's.
//
// fn's context is marked: a handle of the same pool used with it, outside tx,
// gets [ErrNestedAcquire] at once instead of a second connection.
func (db *DB) InTx(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	return db.inTx(ctx, pgx.TxOptions{}, fn)
}

// InTxOptions is [DB.InTx] with options. With Retries, fn may run several
// times and must not have effects outside the transaction; its last error is
// returned.
func (db *DB) InTxOptions(ctx context.Context, o TxOptions, fn func(ctx context.Context, tx *Tx) error) error {
	for try := 0; ; try++ {
		err := db.inTx(ctx, o.TxOptions, fn)
		if err == nil || try >= o.Retries || !retryable(err) {
			return err
		}
		if !pause(ctx, retryPause(try)) {
			return err
		}
	}
}

func (db *DB) inTx(ctx context.Context, o pgx.TxOptions, fn func(ctx context.Context, tx *Tx) error) error {
	tx, err := db.begin(ctx, o)
	if err != nil {
		return err
	}
	return tx.scope(ctx, fn)
}

// InTx runs fn in a savepoint of tx: it is released when fn returns nil and
// rolled back to when fn returns an error, panics, or when ctx is done. When fn
// has swallowed an error of the server, the error is pgx.ErrTxCommitRollback.
// The transaction itself goes on.
func (tx *Tx) InTx(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	sp, err := tx.savepoint(ctx)
	if err != nil {
		return err
	}
	return sp.scope(ctx, fn)
}

// scope runs fn and ends tx, whatever happens.
func (tx *Tx) scope(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	tx.end = endByInTx
	fnCtx := ctx
	if !holding(ctx, tx.h.core.pgx) {
		marked, h := markHeld(ctx, tx.h.core.pgx)
		defer h.done.Store(true)
		fnCtx = marked
	}
	returned := false
	defer func() {
		if !returned { // panic, or runtime.Goexit as by t.FailNow
			_ = tx.cleanup(ctx)
		}
	}()
	err := fn(fnCtx, tx)
	returned = true

	if err == nil {
		err = ctx.Err()
	}
	if err == nil && tx.pgx.Conn().PgConn().TxStatus() == 'E' {
		// fn has swallowed an error of the server. A savepoint could not be
		// released now, and would take the transaction with it.
		err = pgx.ErrTxCommitRollback
	}
	if err == nil {
		return tx.commit(ctx)
	}
	if cerr := tx.cleanup(ctx); cerr != nil {
		return errors.Join(err, cerr)
	}
	return err
}

// cleanup rolls back on a context that cannot be cancelled. A transaction that
// is closed or whose connection is gone needs none.
func (tx *Tx) cleanup(ctx context.Context) error {
	gone := tx.pgx.Conn().IsClosed()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	err := tx.rollback(ctx)
	if gone || errors.Is(err, pgx.ErrTxClosed) {
		return nil
	}
	return err
}

// retryable reports whether the same transaction may succeed if it is run
// again.
func retryable(err error) bool {
	if errors.Is(err, ErrStalePlan) {
		return true
	}
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pe.Code {
	case "40001", "40P01":
		return true
	case "0A000":
		// Of a statement that the caller prepared. The server's text is
		// translated; its function's name is not.
		return pe.Routine == "RevalidateCachedQuery"
	}
	return false
}

// retryPause grows from a few milliseconds, with jitter so that transactions
// that collided do not collide again.
func retryPause(try int) time.Duration {
	limit := 5 * time.Millisecond << min(try, 7)
	return limit/2 + rand.N(limit/2)
}

// pause waits for d and reports whether ctx was still good at its end.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
