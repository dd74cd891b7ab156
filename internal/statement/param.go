package statement

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// param is a parameter of a statement as one namespace has it.
type param struct {
	oid  uint32
	kind paramKind
}

// paramKind says how a parameter goes to a namespace whose type for it may be
// another one.
type paramKind uint8

const (
	// fixed goes with its type. A namespace with another type refuses it or
	// casts it without loss.
	fixed paramKind = iota
	// plain goes as text without a type: the text of a number, a truth value or
	// a UUID means the same under any type.
	plain
	// clock is a moment. It goes without a type if the argument is a time.Time,
	// in a text from which a date, a timestamp and a timestamptz each take what
	// pgx would send them. Cast from one to another, it would shift.
	clock
	// exact holds moments inside something else: the namespace's own type must
	// be known.
	exact
)

func newParam(m *pgtype.Map, oid uint32) param {
	p := param{oid: oid}
	switch oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID, pgtype.Float4OID, pgtype.Float8OID,
		pgtype.BoolOID, pgtype.UUIDOID, pgtype.NumericOID:
		p.kind = plain
	case pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID:
		p.kind = exact
		if t, ok := m.TypeForOID(oid); ok {
			switch t.Codec.(type) {
			case pgtype.DateCodec, *pgtype.TimestampCodec, *pgtype.TimestamptzCodec:
				p.kind = clock
			}
		}
	case pgtype.DateArrayOID, pgtype.TimestampArrayOID, pgtype.TimestamptzArrayOID,
		pgtype.DaterangeOID, pgtype.TsrangeOID, pgtype.TstzrangeOID,
		pgtype.DatemultirangeOID, pgtype.TsmultirangeOID, pgtype.TstzmultirangeOID,
		pgtype.DaterangeArrayOID, pgtype.TsrangeArrayOID, pgtype.TstzrangeArrayOID,
		pgtype.Float4ArrayOID:
		p.kind = exact
	}
	return p
}

// errOwnTypes says that the namespace's own types must be known to send an
// argument.
var errOwnTypes = errors.New("the namespace's own types are needed")

// parameters holds encoded arguments. The slices are used again.
type parameters struct {
	values  [][]byte
	formats []int16
	oids    []uint32
	buf     []byte
}

func (ps *parameters) reset() {
	ps.values, ps.formats, ps.oids, ps.buf = ps.values[:0], ps.formats[:0], ps.oids[:0], ps.buf[:0]
	if cap(ps.buf) > 64<<10 || cap(ps.values) > 1024 {
		*ps = parameters{} // keep no large argument
	}
	if ps.buf == nil {
		ps.buf = make([]byte, 0, 128) // an empty value must not be a nil one, which is NULL
	}
}

func (ps *parameters) add(v []byte, format int16, oid uint32) {
	ps.values = append(ps.values, v)
	ps.formats = append(ps.formats, format)
	ps.oids = append(ps.oids, oid)
}

// encode encodes args as pgx does for the described types, and then makes them
// mean the same to a namespace whose types are others. It returns errOwnTypes
// where that cannot be, unless own says that the types are the namespace's own.
func (ps *parameters) encode(m *pgtype.Map, d *description, own bool, args []any) error {
	ps.reset()
	for i, arg := range args {
		if err := ps.encodeOne(m, d.params[i], own, arg); err != nil {
			if err == errOwnTypes {
				return err
			}
			return fmt.Errorf("failed to encode args[%d]: %w", i, err)
		}
	}
	return nil
}

func (ps *parameters) encodeOne(m *pgtype.Map, p param, own bool, arg any) error {
	if p.kind == clock && !own {
		if t, ok := moment(arg); ok {
			start := len(ps.buf)
			ps.buf = t.AppendFormat(ps.buf, "2006-01-02 15:04:05.999999-07:00:00")
			ps.add(ps.buf[start:], pgtype.TextFormatCode, 0)
			return nil
		}
	}
	oid := p.oid
	if oid == pgtype.Float4OID && !own {
		oid = pgtype.Float8OID // the namespace's may be one, and lose nothing
	}
	v, format, err := ps.encodeAs(m, preferredFormat(m, oid, arg), oid, arg)
	switch {
	case err != nil:
		return err
	case v == nil:
		ps.add(nil, pgtype.TextFormatCode, 0)
	case own:
		ps.add(v, format, p.oid)
	case format == pgtype.TextFormatCode:
		if _, bytes := arg.([]byte); bytes && p.oid != pgtype.JSONOID && p.oid != pgtype.JSONBOID {
			return errOwnTypes // as text to one namespace, as bytea to another
		}
		ps.add(v, format, 0)
	case p.kind == plain:
		text, err := ps.text(m, oid, v)
		if err != nil {
			return err
		}
		ps.add(text, pgtype.TextFormatCode, 0)
	case p.kind == clock || p.kind == exact:
		return errOwnTypes
	default:
		ps.add(v, format, p.oid)
	}
	return nil
}

// preferredFormat is pgx's choice.
func preferredFormat(m *pgtype.Map, oid uint32, arg any) int16 {
	switch arg.(type) {
	case string, *string:
		return pgtype.TextFormatCode
	}
	return m.FormatCodeForOID(oid)
}

func (ps *parameters) encodeAs(m *pgtype.Map, format int16, oid uint32, arg any) ([]byte, int16, error) {
	start := len(ps.buf)
	buf, err := m.Encode(oid, format, arg, ps.buf)
	if err != nil {
		other := 1 - format
		var otherErr error
		if buf, otherErr = m.Encode(oid, other, arg, ps.buf); otherErr != nil {
			return nil, 0, err
		}
		format = other
	}
	if buf == nil {
		return nil, format, nil
	}
	ps.buf = buf
	return buf[start:], format, nil
}

// moment returns the time of an argument that every type of moment takes.
func moment(arg any) (time.Time, bool) {
	var t time.Time
	switch arg := arg.(type) {
	case time.Time:
		t = arg
	case *time.Time:
		if arg == nil {
			return t, false
		}
		t = *arg
	default:
		return t, false
	}
	// A year of more digits or before Christ is written in another way.
	return t, t.Year() >= 1 && t.Year() <= 9999
}

// text turns the binary form of a plain value into its text.
func (ps *parameters) text(m *pgtype.Map, oid uint32, v []byte) ([]byte, error) {
	start := len(ps.buf)
	switch {
	case oid == pgtype.BoolOID && len(v) == 1:
		ps.buf = strconv.AppendBool(ps.buf, v[0] != 0)
	case oid == pgtype.Int2OID && len(v) == 2:
		ps.buf = strconv.AppendInt(ps.buf, int64(int16(binary.BigEndian.Uint16(v))), 10)
	case oid == pgtype.Int4OID && len(v) == 4:
		ps.buf = strconv.AppendInt(ps.buf, int64(int32(binary.BigEndian.Uint32(v))), 10)
	case oid == pgtype.OIDOID && len(v) == 4:
		ps.buf = strconv.AppendUint(ps.buf, uint64(binary.BigEndian.Uint32(v)), 10)
	case oid == pgtype.Int8OID && len(v) == 8:
		ps.buf = strconv.AppendInt(ps.buf, int64(binary.BigEndian.Uint64(v)), 10)
	case oid == pgtype.Float8OID && len(v) == 8:
		ps.buf = appendFloat(ps.buf, math.Float64frombits(binary.BigEndian.Uint64(v)))
	case oid == pgtype.UUIDOID && len(v) == 16:
		for i, group := range [][]byte{v[:4], v[4:6], v[6:8], v[8:10], v[10:]} {
			if i > 0 {
				ps.buf = append(ps.buf, '-')
			}
			ps.buf = hex.AppendEncode(ps.buf, group)
		}
	case oid == pgtype.NumericOID:
		var n pgtype.Numeric
		if err := m.Scan(oid, pgtype.BinaryFormatCode, v, &n); err != nil {
			return nil, err
		}
		buf, err := m.Encode(oid, pgtype.TextFormatCode, n, ps.buf)
		if err != nil {
			return nil, err
		}
		ps.buf = buf
	default:
		return nil, fmt.Errorf("%d bytes for type %d", len(v), oid)
	}
	return ps.buf[start:], nil
}

// appendFloat writes a number so that the server reads back the same one.
func appendFloat(buf []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(buf, "Infinity"...)
	case math.IsInf(f, -1):
		return append(buf, "-Infinity"...)
	}
	return strconv.AppendFloat(buf, f, 'g', -1, 64)
}
