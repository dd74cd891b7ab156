package pgdbm_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
)

// A type that another process has made wider takes values which the one that is
// known does not, and which are refused before anything is sent.
func TestAValueThatOnlyTheNewTypeHoldsIsWritten(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 1})
	other := admin(t, pool)
	const update = `UPDATE {{tables.items}} SET n = $1`
	for i, used := range []int{1, 6} { // described, named
		for j, kind := range sessionKinds {
			t.Run(fmt.Sprintf("%s, used %d times", kind.name, used), func(t *testing.T) {
				db := mustSchema(t, pool, fmt.Sprintf("s%d%d", i, j))
				mustExec(t, db, `CREATE SCHEMA {{schema}}; CREATE TABLE {{tables.items}} (n int); INSERT INTO {{tables.items}} VALUES (0)`)
				for range used {
					mustExec(t, db, update, 1)
				}
				if _, err := other.Exec(t.Context(), `ALTER TABLE `+db.Schema()+`.items ALTER n TYPE bigint`); err != nil {
					t.Fatal(err)
				}
				kind.with(t, db, func(ctx context.Context, s session) {
					mustExec(t, s, update, int64(math.MaxInt64))
					if n := value[int64](t, s, `SELECT n FROM {{tables.items}}`); n != math.MaxInt64 {
						t.Errorf("wrote %d, read %d", int64(math.MaxInt64), n)
					}
					var none struct{}
					if _, err := s.Exec(ctx, update, none); err == nil || pgError(err) != nil {
						t.Errorf("a value that is none: %v", err)
					}
					mustExec(t, s, update, 2) // nothing has failed on the server
				})
			})
		}
	}
}

func TestAValueThatOnlyTheNewTypeHoldsIsWrittenByABatch(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 1})
	const insert = `INSERT INTO {{tables.notes}} (id) VALUES ($1)`
	mustExec(t, db, insert, 1)
	if _, err := admin(t, ownerOf(db)).Exec(t.Context(), `ALTER TABLE diary.notes ALTER id TYPE bigint`); err != nil {
		t.Fatal(err)
	}
	var b pgx.Batch
	for _, id := range []int64{2, math.MaxInt64, 3} {
		b.Queue(insert, id)
	}
	if err := db.SendBatch(t.Context(), &b).Close(); err != nil {
		t.Error(err)
	}
	if n := count(t, db); n != 4 {
		t.Errorf("%d notes", n)
	}
}

func TestABatchWithAnArgumentThatCannotBeSentWritesNothing(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 1})
	before := pid(t, db)
	for n := range 3 {
		var b pgx.Batch
		b.Queue(`INSERT INTO {{tables.notes}} VALUES ($1, $2)`, n, "x")
		b.Queue(`INSERT INTO {{tables.notes}} VALUES ($1, $2)`, 10+n, struct{}{})
		if err := db.SendBatch(t.Context(), &b).Close(); err == nil {
			t.Error("no error")
		}
		if n := count(t, db); n != 0 {
			t.Errorf("%d notes of a batch that failed", n)
		}
	}
	if pid(t, db) != before {
		t.Error("the connection was lost")
	}
}

// pgx keeps the types of a table's columns for CopyFrom, and sends the bytes of a
// float8 to a column that has become a bigint.
func TestACopyAfterAChangeOfTypesWritesTheRightValues(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 1})
	db := mustSchema(t, pool, "s")
	mustExec(t, db, `CREATE SCHEMA {{schema}}; CREATE TABLE {{tables.items}} (n float8)`)
	copyOne := func(ctx context.Context, s session) {
		t.Helper()
		if _, err := s.CopyFrom(ctx, pgx.Identifier{"items"}, []string{"n"}, pgx.CopyFromRows([][]any{{7}})); err != nil {
			t.Error(err)
		}
	}
	copyOne(t.Context(), db)
	for _, to := range []string{"bigint", "int", "numeric", "float8", "bigint"} {
		if _, err := admin(t, pool).Exec(t.Context(), `ALTER TABLE s.items ALTER n TYPE `+to); err != nil {
			t.Fatal(err)
		}
		copyOne(t.Context(), db)
		err := db.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
			copyOne(ctx, tx)
			return errors.New("undo")
		})
		if err == nil || err.Error() != "undo" {
			t.Error(err)
		}
		if n := value[int](t, db, `SELECT count(*) FROM {{tables.items}} WHERE n <> 7`); n != 0 {
			t.Errorf("%s: %d wrong values", to, n)
		}
	}
}
