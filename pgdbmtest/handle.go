package pgdbmtest

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Handle is bound to a schema, whose tables [Load] fills and [Capture] reads:
// a *pgdbm.DB, *pgdbm.Attached or *pgdbm.Tx.
type Handle interface {
	Begin(ctx context.Context) (pgx.Tx, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Schema() string
}
