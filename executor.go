package pgdbm

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/internal/statement"
)

// executor runs SQL for a handle. One takes a connection of the pool for each
// call, the other runs on a connection or transaction that is held already.
// Templates reach it unexpanded, so that an executor may key statements by
// template instead of by text.
type executor interface {
	exec(ctx context.Context, h *handle, sql string, args []any) (pgconn.CommandTag, error)
	query(ctx context.Context, h *handle, sql string, args []any) (pgx.Rows, error)
	queryRow(ctx context.Context, h *handle, sql string, args []any) pgx.Row
	sendBatch(ctx context.Context, h *handle, b *pgx.Batch) pgx.BatchResults
	copyFrom(ctx context.Context, h *handle, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error)
}

// namespace is what {{...}} means to one handle. It is immutable.
type namespace struct {
	*statement.Namespace
	// aliases maps modules to schemas: what {{tables.module.x}} may name.
	aliases map[string]string
}

// handle is one schema's view of a pool, shared by the DB and by the
// transactions and connections that come from it. It is immutable.
type handle struct {
	core   *core
	ns     *namespace
	schema string
	module string  // set by Attach, else empty
	limits *limits // nil: none of its own
}

func (h *handle) expand(sql string) (string, error) {
	return h.core.statements.Expand(h.ns.Namespace, sql)
}

// shape looks sql up as a statement of the handle's.
func (h *handle) shape(sql string) (*statement.Shape, error) {
	return h.core.statements.Shape(h.ns.Namespace, sql)
}

// table completes a one-part identifier with the handle's schema.
func (h *handle) table(name pgx.Identifier) pgx.Identifier {
	if len(name) == 1 {
		return pgx.Identifier{h.schema, name[0]}
	}
	return name
}

// traced returns a function that logs sql with its duration at debug level, or
// nil when nobody wants to know.
func (h *handle) traced(ctx context.Context, sql string) func(error) {
	log := h.core.log()
	if !log.Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	start := time.Now()
	return func(err error) {
		attrs := []slog.Attr{
			slog.String("schema", h.schema),
			slog.String("sql", sql),
			slog.Duration("duration", time.Since(start)),
		}
		if err != nil {
			attrs = append(attrs, slog.String("sqlstate", sqlState(err)))
		}
		log.LogAttrs(ctx, slog.LevelDebug, "SQL", attrs...)
	}
}

// poolExecutor takes a connection for each call.
type poolExecutor struct{ core *core }

func (e *poolExecutor) exec(ctx context.Context, h *handle, sql string, args []any) (tag pgconn.CommandTag, err error) {
	sh, err := h.shape(sql)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	l, err := e.core.acquire(ctx, h, sql)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	defer l.release()
	if done := h.traced(ctx, sql); done != nil {
		defer func() { done(err) }()
	}
	return e.core.statements.Exec(ctx, l.conn.Conn(), sh, h.ns.Namespace, args)
}

func (e *poolExecutor) query(ctx context.Context, h *handle, sql string, args []any) (pgx.Rows, error) {
	sh, err := h.shape(sql)
	if err != nil {
		return errRows{err}, err
	}
	l, err := e.core.acquire(ctx, h, "")
	if err != nil {
		return errRows{err}, err
	}
	done := h.traced(ctx, sql)
	ok := false
	defer func() {
		if !ok { // an argument's Value method may panic, too
			l.release()
		}
	}()
	rs, err := e.core.statements.Query(ctx, l.conn.Conn(), sh, h.ns.Namespace, args)
	if err != nil {
		if done != nil {
			done(err)
		}
		return errRows{err}, err
	}
	ok = true
	return l.rows(rs, done), nil
}

func (e *poolExecutor) queryRow(ctx context.Context, h *handle, sql string, args []any) pgx.Row {
	sh, err := h.shape(sql)
	if err != nil {
		return errRow{err}
	}
	l, err := e.core.acquire(ctx, h, sql)
	if err != nil {
		return errRow{err}
	}
	done := h.traced(ctx, sql)
	ok := false
	defer func() {
		if !ok {
			l.release()
		}
	}()
	rs, err := e.core.statements.Query(ctx, l.conn.Conn(), sh, h.ns.Namespace, args)
	ok = true
	return l.row(rs, err, done)
}

func (e *poolExecutor) sendBatch(ctx context.Context, h *handle, b *pgx.Batch) pgx.BatchResults {
	if err := h.checkBatch(b); err != nil {
		return h.failedBatch(b, err)
	}
	l, err := e.core.acquire(ctx, h, "")
	if err != nil {
		return h.failedBatch(b, err)
	}
	br := &batchResults{lease: l, done: h.tracedBatch(ctx, b)}
	ok := false
	defer func() {
		if !ok {
			l.release()
		}
	}()
	br.BatchResults = h.sendBatch(ctx, l.conn.Conn(), b)
	ok = true
	if t := br.BatchResults.Tx(); t != nil {
		// The transaction owns the connection now.
		br.lease = nil
		br.tx = newTx(h, t, l, nil)
	}
	return br
}

func (e *poolExecutor) copyFrom(ctx context.Context, h *handle, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (n int64, err error) {
	l, err := e.core.acquire(ctx, h, "")
	if err != nil {
		return 0, err
	}
	defer l.release()
	return h.copyFrom(ctx, l.conn.Conn(), table, columns, src)
}

// session is what *pgx.Conn and pgx.Tx have in common.
type session interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error)
}

// sessionExecutor runs on a connection or transaction that its owner holds.
type sessionExecutor struct {
	session
	conn *Conn // looks at what runs on it; nil outside WithConn
}

// live returns the connection, unless the transaction on it has ended.
func (e sessionExecutor) live(ctx context.Context) (*pgx.Conn, error) {
	tx, ok := e.session.(pgx.Tx)
	if !ok {
		return e.session.(*pgx.Conn), nil
	}
	// A transaction does not say whether it has ended but refuses a batch, even
	// an empty one, for which nothing is sent.
	if err := tx.SendBatch(ctx, &pgx.Batch{}).Close(); err != nil {
		return nil, err
	}
	return tx.Conn(), nil
}

func (e sessionExecutor) exec(ctx context.Context, h *handle, sql string, args []any) (tag pgconn.CommandTag, err error) {
	sh, err := h.shape(sql)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	e.conn.inspect(sql, args)
	if done := h.traced(ctx, sql); done != nil {
		defer func() { done(err) }()
	}
	if h.core.held != nil {
		text, err := e.expandHeld(ctx, h, sh, sql)
		if err != nil {
			return pgconn.CommandTag{}, err
		}
		return e.Exec(ctx, text, args...)
	}
	conn, err := e.live(ctx)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	return h.core.statements.Exec(ctx, conn, sh, h.ns.Namespace, args)
}

func (e sessionExecutor) query(ctx context.Context, h *handle, sql string, args []any) (pgx.Rows, error) {
	sh, err := h.shape(sql)
	if err != nil {
		return errRows{err}, err
	}
	e.conn.inspect(sql, args)
	done := h.traced(ctx, sql)
	rs, err := e.run(ctx, h, sh, sql, args)
	if done == nil {
		return rs, err
	}
	if err != nil {
		done(err)
		return rs, err
	}
	return &rows{Rows: rs, done: done}, nil
}

func (e sessionExecutor) run(ctx context.Context, h *handle, sh *statement.Shape, sql string, args []any) (pgx.Rows, error) {
	if h.core.held != nil {
		text, err := e.expandHeld(ctx, h, sh, sql)
		if err != nil {
			return errRows{err}, err
		}
		return e.Query(ctx, text, args...)
	}
	conn, err := e.live(ctx)
	if err != nil {
		return errRows{err}, err
	}
	return h.core.statements.Query(ctx, conn, sh, h.ns.Namespace, args)
}

// expandHeld returns sql for the transaction that the handle lives in, which has
// the handle's role then.
func (e sessionExecutor) expandHeld(ctx context.Context, h *handle, sh *statement.Shape, sql string) (string, error) {
	if h.core.roles.Load() {
		if err := sh.CheckScript(h.ns.Namespace); err != nil {
			return "", err
		}
	}
	text, err := h.expand(sql)
	if err != nil {
		return "", err
	}
	if sh.RollsBack() && h.core.held.Tx.Conn().PgConn().TxStatus() == 'E' {
		return text, nil // a transaction that has failed takes nothing else
	}
	return text, e.assume(ctx, h)
}

// assume sets the handle's role in the transaction that the handle lives in, which
// does not tell when it is rolled back to a savepoint.
func (e sessionExecutor) assume(ctx context.Context, h *handle) error {
	if h.core.held == nil || !h.core.roles.Load() {
		return nil
	}
	_, err := e.Exec(ctx, h.ns.RoleText())
	return err
}

func (e sessionExecutor) queryRow(ctx context.Context, h *handle, sql string, args []any) pgx.Row {
	sh, err := h.shape(sql)
	if err != nil {
		return errRow{err}
	}
	e.conn.inspect(sql, args)
	done := h.traced(ctx, sql)
	rs, err := e.run(ctx, h, sh, sql, args)
	return &row{Row: statement.Row{Rows: rs, Err: err}, done: done}
}

func (e sessionExecutor) sendBatch(ctx context.Context, h *handle, b *pgx.Batch) pgx.BatchResults {
	if err := h.checkBatch(b); err != nil {
		return h.failedBatch(b, err)
	}
	for _, q := range b.QueuedQueries {
		e.conn.inspect(q.SQL, q.Arguments)
	}
	br := &batchResults{done: h.tracedBatch(ctx, b), BatchResults: e.batch(ctx, h, b)}
	if t := br.BatchResults.Tx(); t != nil {
		br.tx = newTx(h, t, nil, e.conn)
	}
	return br
}

func (e sessionExecutor) batch(ctx context.Context, h *handle, b *pgx.Batch) pgx.BatchResults {
	conn, isConn := e.session.(*pgx.Conn)
	if h.core.held != nil || !isConn && begins(b) { // which a transaction refuses
		expanded, err := h.expandBatch(b)
		if err == nil {
			err = e.assume(ctx, h)
		}
		if err != nil {
			return pgx.FailedBatchResults(b, err)
		}
		return e.SendBatch(ctx, expanded)
	}
	if !isConn {
		var err error
		if conn, err = e.live(ctx); err != nil {
			return pgx.FailedBatchResults(b, err)
		}
	}
	return h.sendBatch(ctx, conn, b)
}

func (e sessionExecutor) copyFrom(ctx context.Context, h *handle, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (n int64, err error) {
	if h.core.held == nil {
		conn, err := e.live(ctx)
		if err != nil {
			return 0, err
		}
		return h.copyFrom(ctx, conn, table, columns, src)
	}
	if err := e.assume(ctx, h); err != nil {
		return 0, err
	}
	table = h.table(table)
	if done := h.tracedCopy(ctx, table); done != nil {
		defer func() { done(err) }()
	}
	return e.CopyFrom(ctx, table, columns, src)
}

// copyFrom copies rows on a connection that the caller holds.
func (h *handle) copyFrom(ctx context.Context, conn *pgx.Conn, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (n int64, err error) {
	table = h.table(table)
	if done := h.tracedCopy(ctx, table); done != nil {
		defer func() { done(err) }()
	}
	return h.core.statements.CopyFrom(ctx, conn, h.ns.Namespace, table, columns, src)
}

func (h *handle) tracedCopy(ctx context.Context, table pgx.Identifier) func(error) {
	return h.traced(ctx, "COPY "+table.Sanitize())
}
