package statement

import (
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
	pipeline *pgconn.Pipeline  // mostly nil
	end      func(error) error // of the transaction that ends with them, given their error; mostly nil
	traced   func(pgconn.CommandTag, error)
	closed   bool
	err      error // of the pipeline or the transaction
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
	if r.end != nil {
		if err := r.end(r.Err()); r.Rows.Err() == nil {
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
