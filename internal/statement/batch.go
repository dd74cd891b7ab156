package statement

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// item is a query of a batch.
type item struct {
	call
	query       *pgx.QueuedQuery // the caller's; its callback is run, nothing is written
	sql         string           // for the tracer
	description *description
	holds       bool
	fresh       bool // it was described for this batch
	arguments   pgx.ExtendedQueryBuilder
	parsed      bool // the answer to a Parse of its own comes before its rows
}

// Batches reports whether a batch on a connection is this package's to send, and
// not pgx's.
func (c *Cache) Batches(conn *pgx.Conn, ns *Namespace, b *pgx.Batch) bool {
	s := c.session(conn)
	return alone(conn, ns) || s.shares() && !slices.ContainsFunc(b.QueuedQueries, func(q *pgx.QueuedQuery) bool { return s.isNamed(q.SQL) })
}

// SendBatch sends a batch, which is not changed, in one message, after another
// one that describes what is new. begun, if not nil, is the transaction that the
// first query of the batch began: it has been sent already.
func (c *Cache) SendBatch(ctx context.Context, conn *pgx.Conn, ns *Namespace, b *pgx.Batch, begun pgx.Tx) pgx.BatchResults {
	s := c.session(conn)
	s.touch(ns)
	r := &batchResults{ctx: ctx, cache: c, conn: conn, tracer: s.batchTracer, tx: begun, sentTx: begun != nil}
	if r.tracer != nil {
		r.ctx = r.tracer.TraceBatchStart(ctx, conn, pgx.TraceBatchStartData{Batch: b})
	}
	queries := b.QueuedQueries
	if begun != nil {
		queries = queries[1:]
	}
	items, err := c.items(r.ctx, s, conn, ns, queries)
	if err == nil {
		r.items = items
		err = retake(conn, func() (err error) {
			r.pipeline, err = c.sendAll(r.ctx, conn, s, ns, items)
			return err
		})
	}
	for i := range items {
		s.rewound(items[i].shape)
	}
	r.err = err
	return r
}

func (c *Cache) items(ctx context.Context, s *session, conn *pgx.Conn, ns *Namespace, queries []*pgx.QueuedQuery) ([]item, error) {
	items := make([]item, len(queries))
	for i, q := range queries {
		sh, err := c.Shape(ns, q.SQL)
		if err != nil {
			return nil, err
		}
		o := options{args: q.Arguments}
		// Of the options, pgx takes rewriters alone in a batch.
		for len(o.args) > 0 {
			rewriter, ok := o.args[0].(pgx.QueryRewriter)
			if !ok {
				break
			}
			o.rewriter, o.args = rewriter, o.args[1:]
		}
		if sh, o.args, err = c.rewrite(ctx, conn, sh, ns, o); err != nil {
			return nil, err
		}
		if sh.mayCommit(conn, ns) {
			return nil, fmt.Errorf("%w: schema %q: CALL or DO in a batch outside a transaction, which it could end", ErrEscape, ns.Names.Schema())
		}
		if err := s.rewinding(conn, ns, sh, i < len(queries)-1); err != nil {
			return nil, err
		}
		items[i] = item{call: c.newCall(s, conn, sh, ns, o), query: q, sql: q.SQL}
		if s.batchTracer != nil {
			if items[i].sql, err = sh.expand(ns); err != nil {
				return nil, err
			}
		}
	}
	return items, nil
}

// sendAll sends the items, after a message that describes what is new. Without
// items there is nothing to read.
func (c *Cache) sendAll(ctx context.Context, conn *pgx.Conn, s *session, ns *Namespace, items []item) (*pgconn.Pipeline, error) {
	if err := c.learnAll(ctx, conn, items); err != nil {
		return nil, err
	}
	if err := c.buildAll(ctx, conn, items); err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, nil
	}
	return c.sendItems(ctx, conn, s, ns, items)
}

// learnAll describes what is not known in the namespace yet, in one round trip.
func (c *Cache) learnAll(ctx context.Context, conn *pgx.Conn, items []item) error {
	var missing []*item
	asked := make(map[pair]bool)
	for i := range items {
		it := &items[i]
		if it.description, it.holds = it.known(); !it.holds && !asked[it.key] {
			asked[it.key] = true
			missing = append(missing, it)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	described, err := c.describeAll(ctx, conn, missing)
	if err != nil {
		return err
	}
	for i := range items {
		if it := &items[i]; !it.holds {
			it.description, it.holds, it.fresh = described[it.key], true, true
		}
	}
	return nil
}

// buildAll encodes all arguments before anything is sent: what had gone before an
// argument that cannot be sent would be committed without the rest.
func (c *Cache) buildAll(ctx context.Context, conn *pgx.Conn, items []item) error {
	for i := range items {
		it := &items[i]
		err := it.encode()
		if err != nil && !it.fresh && conn.PgConn().TxStatus() != 'E' {
			// The tables may have changed.
			described, describeErr := c.describeAll(ctx, conn, []*item{it})
			if describeErr != nil {
				return describeErr
			}
			for j := range items[i:] {
				if same := &items[i+j]; same.key == it.key {
					same.description, same.fresh = described[it.key], true
				}
			}
			err = it.encode()
		}
		if err != nil {
			return fmt.Errorf("error preprocessing batch (build): %w", err)
		}
	}
	return nil
}

// encode encodes the arguments, which stay until the batch is sent.
func (it *item) encode() error {
	sd := it.description.statement
	if len(it.args) != len(sd.ParamOIDs) {
		return countError(sd, it.args)
	}
	return it.arguments.Build(it.conn.TypeMap(), sd, it.args)
}

func (c *Cache) describeAll(ctx context.Context, conn *pgx.Conn, missing []*item) (map[pair]*description, error) {
	epoch := c.epoch.Load()
	described := make(map[pair]*description)
	p, sync := c.startAs(ctx, conn, missing[0].session, missing[0].ns)
	for _, it := range missing {
		p.SendPrepare("", it.text(), nil)
	}
	err := sync()
	for i := 0; err == nil && i < len(missing); i++ {
		var sd *pgconn.StatementDescription
		if sd, err = next[*pgconn.StatementDescription](p); err != nil {
			err = fmt.Errorf("error preprocessing batch (prepare): %w", err)
			break
		}
		described[missing[i].key] = missing[i].learned(newDescription(sd, conn.TypeMap(), epoch))
	}
	if closeErr := p.Close(); err == nil {
		err = closeErr
	}
	return described, err
}

func (c *Cache) sendItems(ctx context.Context, conn *pgx.Conn, s *session, ns *Namespace, items []item) (*pgconn.Pipeline, error) {
	p, sync := c.startAs(ctx, conn, s, ns)
	parsed := false // the last query's statement is still the unnamed one
	for i := range items {
		it := &items[i]
		b := &it.arguments
		again := parsed && items[i-1].same(it)
		soon := i+1 < len(items) && it.same(&items[i+1])
		switch {
		case again:
		case soon:
			p.SendPrepare("", it.text(), it.description.oids)
			it.parsed, parsed = true, true
		default:
			p.SendQueryParams(it.text(), b.ParamValues, it.description.oids, b.ParamFormats, it.description.formats)
			parsed = false
			continue
		}
		p.SendQueryPrepared("", b.ParamValues, b.ParamFormats, it.description.formats)
	}
	if err := sync(); err != nil {
		_ = p.Close() // err says why
		return nil, err
	}
	return p, nil
}

// same reports whether two queries are one statement, sent with the same types.
func (it *item) same(o *item) bool { return it.key == o.key && it.description == o.description }
