package statement

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// copiedRows are a result in memory.
type copiedRows struct {
	conn   *pgx.Conn
	fields []pgconn.FieldDescription
	rows   [][][]byte
	at     int // of the next row
	tag    pgconn.CommandTag
	closed bool
	err    error
}

func (r *copiedRows) Close()                                       { r.closed = true }
func (r *copiedRows) Err() error                                   { return r.err }
func (r *copiedRows) CommandTag() pgconn.CommandTag                { return r.tag }
func (r *copiedRows) FieldDescriptions() []pgconn.FieldDescription { return r.fields }
func (r *copiedRows) Conn() *pgx.Conn                              { return r.conn }
func (r *copiedRows) TypeMap() *pgtype.Map                         { return r.conn.TypeMap() }

func (r *copiedRows) Next() bool {
	if r.closed || r.at == len(r.rows) {
		r.closed = true
		return false
	}
	r.at++
	return true
}

func (r *copiedRows) RawValues() [][]byte {
	if r.closed || r.at == 0 {
		return nil
	}
	return r.rows[r.at-1]
}

func (r *copiedRows) Scan(dest ...any) error {
	if len(dest) == 1 {
		if s, ok := dest[0].(pgx.RowScanner); ok {
			return r.fail(s.ScanRow(r))
		}
	}
	return r.fail(pgx.ScanRow(r.TypeMap(), r.fields, r.RawValues(), dest...))
}

func (r *copiedRows) Values() ([]any, error) {
	raw := r.RawValues()
	values := make([]any, len(raw))
	for i, v := range raw {
		if v == nil {
			continue
		}
		f := &r.fields[i]
		t, known := r.TypeMap().TypeForOID(f.DataTypeOID)
		if !known {
			values[i] = string(v) // converted, so it is text
			continue
		}
		var err error
		if values[i], err = t.Codec.DecodeValue(r.TypeMap(), f.DataTypeOID, f.Format, v); err != nil {
			return nil, r.fail(err)
		}
	}
	return values, nil
}

func (r *copiedRows) fail(err error) error {
	if err != nil && r.err == nil {
		r.err = err
		r.closed = true
	}
	return err
}

// readAll reads a whole result into memory. An error is in the rows' err.
func readAll(conn *pgx.Conn, reader *pgconn.ResultReader) *copiedRows {
	fields := slices.Clone(reader.FieldDescriptions()) // a result without rows forgets them
	result := reader.Read()
	return &copiedRows{conn: conn, fields: fields, rows: result.Rows, tag: result.CommandTag, err: result.Err}
}

// convert has the server turn those values into text that came in binary and are
// of a type that pgx cannot read so: a column has become an enum, say, since the
// statement was described. The statement may have written, so it is not simply
// run again.
func (r *copiedRows) convert(ctx context.Context) {
	for i := range r.fields {
		f := &r.fields[i]
		if readable(r.TypeMap(), f) {
			continue
		}
		if r.err = textColumn(ctx, r.conn, r.rows, i, f.DataTypeOID); r.err != nil {
			r.closed = true
			return
		}
		f.Format = pgtype.TextFormatCode
	}
}

// textColumn converts column i of all rows.
func textColumn(ctx context.Context, conn *pgx.Conn, rows [][][]byte, i int, oid uint32) error {
	const at = 1000 // a message
	for ; len(rows) > 0; rows = rows[min(at, len(rows)):] {
		part := rows[:min(at, len(rows))]
		batch := &pgconn.Batch{}
		for _, row := range part {
			batch.ExecParams("SELECT $1", [][]byte{row[i]}, []uint32{oid}, []int16{pgtype.BinaryFormatCode}, nil)
		}
		results, err := conn.PgConn().ExecBatch(ctx, batch).ReadAll()
		if err != nil {
			return err
		}
		for n, result := range results {
			part[n][i] = result.Rows[0][0]
		}
	}
	return nil
}
