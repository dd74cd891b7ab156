package pgdbm_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// twoModules are handles to two schemas of one pool, each with notes.
func twoModules(t *testing.T, cfg pgdbm.Config) (one, two *pgdbm.DB) {
	t.Helper()
	one = notes(t, cfg)
	two = mustSchema(t, one.Pool(), "Ledger")
	mustExec(t, two, `CREATE SCHEMA {{schema}}`)
	createNotes(t, two)
	return one, two
}

func TestATransactionGivesItsConnectionBackAtItsEnd(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 1})
	look := admin(t, db.Pool())
	ctx := t.Context()
	for name, end := range map[string]func(tx *pgdbm.Tx) error{
		"Commit":   func(tx *pgdbm.Tx) error { return tx.Commit(ctx) },
		"Rollback": func(tx *pgdbm.Tx) error { return tx.Rollback(ctx) },
		"Commit after an error": func(tx *pgdbm.Tx) error {
			_, _ = tx.Exec(ctx, "SELECT 1/0")
			if err := tx.Commit(ctx); !errors.Is(err, pgx.ErrTxCommitRollback) {
				t.Errorf("got %v", err)
			}
			return nil
		},
		"Rollback after an error": func(tx *pgdbm.Tx) error {
			_, _ = tx.Exec(ctx, "SELECT 1/0")
			return tx.Rollback(ctx)
		},
		"Commit on a done context": func(tx *pgdbm.Tx) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			if err := tx.Commit(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			return nil
		},
		"Rollback on a done context": func(tx *pgdbm.Tx) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			if err := tx.Rollback(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			return nil
		},
		"Commit with rows open": func(tx *pgdbm.Tx) error {
			if _, err := tx.Query(ctx, `SELECT generate_series(1, 100000)`); err != nil {
				return err
			}
			if err := tx.Commit(ctx); err == nil {
				t.Error("no error")
			}
			return nil
		},
	} {
		tx := begin(t, db)
		if db.Pool().Stat().AcquiredConns() != 1 {
			t.Errorf("%s: no connection is held", name)
		}
		if err := end(tx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantIdle(t, db.Pool())
		// Late calls do no harm to who has the connection now.
		other := begin(t, db)
		for _, late := range []error{tx.Commit(ctx), tx.Rollback(ctx), tx.Rollback(ctx)} {
			if !errors.Is(late, pgx.ErrTxClosed) {
				t.Errorf("%s: late end: %v", name, late)
			}
		}
		if err := tx.SendBatch(ctx, &pgx.Batch{}).Close(); !errors.Is(err, pgx.ErrTxClosed) {
			t.Errorf("%s: late batch: %v", name, err)
		}
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{"notes"}, nil, pgx.CopyFromRows(nil)); !errors.Is(err, pgx.ErrTxClosed) {
			t.Errorf("%s: late copy: %v", name, err)
		}
		if _, err := tx.Prepare(ctx, "x", "SELECT 1"); !errors.Is(err, pgx.ErrTxClosed) {
			t.Errorf("%s: late prepare: %v", name, err)
		}
		if err := tx.InTx(ctx, func(context.Context, *pgdbm.Tx) error { return nil }); !errors.Is(err, pgx.ErrTxClosed) {
			t.Errorf("%s: late InTx: %v", name, err)
		}
		if got := value[int](t, other, "SELECT 1"); got != 1 {
			t.Error(got)
		}
		if err := other.Rollback(ctx); err != nil {
			t.Errorf("%s: the next transaction: %v", name, err)
		}
	}
	waitUntil(t, func() bool { return sessions(t, look, "idle in transaction%") == 0 })
}

func TestABeginThatFailsLeaksNothing(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{MaxConns: 1})
	for range 3 {
		tx, err := db.BeginTx(t.Context(), pgx.TxOptions{BeginQuery: "BEGIN NONSENSE"})
		wantState(t, err, "42601")
		if tx != nil {
			t.Errorf("got a %T", tx)
		}
		if err := db.InTxOptions(t.Context(), pgdbm.TxOptions{TxOptions: pgx.TxOptions{BeginQuery: "BEGIN NONSENSE"}, Retries: 3}, nil); state(err) != "42601" {
			t.Errorf("InTxOptions: got %v", err)
		}
	}
	wantIdle(t, db.Pool())
}

func TestTransactionOptionsReachTheServer(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{})
	ctx := t.Context()
	o := pgx.TxOptions{IsoLevel: pgx.Serializable, AccessMode: pgx.ReadOnly, DeferrableMode: pgx.Deferrable}
	const show = `SELECT concat_ws(' ', current_setting('transaction_isolation'), current_setting('transaction_read_only'), current_setting('transaction_deferrable'))`
	const want = "serializable on on"
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if got := value[string](t, tx, show); got != want {
		t.Errorf("BeginTx: %s", got)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Error(err)
	}
	err = db.InTxOptions(ctx, pgdbm.TxOptions{TxOptions: o}, func(ctx context.Context, tx *pgdbm.Tx) error {
		if got := value[string](t, tx, show); got != want {
			t.Errorf("InTxOptions: %s", got)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	err = db.WithConn(ctx, func(ctx context.Context, c *pgdbm.Conn) error {
		tx, err := c.BeginTx(ctx, o)
		if err != nil {
			return err
		}
		defer tx.Rollback(ctx)
		if got := value[string](t, tx, show); got != want {
			t.Errorf("Conn.BeginTx: %s", got)
		}
		_, err = c.BeginTx(ctx, pgx.TxOptions{BeginQuery: "BEGIN NONSENSE"})
		wantState(t, err, "42601")
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestSavepointsEndAlone(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{})
	ctx := t.Context()
	tx := begin(t, db)
	defer tx.Rollback(context.Background())
	mustExec(t, tx, `INSERT INTO {{tables.notes}} VALUES (1)`)
	sp := begin(t, tx)
	deep := begin(t, sp)
	mustExec(t, deep, `INSERT INTO {{tables.notes}} VALUES (2)`)
	if _, err := deep.Exec(ctx, `INSERT INTO {{tables.notes}} VALUES (1)`); state(err) != "23505" {
		t.Errorf("got %v", err)
	}
	if err := deep.Rollback(ctx); err != nil {
		t.Error(err)
	}
	mustExec(t, sp, `INSERT INTO {{tables.notes}} VALUES (3)`)
	if err := sp.Commit(ctx); err != nil {
		t.Error(err)
	}
	if db.Pool().Stat().AcquiredConns() != 1 {
		t.Error("a savepoint gave the connection back")
	}
	if err := tx.Commit(ctx); err != nil {
		t.Error(err)
	}
	ids, err := pgdbm.All[int](ctx, db, `SELECT id FROM {{tables.notes}} ORDER BY id`)
	if err != nil || !slices.Equal(ids, []int{1, 3}) {
		t.Errorf("got %v, %v", ids, err)
	}
}

func TestInIsOneTransactionOverTwoSchemas(t *testing.T) {
	t.Parallel()
	one, two := twoModules(t, pgdbm.Config{MaxConns: 1})
	ctx := t.Context()
	const insert = `INSERT INTO {{tables.notes}} VALUES ($1)`
	write := func(id int, result error) func(ctx context.Context, tx *pgdbm.Tx) error {
		return func(ctx context.Context, tx *pgdbm.Tx) error {
			view := in(t, tx, two)
			if view.Schema() != "Ledger" || tx.Schema() != "diary" {
				t.Errorf("schemas %q, %q", view.Schema(), tx.Schema())
			}
			mustExec(t, tx, insert, id)
			mustExec(t, view, insert, id)
			back := in(t, view, one)
			if n := count(t, back); n == 0 {
				t.Error("the view of the view sees nothing")
			}
			if _, err := view.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"id"}, pgx.CopyFromRows([][]any{{id + 100}})); err != nil {
				t.Error(err)
			}
			return result
		}
	}
	if err := one.InTx(ctx, write(1, nil)); err != nil {
		t.Error(err)
	}
	if err := one.InTx(ctx, write(2, errStop)); !errors.Is(err, errStop) {
		t.Error(err)
	}
	if err := one.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
		mustExec(t, tx, insert, 3)
		_, err := in(t, tx, two).Exec(ctx, insert, 1)
		return err
	}); state(err) != "23505" {
		t.Errorf("got %v", err)
	}
	if a, b := count(t, one), count(t, two); a != 1 || b != 2 {
		t.Errorf("%d and %d notes, want 1 and 2", a, b)
	}
}

func TestAViewEndsWithItsTransactionAndCannotEndIt(t *testing.T) {
	t.Parallel()
	one, two := twoModules(t, pgdbm.Config{})
	ctx := t.Context()
	tx := begin(t, one)
	view := in(t, tx, two)
	for name, v := range map[string]*pgdbm.Tx{"view": view, "view of the view": in(t, view, one), "view in its own schema": in(t, tx, one)} {
		for _, err := range []error{v.Commit(ctx), v.Rollback(ctx)} {
			if !errors.Is(err, pgdbm.ErrTxNotOwner) {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
	// A savepoint that the view sets is its own.
	sp := begin(t, view)
	mustExec(t, sp, `INSERT INTO {{tables.notes}} VALUES (1)`)
	if err := sp.Rollback(ctx); err != nil {
		t.Error(err)
	}
	err := view.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
		mustExec(t, tx, `INSERT INTO {{tables.notes}} VALUES (2)`)
		if err := tx.Commit(ctx); !errors.Is(err, pgdbm.ErrTxNotOwner) {
			t.Errorf("Commit inside InTx of a view: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Error(err)
	}
	if _, err := view.Exec(ctx, `SELECT 1`); !errors.Is(err, pgx.ErrTxClosed) {
		t.Errorf("a view after its transaction: %v", err)
	}
	if n := count(t, two); n != 1 {
		t.Errorf("%d notes", n)
	}
	wantIdle(t, one.Pool())
}

func TestInTakesHandlesOfTheSameDatabaseOnly(t *testing.T) {
	t.Parallel()
	one, two := twoModules(t, pgdbm.Config{})
	url := one.Pool().Pgx().Config().ConnString()
	elsewhere := mustSchema(t, openPool(t, pgdbm.Config{}), "diary")
	second := mustSchema(t, openPool(t, pgdbm.Config{URL: url}), "Ledger")
	_, pool := borrow(t, url)
	borrowed := mustSchema(t, pool, "Ledger")
	again, err := pgdbm.Borrow(one.Pool().Pgx())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	_, asRole := role(t, url)
	other := mustSchema(t, openPool(t, pgdbm.Config{URL: asRole}), "Ledger")
	ctx := t.Context()
	tx := begin(t, one)
	defer tx.Rollback(context.Background())
	for name, db := range map[string]*pgdbm.DB{"the same pool": two, "another pool": second, "a borrowed pool": borrowed,
		"the same pool, borrowed": mustSchema(t, again, "Ledger"), "a pool of another role": other} {
		view := in(t, tx, db)
		mustExec(t, view, `INSERT INTO {{tables.notes}} VALUES (1)`)
		if got, want := pid(t, view), pid(t, tx); got != want {
			t.Errorf("%s: the view uses another connection", name)
		}
		mustExec(t, view, `DELETE FROM {{tables.notes}}`)
	}
	for name, db := range map[string]*pgdbm.DB{"another database": elsewhere, "nil": nil} {
		if view, err := tx.In(db); !errors.Is(err, pgdbm.ErrOtherDatabase) || view != nil {
			t.Errorf("%s: got %v, %v", name, view, err)
		}
	}
	// Aliases are the view's own.
	aliased, err := one.Pool().Handle(pgdbm.HandleConfig{Schema: "Ledger", Aliases: map[string]string{"diary": "diary"}})
	if err != nil {
		t.Fatal(err)
	}
	if n := value[int](t, in(t, tx, aliased), `SELECT count(*) FROM {{tables.notes}}, {{tables.diary.notes}}`); n != 0 {
		t.Error(n)
	}
	if _, err := tx.Exec(ctx, `SELECT * FROM {{tables.diary.notes}}`); err == nil {
		t.Error("the alias of the view is known to the transaction")
	}
}

// A borrowed pool has not said which server it reaches; a proxy makes its
// address another.
func TestInKnowsABorrowedPoolThatWasAttachedTo(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	to := realServer(t, url)
	proxy := listen(t, func(_ int, c *client) { c.forward(to) })
	theirs, err := pgxpool.NewWithConfig(t.Context(), poolConfig(t, proxy.through(t, url)))
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	pool, err := pgdbm.Borrow(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	a := mustAttach(t, pool, shop)
	tx := begin(t, mustSchema(t, openPool(t, pgdbm.Config{URL: url}), "x"))
	defer tx.Rollback(context.Background())
	if n := value[int](t, in(t, tx, a.DB), `SELECT count(*) FROM {{tables.items}}`); n != 2 {
		t.Errorf("%d items", n)
	}
}
