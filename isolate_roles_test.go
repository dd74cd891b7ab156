package pgdbm_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
)

// outsider runs f with an isolated handle of schema a, and sql that fails with
// 42501 as long as its role is in effect.
func outsider(t *testing.T, f func(t *testing.T, pool *pgdbm.Pool, a, plain *pgdbm.DB, inside func(q pgdbm.Querier))) {
	asLogins(t, func(t *testing.T, url string) {
		pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 1})
		a, plain := isolated(t, pool, "a", "b")[0], mustSchema(t, pool, "b")
		mustExec(t, plain, `CREATE FUNCTION a.peek() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT text FROM b.notes); END'`)
		f(t, pool, a, plain, func(q pgdbm.Querier) {
			t.Helper()
			_, err := pgdbm.Value[string](t.Context(), q, `SELECT {{functions.peek}}()`)
			wantState(t, err, "42501")
		})
		if got := value[string](t, plain, `SELECT text || (SELECT current_user = session_user) FROM {{tables.notes}}`); got != "btrue" {
			t.Errorf("%q", got)
		}
	})
}

func TestATransactionThatIsChainedDoesNotLoseItsRole(t *testing.T) {
	outsider(t, func(t *testing.T, _ *pgdbm.Pool, a, _ *pgdbm.DB, inside func(q pgdbm.Querier)) {
		for _, sql := range []string{`COMMIT AND CHAIN`, `ROLLBACK WORK AND CHAIN`} {
			err := a.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
				if _, err := tx.Exec(ctx, sql); !errors.Is(err, pgdbm.ErrEscape) {
					t.Errorf("%s: %v", sql, err)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
		_ = a.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
			mustExec(t, tx, `COMMIT`)
			inside(tx)
			return nil
		})
	})
}

func TestARollbackInSQLDoesNotTakeTheRoleAlong(t *testing.T) {
	outsider(t, func(t *testing.T, _ *pgdbm.Pool, a, plain *pgdbm.DB, inside func(q pgdbm.Querier)) {
		err := plain.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
			view, err := tx.In(a)
			if err != nil {
				return err
			}
			mustExec(t, tx, `SAVEPOINT s`)
			for range 3 {
				mustExec(t, view, `ROLLBACK TO s`)
				inside(view)
				mustExec(t, view, `ROLLBACK TO s`) // in a transaction that has failed, too
				mustExec(t, view, `INSERT INTO {{tables.notes}} (text) VALUES ('x')`)
			}
			if _, err := view.Exec(ctx, `ROLLBACK TO s; SELECT {{functions.peek}}()`); !errors.Is(err, pgdbm.ErrEscape) {
				t.Error(err)
			}
			var b pgx.Batch
			b.Queue(`ROLLBACK TO s`)
			b.Queue(`SELECT {{functions.peek}}()`)
			if err := view.SendBatch(ctx, &b).Close(); !errors.Is(err, pgdbm.ErrEscape) {
				t.Error(err)
			}
			b = pgx.Batch{}
			b.Queue(`ROLLBACK TO s`)
			if err := view.SendBatch(ctx, &b).Close(); err != nil {
				t.Error(err)
			}
			if got := value[string](t, view, `SELECT string_agg(text, ',') || (current_user = session_user) FROM {{tables.notes}} GROUP BY current_user`); got != "afalse" {
				t.Errorf("%q", got)
			}
			inside(view)
			return nil
		})
		if !errors.Is(err, pgx.ErrTxCommitRollback) {
			t.Error(err)
		}
		// One role all along needs no care.
		err = a.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
			mustExec(t, tx, `SAVEPOINT s; INSERT INTO {{tables.notes}} (text) VALUES ('y')`)
			mustExec(t, tx, `ROLLBACK TO s; INSERT INTO {{tables.notes}} (text) VALUES ('z')`)
			return nil
		})
		if err != nil || value[int](t, a, `SELECT count(*) FROM {{tables.notes}}`) != 2 {
			t.Error(err)
		}
	})
}

func TestABatchDoesNotGoOnWithoutItsRole(t *testing.T) {
	outsider(t, func(t *testing.T, _ *pgdbm.Pool, a, _ *pgdbm.DB, inside func(q pgdbm.Querier)) {
		inside(a) // its description is known from now on
		for _, sql := range []string{`COMMIT`, `ROLLBACK`, `CALL {{functions.p}}()`, `DO $$BEGIN COMMIT; END$$`} {
			var b pgx.Batch
			b.Queue(sql)
			b.Queue(`SELECT {{functions.peek}}()`)
			if err := a.SendBatch(t.Context(), &b).Close(); !errors.Is(err, pgdbm.ErrEscape) {
				t.Errorf("%s: %v", sql, err)
			}
		}
	})
}

func TestAProcedureThatCommitsDoesNotGoOnWithoutItsRole(t *testing.T) {
	outsider(t, func(t *testing.T, pool *pgdbm.Pool, a, plain *pgdbm.DB, inside func(q pgdbm.Querier)) {
		mustExec(t, plain, `CREATE PROCEDURE a.commits() LANGUAGE plpgsql AS 'BEGIN COMMIT; PERFORM a.peek(); END';
			CREATE PROCEDURE a.adds(INOUT n int) LANGUAGE plpgsql AS 'BEGIN INSERT INTO a.notes (text) VALUES (n); n := n + 1; END'`)
		a, err := pool.Handle(pgdbm.HandleConfig{Schema: "a", Role: value[string](t, a, `SELECT current_user::text`)})
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range sessionKinds {
			kind.with(t, a, func(ctx context.Context, s session) {
				for _, sql := range []string{`CALL a.commits()`, `DO $$BEGIN COMMIT; PERFORM a.peek(); END$$`, "-- x\nDO $$BEGIN ROLLBACK; PERFORM a.peek(); END$$"} {
					for _, try := range tries[:4] {
						err := try.run(ctx, s, sql, nil)
						if st := state(err); st != "2D000" && st != "25P02" { // no two in one transaction
							t.Errorf("%s, %s, %s: %v", kind.name, try.name, sql, err)
						}
					}
				}
			})
			wantIdle(t, pool)
			kind.with(t, a, func(ctx context.Context, s session) {
				for i := range 6 {
					if got := value[int](t, s, `CALL a.adds($1)`, i); got != i+1 {
						t.Errorf("%s: %d", kind.name, got)
					}
				}
				mustExec(t, s, `CALL a.adds(7)`)
				mustExec(t, s, `DO $$BEGIN DELETE FROM a.notes WHERE text = '7'; END$$`)
				if got := value[int](t, s, `SELECT count(*) FROM {{tables.notes}}`); got != 7 {
					t.Errorf("%s: %d notes", kind.name, got)
				}
				mustExec(t, s, `DELETE FROM {{tables.notes}} WHERE text <> 'a'`)
			})
			wantIdle(t, pool)
		}
	})
}

func TestTheOwnerOfASchemaIsNoRoleForIt(t *testing.T) {
	outsider(t, func(t *testing.T, pool *pgdbm.Pool, _, plain *pgdbm.DB, _ func(q pgdbm.Querier)) {
		user := value[string](t, plain, `SELECT session_user::text`)
		if _, err := pool.Isolate(t.Context(), pgdbm.HandleConfig{Schema: "a", Role: user}); err == nil {
			t.Error("no error")
		}
	})
}
