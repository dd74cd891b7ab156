package statement

import (
	"context"
	"fmt"
	"unsafe"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// call is one execution of a statement.
type call struct {
	cache   *Cache
	session *session
	conn    *pgx.Conn
	shape   *Shape
	ns      *Namespace
	key     pair
	args    []any
	formats pgx.QueryResultFormats
	byOID   pgx.QueryResultFormatsByOID
}

func (c *Cache) newCall(s *session, conn *pgx.Conn, sh *Shape, ns *Namespace, o options) call {
	k := call{cache: c, session: s, conn: conn, shape: sh, ns: ns, args: o.args, formats: o.formats, byOID: o.byOID}
	k.key.shape = sh
	if !sh.static() {
		k.key.namespace = ns.id
	}
	return k
}

// text is the statement as it goes to the server. It may stand in a buffer of
// the session, which the next text overwrites: pgconn copies what it sends.
func (k *call) text() string {
	if k.shape.static() {
		return k.shape.sql
	}
	// Shape has seen to it that it can be expanded.
	buf, err := k.shape.template.Append(k.session.text[:0], k.ns.Names)
	if err != nil {
		panic("pgdbm: bug: " + err.Error())
	}
	k.session.text = buf
	return unsafe.String(unsafe.SliceData(buf), len(buf))
}

// reply is the server's answer up to its first row, or all of it.
type reply struct {
	reader   *pgconn.ResultReader
	pipeline *pgconn.Pipeline // to be closed after the reader; mostly nil
	copied   *copiedRows      // instead of the reader, when its values had to be converted
	done     bool             // tag says it all
	tag      pgconn.CommandTag
}

// attempt is one way to run a call.
type attempt struct {
	reply
	prepared    *prepared    // the named statement that was used, or
	description *description // the description
	own         bool         // which is the namespace's own
}

// attempts is how often a call may be run: a named statement may be out of date,
// and then the description, too.
const attempts = 3

// start runs the call until its first row. When the server refuses it because
// of what was known about the statement, and outside a transaction, it runs it
// again: nothing has happened then.
func (k *call) start(ctx context.Context) (reply, error) {
	for n := 1; ; n++ {
		idle := k.conn.PgConn().TxStatus() == 'I'
		var a attempt
		err := k.try(ctx, &a)
		if err == nil {
			err = a.settle(ctx, k)
		}
		if err == nil {
			return a.reply, nil
		}
		retry, err := k.heal(ctx, &a, err, idle)
		if !retry || n == attempts {
			return a.reply, err
		}
	}
}

func (k *call) try(ctx context.Context, a *attempt) error {
	s := k.session
	if n := s.named.get(k.key, k.cache.epoch.Load()); n != nil && k.byOID == nil {
		a.prepared = n
		return k.execute(ctx, a)
	}
	d, own, err := k.encode(ctx)
	if err != nil {
		return err
	}
	a.description, a.own = d, own
	formats := k.resultFormats(d)
	if k.named(ctx) {
		return k.promote(ctx, a, formats)
	}
	p := &s.parameters
	a.reader = k.conn.PgConn().ExecParams(ctx, k.text(), p.values, p.oids, p.formats, formats)
	return nil
}

// execute runs the call's named statement.
func (k *call) execute(ctx context.Context, a *attempt) error {
	sd := a.prepared.statement
	if len(k.args) != len(sd.ParamOIDs) {
		return countError(len(sd.ParamOIDs), len(k.args))
	}
	b := &k.session.builder
	if err := b.Build(k.conn.TypeMap(), sd, k.args); err != nil {
		return err
	}
	formats := b.ResultFormats
	if k.formats != nil {
		formats = k.formats
	}
	a.reader = k.conn.PgConn().ExecStatement(ctx, sd, b.ParamValues, b.ParamFormats, formats)
	return nil
}

// encode encodes the arguments with the description that is known, or with the
// namespace's own where they need it.
func (k *call) encode(ctx context.Context) (d *description, own bool, err error) {
	if d, own, err = k.description(ctx); err != nil {
		return nil, false, err
	}
	if len(k.args) != len(d.params) {
		return nil, false, countError(len(d.params), len(k.args))
	}
	p, m := &k.session.parameters, k.conn.TypeMap()
	err = p.encode(m, d, own, k.args)
	if err == nil || own {
		return d, own, err
	}
	// Nothing has been sent. The namespace's types may be wider, or have to be
	// known.
	mine, learnErr := k.learnOwn(ctx)
	if learnErr != nil {
		if err == errOwnTypes {
			err = learnErr
		}
		return nil, false, err
	}
	return mine, true, p.encode(m, mine, true, k.args)
}

func countError(want, got int) error { return fmt.Errorf("expected %d arguments, got %d", want, got) }

func (k *call) resultFormats(d *description) []int16 {
	switch {
	case k.formats != nil:
		return k.formats
	case k.byOID != nil:
		formats := make([]int16, len(d.fields))
		for i, oid := range d.fields {
			formats[i] = k.byOID[oid]
		}
		return formats
	}
	return d.formats
}

// named reports whether this use of the pair should give it a name.
func (k *call) named(ctx context.Context) bool {
	s := k.session
	if s.mode != pgx.QueryExecModeCacheStatement || s.pooler == pooled || k.formats != nil || k.byOID != nil {
		return false
	}
	if s.seen == nil {
		s.seen = new(seen)
	}
	if !s.seen.again(k.key) || k.conn.PgConn().TxStatus() == 'E' {
		return false
	}
	if s.pooler == unknown {
		// A name that another client's connection would meet is worse than a
		// round trip. When it fails, so will the statement, and say why.
		_ = k.cache.detect(ctx, k.conn, s)
	}
	return s.pooler == direct
}

// promote prepares the statement under a name and runs it, in one message, in
// which also goes what is to be forgotten.
func (k *call) promote(ctx context.Context, a *attempt, formats []int16) error {
	s := k.session
	n := &s.named
	n.room()
	epoch := k.cache.epoch.Load()
	name := n.name()
	p := k.conn.PgConn().StartPipeline(ctx)
	for _, old := range n.garbage {
		p.SendDeallocate(old)
	}
	p.SendPrepare(name, k.text(), s.parameters.oids)
	p.SendQueryPrepared(name, s.parameters.values, s.parameters.formats, formats)
	a.pipeline = p
	if err := p.Sync(); err != nil {
		return k.abandon(a, err)
	}
	for range n.garbage {
		if _, err := p.GetResults(); err != nil {
			return k.abandon(a, err)
		}
	}
	n.garbage = n.garbage[:0]
	for {
		result, err := p.GetResults()
		if err != nil {
			return k.abandon(a, err)
		}
		switch result := result.(type) {
		case *pgconn.StatementDescription:
			result.Name = name
			n.put(k.key, result, epoch)
		case *pgconn.ResultReader:
			a.reader = result
			return nil
		default:
			return k.abandon(a, fmt.Errorf("pgdbm: bug: %T in a pipeline", result))
		}
	}
}

// abandon ends the pipeline of an attempt that failed.
func (k *call) abandon(a *attempt, err error) error {
	_ = a.pipeline.Close() // err says why
	a.pipeline = nil
	return err
}

// settle finds out what can be known before the first row: that there is none,
// or that a column has come in a form that cannot be read.
func (a *attempt) settle(ctx context.Context, k *call) error {
	fields := a.reader.FieldDescriptions()
	if fields == nil {
		var err error
		a.tag, err = a.reader.Close()
		if a.pipeline != nil {
			if closeErr := a.pipeline.Close(); err == nil {
				err = closeErr
			}
			a.pipeline = nil
		}
		a.done = true
		return err
	}
	if a.description == nil || k.formats != nil || k.byOID != nil || a.description.reads(k.conn.TypeMap(), fields) {
		return nil
	}
	return a.convert(ctx, k)
}

// heal forgets what an error shows to be wrong and reports whether the call may
// be tried again. The error it returns is the one for the caller otherwise.
func (k *call) heal(ctx context.Context, a *attempt, err error, idle bool) (retry bool, _ error) {
	named := a.prepared != nil
	verdict := judge(err, named)
	if verdict == fresh {
		return false, err
	}
	if named {
		k.session.named.drop(a.prepared)
	}
	if !idle {
		// The transaction has failed, and only its owner can run it again.
		if !named {
			k.distrust(a, verdict)
		}
		if verdict == surely || !a.own {
			return false, asStale(err)
		}
		return false, err
	}
	if k.conn.IsClosed() || ctx.Err() != nil {
		return false, err
	}
	if named {
		return true, err
	}
	d, describeErr := k.describe(ctx)
	if describeErr != nil || d.same(a.description) {
		return false, err
	}
	if base := k.shape.base.Load(); base == a.description && !base.healed {
		// The tables have changed, it seems; the other schemas will follow.
		d.healed = true
		k.shape.base.Store(d)
	} else {
		k.keepOwn(d)
	}
	return true, err
}

// distrust has the statement described before its next use.
func (k *call) distrust(a *attempt, verdict stale) {
	if verdict == surely && !a.own && k.shape.base.CompareAndSwap(a.description, nil) {
		return
	}
	k.keepOwn(doubtful)
}
