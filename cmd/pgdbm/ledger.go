package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pgdbm/pgdbm"
)

// recorded is what the ledger has of a module in a schema.
type recorded struct {
	Module   string
	Schema   string
	InEffect int       // versions
	Open     int       // versions that failed or have not ended
	At       time.Time // of the newest entry
	Requires []string  // of the newest entry
}

// errLedger is a history that cannot be read.
var errLedger = errors.New("the history, pgdbm.migrations, cannot be read")

// readLedger returns what is recorded, by module and schema; nothing when there is
// no ledger. Columns that an old ledger does not have count as empty.
func readLedger(ctx context.Context, pool *pgdbm.Pool) ([]recorded, error) {
	list, err := queryLedger(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLedger, err)
	}
	return list, nil
}

func queryLedger(ctx context.Context, pool *pgdbm.Pool) ([]recorded, error) {
	db, err := pool.Schema("public") // it is named in no statement here
	if err != nil {
		return nil, err
	}
	there, err := pgdbm.All[string](ctx, db, `SELECT attname FROM pg_catalog.pg_attribute
		WHERE attrelid = pg_catalog.to_regclass('pgdbm.migrations') AND attnum > 0 AND NOT attisdropped`)
	if err != nil || len(there) == 0 {
		return nil, err
	}
	requires := "'{}'"
	if slices.Contains(there, "requires") {
		requires = "requires::text" // arrays of several lengths make none
	}
	return pgdbm.All[recorded](ctx, db, `SELECT module, target_schema AS schema,
		count(*) FILTER (WHERE state IN ('applied', 'baselined'))::int AS in_effect,
		count(*) FILTER (WHERE state NOT IN ('applied', 'baselined'))::int AS open,
		max(applied_at) AS at, coalesce((pg_catalog.array_agg(`+requires+` ORDER BY applied_at DESC))[1], '{}')::text[] AS requires
		FROM pgdbm.migrations GROUP BY module, target_schema ORDER BY module, target_schema`)
}
