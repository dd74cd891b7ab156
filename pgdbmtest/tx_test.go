package pgdbmtest_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

func TestTransactionsOfTestsDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	for i := range 30 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			db := pgdbmtest.Tx(t, diary)
			mustExec(t, db, `INSERT INTO {{tables.notes}} VALUES ($1)`, i)
			if n := count(t, db); n != 1 {
				t.Errorf("%d notes", n)
			}
		})
	}
}

func TestAFailedStatementUndoesItselfAlone(t *testing.T) {
	t.Parallel()
	db := pgdbmtest.Tx(t, diary)
	mustExec(t, db, `INSERT INTO {{tables.notes}} VALUES (1)`)
	for range 2 {
		if _, err := db.Exec(t.Context(), `INSERT INTO {{tables.notes}} VALUES (2), (1)`); state(err) != "23505" {
			t.Errorf("got %v", err)
		}
		if _, err := db.Query(t.Context(), `SELECT nothing`); state(err) != "42703" {
			t.Errorf("got %v", err)
		}
		if n := count(t, db); n != 1 {
			t.Errorf("%d notes", n)
		}
	}
}

func TestInTxIsASavepoint(t *testing.T) {
	t.Parallel()
	db := pgdbmtest.Tx(t, diary)
	stop := errors.New("stop")
	for want, fail := range []error{stop, nil} {
		err := db.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
			mustExec(t, tx, `INSERT INTO {{tables.notes}} VALUES (1)`)
			return errors.Join(fail, tx.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
				mustExec(t, tx, `INSERT INTO {{tables.notes}} VALUES (2)`)
				_, err := tx.Exec(ctx, `SELECT nothing`)
				if err == nil {
					t.Error("no error")
				}
				return nil // swallowed
			}), nil)
		})
		_ = want
		if err == nil {
			t.Error("no error")
		}
		if n := count(t, db); n != 0 {
			t.Errorf("%d notes", n)
		}
	}
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, tx, `INSERT INTO {{tables.notes}} VALUES (1)`)
	sp, err := tx.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, sp, `INSERT INTO {{tables.notes}} VALUES (2)`)
	if err := sp.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	if err := tx.Rollback(t.Context()); !errors.Is(err, pgx.ErrTxClosed) {
		t.Errorf("got %v", err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d notes", n)
	}
}

func TestABusyTransactionIsAClearError(t *testing.T) {
	t.Parallel()
	db := pgdbmtest.Tx(t, diary)
	busy := func(what string) {
		t.Helper()
		_, err := db.Exec(t.Context(), `INSERT INTO {{tables.notes}} VALUES (1)`)
		if !errors.Is(err, pgdbmtest.ErrBusy) || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want ErrBusy with %s", err, what)
		}
	}
	rows, err := db.Query(t.Context(), `SELECT generate_series(1, 3)`)
	if err != nil {
		t.Fatal(err)
	}
	busy("generate_series")
	rows.Close()

	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	busy("begun")
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}

	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := db.Exec(t.Context(), `INSERT INTO {{tables.notes}} VALUES ($1)`, i)
			if err != nil && !errors.Is(err, pgdbmtest.ErrBusy) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := count(t, db); n == 0 {
		t.Error("no statement came through")
	}
}

func TestTheWholeHandleWorksInATransaction(t *testing.T) {
	t.Parallel()
	db := pgdbmtest.Tx(t, diary, module("users"))
	ctx := t.Context()
	if n, err := db.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"id"}, pgx.CopyFromRows([][]any{{1}, {2}})); n != 2 || err != nil {
		t.Errorf("copied %d, %v", n, err)
	}
	var b pgx.Batch
	b.Queue(`INSERT INTO {{tables.notes}} VALUES (3)`)
	b.Queue(`INSERT INTO {{tables.users.notes}} VALUES (3)`)
	if err := db.SendBatch(ctx, &b).Close(); err != nil {
		t.Error(err)
	}
	if ids, err := pgdbm.All[int](ctx, db, `SELECT id FROM {{tables.notes}} ORDER BY id`); len(ids) != 3 || err != nil {
		t.Errorf("%v, %v", ids, err)
	}
	if err := db.Ping(ctx); err != nil {
		t.Error(err)
	}
	users := attach(t, db.Pool(), module("users"))
	if n := count(t, users); n != 1 {
		t.Errorf("%d notes of users, in the same transaction", n)
	}
	users.Close() // nothing
	db.Pool().Close()
	err := db.WithConn(ctx, func(ctx context.Context, c *pgdbm.Conn) error {
		return c.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
			view, err := tx.In(users.DB)
			if err == nil {
				mustExec(t, view, `INSERT INTO {{tables.notes}} VALUES (4)`)
			}
			return err
		})
	})
	if err != nil || count(t, users) != 2 || count(t, db) != 3 {
		t.Errorf("%v, %d notes of users, %d", err, count(t, users), count(t, db))
	}
	if exists, err := db.TableExists(ctx, "notes"); !exists || err != nil {
		t.Errorf("%v, %v", exists, err)
	}
}

func TestNothingIsMigratedInATransaction(t *testing.T) {
	t.Parallel()
	db := pgdbmtest.Tx(t, diary)
	if _, err := pgdbm.Attach(t.Context(), db.Pool(), module("other")); err == nil || !strings.Contains(err.Error(), "migrated") {
		t.Errorf("got %v", err)
	}
	mustExec(t, db, `INSERT INTO {{tables.notes}} VALUES (1)`)
	if n := count(t, db); n != 1 {
		t.Errorf("%d notes", n)
	}
}

func TestWhatIsLeftOpenInATransactionFailsTheTest(t *testing.T) {
	t.Parallel()
	for want, body := range map[string]func(tb testing.TB, db *pgdbm.DB){
		"SELECT 42": func(tb testing.TB, db *pgdbm.DB) {
			if _, err := db.Query(tb.Context(), `SELECT 42`); err != nil {
				tb.Fatal(err)
			}
		},
		"a transaction begun": func(tb testing.TB, db *pgdbm.DB) {
			if _, err := db.Begin(tb.Context()); err != nil {
				tb.Fatal(err)
			}
		},
	} {
		r := record(t)
		log := r.run(func(tb testing.TB) { body(tb, pgdbmtest.Tx(tb, diary)) })
		if !r.Failed() || !strings.Contains(log, want) {
			t.Errorf("log: %s", log)
		}
	}
}

func TestATransactionEndedBySQLSpoilsNoOtherTest(t *testing.T) {
	t.Parallel()
	for i, end := range []string{"COMMIT", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "COMMIT; BEGIN", "COMMIT; BEGIN; SELECT 1/0"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			m := module(fmt.Sprint("spoiled_", i))
			r := record(t)
			log := r.run(func(tb testing.TB) {
				db := pgdbmtest.Tx(tb, m)
				mustExec(tb, db, `INSERT INTO {{tables.notes}} VALUES (1)`)
				_, _ = db.Exec(tb.Context(), end)
			})
			if !r.Failed() || !strings.Contains(log, "ended its transaction") {
				t.Errorf("log: %s", log)
			}
			if n := count(t, pgdbmtest.Tx(t, m)); n != 0 {
				t.Errorf("%d notes", n)
			}
		})
	}
}

func TestWhatARollbackDoesNotUndoReachesNoOtherTest(t *testing.T) {
	t.Parallel()
	m := module("lasting")
	for range 2 {
		record(t).run(func(tb testing.TB) {
			db := pgdbmtest.Tx(tb, m)
			mustExec(tb, db, `PREPARE mine AS SELECT 1`)
		})
		record(t).run(func(tb testing.TB) {
			db := pgdbmtest.Tx(tb, m)
			for range 3 { // from the cache of prepared statements
				value[int](tb, db, `SELECT 42`)
			}
			mustExec(tb, db, `DEALLOCATE ALL`)
		})
		if n := value[int](t, pgdbmtest.Tx(t, m), `SELECT 42`); n != 42 {
			t.Error(n)
		}
	}
}

func TestSessionStateDoesNotOutliveATransaction(t *testing.T) { // not parallel: others would let its connection close
	m := module("session")
	pids := map[int]bool{}
	for range 3 {
		record(t).run(func(tb testing.TB) {
			db := pgdbmtest.Tx(tb, m)
			pids[value[int](tb, db, `SELECT pg_backend_pid()`)] = true
			if s := value[string](tb, db, `SELECT current_setting('work_mem')`); s == "77MB" {
				t.Error("a setting was left")
			}
			if n := value[int](tb, db, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()`); n != 0 {
				t.Error("a lock was left")
			}
			mustExec(tb, db, `SET work_mem = '77MB'`)
			mustExec(tb, db, `SELECT pg_advisory_lock(1)`)
		})
	}
	if len(pids) != 1 {
		t.Errorf("%d connections for tests in sequence", len(pids))
	}
}

func TestAHandleEndsWithItsTest(t *testing.T) {
	t.Parallel()
	var db *pgdbm.DB
	record(t).run(func(tb testing.TB) { db = pgdbmtest.Tx(tb, diary) })
	if _, err := db.Exec(t.Context(), `SELECT 1`); err == nil || !strings.Contains(err.Error(), "over") {
		t.Errorf("got %v", err)
	}
}

func TestAHandleWithARoleWorksInATransaction(t *testing.T) {
	t.Parallel()
	db := pgdbmtest.Tx(t, diary)
	role := "pgdbmtest_" + strings.ToLower(rand.Text()[:10]) // it goes with the transaction
	mustExec(t, db, `CREATE ROLE `+role+`; GRANT USAGE ON SCHEMA {{schema}} TO `+role+`; GRANT SELECT ON {{tables.notes}} TO `+role)
	reader, err := db.Pool().Handle(pgdbm.HandleConfig{Schema: db.Schema(), Role: role})
	if err != nil {
		t.Fatal(err)
	}
	user := func(q pgdbm.Querier) string {
		t.Helper()
		u, err := pgdbm.Value[string](t.Context(), q, `SELECT current_user::text FROM (SELECT count(*) FROM {{tables.notes}}) c`)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for range 2 {
		if got := user(reader); got != role {
			t.Errorf("as %s", got)
		}
		if got := user(db); got == role {
			t.Errorf("the other one as %s", got)
		}
		if _, err := reader.Exec(t.Context(), `INSERT INTO {{tables.notes}} VALUES (1)`); err == nil {
			t.Error("a reader writes")
		}
		mustExec(t, db, `INSERT INTO {{tables.notes}} VALUES (1)`)
		err := reader.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
			if got := user(tx); got != role {
				t.Errorf("in a transaction as %s", got)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		mustExec(t, db, `DELETE FROM {{tables.notes}}`)
	}
	err = reader.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
		mustExec(t, tx, `SAVEPOINT s`)
		if _, err := tx.Exec(ctx, `SELECT 1/0`); err == nil {
			t.Error("no error")
		}
		mustExec(t, tx, `ROLLBACK TO SAVEPOINT s`)
		if got := user(tx); got != role {
			t.Errorf("after a rollback as %s", got)
		}
		if _, err := tx.Exec(ctx, `ROLLBACK TO s; DELETE FROM {{tables.notes}}`); !errors.Is(err, pgdbm.ErrEscape) {
			t.Errorf("a statement behind a rollback: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
