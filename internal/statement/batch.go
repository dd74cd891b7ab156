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
	own         bool
	parsed      bool // the answer to a Parse of its own comes before its rows
}

// Batches reports whether the batches of a connection are this package's to
// send, and not pgx's. A batch that begins a transaction is pgx's, too, unless a
// pooler forbids its named statements: see Begins.
func (c *Cache) Batches(conn *pgx.Conn, b *pgx.Batch) bool {
	s := c.session(conn)
	return s.shares() && !slices.ContainsFunc(b.QueuedQueries, func(q *pgx.QueuedQuery) bool { return s.isNamed(q.SQL) })
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
		err = c.learnAll(r.ctx, conn, items)
	}
	if err == nil && len(items) > 0 {
		r.pipeline, err = sendItems(r.ctx, conn, items)
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
		items[i] = item{call: c.newCall(s, conn, sh, ns, o), query: q, sql: q.SQL}
		if s.batchTracer != nil {
			if items[i].sql, err = sh.expand(ns); err != nil {
				return nil, err
			}
		}
	}
	return items, nil
}

// learnAll describes what is not known yet, in one round trip.
func (c *Cache) learnAll(ctx context.Context, conn *pgx.Conn, items []item) error {
	var missing []*item
	asked := make(map[pair]bool)
	for i := range items {
		it := &items[i]
		if it.description, it.own = it.known(); it.description == nil && !asked[it.key] {
			asked[it.key] = true
			missing = append(missing, it)
		}
	}
	if len(missing) > 0 {
		if err := c.describeAll(ctx, conn, missing); err != nil {
			return err
		}
		for i := range items {
			if it := &items[i]; it.description == nil {
				if it.description, it.own = it.known(); it.description == nil {
					return fmt.Errorf("pgdbm: batch: the tables changed while it was described")
				}
			}
		}
	}
	return ownTypes(ctx, items)
}

func (c *Cache) describeAll(ctx context.Context, conn *pgx.Conn, missing []*item) error {
	epoch := c.epoch.Load()
	p := conn.PgConn().StartPipeline(ctx)
	for _, it := range missing {
		p.SendPrepare("", it.text(), nil)
	}
	err := p.Sync()
	for i := 0; err == nil && i < len(missing); i++ {
		var result any
		if result, err = p.GetResults(); err != nil {
			err = fmt.Errorf("error preprocessing batch (prepare): %w", err)
			break
		}
		it := missing[i]
		it.description = newDescription(result.(*pgconn.StatementDescription), conn.TypeMap(), epoch)
		if it.own {
			it.keepOwn(it.description)
		} else {
			it.shape.base.Store(it.description)
		}
	}
	if closeErr := p.Close(); err == nil {
		err = closeErr
	}
	return err
}

// ownTypes describes statements for this namespace whose arguments need it.
func ownTypes(ctx context.Context, items []item) error {
	for i := range items {
		it := &items[i]
		d, own, err := it.encode(ctx)
		if err != nil {
			return fmt.Errorf("error preprocessing batch (build): %w", err)
		}
		it.description, it.own = d, own
	}
	return nil
}

func sendItems(ctx context.Context, conn *pgx.Conn, items []item) (*pgconn.Pipeline, error) {
	p := conn.PgConn().StartPipeline(ctx)
	var parsed []uint32 // the types with which the unnamed statement was parsed
	for i := range items {
		it := &items[i]
		ps := &it.session.parameters
		if err := ps.encode(conn.TypeMap(), it.description, it.own, it.args); err != nil {
			_ = p.Sync() // nothing may be left to send
			_ = p.Close()
			return nil, fmt.Errorf("error preprocessing batch (build): %w", err)
		}
		formats := it.description.formats
		again := i > 0 && items[i-1].key == it.key
		soon := i+1 < len(items) && items[i+1].key == it.key
		switch {
		case again && parsed != nil && slices.Equal(parsed, ps.oids):
			// The unnamed statement is still this one.
		case soon:
			p.SendPrepare("", it.text(), ps.oids)
			it.parsed = true
			parsed = append(make([]uint32, 0, len(ps.oids)), ps.oids...)
		default:
			p.SendQueryParams(it.text(), ps.values, ps.oids, ps.formats, formats)
			parsed = nil
			continue
		}
		p.SendQueryPrepared("", ps.values, ps.formats, formats)
	}
	if err := p.Sync(); err != nil {
		return nil, err
	}
	return p, nil
}
