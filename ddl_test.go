package pgdbm_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
)

// changes are what a migration of another process does to a table of (id int,
// word text, mood an enum) of schema ?, under statements that are in use.
var changes = map[string]string{
	"nothing":         `SELECT 1`,
	"a column more":   `ALTER TABLE ?.items ADD extra int DEFAULT 5`,
	"a column less":   `ALTER TABLE ?.items DROP spare`,
	"wider":           `ALTER TABLE ?.items ALTER id TYPE bigint`,
	"another type":    `ALTER TABLE ?.items ALTER id TYPE numeric`,
	"text to enum":    `ALTER TABLE ?.items ALTER word TYPE ?.words USING word::?.words`,
	"text to varchar": `ALTER TABLE ?.items ALTER word TYPE varchar(20)`,
	"enum to text":    `ALTER TABLE ?.items ALTER mood TYPE text`,
	"to a composite":  `ALTER TABLE ?.items ALTER spare TYPE ?.pair USING row(spare, 'x')::?.pair`,
	"no binary form":  `ALTER TABLE ?.items ALTER spare TYPE aclitem USING 'postgres=r/postgres'::aclitem`,
	"a new table":     `CREATE TABLE ?.fresh (LIKE ?.items INCLUDING ALL); INSERT INTO ?.fresh SELECT * FROM ?.items; DROP TABLE ?.items; ALTER TABLE ?.fresh RENAME TO items`,
}

// uses are the statements. Each leaves the table as it was.
var uses = map[string]func(ctx context.Context, q session) (map[string]any, error){
	"SELECT *": func(ctx context.Context, q session) (map[string]any, error) {
		return pgdbm.One[map[string]any](ctx, q, `SELECT * FROM {{tables.items}}`)
	},
	"SELECT": func(ctx context.Context, q session) (map[string]any, error) {
		return pgdbm.One[map[string]any](ctx, q, `SELECT id, word, mood FROM {{tables.items}} WHERE id = $1 AND word = $2`, 1, "hot")
	},
	"UPDATE RETURNING *": func(ctx context.Context, q session) (map[string]any, error) {
		return pgdbm.One[map[string]any](ctx, q, `UPDATE {{tables.items}} SET word = $2, mood = $3 WHERE id = $1 RETURNING *`, 1, "hot", "sad")
	},
	"UPDATE RETURNING word": func(ctx context.Context, q session) (map[string]any, error) {
		return pgdbm.One[map[string]any](ctx, q, `UPDATE {{tables.items}} SET word = $2 WHERE id = $1 RETURNING word`, 1, "hot")
	},
	"UPDATE": func(ctx context.Context, q session) (map[string]any, error) {
		tag, err := q.Exec(ctx, `UPDATE {{tables.items}} SET word = $2 WHERE id = $1`, 1, "hot")
		if err == nil && tag.RowsAffected() != 1 {
			err = fmt.Errorf("%v", tag)
		}
		return nil, err
	},
	"batch": func(ctx context.Context, q session) (map[string]any, error) {
		var b pgx.Batch
		b.Queue(`UPDATE {{tables.items}} SET word = $2 WHERE id = $1`, 1, "hot")
		m := make(map[string]any)
		b.Queue(`SELECT id, word FROM {{tables.items}} WHERE id = $1`, 1).Query(func(rows pgx.Rows) (err error) {
			m, err = pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
			return err
		})
		return m, q.SendBatch(ctx, &b).Close()
	},
}

func changedTable(t *testing.T, pool *pgdbm.Pool, schema string) *pgdbm.DB {
	t.Helper()
	db := mustSchema(t, pool, schema)
	mustExec(t, db, `CREATE SCHEMA {{schema}}; CREATE TYPE {{types.moods}} AS ENUM ('sad', 'glad'); CREATE TYPE {{types.words}} AS ENUM ('hot', 'cold');
		CREATE TYPE {{types.pair}} AS (a int, b text);
		CREATE TABLE {{tables.items}} (id int, word text, mood {{types.moods}}, spare int);
		INSERT INTO {{tables.items}} VALUES (1, 'hot', 'sad', 3)`)
	return db
}

// unchanged checks the columns that no change touches.
func unchanged(m map[string]any) error {
	for column, want := range map[string]string{"id": "1", "word": "hot", "mood": "sad"} {
		if got, ok := m[column]; ok {
			if v, err := fmt.Sprint(got), error(nil); v != want && v != "{1 0 false finite true}" || err != nil {
				return fmt.Errorf("%s is %v, want %s", column, got, want)
			}
		}
	}
	return nil
}

func TestNoStatementFailsAfterAMigrationOutsideATransaction(t *testing.T) {
	t.Parallel()
	eachUnderChange(t, func(t *testing.T, db *pgdbm.DB, use func(ctx context.Context, q session) (map[string]any, error)) {
		for n := range 5 {
			m, err := use(t.Context(), db)
			if err == nil {
				err = unchanged(m)
			}
			if n == 0 && errors.Is(err, pgdbm.ErrStalePlan) && strings.Contains(t.Name(), "batch") {
				continue // a batch is a transaction
			}
			if err != nil {
				t.Fatalf("use %d: %v", n, err)
			}
		}
	})
}

func TestAfterAMigrationATransactionSucceedsOrCanBeRetried(t *testing.T) {
	t.Parallel()
	eachUnderChange(t, func(t *testing.T, db *pgdbm.DB, use func(ctx context.Context, q session) (map[string]any, error)) {
		run := func(ctx context.Context, tx *pgdbm.Tx) error {
			m, err := use(ctx, tx)
			if err == nil {
				err = unchanged(m)
			}
			return err
		}
		if err := db.InTx(t.Context(), run); err != nil && (!errors.Is(err, pgdbm.ErrStalePlan) || pgError(err) == nil) {
			t.Fatalf("got %v, which is not ErrStalePlan", err)
		}
		for range 5 {
			if err := db.InTx(t.Context(), run); err != nil {
				t.Fatalf("run again: %v", err)
			}
		}
	})
}

// eachUnderChange calls check for each use of a table whose statement was
// described, or named, before each change.
func eachUnderChange(t *testing.T, check func(t *testing.T, db *pgdbm.DB, use func(ctx context.Context, q session) (map[string]any, error))) {
	pool := openPool(t, pgdbm.Config{MaxConns: 1})
	other := admin(t, pool)
	n := 0
	for _, what := range slices.Sorted(maps.Keys(changes)) {
		for _, statement := range slices.Sorted(maps.Keys(uses)) {
			for _, before := range []int{1, 6} { // described, named
				n++
				schema := fmt.Sprintf("s%d", n)
				t.Run(fmt.Sprintf("%s, %s, used %d times", what, statement, before), func(t *testing.T) {
					db := changedTable(t, pool, schema)
					for range before {
						if _, err := uses[statement](t.Context(), db); err != nil {
							t.Fatal(err)
						}
					}
					if _, err := other.Exec(t.Context(), strings.ReplaceAll(changes[what], "?", schema)); err != nil {
						t.Fatal(err)
					}
					check(t, db, uses[statement])
				})
			}
		}
	}
}

// Half of a fleet is migrated, half is not, and the statements serve both.
func TestAHalfMigratedFleetIsServedWithoutErrors(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 2})
	other := admin(t, pool)
	for _, what := range slices.Sorted(maps.Keys(changes)) {
		t.Run(what, func(t *testing.T) {
			dbs := make([]*pgdbm.DB, 6)
			for i := range dbs {
				dbs[i] = changedTable(t, pool, fmt.Sprintf("%s%d", strings.ReplaceAll(what, " ", "_"), i))
			}
			for round := range 8 {
				for i, db := range dbs {
					if round == 3 && i%2 == 1 {
						if _, err := other.Exec(t.Context(), strings.ReplaceAll(changes[what], "?", db.Schema())); err != nil {
							t.Fatal(err)
						}
					}
					for name, use := range uses {
						m, err := use(t.Context(), db)
						if err == nil {
							err = unchanged(m)
						}
						if round == 3 && name == "batch" && errors.Is(err, pgdbm.ErrStalePlan) {
							continue // a batch is a transaction
						}
						if err != nil {
							t.Errorf("round %d, schema %d, %s: %v", round, i, name, err)
						}
					}
				}
			}
		})
	}
}

// Attach and the migrations of this process are known at once.
func TestAMigrationOfThisProcessMakesNothingStale(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 1})
	ctx := t.Context()
	files := fstest.MapFS{"001_items.sql": {Data: []byte(`CREATE TABLE {{tables.items}} (id int); INSERT INTO {{tables.items}} VALUES (1);`)}}
	shop := mustAttach(t, pool, pgdbm.Module{Name: "shop", Files: files})
	const sql = `SELECT * FROM {{tables.items}}`
	for n := range 3 {
		for range 5 {
			if m, err := pgdbm.One[map[string]any](ctx, shop, sql); err != nil || len(m) != n+1 {
				t.Fatalf("%v, %v", m, err)
			}
		}
		files[fmt.Sprintf("%03d_more.sql", n+2)] = &fstest.MapFile{Data: fmt.Appendf(nil, `ALTER TABLE {{tables.items}} ADD c%d int;`, n)}
		mustAttach(t, pool, pgdbm.Module{Name: "shop", Files: files})
		if err := shop.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
			m, err := pgdbm.One[map[string]any](ctx, tx, sql)
			if err == nil && len(m) != n+2 {
				err = fmt.Errorf("got %v", m)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
}

// A real error of a statement is told as it is, in a transaction and outside.
func TestErrorsOfTheStatementItselfAreNotStale(t *testing.T) {
	t.Parallel()
	db := tenants(t, 1, pgdbm.Config{MaxConns: 1})[0]
	mustExec(t, db, `CREATE FUNCTION {{functions.f}}(x int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN no_such_function(x); END $$`)
	ctx := t.Context()
	for range 6 {
		for sql, state := range map[string]string{
			`SELECT no_such_function($1::int)`:                       "42883",
			`SELECT {{functions.f}}($1)`:                             "42883",
			`SELECT owner FROM {{tables.none}} WHERE id = $1`:        "42P01",
			`SELECT nothing FROM {{tables.notes}} WHERE id = $1`:     "42703",
			`SELECT id + owner FROM {{tables.notes}} WHERE id = $1`:  "42883",
			`INSERT INTO {{tables.notes}} VALUES (1, $1::int::text)`: "23505",
		} {
			_, err := db.Exec(ctx, sql, 1)
			wantState(t, err, state)
			if errors.Is(err, pgdbm.ErrStalePlan) {
				t.Errorf("%s: %v", sql, err)
			}
			runs := 0
			err = db.InTxOptions(ctx, pgdbm.TxOptions{Retries: 3}, func(ctx context.Context, tx *pgdbm.Tx) error {
				runs++
				_, err := tx.Exec(ctx, sql, 1)
				return err
			})
			wantState(t, err, state)
			if runs != 1 {
				t.Errorf("%s: %d runs", sql, runs)
			}
		}
	}
}

func TestABatchThatBeginsATransactionIsStaleOnceAtTheMost(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 1})
	db := changedTable(t, pool, "s")
	use := func() error {
		var b pgx.Batch
		b.BeginTx(pgx.TxOptions{})
		b.Queue(`UPDATE {{tables.items}} SET word = $1, id = $2`, "hot", 1)
		br := db.SendBatch(t.Context(), &b)
		err := br.Close()
		if err != nil {
			_ = br.Tx().Rollback(t.Context())
			return err
		}
		return br.Tx().Commit(t.Context())
	}
	if err := use(); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{"text to enum", "wider", "a new table"} {
		if _, err := admin(t, pool).Exec(t.Context(), strings.ReplaceAll(changes[change], "?", "s")); err != nil {
			t.Fatal(err)
		}
		if err := use(); err != nil && !errors.Is(err, pgdbm.ErrStalePlan) {
			t.Errorf("%s: %v", change, err)
		}
		if err := use(); err != nil {
			t.Errorf("%s: run again: %v", change, err)
		}
	}
}

// What a procedure has committed stays when it fails afterwards.
func TestAProcedureThatFailsIsNotRunAgain(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 1})
	mustExec(t, db, `CREATE PROCEDURE {{functions.fails}}(n int) LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO {{tables.notes}} VALUES (n); COMMIT; EXECUTE 'EXECUTE none'; END $$`)
	for n := 1; n <= 6; n++ {
		_, err := db.Exec(t.Context(), `CALL {{functions.fails}}($1)`, n)
		if wantState(t, err, "26000"); errors.Is(err, pgdbm.ErrStalePlan) {
			t.Errorf("call %d: %v", n, err)
		}
		if got := count(t, db); got != n {
			t.Fatalf("%d notes after %d calls", got, n)
		}
	}
}
