package statement

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// options are the arguments that pgx takes in front of a statement's own.
type options struct {
	mode     pgx.QueryExecMode // 0: the connection's
	formats  pgx.QueryResultFormats
	byOID    pgx.QueryResultFormatsByOID
	rewriter pgx.QueryRewriter
	args     []any
}

func parseOptions(args []any) (o options) {
	for ; len(args) > 0; args = args[1:] {
		switch arg := args[0].(type) {
		case pgx.QueryExecMode:
			o.mode = arg
			continue
		case pgx.QueryResultFormats:
			o.formats = arg
			continue
		case pgx.QueryResultFormatsByOID:
			o.byOID = arg
			continue
		case pgx.QueryRewriter:
			o.rewriter = arg
			continue
		}
		break
	}
	o.args = args
	return o
}

// rewrite applies a rewriter, if there is one. Those that replace named
// arguments rewrite the template, which stays one for all schemas; what others
// do is not known, so they get the text that goes to the server, as from pgx.
func (c *Cache) rewrite(ctx context.Context, conn *pgx.Conn, sh *Shape, ns *Namespace, o options) (*Shape, []any, error) {
	switch o.rewriter.(type) {
	case nil:
		return sh, o.args, nil
	case pgx.NamedArgs, pgx.StrictNamedArgs:
		sql, args, err := o.rewriter.RewriteQuery(ctx, conn, sh.sql, o.args)
		if err != nil {
			return nil, nil, fmt.Errorf("rewrite query failed: %w", err)
		}
		if sh.static() {
			return c.rewritten(sql, ns, args)
		}
		sh, err = c.Shape(ns, sql)
		return sh, args, err
	}
	text, err := sh.expand(ns)
	if err != nil {
		return nil, nil, err
	}
	sql, args, err := o.rewriter.RewriteQuery(ctx, conn, text, o.args)
	if err != nil {
		return nil, nil, fmt.Errorf("rewrite query failed: %w", err)
	}
	return c.rewritten(sql, ns, args)
}

// fixed has a rewriter that may make any text do so before anything is decided by
// the text, where roles play a part.
func (c *Cache) fixed(ctx context.Context, conn *pgx.Conn, s *session, sh *Shape, ns *Namespace, args []any) (*Shape, []any, error) {
	if !s.switched(ns) || !RewritesFreely(args) {
		return sh, args, nil
	}
	o := parseOptions(args)
	sh, rewritten, err := c.rewrite(ctx, conn, sh, ns, o)
	if err != nil {
		return nil, nil, err
	}
	var plain []any
	if o.mode != 0 {
		plain = append(plain, o.mode)
	}
	if o.formats != nil {
		plain = append(plain, o.formats)
	}
	if o.byOID != nil {
		plain = append(plain, o.byOID)
	}
	return sh, append(plain, rewritten...), nil
}

// RewritesFreely reports whether among the options is a rewriter that does more
// than to replace names of arguments.
func RewritesFreely(args []any) bool {
	switch parseOptions(args).rewriter.(type) {
	case nil, pgx.NamedArgs, pgx.StrictNamedArgs:
		return false
	}
	return true
}

func (c *Cache) rewritten(sql string, ns *Namespace, args []any) (*Shape, []any, error) {
	sh := c.literal(sql)
	return sh, args, sh.escapes(ns)
}
