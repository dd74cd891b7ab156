package pgdbm_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// Alone, because it counts the process's allocations.
func TestAHandleAllocatesNoMoreThanThePool(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	pool := openPool(t, pgdbm.Config{URL: testdb.URL(t), MaxConns: 1})
	db := mustSchema(t, pool, "s")
	mustExec(t, db, `CREATE SCHEMA {{schema}}; CREATE TABLE {{tables.t}} AS SELECT 1 AS id`)
	ctx := context.Background()
	measure := func(queryRow func(context.Context, string, ...any) pgx.Row, sql string) float64 {
		var id int
		return testing.AllocsPerRun(500, func() {
			if err := queryRow(ctx, sql, 1).Scan(&id); err != nil {
				t.Fatal(err)
			}
		})
	}
	raw := measure(pool.Pgx().QueryRow, `SELECT id FROM "s"."t" WHERE id = $1`)
	templated := measure(db.QueryRow, `SELECT id FROM {{tables.t}} WHERE id = $1`)
	plain := measure(db.QueryRow, `SELECT id FROM "s"."t" WHERE id = $1`)
	t.Logf("allocations of a query: pool %v, handle %v, handle without template %v", raw, templated, plain)
	if templated > raw+1 || plain > raw+1 {
		t.Errorf("allocations of a query: pool %v, handle %v, handle without template %v", raw, templated, plain)
	}
}
