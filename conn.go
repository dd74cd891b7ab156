package pgdbm

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/internal/statement"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// Conn is one connection, held for the length of [DB.WithConn], for work that
// needs a session: LISTEN, temporary tables, session locks. It is not safe for
// concurrent use and must not be kept.
type Conn struct {
	h     *handle
	pgx   *pgx.Conn
	tx    pgx.Tx // the transaction that the handle lives in; mostly nil
	run   sessionExecutor
	dirty bool // the session may have state that the next user must not get
}

// WithConn runs fn with a connection of its own. Afterwards the connection
// goes back to the pool if its session is as it was before, and is closed if
// fn left anything in it: settings, a role, LISTEN, temporary tables, advisory
// locks, prepared statements, an open transaction. It is closed, too, when fn
// used [Conn.Pgx], whose use cannot be followed. A setting of an extension's
// or an application's own made inside a function or a DO block goes unseen:
// the server does not list those.
//
// fn's context is marked as in [DB.InTx].
func (db *DB) WithConn(ctx context.Context, fn func(ctx context.Context, c *Conn) error) error {
	if c := db.h.core; c.held != nil {
		return c.withHeld(ctx, db.h, fn)
	}
	l, err := db.h.core.acquire(ctx, db.h, "")
	if err != nil {
		return err
	}
	conn := l.conn.Conn()
	before, err := sessionBaseline(ctx, conn)
	if err != nil {
		l.discard()
		return err
	}
	c := &Conn{h: db.h, pgx: conn}
	if db.h.ns.Role != "" && db.h.core.statements.Direct(ctx, conn) {
		c.h = db.h.owningSession() // a pooler would give it to others
	}
	c.run = sessionExecutor{conn, c}
	fnCtx, h := markHeld(ctx, db.h.core.pgx)
	keep := false
	defer func() {
		h.done.Store(true)
		if keep {
			l.release()
		} else {
			l.discard()
		}
	}()
	err = fn(fnCtx, c)
	keep = !c.dirty && sessionUnchanged(ctx, conn, before)
	return err
}

// owningSession is the handle on a connection that WithConn looks after, where a
// role may leave something with the session.
func (h *handle) owningSession() *handle {
	own := *h
	own.ns = &namespace{h.ns.OwningSession(), h.ns.aliases}
	return &own
}

// Exec executes sql on the connection and returns its command tag.
func (c *Conn) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return c.run.exec(ctx, c.h, sql, args)
}

// Query executes sql on the connection and returns its rows, which must be
// closed or read to the end before the next statement.
func (c *Conn) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return c.run.query(ctx, c.h, sql, args)
}

// QueryRow executes sql on the connection and returns its first row.
func (c *Conn) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return c.run.queryRow(ctx, c.h, sql, args)
}

// SendBatch sends b, which is not changed, on the connection.
func (c *Conn) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return c.run.sendBatch(ctx, c.h, b)
}

// CopyFrom copies rows into table; see [DB.CopyFrom].
func (c *Conn) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	return c.run.copyFrom(ctx, c.h, table, columns, src)
}

// Begin begins a transaction on the connection; the result is a [*Tx].
func (c *Conn) Begin(ctx context.Context) (pgx.Tx, error) {
	return c.BeginTx(ctx, pgx.TxOptions{})
}

// BeginTx begins a transaction on the connection; the result is a [*Tx].
func (c *Conn) BeginTx(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error) {
	t, err := c.begin(ctx, o)
	if err != nil {
		return nil, err
	}
	return newTx(c.h, t, nil, c), nil
}

// InTx runs fn in a transaction on the connection; see [DB.InTx].
func (c *Conn) InTx(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	t, err := c.begin(ctx, pgx.TxOptions{})
	if err != nil {
		return err
	}
	return newTx(c.h, t, nil, c).scope(ctx, fn)
}

func (c *Conn) begin(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error) {
	if c.tx != nil {
		return c.tx.Begin(ctx)
	}
	return c.h.core.statements.Begin(ctx, c.pgx, c.h.ns.Namespace, o)
}

// Schema returns the schema that c is seen from.
func (c *Conn) Schema() string { return c.h.schema }

// Expand returns sql as it would go to the server.
func (c *Conn) Expand(sql string) (string, error) { return c.h.expand(sql) }

// Pgx returns the connection below, for what this package does not offer, such
// as WaitForNotification. The connection is closed after WithConn. What is done
// with it runs as the pool's user, whatever the handle's role.
func (c *Conn) Pgx() *pgx.Conn {
	c.spoil()
	c.h.core.statements.Lent(c.pgx, true)
	return c.pgx
}

// spoil makes WithConn close the connection. On nil it does nothing.
func (c *Conn) spoil() {
	if c != nil {
		c.dirty = true
	}
}

// inspect finds the statements whose effect on the session the server does not
// show: settings with a name of the application's own, as row security
// policies use them, and statements dropped that pgx has prepared. What a rewriter
// makes of a statement is not known. On nil it does nothing.
func (c *Conn) inspect(sql string, args []any) {
	if c != nil && !c.dirty && (setsSession(sql) || statement.RewritesFreely(args)) {
		c.dirty = true
	}
}

func setsSession(sql string) bool {
	var first, second string
	for lex := sqltemplate.NewLexer(sql); ; {
		tok, ok := lex.Next()
		switch {
		case !ok:
			return setsFirst(first, second)
		case tok.Kind == sqltemplate.Semicolon:
			if setsFirst(first, second) {
				return true
			}
			first, second = "", ""
			continue
		case tok.Kind == sqltemplate.QuotedIdent && sql[tok.Start:tok.End] == `"set_config"`:
			return true
		case tok.Kind != sqltemplate.Ident:
			continue
		}
		word := strings.ToLower(sql[tok.Start:tok.End])
		switch {
		case word == "set_config":
			return true
		case first == "":
			first = word
		case second == "":
			second = word
		}
	}
}

func setsFirst(first, second string) bool {
	switch first {
	case "set":
		return second != "local" && second != "transaction" && second != "constraints"
	case "reset", "discard", "deallocate", "load":
		return true
	}
	return false
}

// sessionSQL describes what a session carries from one user to the next. Most
// have no temporary schema; the comparison with 0 spares them the catalog,
// which is large where there are many schemas. The options of a transaction
// stay in the list of settings after its end.
const sessionSQL = `SELECT concat_ws('|', current_user, session_user,
	(SELECT md5(string_agg(name || '=' || setting, ',' ORDER BY name)) FROM pg_catalog.pg_settings WHERE source = 'session'
		AND name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable')),
	(SELECT count(*) FROM pg_catalog.pg_listening_channels()),
	(SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()),
	(SELECT count(*) FROM pg_catalog.pg_prepared_statements WHERE from_sql),
	(SELECT count(*) FROM pg_catalog.pg_cursors WHERE is_holdable),
	(SELECT count(*) FROM pg_catalog.pg_class WHERE pg_catalog.pg_my_temp_schema() <> 0 AND relnamespace = pg_catalog.pg_my_temp_schema()),
	(SELECT count(*) FROM pg_catalog.pg_proc WHERE pg_catalog.pg_my_temp_schema() <> 0 AND pronamespace = pg_catalog.pg_my_temp_schema()),
	(SELECT count(*) FROM pg_catalog.pg_type WHERE pg_catalog.pg_my_temp_schema() <> 0 AND typnamespace = pg_catalog.pg_my_temp_schema()))`

// sessionKey keeps the first description of a connection with it.
const sessionKey = "pgdbm.session"

// sessionBaseline describes the session before its first WithConn: what a hook
// or initial SQL has set is no reason to close it.
func sessionBaseline(ctx context.Context, conn *pgx.Conn) (string, error) {
	data := conn.PgConn().CustomData()
	if s, ok := data[sessionKey].(string); ok {
		return s, nil
	}
	s, err := sessionState(ctx, conn)
	if err == nil {
		data[sessionKey] = s
	}
	return s, err
}

func sessionUnchanged(ctx context.Context, conn *pgx.Conn, before string) bool {
	if conn.IsClosed() || conn.PgConn().IsBusy() || conn.PgConn().TxStatus() != 'I' {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	now, err := sessionState(ctx, conn)
	return err == nil && now == before
}

func sessionState(ctx context.Context, conn *pgx.Conn) (string, error) {
	var s string
	// By the simple protocol, so that it leaves no prepared statement.
	err := conn.QueryRow(ctx, sessionSQL, pgx.QueryExecModeSimpleProtocol).Scan(&s)
	if err != nil {
		return "", errors.Join(errors.New("pgdbm: describe session"), err)
	}
	return s, nil
}
