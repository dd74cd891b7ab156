package statement

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// plainRows are pgx's rows, which know their connection again.
type plainRows struct {
	pgx.Rows
	conn *pgx.Conn
}

func (r *plainRows) Conn() *pgx.Conn { return r.conn }

const slabSize = 64

// plainRows cuts rows off a slab: they are never used again, since callers may
// look at them after Close.
func (s *session) plainRows(rs pgx.Rows, conn *pgx.Conn) *plainRows {
	if len(s.rowsSlab) == 0 {
		s.rowsSlab = make([]plainRows, slabSize)
	}
	r := &s.rowsSlab[0]
	s.rowsSlab = s.rowsSlab[1:]
	r.Rows, r.conn = rs, conn
	return r
}

// watchedRows have something to do when they end.
type watchedRows struct {
	plainRows
	pipeline *pgconn.Pipeline // mostly nil
	traced   func(pgconn.CommandTag, error)
	closed   bool
	err      error // of the pipeline
}

func (r *watchedRows) Close() {
	r.Rows.Close()
	if r.closed {
		return
	}
	r.closed = true
	if r.pipeline != nil {
		// An error at the end of the implicit transaction, as of a deferred
		// constraint, comes here.
		if err := r.pipeline.Close(); r.Rows.Err() == nil {
			r.err = err
		}
	}
	if r.traced != nil {
		r.traced(r.CommandTag(), r.Err())
	}
}

func (r *watchedRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

// Scan and Values end the result set when they fail, as pgx does.

func (r *watchedRows) Scan(dest ...any) error {
	err := r.Rows.Scan(dest...)
	if err != nil {
		r.Close()
	}
	return err
}

func (r *watchedRows) Values() ([]any, error) {
	vs, err := r.Rows.Values()
	if err != nil {
		r.Close()
	}
	return vs, err
}

func (r *watchedRows) Err() error {
	if err := r.Rows.Err(); err != nil {
		return err
	}
	return r.err
}

// endedRows are a result without rows, or an error.
type endedRows struct {
	conn *pgx.Conn
	tag  pgconn.CommandTag
	err  error
}

func (endedRows) Close()                                       {}
func (r endedRows) Err() error                                 { return r.err }
func (r endedRows) CommandTag() pgconn.CommandTag              { return r.tag }
func (endedRows) FieldDescriptions() []pgconn.FieldDescription { return nil }
func (endedRows) Next() bool                                   { return false }
func (r endedRows) Scan(...any) error                          { return r.closed() }
func (r endedRows) Values() ([]any, error)                     { return nil, r.closed() }
func (endedRows) RawValues() [][]byte                          { return nil }
func (r endedRows) Conn() *pgx.Conn                            { return r.conn }

func (r endedRows) TypeMap() *pgtype.Map {
	if r.conn == nil {
		return nil
	}
	return r.conn.TypeMap()
}

var errRowsClosed = errors.New("rows is closed")

func (r endedRows) closed() error {
	if r.err != nil {
		return r.err
	}
	return errRowsClosed
}

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

// convert reads a whole result into memory and has the server turn those values
// into text that came in binary and are of a type unknown to pgx: a column has
// become an enum, say, since the statement was described. The statement may have
// written, so it is not simply run again.
func (a *attempt) convert(ctx context.Context, k *call) error {
	fields := append([]pgconn.FieldDescription(nil), a.reader.FieldDescriptions()...)
	result := a.reader.Read()
	err := result.Err
	if a.pipeline != nil {
		if closeErr := a.pipeline.Close(); err == nil {
			err = closeErr
		}
		a.pipeline = nil
	}
	if err != nil {
		a.done, a.tag = true, result.CommandTag
		return err
	}
	rows := &copiedRows{conn: k.conn, fields: fields, rows: result.Rows, tag: result.CommandTag}
	for i := range fields {
		if f := &rows.fields[i]; !readable(k.conn.TypeMap(), f) {
			if rows.err = textColumn(ctx, k.conn, rows.rows, i, f.DataTypeOID); rows.err != nil {
				rows.closed = true
				break
			}
			f.Format = pgtype.TextFormatCode
		}
	}
	k.keepOwn(doubtful) // so that this is done once
	a.copied = rows
	return nil
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
