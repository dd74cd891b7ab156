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

// description is what the server said of a statement in one namespace. It is
// immutable.
type description struct {
	params  []param
	fields  []uint32 // the types of the columns
	formats []int16  // in which they are asked for
	// statement has the parameters' types as the namespace's own server side
	// sees them.
	statement *pgconn.StatementDescription

	epoch uint64 // of the cache when it was learned
	// healed says that it replaced one that had become wrong.
	healed bool
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
	sd, err := k.conn.PgConn().Prepare(ctx, "", text, nil)
	if t := k.session.prepareTracer; t != nil {
		t.TracePrepareEnd(ctx, k.conn, pgx.TracePrepareEndData{Err: err})
	}
	if err != nil {
		return nil, err
	}
	return newDescription(sd, k.conn.TypeMap(), epoch), nil
}

func newDescription(sd *pgconn.StatementDescription, m *pgtype.Map, epoch uint64) *description {
	d := &description{statement: sd, epoch: epoch}
	for _, oid := range sd.ParamOIDs {
		d.params = append(d.params, newParam(m, oid))
	}
	for i := range sd.Fields {
		d.fields = append(d.fields, sd.Fields[i].DataTypeOID)
	}
	d.formats = resultFormats(m, d.fields)
	return d
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
		t, known := m.TypeForOID(oid)
		uniform = uniform && known && t.Codec.FormatSupported(pgtype.BinaryFormatCode)
	}
	if uniform {
		return []int16{pgtype.BinaryFormatCode}
	}
	return formats
}

// same reports whether two descriptions make for the same messages.
func (d *description) same(o *description) bool {
	return slices.Equal(d.statement.ParamOIDs, o.statement.ParamOIDs) && slices.Equal(d.fields, o.fields) &&
		slices.Equal(d.formats, o.formats)
}

// doubtful stands for the description of a namespace that must be asked about
// its own before its next use.
var doubtful = new(description)

// known returns the description to use in the call's namespace, and whether it
// is the namespace's own. Without one, it is to be learned, for all namespaces
// or for this one.
func (k *call) known() (d *description, own bool) {
	epoch := k.cache.epoch.Load()
	if k.shape.differs.Load() {
		if d, ok := k.cache.own.get(k.key); ok && (d == doubtful || d.epoch == epoch) {
			if d == doubtful {
				d = nil
			}
			return d, true
		}
	}
	if d := k.shape.base.Load(); d != nil && d.epoch == epoch {
		return d, false
	}
	return nil, false
}

// description returns the known description or learns it.
func (k *call) description(ctx context.Context) (d *description, own bool, err error) {
	d, own = k.known()
	switch {
	case d != nil:
		return d, own, nil
	case own:
		d, err = k.learnOwn(ctx)
		return d, true, err
	}
	if d, err = k.describe(ctx); err != nil {
		return nil, false, err
	}
	k.shape.base.Store(d)
	return d, false, nil
}

// learnOwn describes the statement for this namespace alone.
func (k *call) learnOwn(ctx context.Context) (*description, error) {
	d, err := k.describe(ctx)
	if err != nil {
		return nil, err
	}
	k.keepOwn(d)
	return d, nil
}

func (k *call) keepOwn(d *description) {
	k.cache.own.put(k.key, d)
	k.shape.differs.Store(true)
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
	if f.Format != pgtype.BinaryFormatCode {
		return true
	}
	_, known := m.TypeForOID(f.DataTypeOID)
	return known
}
