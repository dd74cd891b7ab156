package pgdbm_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

func insert(ctx context.Context, q pgdbm.Querier, id int) error {
	_, err := q.Exec(ctx, `INSERT INTO {{tables.notes}} VALUES ($1)`, id)
	return err
}

// inTx is InTx of a DB, a Tx or a Conn.
type inTx interface {
	InTx(ctx context.Context, fn func(ctx context.Context, tx *pgdbm.Tx) error) error
}

func TestInTxCommitsOrLeavesNothing(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 1})
	look := admin(t, db.Pool())
	for _, c := range []struct {
		name string
		run  func(ctx context.Context, cancel func(), tx *pgdbm.Tx) error
		want func(err error) bool
		kept bool
	}{
		{"success", func(ctx context.Context, _ func(), tx *pgdbm.Tx) error { return insert(ctx, tx, 1) },
			func(err error) bool { return err == nil }, true},
		{"own error", func(ctx context.Context, _ func(), tx *pgdbm.Tx) error {
			return errors.Join(insert(ctx, tx, 1), errStop)
		}, func(err error) bool { return errors.Is(err, errStop) }, false},
		{"server's error", func(ctx context.Context, _ func(), tx *pgdbm.Tx) error {
			return errors.Join(insert(ctx, tx, 1), insert(ctx, tx, 1))
		}, func(err error) bool { return state(err) == "23505" }, false},
		{"server's error, swallowed", func(ctx context.Context, _ func(), tx *pgdbm.Tx) error {
			_ = insert(ctx, tx, 1)
			_ = insert(ctx, tx, 1)
			return nil
		}, func(err error) bool { return errors.Is(err, pgx.ErrTxCommitRollback) }, false},
		{"error of the commit", func(ctx context.Context, _ func(), tx *pgdbm.Tx) error {
			_, err := tx.Exec(ctx, `CREATE TEMP TABLE c (id int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO c VALUES (1), (1)`)
			return errors.Join(insert(ctx, tx, 1), err)
		}, func(err error) bool { return state(err) == "23505" }, false},
		{"cancelled, noticed", func(ctx context.Context, cancel func(), tx *pgdbm.Tx) error {
			err := insert(ctx, tx, 1)
			cancel()
			return errors.Join(err, insert(ctx, tx, 2))
		}, func(err error) bool { return errors.Is(err, context.Canceled) }, false},
		{"cancelled, unnoticed", func(ctx context.Context, cancel func(), tx *pgdbm.Tx) error {
			err := insert(ctx, tx, 1)
			cancel()
			return err
		}, func(err error) bool { return errors.Is(err, context.Canceled) }, false},
		{"cancelled, own error", func(ctx context.Context, cancel func(), tx *pgdbm.Tx) error {
			err := insert(ctx, tx, 1)
			cancel()
			return errors.Join(err, errStop)
		}, func(err error) bool { return errors.Is(err, errStop) }, false},
		{"cancelled in a statement", func(ctx context.Context, cancel func(), tx *pgdbm.Tx) error {
			timer := time.AfterFunc(20*time.Millisecond, cancel)
			defer timer.Stop()
			_, err := tx.Exec(ctx, `SELECT pg_sleep(60)`)
			return err
		}, func(err error) bool { return errors.Is(err, context.Canceled) }, false},
		{"Rollback", func(ctx context.Context, _ func(), tx *pgdbm.Tx) error {
			return errors.Join(insert(ctx, tx, 1), tx.Rollback(ctx))
		}, func(err error) bool { return errors.Is(err, pgx.ErrTxClosed) }, false},
		{"Rollback and own error", func(ctx context.Context, _ func(), tx *pgdbm.Tx) error {
			return errors.Join(insert(ctx, tx, 1), tx.Rollback(ctx), errStop)
		}, func(err error) bool { return errors.Is(err, errStop) && !errors.Is(err, pgx.ErrTxClosed) }, false},
		{"Commit", func(ctx context.Context, _ func(), tx *pgdbm.Tx) error {
			return errors.Join(insert(ctx, tx, 1), tx.Commit(ctx))
		}, func(err error) bool { return errors.Is(err, pgdbm.ErrTxNotOwner) }, false},
		{"Commit, swallowed", func(ctx context.Context, _ func(), tx *pgdbm.Tx) error {
			_ = tx.Commit(ctx)
			return insert(ctx, tx, 1)
		}, func(err error) bool { return err == nil }, true},
		{"rows left open", func(ctx context.Context, _ func(), tx *pgdbm.Tx) error {
			_, err := tx.Query(ctx, `SELECT generate_series(1, 100000)`)
			return err
		}, func(err error) bool { return err != nil }, false},
		{"rows left open and own error", func(ctx context.Context, _ func(), tx *pgdbm.Tx) error {
			_, err := tx.Query(ctx, `SELECT generate_series(1, 100000)`)
			return errors.Join(insert(ctx, tx, 1), err, errStop)
		}, func(err error) bool { return errors.Is(err, errStop) }, false},
		{"connection closed", func(ctx context.Context, _ func(), tx *pgdbm.Tx) error {
			return errors.Join(insert(ctx, tx, 1), tx.Conn().Close(ctx))
		}, func(err error) bool { return err != nil }, false},
		{"session killed", func(ctx context.Context, _ func(), tx *pgdbm.Tx) error {
			_, err := tx.Exec(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
			return err
		}, func(err error) bool { return state(err) == "57P01" }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ran := 0
			err := db.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
				ran++
				return c.run(ctx, cancel, tx)
			})
			if ran != 1 {
				t.Errorf("fn ran %d times", ran)
			}
			if !c.want(err) {
				t.Errorf("got %v", err)
			}
			wantIdle(t, db.Pool())
			waitUntil(t, func() bool { return sessions(t, look, "idle in transaction%") == 0 })
			if n := count(t, db); n != 0 != c.kept {
				t.Errorf("%d rows", n)
			}
			mustExec(t, db, `DELETE FROM {{tables.notes}}`)
		})
	}
}

func TestInTxRollsBackWhenTheFunctionDoesNotReturn(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 1})
	before := pid(t, db)
	for name, leave := range map[string]func(cancel func()){
		"panic":                 func(func()) { panic(errStop) },
		"panic, cancelled":      func(cancel func()) { cancel(); panic(errStop) },
		"panic(nil)":            func(func()) { panic(nil) },
		"Goexit":                func(func()) { runtime.Goexit() },
		"Goexit, cancelled":     func(cancel func()) { cancel(); runtime.Goexit() },
		"panic in a savepoint":  nil,
		"Goexit in a savepoint": nil,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var got any
		var wg sync.WaitGroup
		wg.Go(func() {
			defer func() { got = recover() }()
			_ = db.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
				if err := insert(ctx, tx, 1); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if leave != nil {
					leave(cancel)
				}
				return tx.InTx(ctx, func(context.Context, *pgdbm.Tx) error {
					if name == "panic in a savepoint" {
						panic(errStop)
					}
					runtime.Goexit()
					return nil
				})
			})
		})
		wg.Wait()
		cancel()
		if panics := name != "Goexit" && name != "Goexit, cancelled" && name != "Goexit in a savepoint"; panics != (got != nil) {
			t.Errorf("%s: recovered %v", name, got)
		}
		wantIdle(t, db.Pool())
		if n := count(t, db); n != 0 {
			t.Errorf("%s: %d rows", name, n)
		}
	}
	// Clean-up does not depend on the context, so no connection was lost.
	if after := pid(t, db); after != before {
		t.Error("the connection was closed")
	}
}

func TestInTxOnADoneContextDoesNotRunTheFunction(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, run := range map[string]func(fn func(context.Context, *pgdbm.Tx) error) error{
		"InTx": func(fn func(context.Context, *pgdbm.Tx) error) error { return db.InTx(ctx, fn) },
		"InTxOptions": func(fn func(context.Context, *pgdbm.Tx) error) error {
			return db.InTxOptions(ctx, pgdbm.TxOptions{Retries: 3}, fn)
		},
	} {
		err := run(func(context.Context, *pgdbm.Tx) error {
			t.Errorf("%s: fn ran", name)
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestInTxInsideInTxIsASavepoint(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"DB", "Conn"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			db := notes(t, pgdbm.Config{MaxConns: 1})
			work := func(ctx context.Context, b inTx) error {
				return b.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
					if err := insert(ctx, tx, 1); err != nil {
						return err
					}
					for id, result := range map[int]error{2: nil, 3: errStop} {
						err := tx.InTx(ctx, func(ctx context.Context, sp *pgdbm.Tx) error {
							if err := sp.Commit(ctx); !errors.Is(err, pgdbm.ErrTxNotOwner) {
								t.Errorf("Commit of a savepoint of InTx: %v", err)
							}
							return errors.Join(insert(ctx, sp, id), result)
						})
						if !errors.Is(err, result) {
							t.Errorf("got %v", err)
						}
					}
					// An error of the server ends with its savepoint.
					if err := tx.InTx(ctx, func(ctx context.Context, sp *pgdbm.Tx) error { return insert(ctx, sp, 1) }); state(err) != "23505" {
						t.Errorf("got %v", err)
					}
					// Even one that was swallowed.
					err := tx.InTx(ctx, func(ctx context.Context, sp *pgdbm.Tx) error {
						err := insert(ctx, sp, 5)
						_ = insert(ctx, sp, 1)
						return err
					})
					if !errors.Is(err, pgx.ErrTxCommitRollback) {
						t.Errorf("a swallowed error: got %v", err)
					}
					return insert(ctx, tx, 4)
				})
			}
			var err error
			if kind == "DB" {
				err = work(t.Context(), db)
			} else {
				err = db.WithConn(t.Context(), func(ctx context.Context, c *pgdbm.Conn) error { return work(ctx, c) })
			}
			if err != nil {
				t.Error(err)
			}
			ids, err := pgdbm.All[int](t.Context(), db, `SELECT id FROM {{tables.notes}} ORDER BY id`)
			if err != nil || !slices.Equal(ids, []int{1, 2, 4}) {
				t.Errorf("got %v, %v", ids, err)
			}
		})
	}
}

func TestACancelledSavepointLeavesTheRestOfTheTransaction(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 1})
	err := db.InTx(t.Context(), func(outer context.Context, tx *pgdbm.Tx) error {
		ctx, cancel := context.WithCancel(outer)
		err := tx.InTx(ctx, func(ctx context.Context, sp *pgdbm.Tx) error {
			err := insert(ctx, sp, 1)
			cancel()
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		return insert(outer, tx, 2)
	})
	if err != nil {
		t.Error(err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestBeginInsideInTxIsTheUsersOwn(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{})
	err := db.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
		sp := begin(t, tx)
		if err := insert(ctx, sp, 1); err != nil {
			return err
		}
		return sp.Commit(ctx)
	})
	if err != nil {
		t.Error(err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestSerializationFailuresAreRetried(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 2})
	mustExec(t, db, `INSERT INTO {{tables.notes}} VALUES (1, ''), (2, '')`)
	o := pgdbm.TxOptions{TxOptions: pgx.TxOptions{IsoLevel: pgx.Serializable}, Retries: 5}
	// Both read before either writes, so one of them must fail.
	var read sync.WaitGroup
	read.Add(2)
	var mu sync.Mutex // guards runs
	runs := 0
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			first := true
			err := db.InTxOptions(t.Context(), o, func(ctx context.Context, tx *pgdbm.Tx) error {
				mu.Lock()
				runs++
				mu.Unlock()
				sum, err := pgdbm.Value[int](ctx, tx, `SELECT sum(length(text)) FROM {{tables.notes}}`)
				if err != nil {
					return err
				}
				if first {
					first = false
					read.Done()
					read.Wait()
				}
				_, err = tx.Exec(ctx, `UPDATE {{tables.notes}} SET text = repeat('x', $1 + 1) WHERE id = $2`, sum, i+1)
				return err
			})
			if err != nil {
				t.Errorf("transaction %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if runs < 3 {
		t.Errorf("%d runs: nothing was retried", runs)
	}
	if got := value[int](t, db, `SELECT sum(length(text)) FROM {{tables.notes}}`); got != 3 {
		t.Errorf("sum %d, want that of one after the other, 3", got)
	}
}

func TestDeadlocksAreRetried(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 2, Settings: map[string]string{"deadlock_timeout": "20ms"}})
	mustExec(t, db, `INSERT INTO {{tables.notes}} VALUES (1, ''), (2, '')`)
	var locked sync.WaitGroup
	locked.Add(2)
	var wg sync.WaitGroup
	runs := make(chan int, 20)
	for i := range 2 {
		wg.Go(func() {
			first := true
			err := db.InTxOptions(t.Context(), pgdbm.TxOptions{Retries: 5}, func(ctx context.Context, tx *pgdbm.Tx) error {
				runs <- i
				const lock = `UPDATE {{tables.notes}} SET text = text || 'x' WHERE id = $1`
				if _, err := tx.Exec(ctx, lock, i+1); err != nil {
					return err
				}
				if first {
					first = false
					locked.Done()
					locked.Wait()
				}
				_, err := tx.Exec(ctx, lock, 2-i)
				return err
			})
			if err != nil {
				t.Errorf("transaction %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if len(runs) < 3 {
		t.Errorf("%d runs: nothing was retried", len(runs))
	}
	if n := value[int](t, db, `SELECT count(*) FROM {{tables.notes}} WHERE text = 'xx'`); n != 2 {
		t.Errorf("%d rows have both updates", n)
	}
}

func TestStalePlansAreRetried(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 1})
	look := admin(t, db.Pool())
	const sql = `SELECT * FROM {{tables.notes}}`
	mustExec(t, db, `INSERT INTO {{tables.notes}} VALUES (1, 'x')`)
	alter := func(columns string) {
		for range 4 { // the statement has a name now
			if _, err := pgdbm.All[map[string]any](t.Context(), db, sql); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := look.Exec(t.Context(), `ALTER TABLE diary.notes `+columns); err != nil {
			t.Fatal(err)
		}
	}
	alter(`ADD a int`)
	runs := 0
	err := db.InTxOptions(t.Context(), pgdbm.TxOptions{Retries: 1}, func(ctx context.Context, tx *pgdbm.Tx) error {
		runs++
		m, err := pgdbm.One[map[string]any](ctx, tx, sql)
		if err == nil && len(m) != 3 {
			t.Errorf("got %v", m)
		}
		return err
	})
	if err != nil || runs != 2 {
		t.Errorf("%d runs, %v", runs, err)
	}
	// Without retries the caller gets the error.
	alter(`ADD b int`)
	err = db.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
		_, err := tx.Exec(ctx, sql)
		if err == nil {
			_, err = pgdbm.All[map[string]any](ctx, tx, sql)
		}
		return err
	})
	wantState(t, err, "0A000")
	if !errors.Is(err, pgdbm.ErrStalePlan) {
		t.Errorf("got %v", err)
	}
}

func TestOnlyWhatMaySucceedIsRetriedAndNotForEver(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{})
	raise := func(code string) func(ctx context.Context, tx *pgdbm.Tx) error {
		return func(ctx context.Context, tx *pgdbm.Tx) error {
			_, err := tx.Exec(ctx, fmt.Sprintf(`DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '%s'; END $$`, code))
			return fmt.Errorf("wrapped: %w", err)
		}
	}
	for _, c := range []struct {
		name    string
		retries int
		fn      func(ctx context.Context, tx *pgdbm.Tx) error
		runs    int
		state   string
	}{
		{"40001", 3, raise("40001"), 4, "40001"},
		{"40P01", 2, raise("40P01"), 3, "40P01"},
		{"no retries", 0, raise("40001"), 1, "40001"},
		{"negative", -1, raise("40001"), 1, "40001"},
		{"another 0A000", 3, raise("0A000"), 1, "0A000"},
		{"40002", 3, raise("40002"), 1, "40002"},
		{"23505", 3, raise("23505"), 1, "23505"},
		{"57014", 3, raise("57014"), 1, "57014"},
		{"own error", 3, func(context.Context, *pgdbm.Tx) error { return errStop }, 1, ""},
		{"success", 3, func(context.Context, *pgdbm.Tx) error { return nil }, 1, ""},
	} {
		runs := 0
		err := db.InTxOptions(t.Context(), pgdbm.TxOptions{Retries: c.retries}, func(ctx context.Context, tx *pgdbm.Tx) error {
			runs++
			return c.fn(ctx, tx)
		})
		if runs != c.runs {
			t.Errorf("%s: %d runs, want %d", c.name, runs, c.runs)
		}
		if state(err) != c.state || (err == nil) != (c.name == "success") {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
	// A failure at commit counts like one before.
	runs := 0
	mustExec(t, db, `CREATE FUNCTION {{functions.fail}}() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$`)
	mustExec(t, db, `CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON {{tables.notes}} DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION {{functions.fail}}()`)
	err := db.InTxOptions(t.Context(), pgdbm.TxOptions{Retries: 2}, func(ctx context.Context, tx *pgdbm.Tx) error {
		runs++
		return insert(ctx, tx, 1)
	})
	wantState(t, err, "40001")
	if runs != 3 {
		t.Errorf("at commit: %d runs, want 3", runs)
	}
}

func TestRetriesEndWithTheContext(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	runs := 0
	err := db.InTxOptions(ctx, pgdbm.TxOptions{Retries: 1 << 30}, func(ctx context.Context, tx *pgdbm.Tx) error {
		if runs++; runs == 3 {
			cancel()
		}
		return &pgconn.PgError{Code: "40001"}
	})
	if err == nil || runs != 3 {
		t.Errorf("%d runs, %v", runs, err)
	}
}

func TestAHandleInsideItsOwnTransactionIsRefused(t *testing.T) {
	t.Parallel()
	one, two := twoModules(t, pgdbm.Config{MaxConns: 1})
	again, err := pgdbm.Borrow(one.Pool().Pgx())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	handles := map[string]*pgdbm.DB{"the same handle": one, "another handle": two, "a handle of the pool, borrowed": mustSchema(t, again, "x")}
	refused := func(t *testing.T, ctx context.Context) {
		t.Helper()
		for handle, db := range handles {
			for name, use := range users {
				if err := use(ctx, db); !errors.Is(err, pgdbm.ErrNestedAcquire) {
					t.Errorf("%s: %s: got %v", handle, name, err)
				}
				// A context of one's own, made of the marked one, is marked as well.
				child, cancel := context.WithTimeout(ctx, time.Hour)
				if err := use(child, db); !errors.Is(err, pgdbm.ErrNestedAcquire) {
					t.Errorf("%s: %s with a child of the context: got %v", handle, name, err)
				}
				cancel()
			}
		}
	}
	var left context.Context
	for name, enter := range map[string]func(ctx context.Context, inside func(ctx context.Context) error) error{
		"InTx": func(ctx context.Context, inside func(context.Context) error) error {
			return one.InTx(ctx, func(ctx context.Context, _ *pgdbm.Tx) error { return inside(ctx) })
		},
		"InTxOptions": func(ctx context.Context, inside func(context.Context) error) error {
			return one.InTxOptions(ctx, pgdbm.TxOptions{Retries: 1}, func(ctx context.Context, _ *pgdbm.Tx) error { return inside(ctx) })
		},
		"InTx of a borrowed pool": func(ctx context.Context, inside func(context.Context) error) error {
			return mustSchema(t, again, "y").InTx(ctx, func(ctx context.Context, _ *pgdbm.Tx) error { return inside(ctx) })
		},
		"WithConn": func(ctx context.Context, inside func(context.Context) error) error {
			return one.WithConn(ctx, func(ctx context.Context, _ *pgdbm.Conn) error { return inside(ctx) })
		},
		"InTx of a Conn": func(ctx context.Context, inside func(context.Context) error) error {
			return one.WithConn(ctx, func(ctx context.Context, c *pgdbm.Conn) error {
				return c.InTx(ctx, func(ctx context.Context, _ *pgdbm.Tx) error { return inside(ctx) })
			})
		},
		"a savepoint": func(ctx context.Context, inside func(context.Context) error) error {
			return one.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
				return tx.InTx(ctx, func(ctx context.Context, _ *pgdbm.Tx) error { return inside(ctx) })
			})
		},
		"after a savepoint": func(ctx context.Context, inside func(context.Context) error) error {
			return one.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
				if err := tx.InTx(ctx, func(context.Context, *pgdbm.Tx) error { return nil }); err != nil {
					return err
				}
				return inside(ctx)
			})
		},
		"a view": func(ctx context.Context, inside func(context.Context) error) error {
			return one.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
				return in(t, tx, two).InTx(ctx, func(ctx context.Context, _ *pgdbm.Tx) error { return inside(ctx) })
			})
		},
		"InTx of a Tx from Begin": func(ctx context.Context, inside func(context.Context) error) error {
			tx := begin(t, one)
			defer tx.Rollback(ctx)
			return tx.InTx(ctx, func(ctx context.Context, _ *pgdbm.Tx) error { return inside(ctx) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := enter(t.Context(), func(ctx context.Context) error {
				left = ctx
				refused(t, ctx)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			// A goroutine that outlives the function may go on with its context.
			wantIdle(t, one.Pool())
			if err := one.Ping(left); err != nil {
				t.Errorf("after the function: %v", err)
			}
			if err := one.InTx(left, func(ctx context.Context, _ *pgdbm.Tx) error { refused(t, ctx); return nil }); err != nil {
				t.Errorf("a second transaction: %v", err)
			}
		})
	}
}

func TestAHandleOfAnotherPoolIsNotNested(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	db := mustSchema(t, openPool(t, pgdbm.Config{URL: url, MaxConns: 1}), "x")
	_, pool := borrow(t, url)
	others := []*pgdbm.DB{mustSchema(t, openPool(t, pgdbm.Config{URL: url}), "x"), mustSchema(t, openPool(t, pgdbm.Config{}), "x"), mustSchema(t, pool, "x")}
	err := db.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
		for _, other := range others {
			if err := other.InTx(ctx, func(ctx context.Context, _ *pgdbm.Tx) error {
				if err := db.Ping(ctx); !errors.Is(err, pgdbm.ErrNestedAcquire) {
					t.Errorf("the outer pool, inside both: %v", err)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
		_ = tx.Schema()
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// The mark is the function's: the caller's own context stays free, and so does
// the pool below.
func TestOnlyTheContextOfTheFunctionIsMarked(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{MaxConns: 2})
	err := db.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
		if err := db.Ping(t.Context()); err != nil {
			t.Errorf("the outer context: %v", err)
		}
		if err := db.Pool().Pgx().AcquireFunc(ctx, func(*pgxpool.Conn) error { return nil }); err != nil {
			t.Errorf("pgxpool.Pool: %v", err)
		}
		if got := value[int](t, tx, `SELECT 1`); got != 1 {
			t.Error(got)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	tx := begin(t, db)
	defer tx.Rollback(context.Background())
	if err := db.Ping(t.Context()); err != nil {
		t.Errorf("beside a transaction from Begin: %v", err)
	}
}
