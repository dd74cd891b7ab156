package main

import (
	"context"
	"errors"
	"fmt"
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
	if there, err := pgdbm.Value[bool](ctx, db, `SELECT pg_catalog.to_regclass('pgdbm.migrations') IS NOT NULL`); err != nil || !there {
		return nil, err
	}
	return pgdbm.All[recorded](ctx, db, `SELECT module, target_schema AS schema,
		count(*) FILTER (WHERE state IN ('applied', 'baselined'))::int AS in_effect,
		count(*) FILTER (WHERE state NOT IN ('applied', 'baselined'))::int AS open,
		max(applied_at) AS at,
		coalesce((SELECT pg_catalog.array_agg(r.name ORDER BY r.name) FROM (SELECT pg_catalog.jsonb_array_elements_text(
			CASE pg_catalog.jsonb_typeof(x.requires) WHEN 'array' THEN x.requires ELSE '[]' END) AS name
			FROM (SELECT (pg_catalog.array_agg(pg_catalog.to_jsonb(m) -> 'requires' ORDER BY applied_at DESC))[1] AS requires) x) r), '{}')::text[] AS requires
		FROM pgdbm.migrations m GROUP BY module, target_schema ORDER BY module, target_schema`)
}
