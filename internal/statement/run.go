package statement

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Exec runs a statement on a connection that the caller holds. Without arguments
// it may be several statements, as with pgx, which sends those by the simple
// protocol.
func (c *Cache) Exec(ctx context.Context, conn *pgx.Conn, sh *Shape, ns *Namespace, args []any) (pgconn.CommandTag, error) {
	s := c.session(conn)
	sh, args, err := c.fixed(ctx, conn, s, sh, ns, args)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	if sh.mayCommit(conn, ns) && sh.script().statements == 1 {
		return c.execInTx(ctx, conn, sh, ns, args)
	}
	if s.switched(ns) {
		if err := s.rewinding(conn, ns, sh, sh.script().statements > 1); err != nil {
			return pgconn.CommandTag{}, err
		}
		defer s.rewound(sh)
	}
	if !sh.static() {
		s.touch(ns)
	}
	if alone(conn, ns) && sh.script().begins && sh.script().statements == 1 {
		// Its options may be set before anything else alone. What follows sets the role.
		s.role.known = false
		return conn.Exec(ctx, sh.sql)
	}
	o := parseOptions(args)
	if c.foreign(conn, s, sh, ns, o) || len(args) == 0 && !(alone(conn, ns) && sh.script().statements == 1) {
		text, err := c.pass(ctx, conn, s, sh, ns, o)
		if err != nil {
			return pgconn.CommandTag{}, err
		}
		if alone(conn, ns) && sh.script().statements > 0 {
			return c.execScript(ctx, conn, ns, text)
		}
		return conn.Exec(ctx, text, args...)
	}
	ctx, traced := s.trace(ctx, conn, sh, ns, args)
	tag, err := c.exec(ctx, conn, s, sh, ns, o)
	if traced != nil {
		traced(tag, err)
	}
	return tag, err
}

func (c *Cache) exec(ctx context.Context, conn *pgx.Conn, s *session, sh *Shape, ns *Namespace, o options) (pgconn.CommandTag, error) {
	sh, args, err := c.rewrite(ctx, conn, sh, ns, o)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	o.args = args
	k := c.newCall(s, conn, sh, ns, o)
	r, err := k.start(ctx)
	switch {
	case err != nil || r.done:
		return r.tag, err
	case r.copied != nil:
		return r.copied.tag, r.copied.err
	}
	tag, err := r.reader.Close()
	if r.pipeline != nil {
		if closeErr := r.pipeline.Close(); err == nil {
			err = closeErr
		}
	}
	return tag, err
}

// Query runs a statement on a connection that the caller holds, and returns its
// rows, which must be closed or read to the end before the next one. An error is
// also in the rows' Err.
func (c *Cache) Query(ctx context.Context, conn *pgx.Conn, sh *Shape, ns *Namespace, args []any) (pgx.Rows, error) {
	s := c.session(conn)
	sh, args, err := c.fixed(ctx, conn, s, sh, ns, args)
	if err != nil {
		return endedRows{conn: conn, err: err}, err
	}
	if sh.mayCommit(conn, ns) {
		return c.queryInTx(ctx, conn, sh, ns, args)
	}
	if s.switched(ns) {
		if err := s.rewinding(conn, ns, sh, sh.script().statements > 1); err != nil {
			return endedRows{conn: conn, err: err}, err
		}
		defer s.rewound(sh)
	}
	if !sh.static() {
		s.touch(ns)
	}
	o := parseOptions(args)
	if c.foreign(conn, s, sh, ns, o) {
		text, err := c.pass(ctx, conn, s, sh, ns, o)
		if err != nil {
			return endedRows{conn: conn, err: err}, err
		}
		return conn.Query(ctx, text, args...)
	}
	ctx, traced := s.trace(ctx, conn, sh, ns, args)
	rows, err := c.query(ctx, conn, s, sh, ns, o, traced)
	if err != nil && traced != nil {
		traced(rows.CommandTag(), err)
	}
	return rows, err
}

func (c *Cache) query(ctx context.Context, conn *pgx.Conn, s *session, sh *Shape, ns *Namespace, o options, traced func(pgconn.CommandTag, error)) (pgx.Rows, error) {
	sh, args, err := c.rewrite(ctx, conn, sh, ns, o)
	if err != nil {
		return endedRows{conn: conn, err: err}, err
	}
	o.args = args
	k := c.newCall(s, conn, sh, ns, o)
	r, err := k.start(ctx)
	if err != nil {
		return endedRows{conn: conn, err: err}, err
	}
	return s.rows(conn, r, traced), nil
}

func (s *session) rows(conn *pgx.Conn, r reply, traced func(pgconn.CommandTag, error)) pgx.Rows {
	var rs pgx.Rows
	switch {
	case r.done:
		rs = endedRows{conn: conn, tag: r.tag}
	case r.copied != nil:
		rs = r.copied
	default:
		rs = pgx.RowsFromResultReader(conn.TypeMap(), r.reader)
	}
	if r.pipeline == nil && traced == nil {
		return s.plainRows(rs, conn)
	}
	return &watchedRows{plainRows: plainRows{rs, conn}, pipeline: r.pipeline, traced: traced}
}

// foreign reports whether pgx is to run a statement its own way: in a mode that
// the caller or the connection has chosen, or one that was prepared by name. For a
// role outside a transaction there is no other way than this package's.
func (c *Cache) foreign(conn *pgx.Conn, s *session, sh *Shape, ns *Namespace, o options) bool {
	if sh.name || sh.sql == "" {
		return true
	}
	return !alone(conn, ns) && (s.given[sh.sql] != nil || o.mode != 0 || !s.shares())
}

// pass returns the text of a statement for pgx.
func (c *Cache) pass(ctx context.Context, conn *pgx.Conn, s *session, sh *Shape, ns *Namespace, o options) (string, error) {
	mode := o.mode
	if mode == 0 {
		mode = s.mode
	}
	if mode == pgx.QueryExecModeDescribeExec {
		if err := c.refuse(ctx, conn, s); err != nil {
			return "", err
		}
	}
	if alone(conn, ns) && sh.name {
		return "", fmt.Errorf("%w: schema %q: statement %s was prepared by name, for no role", ErrEscape, ns.Names.Schema(), sh.sql)
	}
	if err := c.TakeRole(ctx, conn, ns); err != nil {
		return "", err
	}
	if sh.static() {
		return sh.sql, nil
	}
	return c.Expand(ns, sh.sql)
}

// trace tells the user's tracer that a statement begins, as pgx would, and
// returns what tells it of the end; nil without a tracer.
func (s *session) trace(ctx context.Context, conn *pgx.Conn, sh *Shape, ns *Namespace, args []any) (context.Context, func(pgconn.CommandTag, error)) {
	t := s.tracer
	if t == nil {
		return ctx, nil
	}
	text, err := sh.expand(ns)
	if err != nil {
		text = sh.sql // it fails next, with the reason
	}
	ctx = t.TraceQueryStart(ctx, conn, pgx.TraceQueryStartData{SQL: text, Args: args})
	return ctx, func(tag pgconn.CommandTag, err error) {
		t.TraceQueryEnd(ctx, conn, pgx.TraceQueryEndData{CommandTag: tag, Err: err})
	}
}
