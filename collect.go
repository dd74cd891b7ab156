package pgdbm

import (
	"context"
	"iter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Querier runs SQL: a [*DB], [*Tx], [*Conn] or [*Attached].
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

var (
	_ Querier = (*DB)(nil)
	_ Querier = (*Tx)(nil)
	_ Querier = (*Conn)(nil)
	_ Querier = (*Attached)(nil)
)

// All returns the rows of a query, in order; without rows, an empty slice.
//
// T is a struct or a pointer to one, a scalar, or map[string]any. Columns go
// to struct fields by name, without regard to case and underscores, or by a
// `db:"name"` tag; `db:"-"` leaves a field out; a column without a field and a
// field without a column are errors. A scalar takes the only column: what pgx
// scans into one value counts, time.Time, netip types, [16]byte, slices and
// every sql.Scanner included. A pointer to a scalar is nil for NULL.
func All[T any](ctx context.Context, q Querier, sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, rowTo[T]())
}

// One returns the only row of a query; see [All] for T. Without a row the
// error is pgx.ErrNoRows, with several pgx.ErrTooManyRows.
func One[T any](ctx context.Context, q Querier, sql string, args ...any) (T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		var none T
		return none, err
	}
	return only(rows, rowTo[T]())
}

// Value returns the only column of the only row of a query. T is anything pgx
// scans one column into; unlike with [One], a struct is the target of a json
// or composite value. The errors are those of [One].
func Value[T any](ctx context.Context, q Querier, sql string, args ...any) (T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		var none T
		return none, err
	}
	return only(rows, pgx.RowTo[T])
}

func only[T any](rows pgx.Rows, to pgx.RowToFunc[T]) (T, error) {
	v, err := pgx.CollectExactlyOneRow(rows, to)
	if err != nil {
		var none T
		return none, err // no half of a value
	}
	return v, nil
}

// Each returns the rows of a query one by one; see [All] for T. An error ends
// the loop, as its last pair. The connection is held from the first step until
// the loop ends: other calls of the loop's body on the same handle take
// further ones.
func Each[T any](ctx context.Context, q Querier, sql string, args ...any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		rows, err := q.Query(ctx, sql, args...)
		if err != nil {
			yield(none, err)
			return
		}
		defer rows.Close()
		scan := rowTo[T]()
		for rows.Next() {
			v, err := scan(rows)
			if err != nil {
				yield(none, err)
				return
			}
			if !yield(v, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(none, err)
		}
	}
}
