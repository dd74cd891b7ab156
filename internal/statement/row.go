package statement

import (
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Row is the first row of a result, as pgx.Conn's QueryRow has it.
type Row struct {
	Rows pgx.Rows
	Err  error
}

// NewRow returns the row of a Query's results.
func NewRow(rows pgx.Rows, err error) *Row { return &Row{Rows: rows, Err: err} }

// Scan reads the row and ends the result. Without a row it returns
// pgx.ErrNoRows.
func (r *Row) Scan(dest ...any) error {
	if r.Err != nil {
		return r.Err
	}
	rows := r.Rows
	defer rows.Close()
	for _, d := range dest {
		if _, ok := d.(*pgtype.DriverBytes); ok {
			return errors.New("cannot scan into *pgtype.DriverBytes from QueryRow")
		}
	}
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := rows.Scan(dest...); err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}
