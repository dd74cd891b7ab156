package pgdbm_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm"
)

func TestABatchIsExpandedAndItsResultsComeInOrder(t *testing.T) {
	onEach(t, func(ctx context.Context, t *testing.T, s session) {
		var b pgx.Batch
		b.Queue(`INSERT INTO {{tables.order}} VALUES (@id, 'one'), (2, 'two')`, pgx.NamedArgs{"id": 1})
		b.Queue(`SELECT text FROM {{tables.order}} ORDER BY id`)
		b.Queue(`SELECT text FROM {{tables.order}} WHERE id = $1`, 2)
		b.Queue(`SELECT 'no placeholder'`)
		br := s.SendBatch(ctx, &b)
		if tag, err := br.Exec(); err != nil || tag.RowsAffected() != 2 {
			t.Errorf("Exec: %v, %v", tag, err)
		}
		rows, err := br.Query()
		if err != nil {
			t.Fatal(err)
		}
		if texts, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || !slices.Equal(texts, []string{"one", "two"}) {
			t.Errorf("Query: %q, %v", texts, err)
		}
		var text string
		if err := br.QueryRow().Scan(&text); err != nil || text != "two" {
			t.Errorf("QueryRow: %q, %v", text, err)
		}
		if br.Tx() != nil {
			t.Error("a transaction that nobody began")
		}
		for range 2 {
			if err := br.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if _, err := br.Exec(); err == nil {
			t.Error("Exec after Close")
		}
		if err := s.SendBatch(ctx, &pgx.Batch{}).Close(); err != nil {
			t.Errorf("an empty batch: %v", err)
		}
	})
}

func TestTheCallersBatchStaysAsItIsAndCanBeSentAgain(t *testing.T) {
	t.Parallel()
	one, two := twoModules(t, pgdbm.Config{})
	tx := begin(t, one)
	defer tx.Rollback(context.Background())
	var b pgx.Batch
	calls := 0
	b.Queue(`INSERT INTO {{tables.notes}} VALUES ($1, $2)`, 1, "x").Exec(func(pgconn.CommandTag) error { calls++; return nil })
	b.Queue(`SELECT count(*) FROM {{tables.notes}}`).QueryRow(func(row pgx.Row) error {
		var n int
		err := row.Scan(&n)
		if n != 1 {
			t.Errorf("%d rows, want 1", n)
		}
		calls++
		return err
	})
	queued := b.QueuedQueries
	type query struct {
		sql  string
		args []any
	}
	seen := func() (qs []query) {
		for _, q := range b.QueuedQueries {
			qs = append(qs, query{q.SQL, q.Arguments})
		}
		return qs
	}
	before := seen()
	for i, s := range []session{one, two, in(t, begin(t, tx), mustSchema(t, one.Pool(), "third"))} {
		if i == 2 {
			mustExec(t, s, `CREATE SCHEMA {{schema}}`)
			createNotes(t, s)
		}
		if err := s.SendBatch(t.Context(), &b).Close(); err != nil {
			t.Errorf("sent the %d. time: %v", i+1, err)
		}
	}
	if calls != 6 {
		t.Errorf("callbacks ran %d times, want 6", calls)
	}
	if !reflect.DeepEqual(seen(), before) || &b.QueuedQueries[0] != &queued[0] || b.QueuedQueries[0] != queued[0] {
		t.Errorf("the batch is now %v", seen())
	}
	if a, b := count(t, one), count(t, two); a != 1 || b != 1 {
		t.Errorf("%d and %d rows", a, b)
	}
	// A batch of nothing but static text is copied, too: pgx writes into it.
	var static pgx.Batch
	static.Queue(`SELECT 1`)
	all(t, func(int) error { return one.SendBatch(t.Context(), &static).Close() })
}

func TestABatchHoldsItsConnectionUntilItIsClosed(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{MaxConns: 1})
	var b pgx.Batch
	b.Queue(`SELECT 1`)
	b.Queue(`SELECT 1/0`)
	br := db.SendBatch(t.Context(), &b)
	if db.Pool().Stat().AcquiredConns() != 1 {
		t.Error("no connection is held")
	}
	first := br.Close()
	wantState(t, first, "22012")
	wantIdle(t, db.Pool())
	other := begin(t, db)
	if again := br.Close(); !errors.Is(again, first) {
		t.Errorf("Close returned %v, then %v", first, again)
	}
	if db.Pool().Stat().AcquiredConns() != 1 {
		t.Error("a second Close gave the connection back again")
	}
	if err := other.Commit(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestACallbacksErrorEndsTheBatch(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{MaxConns: 1})
	var b pgx.Batch
	b.Queue(`SELECT 1`).Query(func(pgx.Rows) error { return errStop })
	b.Queue(`SELECT 2`).Query(func(pgx.Rows) error { t.Error("a callback after the error ran"); return nil })
	if err := db.SendBatch(t.Context(), &b).Close(); !errors.Is(err, errStop) {
		t.Errorf("got %v", err)
	}
	wantIdle(t, db.Pool())
	if got := value[int](t, db, `SELECT 1`); got != 1 {
		t.Error(got)
	}
}

func TestABatchMayBeginATransaction(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 1})
	ctx := t.Context()
	send := func(s session, o pgx.TxOptions, statements ...string) (*pgdbm.Tx, error) {
		var b pgx.Batch
		b.BeginTx(o)
		for _, sql := range statements {
			b.Queue(sql)
		}
		br := s.SendBatch(ctx, &b)
		err := br.Close()
		tx, ok := br.Tx().(*pgdbm.Tx)
		if !ok {
			t.Fatalf("Tx is a %T", br.Tx())
		}
		return tx, err
	}
	for i, commit := range []bool{true, false} {
		tx, err := send(db, pgx.TxOptions{IsoLevel: pgx.Serializable}, `INSERT INTO {{tables.notes}} VALUES (1)`)
		if err != nil {
			t.Fatal(err)
		}
		if db.Pool().Stat().AcquiredConns() != 1 || tx.Schema() != "diary" {
			t.Error("the transaction does not hold the connection")
		}
		mustExec(t, tx, `INSERT INTO {{tables.notes}} VALUES (2)`)
		if got := value[string](t, tx, `SHOW transaction_isolation`); got != "serializable" {
			t.Errorf("isolation %s", got)
		}
		if commit {
			err = tx.Commit(ctx)
		} else {
			err = tx.Rollback(ctx)
		}
		if err != nil {
			t.Error(err)
		}
		wantIdle(t, db.Pool())
		if n := count(t, db); n != 2*(1-i) {
			t.Errorf("%d rows", n)
		}
		mustExec(t, db, `TRUNCATE {{tables.notes}}`)
	}
	// An error leaves a transaction that has failed, or none.
	for name, c := range map[string]struct {
		o     pgx.TxOptions
		sql   string
		state string
		end   error
	}{
		"in a statement":  {pgx.TxOptions{}, `SELECT 1/0`, "22012", nil},
		"in the begin":    {pgx.TxOptions{BeginQuery: "BEGIN NONSENSE"}, `SELECT 1`, "42601", pgx.ErrTxClosed},
		"in the template": {pgx.TxOptions{}, `SELECT {{nonsense}}`, "", pgx.ErrTxClosed},
	} {
		tx, err := send(db, c.o, c.sql)
		if err == nil || state(err) != c.state {
			t.Errorf("%s: got %v", name, err)
		}
		if err := tx.Rollback(ctx); !errors.Is(err, c.end) {
			t.Errorf("%s: Rollback: %v", name, err)
		}
		wantIdle(t, db.Pool())
	}
	// There is no transaction in a transaction.
	outer := begin(t, db)
	tx, err := send(outer, pgx.TxOptions{}, `SELECT 1`)
	if err == nil {
		t.Error("a batch began a transaction inside one")
	}
	if err := tx.Rollback(ctx); !errors.Is(err, pgx.ErrTxClosed) {
		t.Errorf("Rollback: %v", err)
	}
	if err := outer.Rollback(ctx); err != nil {
		t.Error(err)
	}
	// On a connection there is.
	err = db.WithConn(ctx, func(ctx context.Context, c *pgdbm.Conn) error {
		tx, err := send(c, pgx.TxOptions{}, `INSERT INTO {{tables.notes}} VALUES (1)`)
		return errors.Join(err, tx.Commit(ctx))
	})
	if err != nil {
		t.Error(err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows", n)
	}
}
