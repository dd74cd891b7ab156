package statement

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// CopyFrom copies rows into a table on a connection that the caller holds, as
// pgx does, but asks for the types of the columns each time. pgx keeps them with
// a named statement, which a pooler does not carry over, and which says of a
// table that has changed what was true before: the bytes of another type may be
// a value of the new one.
func (c *Cache) CopyFrom(ctx context.Context, conn *pgx.Conn, ns *Namespace, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	s := c.session(conn)
	s.touch(ns)
	if alone(conn, ns) {
		// Rows cannot follow in the message that sets the role.
		var n int64
		err := c.inTx(ctx, conn, ns, func() (err error) {
			n, err = c.CopyFrom(ctx, conn, ns, table, columns, src)
			return err
		})
		return n, err
	}
	if err := c.TakeRole(ctx, conn, ns); err != nil {
		return 0, err
	}
	if !s.shares() {
		return conn.CopyFrom(ctx, table, columns, src)
	}
	if t, ok := s.tracer.(pgx.CopyFromTracer); ok {
		ctx = t.TraceCopyFromStart(ctx, conn, pgx.TraceCopyFromStartData{TableName: table, ColumnNames: columns})
		tag, err := copyFrom(ctx, conn, table, columns, src)
		t.TraceCopyFromEnd(ctx, conn, pgx.TraceCopyFromEndData{CommandTag: tag, Err: err})
		return tag.RowsAffected(), err
	}
	tag, err := copyFrom(ctx, conn, table, columns, src)
	return tag.RowsAffected(), err
}

func copyFrom(ctx context.Context, conn *pgx.Conn, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (pgconn.CommandTag, error) {
	quoted := make([]string, len(columns))
	for i, name := range columns {
		quoted[i] = pgx.Identifier{name}.Sanitize()
	}
	list := strings.Join(quoted, ", ")
	sd, err := conn.PgConn().Prepare(ctx, "", "SELECT "+list+" FROM "+table.Sanitize(), nil)
	if err != nil {
		return pgconn.CommandTag{}, fmt.Errorf("statement description failed: %w", err)
	}
	r := &copyReader{types: conn.TypeMap(), fields: sd.Fields, src: src, buf: []byte(copyHeader)}
	return conn.PgConn().CopyFrom(ctx, r, "COPY "+table.Sanitize()+" ("+list+") FROM STDIN BINARY")
}

// copyHeader begins the binary format of COPY: a signature, no flags, no
// extension (https://www.postgresql.org/docs/current/sql-copy.html).
const copyHeader = "PGCOPY\n\377\r\n\000" + "\000\000\000\000" + "\000\000\000\000"

// copyReader is the rows of a source in the binary format of COPY.
type copyReader struct {
	types  *pgtype.Map
	fields []pgconn.FieldDescription
	src    pgx.CopyFromSource
	buf    []byte // what is still to be read
	at     int    // from here on
	err    error
}

func (r *copyReader) Read(p []byte) (int, error) {
	for r.at == len(r.buf) && r.err == nil {
		r.buf, r.at = r.buf[:0], 0
		r.fill()
	}
	if r.at == len(r.buf) {
		return 0, r.err
	}
	n := copy(p, r.buf[r.at:])
	r.at += n
	return n, nil
}

// fill encodes some rows.
func (r *copyReader) fill() {
	const some = 32 << 10
	for len(r.buf) < some {
		if !r.src.Next() {
			if r.err = r.src.Err(); r.err == nil {
				r.err = io.EOF
			}
			return
		}
		values, err := r.src.Values()
		if err == nil {
			err = r.add(values)
		}
		if err != nil {
			r.err, r.buf = err, r.buf[:0]
			return
		}
	}
}

func (r *copyReader) add(values []any) error {
	if len(values) != len(r.fields) {
		return fmt.Errorf("expected %d values, got %d values", len(r.fields), len(values))
	}
	r.buf = binary.BigEndian.AppendUint16(r.buf, uint16(len(values)))
	for i, v := range values {
		start := len(r.buf)
		r.buf = append(r.buf, 0xff, 0xff, 0xff, 0xff) // the length of NULL
		buf, err := r.encode(r.fields[i].DataTypeOID, v)
		if err != nil {
			return fmt.Errorf("column %s: %w", r.fields[i].Name, err)
		}
		if buf != nil {
			r.buf = buf
			binary.BigEndian.PutUint32(r.buf[start:], uint32(len(r.buf)-start-4))
		}
	}
	return nil
}

// encode appends a value in binary. What only its text can say is read from that,
// as pgx does.
func (r *copyReader) encode(oid uint32, v any) ([]byte, error) {
	buf, err := r.types.Encode(oid, pgtype.BinaryFormatCode, v, r.buf)
	if err == nil {
		return buf, nil
	}
	text, isText := v.(string)
	if !isText {
		b, textErr := r.types.Encode(oid, pgtype.TextFormatCode, v, nil)
		if textErr != nil {
			return nil, err
		}
		text = string(b)
	}
	parsed, parseErr := r.parse(oid, text)
	if parseErr != nil {
		return nil, errors.Join(err, parseErr)
	}
	return r.types.Encode(oid, pgtype.BinaryFormatCode, parsed, r.buf)
}

func (r *copyReader) parse(oid uint32, text string) (any, error) {
	if t, ok := r.types.TypeForOID(oid); ok {
		if _, ok := t.Codec.(*pgtype.ArrayCodec); ok {
			var a pgtype.Array[any] // which keeps the dimensions
			if err := r.types.Scan(oid, pgtype.TextFormatCode, []byte(text), &a); err == nil {
				return a, nil
			}
		}
	}
	var v any
	err := r.types.Scan(oid, pgtype.TextFormatCode, []byte(text), &v)
	return v, err
}
