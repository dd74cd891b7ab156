package statement

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// firstUserOID is the first OID that initdb does not give out: types from there
// on are made by users and extensions (access/transam.h, FirstNormalObjectId).
const firstUserOID = 16384

// description is what the server said of a statement in one namespace. But for
// the set of others in which it holds, it is immutable.
type description struct {
	// statement is for encoding arguments as pgx does.
	statement *pgconn.StatementDescription
	// oids are the types that parameters are sent with: 0 leaves it to the
	// server, for types that each schema has of its own.
	oids    []uint32
	fields  []uint32 // the types of the columns
	formats []int16  // in which they are asked for

	holds set    // the namespaces whose parameters have the same types
	epoch uint64 // of the cache when it was learned
	// healed says that it replaced one that had become wrong.
	healed bool
}

// doubtful stands for the description of a namespace that must be asked about
// its own before its next use.
var doubtful = new(description)

func newDescription(sd *pgconn.StatementDescription, m *pgtype.Map, epoch uint64) *description {
	d := &description{statement: sd, epoch: epoch}
	for _, oid := range sd.ParamOIDs {
		if local(m, oid) {
			oid = 0
		}
		d.oids = append(d.oids, oid)
	}
	for i := range sd.Fields {
		d.fields = append(d.fields, sd.Fields[i].DataTypeOID)
	}
	d.formats = resultFormats(m, d.fields)
	return d
}

// local reports whether a type may be another one in each schema. One that pgx
// does not know goes as text, whatever it is; one that was registered with the
// connection is encoded by its number and goes with it.
func local(m *pgtype.Map, oid uint32) bool {
	if oid < firstUserOID {
		return false
	}
	_, registered := m.TypeForOID(oid)
	return !registered
}

// resultFormats asks for every column in binary where that can be read: one
// format for all goes on to fit when a schema has one column more. Otherwise
// each column has its own, as pgx would have it.
func resultFormats(m *pgtype.Map, fields []uint32) []int16 {
	if len(fields) == 0 {
		return nil
	}
	formats := make([]int16, len(fields))
	uniform := true
	for i, oid := range fields {
		formats[i] = m.FormatCodeForOID(oid)
		uniform = uniform && inBinary(m, oid)
	}
	if uniform {
		return []int16{pgtype.BinaryFormatCode}
	}
	return formats
}

// takes reports whether parameters of these types are encoded and sent as those
// of d are.
func (d *description) takes(m *pgtype.Map, oids []uint32) bool {
	return slices.EqualFunc(d.oids, oids, func(sent, oid uint32) bool {
		return sent == oid || sent == 0 && local(m, oid)
	})
}

// serves reports whether a namespace that is described by o can do with d.
func (d *description) serves(m *pgtype.Map, o *description) bool {
	if !d.takes(m, o.statement.ParamOIDs) {
		return false
	}
	if len(d.formats) > 1 && len(d.formats) != len(o.fields) || len(d.formats) == 0 && len(o.fields) > 0 {
		return false
	}
	for i, oid := range o.fields {
		format := d.formats[0]
		if len(d.formats) > 1 {
			format = d.formats[i]
		}
		if format == pgtype.BinaryFormatCode && !inBinary(m, oid) {
			return false
		}
	}
	return true
}

// reads reports whether columns that came can be decoded: those of a type that
// was not described come in binary, too, and not every type is known to pgx.
func (d *description) reads(m *pgtype.Map, fields []pgconn.FieldDescription) bool {
	for i := range fields {
		if (i >= len(d.fields) || fields[i].DataTypeOID != d.fields[i]) && !readable(m, &fields[i]) {
			return false
		}
	}
	return true
}

func readable(m *pgtype.Map, f *pgconn.FieldDescription) bool {
	return f.Format != pgtype.BinaryFormatCode || inBinary(m, f.DataTypeOID)
}

// inBinary reports whether pgx reads a type in binary.
func inBinary(m *pgtype.Map, oid uint32) bool {
	t, known := m.TypeForOID(oid)
	return known && t.Codec.FormatSupported(pgtype.BinaryFormatCode)
}

// describe asks the server about a text, in a round trip of its own. Behind a
// transaction pooler another connection may have the unnamed statement next;
// every use parses it anew, so that does no harm.
func (k *call) describe(ctx context.Context) (*description, error) {
	// The text may stand in a buffer; the description outlives it.
	text := strings.Clone(k.text())
	epoch := k.cache.epoch.Load()
	if t := k.session.prepareTracer; t != nil {
		ctx = t.TracePrepareStart(ctx, k.conn, pgx.TracePrepareStartData{SQL: text})
	}
	sd, err := k.parse(ctx, text)
	if t := k.session.prepareTracer; t != nil {
		t.TracePrepareEnd(ctx, k.conn, pgx.TracePrepareEndData{Err: err})
	}
	if err != nil {
		return nil, err
	}
	return newDescription(sd, k.conn.TypeMap(), epoch), nil
}

// parse has the server parse the text, without keeping it.
func (k *call) parse(ctx context.Context, text string) (*pgconn.StatementDescription, error) {
	if !k.session.switches(k.conn, k.ns) {
		return k.conn.PgConn().Prepare(ctx, "", text, nil)
	}
	p, sync := k.cache.startAs(ctx, k.conn, k.session, k.ns)
	p.SendPrepare("", text, nil)
	var sd *pgconn.StatementDescription
	err := sync()
	if err == nil {
		sd, err = next[*pgconn.StatementDescription](p)
	}
	if closeErr := p.Close(); err == nil {
		err = closeErr
	}
	return sd, err
}

// known returns the description to use in the call's namespace, and whether it
// is known to hold there.
func (k *call) known() (d *description, holds bool) {
	epoch := k.cache.epoch.Load()
	if k.shape.differs.Load() {
		if d, ok := k.cache.own.get(k.key); ok && (d == doubtful || d.epoch == epoch) {
			if d == doubtful {
				return nil, false
			}
			return d, true
		}
	}
	d = k.shape.base.Load()
	if d == nil || d.epoch != epoch {
		return nil, false
	}
	return d, len(d.oids) == 0 || k.shape.static() || d.holds.has(k.cache.indexOf(k.ns))
}

// learned takes in what the server said of the call's namespace.
func (k *call) learned(d *description) *description {
	base := k.shape.base.Load()
	switch {
	case base == nil || base.epoch != d.epoch:
		k.shape.base.Store(d)
		base = d
	case !base.serves(k.conn.TypeMap(), d):
		k.keepOwn(d)
		return d
	case k.shape.differs.Load():
		k.cache.own.remove(k.key)
	}
	base.holds.add(k.cache.indexOf(k.ns))
	return base
}

// learn describes the statement in the call's namespace.
func (k *call) learn(ctx context.Context) (*description, error) {
	d, err := k.describe(ctx)
	if err != nil {
		return nil, err
	}
	return k.learned(d), nil
}

func (k *call) keepOwn(d *description) {
	k.cache.own.put(k.key, d)
	k.shape.differs.Store(true)
}
