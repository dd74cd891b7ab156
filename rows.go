package pgdbm

import (
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgdbm/pgdbm/internal/statement"
)

const slabSize = 64

// rows gives its connection back once the result set ends.
type rows struct {
	pgx.Rows
	lease *lease      // nil once given back, and where somebody else holds the connection
	done  func(error) // logs the statement; mostly nil
}

func (l *lease) rows(rs pgx.Rows, done func(error)) *rows {
	if len(l.rowsSlab) == 0 {
		l.rowsSlab = make([]rows, slabSize)
	}
	r := &l.rowsSlab[0]
	l.rowsSlab = l.rowsSlab[1:]
	r.Rows, r.lease, r.done = rs, l, done
	return r
}

func (r *rows) Close() {
	r.Rows.Close()
	if l := r.lease; l != nil {
		r.lease = nil
		l.release()
	}
	if done := r.done; done != nil {
		r.done = nil
		done(r.Rows.Err())
	}
}

func (r *rows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}

// Scan and Values end the result set when they fail, as pgx does.

func (r *rows) Scan(dest ...any) error {
	err := r.Rows.Scan(dest...)
	if err != nil {
		r.Close()
	}
	return err
}

func (r *rows) Values() ([]any, error) {
	vs, err := r.Rows.Values()
	if err != nil {
		r.Close()
	}
	return vs, err
}

// row gives its connection back once it is scanned.
type row struct {
	statement.Row
	lease *lease
	done  func(error)
}

func (l *lease) row(rs pgx.Rows, err error, done func(error)) *row {
	if len(l.rowSlab) == 0 {
		l.rowSlab = make([]row, slabSize)
	}
	r := &l.rowSlab[0]
	l.rowSlab = l.rowSlab[1:]
	r.Row, r.lease, r.done = statement.Row{Rows: rs, Err: err}, l, done
	return r
}

func (r *row) Scan(dest ...any) (err error) {
	defer func() { // a Scan method of the caller's may panic
		if l := r.lease; l != nil {
			r.lease = nil
			l.release()
		}
		if done := r.done; done != nil {
			r.done = nil
			done(err)
		}
	}()
	return r.Row.Scan(dest...)
}

// errRows is a result set that never was.
type errRows struct{ err error }

func (errRows) Close()                                       {}
func (r errRows) Err() error                                 { return r.err }
func (errRows) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }
func (errRows) FieldDescriptions() []pgconn.FieldDescription { return nil }
func (errRows) Next() bool                                   { return false }
func (r errRows) Scan(...any) error                          { return r.err }
func (r errRows) Values() ([]any, error)                     { return nil, r.err }
func (errRows) RawValues() [][]byte                          { return nil }
func (errRows) Conn() *pgx.Conn                              { return nil }
func (errRows) TypeMap() *pgtype.Map                         { return nil }

type errRow struct{ err error }

func (r errRow) Scan(...any) error { return r.err }

// sqlState is the SQLSTATE of err, or the error's kind where the server has
// not spoken. The message is left out: it may quote values.
func sqlState(err error) string {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pe.Code
	}
	return "none"
}
