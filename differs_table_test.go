package pgdbm_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// differences are the columns of table t in the schema that is used first and in
// the one that is measured, and an argument for v.
var differences = []struct {
	name, first, second string
	arg                 any
}{
	{"the same", `v int`, `v int`, 7},
	{"a wider number", `v int`, `v bigint`, 7},
	{"a number, numeric", `v int`, `v numeric`, 7},
	{"text, varchar", `v text`, `v varchar(10)`, "x"},
	{"timestamp, timestamptz", `v timestamp`, `v timestamptz`, time.Date(2026, 5, 4, 3, 2, 1, 0, time.FixedZone("", 7200))},
	{"text, an enum", `v text`, `v {{types.mood}}`, "sad"},
	{"an enum, another enum", `v {{types.mood}}`, `v {{types.mood}}`, "sad"},
	{"a number, text", `v int`, `v text`, "7"},
	{"one column more, with `SELECT *`", `v int`, `v int, more text DEFAULT 'm'`, 7},
	{"the same, with an enum among them", `v int, e {{types.mood}} DEFAULT 'sad'`, `v int, e {{types.mood}} DEFAULT 'sad', more text DEFAULT 'm'`, 7},
	{"a composite instead of a number", `v int, c int DEFAULT 5`, `v int, c {{types.pair}} DEFAULT '(1,x)'`, 7},
	{"a type without binary form", `v int, c int DEFAULT 5`, `v int, c aclitem DEFAULT 'postgres=r/postgres'`, 7},
}

const (
	differsRead  = `SELECT * FROM {{tables.t}} WHERE v = $1`
	differsWrite = `INSERT INTO {{tables.t}} (v) VALUES ($1)`
)

// The table of docs/statements.md is what happens.
func TestTheTableOfDifferencesIsWhatHappens(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("docs/statements.md")
	if err != nil {
		t.Fatal(err)
	}
	url := testdb.URL(t)
	for i, d := range differences {
		// A pool for each column, so that one does not learn from another.
		sides := func() (*pgdbm.DB, *writes) {
			sent := new(writes)
			pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 1, Pgx: sent.Config, Logger: slog.New(slog.DiscardHandler)})
			first, second := differing(t, pool, i, "first", d.first), differing(t, pool, i, "second", d.second)
			for range 2 {
				mustExec(t, first, differsWrite, d.arg)
				if _, err := differsAll(t.Context(), first, d.arg); err != nil {
					t.Fatal(err)
				}
			}
			_, err := pool.Pgx().Exec(t.Context(), fmt.Sprintf(`INSERT INTO %s.t (v) VALUES ($1)`, second.Schema()), pgx.QueryExecModeDescribeExec, d.arg)
			if err != nil {
				t.Fatal(err)
			}
			return second, sent
		}
		db, sent := sides()
		firstRead := sent.of(func() { wantDiffering(t, d.name, db, 1, d.arg) })
		db, sent = sides()
		firstWrite := sent.of(func() { mustExec(t, db, differsWrite, d.arg) })
		wantDiffering(t, d.name, db, 2, d.arg)
		later := sent.of(func() {
			mustExec(t, db, differsWrite, d.arg)
			wantDiffering(t, d.name, db, 3, d.arg)
		})
		db, _ = sides()
		inTx := differsInTx(t, db, d.arg)
		db, _ = sides()
		inBatch := differsInBatch(t, db, d.arg)
		row := fmt.Sprintf("| %s | %d | %d | %d | %s | %s |\n", d.name, firstRead, firstWrite, later/2, inTx, inBatch)
		if !strings.Contains(string(page), row) {
			t.Errorf("the page has no row\n%s", row)
		}
	}
}

func differing(t *testing.T, pool *pgdbm.Pool, i int, which, columns string) *pgdbm.DB {
	t.Helper()
	db := mustSchema(t, pool, fmt.Sprintf("%s%d", which, i))
	mustExec(t, db, `DROP SCHEMA IF EXISTS {{schema}} CASCADE; CREATE SCHEMA {{schema}}; CREATE TYPE {{types.mood}} AS ENUM ('sad', 'glad'); CREATE TYPE {{types.pair}} AS (a int, b text);
		CREATE TABLE {{tables.t}} (`+columns+`)`)
	return db
}

func differsAll(ctx context.Context, q pgdbm.Querier, arg any) ([]map[string]any, error) {
	return pgdbm.All[map[string]any](ctx, q, differsRead, arg)
}

// wantDiffering reads n rows and checks each column.
func wantDiffering(t *testing.T, name string, q pgdbm.Querier, n int, arg any) {
	t.Helper()
	got, err := differsAll(t.Context(), q, arg)
	if err != nil || len(got) != n {
		t.Fatalf("%s: %v, %v", name, got, err)
	}
	rightRow(t, name, got[0], arg)
}

func rightRow(t *testing.T, name string, row map[string]any, arg any) {
	t.Helper()
	for column, want := range map[string]string{"more": "m", "e": "sad"} {
		if v, ok := row[column]; ok && v != want {
			t.Errorf("%s: %s is %v", name, column, v)
		}
	}
	if c, ok := row["c"]; ok && c != "(1,x)" && c != "postgres=r/postgres" {
		t.Errorf("%s: c is %v", name, c)
	}
	if at, ok := row["v"].(time.Time); ok && !at.Equal(arg.(time.Time)) {
		t.Errorf("%s: v is %v", name, at)
	}
}

func differsInTx(t *testing.T, db *pgdbm.DB, arg any) string {
	t.Helper()
	run := func(ctx context.Context, tx *pgdbm.Tx) error {
		before, err := differsAll(ctx, tx, arg)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, differsWrite, arg); err != nil {
			return err
		}
		got, err := differsAll(ctx, tx, arg)
		if err == nil && len(got) != len(before)+1 {
			err = fmt.Errorf("got %v", got)
		}
		return err
	}
	result := "right"
	if err := db.InTx(t.Context(), run); errors.Is(err, pgdbm.ErrStalePlan) {
		result = "ErrStalePlan"
	} else if err != nil {
		t.Error(err)
	}
	if err := db.InTxOptions(t.Context(), pgdbm.TxOptions{Retries: 1}, run); err != nil {
		t.Errorf("run again: %v", err)
	}
	return result
}

func differsInBatch(t *testing.T, db *pgdbm.DB, arg any) string {
	t.Helper()
	var rows []map[string]any
	var b pgx.Batch
	b.Queue(differsWrite, arg)
	b.Queue(differsRead, arg).Query(func(rs pgx.Rows) (err error) {
		rows, err = pgx.CollectRows(rs, pgx.RowToMap)
		return err
	})
	if err := db.SendBatch(t.Context(), &b).Close(); errors.Is(err, pgdbm.ErrStalePlan) {
		return "ErrStalePlan"
	} else if err != nil || len(rows) != 2 {
		t.Errorf("batch: %v, %v", rows, err)
		return "wrong"
	}
	rightRow(t, "batch", rows[0], arg)
	return "right"
}
