package statement

import (
	"context"
	"errors"
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
	said    *description // what the server has just said; the next attempt goes by it
}

func (c *Cache) newCall(s *session, conn *pgx.Conn, sh *Shape, ns *Namespace, o options) call {
	k := call{cache: c, session: s, conn: conn, shape: sh, ns: ns, args: o.args, formats: o.formats, byOID: o.byOID}
	k.key.shape = sh
	if !sh.static() || ns.Role != "" { // a plan is made for a role
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
	description *description // the description, and whether the namespace is known to
	holds       bool         // have its types
	asked       *description // what the server said in the same message
	unsent      bool         // the arguments do not fit the types that are known
}

// attempts is how often a call may be run: a named statement may be out of date,
// then the description, too, and the tables may go on changing meanwhile.
const attempts = 10

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
	if n := k.session.named.get(k.key, k.cache.epoch.Load()); n != nil && k.byOID == nil {
		a.prepared = n
		return k.execute(ctx, a)
	}
	if err := k.encode(ctx, a); err != nil {
		return err
	}
	formats := k.resultFormats(a.description)
	switch {
	case !a.holds:
		return k.ask(ctx, a, formats)
	case k.named(ctx):
		return k.promote(ctx, a, formats)
	}
	b := &k.session.builder
	if !k.session.switches(k.conn, k.ns) {
		a.reader = k.conn.PgConn().ExecParams(ctx, k.text(), b.ParamValues, a.description.oids, b.ParamFormats, formats)
		return nil
	}
	return k.pipe(ctx, a, func(p *pgconn.Pipeline) {
		p.SendQueryParams(k.text(), b.ParamValues, a.description.oids, b.ParamFormats, formats)
	}, nil)
}

// pipe sends what send does in one message, after what sets the role, and reads
// the answers that come before the rows: describe, if not nil, the first of them.
func (k *call) pipe(ctx context.Context, a *attempt, send func(*pgconn.Pipeline), describe func(*pgconn.Pipeline) error) error {
	p, sync := k.cache.startAs(ctx, k.conn, k.session, k.ns)
	a.pipeline = p
	send(p)
	err := sync()
	if err == nil && describe != nil {
		err = describe(p)
	}
	if err == nil {
		a.reader, err = next[*pgconn.ResultReader](p)
	}
	if err != nil {
		return k.abandon(a, err)
	}
	return nil
}

// execute runs the call's named statement.
func (k *call) execute(ctx context.Context, a *attempt) error {
	sd := a.prepared.statement
	if err := k.build(sd); err != nil {
		a.unsent = true
		return err
	}
	b := &k.session.builder
	formats := b.ResultFormats
	if k.formats != nil {
		formats = k.formats
	}
	if k.session.switches(k.conn, k.ns) {
		return k.pipe(ctx, a, func(p *pgconn.Pipeline) {
			p.SendQueryPrepared(sd.Name, b.ParamValues, b.ParamFormats, formats)
		}, nil)
	}
	a.reader = k.conn.PgConn().ExecStatement(ctx, sd, b.ParamValues, b.ParamFormats, formats)
	return nil
}

func (k *call) build(sd *pgconn.StatementDescription) error {
	if len(k.args) != len(sd.ParamOIDs) {
		return countError(sd, k.args)
	}
	return k.session.builder.Build(k.conn.TypeMap(), sd, k.args)
}

func countError(sd *pgconn.StatementDescription, args []any) error {
	return fmt.Errorf("expected %d arguments, got %d", len(sd.ParamOIDs), len(args))
}

// encode finds the description to use and encodes the arguments by it. Arguments
// are converted on the way, and what one type of parameter would lose another
// one keeps; so the namespace is asked for its types before anything is sent that
// cannot be taken back. That is everything but a query outside a transaction,
// which would fail with it: see ask.
func (k *call) encode(ctx context.Context, a *attempt) (err error) {
	if a.description = k.said; k.said != nil {
		a.holds, k.said = true, nil
		return k.build(a.description.statement)
	}
	a.description, a.holds = k.known()
	if a.description != nil {
		err = k.build(a.description.statement)
		if a.holds || err == nil && k.conn.PgConn().TxStatus() == 'I' && k.shape.reads(k.text()) {
			a.unsent = err != nil
			return err
		}
	}
	if a.description, err = k.learn(ctx); err != nil {
		return err
	}
	a.holds = true
	return k.build(a.description.statement)
}

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

// ask runs a statement that only reads with the types of another namespace, and
// in the same message asks for the types that it has in this one. If they differ
// what came is thrown away.
func (k *call) ask(ctx context.Context, a *attempt, formats []int16) error {
	epoch := k.cache.epoch.Load()
	b := &k.session.builder
	err := k.pipe(ctx, a, func(p *pgconn.Pipeline) {
		p.SendPrepare("", k.text(), nil)
		p.SendQueryParams(k.text(), b.ParamValues, a.description.oids, b.ParamFormats, formats)
	}, func(p *pgconn.Pipeline) error {
		sd, err := next[*pgconn.StatementDescription](p)
		if err == nil {
			a.asked = newDescription(sd, k.conn.TypeMap(), epoch)
		}
		return err
	})
	if err != nil {
		return err
	}
	if !a.description.takes(k.conn.TypeMap(), a.asked.statement.ParamOIDs) {
		_, err := a.reader.Close() // the rows are thrown away
		if closeErr := a.pipeline.Close(); err == nil {
			err = closeErr
		}
		a.pipeline = nil
		if err == nil {
			err = errOtherTypes
		}
		return err
	}
	k.learned(a.asked)
	return nil
}

// errOtherTypes says that a statement has been run with types of parameters that
// are not the namespace's.
var errOtherTypes = errors.New("pgdbm: a statement has other types of parameters in this schema")

// next returns the next result of a pipeline, which is of a type that is known.
func next[T any](p *pgconn.Pipeline) (T, error) {
	result, err := p.GetResults()
	if err != nil {
		var none T
		return none, err
	}
	v, ok := result.(T)
	if !ok {
		return v, fmt.Errorf("pgdbm: bug: %T in a pipeline", result)
	}
	return v, nil
}

// abandon ends the pipeline of an attempt that failed.
func (k *call) abandon(a *attempt, err error) error {
	_ = a.pipeline.Close() // err says why
	a.pipeline = nil
	return err
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
	return k.pipe(ctx, a, func(p *pgconn.Pipeline) {
		for _, old := range n.garbage {
			p.SendDeallocate(old)
		}
		p.SendPrepare(name, k.text(), a.description.oids)
		p.SendQueryPrepared(name, s.builder.ParamValues, s.builder.ParamFormats, formats)
	}, func(p *pgconn.Pipeline) error {
		for range n.garbage {
			if _, err := p.GetResults(); err != nil {
				return err
			}
		}
		n.garbage = n.garbage[:0]
		sd, err := next[*pgconn.StatementDescription](p)
		if err != nil {
			return err
		}
		sd.Name = name
		n.put(k.key, sd, epoch)
		return nil
	})
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

// convert reads the result into memory, where a column must be converted.
func (a *attempt) convert(ctx context.Context, k *call) error {
	rows := readAll(k.conn, a.reader)
	if a.pipeline != nil {
		if err := a.pipeline.Close(); rows.err == nil {
			rows.err = err
		}
		a.pipeline = nil
	}
	if rows.err != nil {
		a.done, a.tag = true, rows.tag
		return rows.err
	}
	rows.convert(ctx)
	k.keepOwn(doubtful) // so that this is done once
	a.copied = rows
	return nil
}
