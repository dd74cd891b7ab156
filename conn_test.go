package pgdbm_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// run is one use of a connection in WithConn.
type run func(ctx context.Context, c *pgdbm.Conn) error

// sql is a run that executes statements one by one.
func sql(statements ...string) run {
	return func(ctx context.Context, c *pgdbm.Conn) error {
		for _, s := range statements {
			if _, err := c.Exec(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}
}

// inTxOf is a run that executes a statement in a transaction, made by begin.
func inTxOf(begin func(ctx context.Context, c *pgdbm.Conn, f func(tx *pgdbm.Tx) error) error, statement string) run {
	return func(ctx context.Context, c *pgdbm.Conn) error {
		return begin(ctx, c, func(tx *pgdbm.Tx) error {
			_, err := tx.Exec(ctx, statement)
			return err
		})
	}
}

func connInTx(ctx context.Context, c *pgdbm.Conn, f func(tx *pgdbm.Tx) error) error {
	return c.InTx(ctx, func(_ context.Context, tx *pgdbm.Tx) error { return f(tx) })
}

func connBegin(ctx context.Context, c *pgdbm.Conn, f func(tx *pgdbm.Tx) error) error {
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	if err := f(tx.(*pgdbm.Tx)); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

func connSavepoint(ctx context.Context, c *pgdbm.Conn, f func(tx *pgdbm.Tx) error) error {
	return connInTx(ctx, c, func(tx *pgdbm.Tx) error {
		return tx.InTx(ctx, func(_ context.Context, tx *pgdbm.Tx) error { return f(tx) })
	})
}

func connBatchTx(ctx context.Context, c *pgdbm.Conn, f func(tx *pgdbm.Tx) error) error {
	var b pgx.Batch
	b.BeginTx(pgx.TxOptions{})
	br := c.SendBatch(ctx, &b)
	if err := br.Close(); err != nil {
		return err
	}
	tx := br.Tx().(*pgdbm.Tx)
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// with calls WithConn and tells which connection it used.
func with(t *testing.T, db *pgdbm.DB, f run) (used int, err error) {
	t.Helper()
	err = db.WithConn(t.Context(), func(ctx context.Context, c *pgdbm.Conn) error {
		used = pid(t, c)
		return f(ctx, c)
	})
	return used, err
}

func TestAConnectionIsReusedWhenItsSessionIsAsBefore(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "diary", pgdbm.Config{MaxConns: 1, InitSQL: `SET work_mem = '5MB'; SET app.tenant = 'none'; SET ROLE pg_monitor; SET ROLE NONE`,
		Settings: map[string]string{"jit": "off"}, Pgx: func(pc *pgxpool.Config) error {
			pc.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
				_, err := c.Exec(ctx, `LISTEN hook; CREATE TEMP TABLE hook (); SELECT pg_advisory_lock(7); PREPARE hook AS SELECT 1`)
				return err
			}
			return nil
		}})
	createNotes(t, db)
	before := pid(t, db)
	for name, f := range map[string]run{
		"nothing":          sql(),
		"queries":          sql(`SELECT 1`, `SELECT 'SET x = 1'`, `INSERT INTO {{tables.notes}} VALUES (1)`, `UPDATE {{tables.notes}} SET text = 'set'`, `TRUNCATE {{tables.notes}}`),
		"names that sound": sql(`SELECT 1 AS set, 2 AS reset, 'set_config' AS "set"`, `/* SET x = 1; */ SELECT 1 -- SET x`, `DO $$ BEGIN PERFORM 1; END $$`),
		"a transaction":    inTxOf(connInTx, `INSERT INTO {{tables.notes}} VALUES (2)`),
		"a transaction with settings of its own": func(ctx context.Context, c *pgdbm.Conn) error {
			return c.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
				for _, s := range []string{`SET LOCAL work_mem = '9MB'`, `SET LOCAL app.tenant = 'x'`, `SET LOCAL ROLE NONE`, `SET TRANSACTION READ ONLY`,
					`SET CONSTRAINTS ALL DEFERRED`, `SELECT pg_advisory_xact_lock(1)`, `DECLARE c CURSOR FOR SELECT 1`} {
					if _, err := tx.Exec(ctx, s); err != nil {
						return err
					}
				}
				return nil
			})
		},
		"a temporary table of a transaction": inTxOf(connInTx, `CREATE TEMP TABLE x ON COMMIT DROP AS SELECT 1 AS id`),
		"a transaction with options": func(ctx context.Context, c *pgdbm.Conn) error {
			tx, err := c.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.Serializable, AccessMode: pgx.ReadOnly, DeferrableMode: pgx.Deferrable})
			if err != nil {
				return err
			}
			return tx.Commit(ctx)
		},
		"what is rolled back": func(ctx context.Context, c *pgdbm.Conn) error {
			return c.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
				_, err := tx.Exec(ctx, `LISTEN rolled_back; CREATE TEMP TABLE rolled_back (); NOTIFY rolled_back`, pgx.QueryExecModeSimpleProtocol)
				return errors.Join(err, tx.Rollback(ctx))
			})
		},
		"what is taken back": sql(`SELECT pg_advisory_lock(1)`, `SELECT pg_advisory_unlock(1)`, `LISTEN a`, `UNLISTEN a`, `CREATE TEMP TABLE b ()`, `DROP TABLE b`),
		"a batch": func(ctx context.Context, c *pgdbm.Conn) error {
			var b pgx.Batch
			b.Queue(`SELECT 1`)
			return c.SendBatch(ctx, &b).Close()
		},
		"a batch that begins": inTxOf(connBatchTx, `SELECT 1`),
		"a copy": func(ctx context.Context, c *pgdbm.Conn) error {
			_, err := c.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"id"}, pgx.CopyFromRows([][]any{{77}}))
			return err
		},
		"an error of the server": func(ctx context.Context, c *pgdbm.Conn) error { _, _ = c.Exec(ctx, `SELECT 1/0`); return nil },
		"an error":               func(context.Context, *pgdbm.Conn) error { return errStop },
	} {
		used, err := with(t, db, f)
		if err != nil && !errors.Is(err, errStop) && !errors.Is(err, pgx.ErrTxClosed) {
			t.Errorf("%s: %v", name, err)
		}
		if after := pid(t, db); after != used || after != before {
			t.Errorf("%s: the connection was closed", name)
			before = after
		}
		wantIdle(t, db.Pool())
	}
	if got := value[string](t, db, `SELECT current_setting('work_mem') || current_setting('app.tenant')`); got != "5MBnone" {
		t.Errorf("settings %s", got)
	}
}

func TestAConnectionWithASessionOfItsOwnIsClosed(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "diary", pgdbm.Config{MaxConns: 1, InitSQL: `SET work_mem = '5MB'; SET app.tenant = 'none'`})
	createNotes(t, db)
	mustExec(t, db, `CREATE FUNCTION {{functions.set}}() RETURNS void LANGUAGE sql AS $$ SELECT set_config('work_mem', '7MB', false) $$`)
	for name, f := range map[string]run{
		"SET":                  sql(`SET work_mem = '9MB'`),
		"set, after a comment": sql("-- a comment\n/* and /* another */ */ sEt work_mem = '9MB'"),
		"SET SESSION":          sql(`SET SESSION work_mem = '9MB'`),
		"SET after a statement": func(ctx context.Context, c *pgdbm.Conn) error {
			_, err := c.Exec(ctx, `SELECT 1; ; SET app.tenant = 'x'`, pgx.QueryExecModeSimpleProtocol)
			return err
		},
		"SET before a statement": func(ctx context.Context, c *pgdbm.Conn) error {
			_, err := c.Exec(ctx, `SET app.tenant = 'x'; SELECT 1`, pgx.QueryExecModeSimpleProtocol)
			return err
		},
		"SET of a custom name":        sql(`SET app.tenant = 'x'`),
		"SET of a new custom name":    sql(`SET app.other = 'x'`),
		"SET to what it was":          sql(`SET app.tenant = 'none'`),
		"SET TIME ZONE":               sql(`SET TIME ZONE 'Asia/Tokyo'`),
		"SET CHARACTERISTICS":         sql(`SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY`),
		"SET ROLE":                    sql(`SET ROLE pg_monitor`),
		"SET SESSION AUTHORIZATION":   sql(`SET SESSION AUTHORIZATION pg_monitor`),
		"set_config":                  sql(`SELECT set_config('work_mem', '9MB', false)`),
		"set_config of a custom name": sql(`SELECT Set_Config('app.tenant', 'x', false)`),
		"pg_catalog.set_config":       sql(`SELECT pg_catalog.set_config('app.tenant', 'x', false)`),
		`"set_config"`:                sql(`SELECT pg_catalog."set_config"('app.tenant', 'x', false)`),
		"set_config in a subquery":    sql(`INSERT INTO {{tables.notes}} SELECT 5, set_config('app.tenant', 'x', false)`),
		"a function that sets":        sql(`SELECT {{functions.set}}()`),
		"RESET":                       sql(`RESET work_mem`),
		"RESET of a custom name":      sql(`RESET app.tenant`),
		"RESET ALL":                   sql(`RESET ALL`),
		"DISCARD ALL":                 sql(`SELECT 2`, `DISCARD ALL`),
		"DEALLOCATE ALL":              sql(`SELECT 2`, `DEALLOCATE ALL`),
		"LOAD":                        sql(`LOAD 'plpgsql'`),
		"LISTEN":                      sql(`LISTEN events`),
		"temporary table":             sql(`CREATE TEMP TABLE x ()`),
		"temporary view":              sql(`CREATE TEMP VIEW x AS SELECT 1`),
		"temporary sequence":          sql(`CREATE TEMP SEQUENCE x`),
		"temporary function":          sql(`CREATE FUNCTION pg_temp.x() RETURNS int LANGUAGE sql AS 'SELECT 1'`),
		"temporary type":              sql(`CREATE TYPE pg_temp.x AS ENUM ('a')`),
		"advisory lock":               sql(`SELECT pg_advisory_lock(1)`),
		"shared advisory lock":        sql(`SELECT pg_advisory_lock_shared(1, 2)`),
		"PREPARE":                     sql(`PREPARE p AS SELECT 1`),
		"cursor that outlives its tx": inTxOf(connInTx, `DECLARE c CURSOR WITH HOLD FOR SELECT 1`),
		"BEGIN":                       sql(`BEGIN`),
		"failed transaction": func(ctx context.Context, c *pgdbm.Conn) error {
			_, err := c.Exec(ctx, `BEGIN`)
			_, _ = c.Exec(ctx, `SELECT 1/0`)
			return err
		},
		"open transaction": func(ctx context.Context, c *pgdbm.Conn) error { _, err := c.Begin(ctx); return err },
		"open rows": func(ctx context.Context, c *pgdbm.Conn) error {
			_, err := c.Query(ctx, `SELECT generate_series(1, 100000)`)
			return err
		},
		"Query": func(ctx context.Context, c *pgdbm.Conn) error {
			rows, err := c.Query(ctx, `SET app.tenant = 'x'`)
			rows.Close()
			return err
		},
		"QueryRow": func(ctx context.Context, c *pgdbm.Conn) error {
			return c.QueryRow(ctx, `SELECT set_config('app.tenant', 'x', false)`).Scan(new(string))
		},
		"SendBatch": func(ctx context.Context, c *pgdbm.Conn) error {
			var b pgx.Batch
			b.Queue(`SELECT 1`)
			b.Queue(`SET app.tenant = 'x'`)
			return c.SendBatch(ctx, &b).Close()
		},
		"SET in InTx":                  inTxOf(connInTx, `SET app.tenant = 'x'`),
		"SET in Begin":                 inTxOf(connBegin, `SET app.tenant = 'x'`),
		"SET in a savepoint":           inTxOf(connSavepoint, `SET app.tenant = 'x'`),
		"SET in a tx begun by a batch": inTxOf(connBatchTx, `SET app.tenant = 'x'`),
		"SET in a view": func(ctx context.Context, c *pgdbm.Conn) error {
			return connInTx(ctx, c, func(tx *pgdbm.Tx) error { _, err := in(t, tx, db).Exec(ctx, `SET app.tenant = 'x'`); return err })
		},
		"SET in a batch of a tx": func(ctx context.Context, c *pgdbm.Conn) error {
			return connInTx(ctx, c, func(tx *pgdbm.Tx) error {
				var b pgx.Batch
				b.Queue(`SET app.tenant = 'x'`)
				return tx.SendBatch(ctx, &b).Close()
			})
		},
		"Prepare in a tx": func(ctx context.Context, c *pgdbm.Conn) error {
			return connInTx(ctx, c, func(tx *pgdbm.Tx) error { _, err := tx.Prepare(ctx, "mine", `SELECT 1`); return err })
		},
		"Conn of a tx": func(ctx context.Context, c *pgdbm.Conn) error {
			return connInTx(ctx, c, func(tx *pgdbm.Tx) error { _, err := tx.Conn().Exec(ctx, `SET app.tenant = 'x'`); return err })
		},
		"Pgx": func(_ context.Context, c *pgdbm.Conn) error { c.Pgx(); return nil },
		"an error after SET": func(ctx context.Context, c *pgdbm.Conn) error {
			_, err := c.Exec(ctx, `SET app.tenant = 'x'`)
			return errors.Join(err, errStop)
		},
		"connection closed": func(ctx context.Context, c *pgdbm.Conn) error { return c.Pgx().Close(ctx) },
		"session killed": func(ctx context.Context, c *pgdbm.Conn) error {
			_, _ = c.Exec(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
			return nil
		},
	} {
		used, err := with(t, db, f)
		if err != nil && !errors.Is(err, errStop) {
			t.Errorf("%s: %v", name, err)
		}
		wantIdle(t, db.Pool())
		if after := pid(t, db); after == used {
			t.Errorf("%s: the connection is used again", name)
		}
		if got := value[string](t, db, `SELECT concat_ws(' ', current_setting('work_mem'), current_setting('app.tenant'), current_user = session_user)`); got != "5MB none t" {
			t.Errorf("%s: the next user has %s", name, got)
		}
		mustExec(t, db, `TRUNCATE {{tables.notes}}`)
	}
}

func TestAConnectionIsClosedWhenTheFunctionDoesNotReturn(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{MaxConns: 1})
	for name, leave := range map[string]func(){"panic": func() { panic(errStop) }, "Goexit": runtime.Goexit} {
		var used int
		var got any
		var wg sync.WaitGroup
		wg.Go(func() {
			defer func() { got = recover() }()
			_ = db.WithConn(t.Context(), func(ctx context.Context, c *pgdbm.Conn) error {
				used = pid(t, c)
				leave()
				return nil
			})
		})
		wg.Wait()
		if (got != nil) != (name == "panic") {
			t.Errorf("%s: recovered %v", name, got)
		}
		wantIdle(t, db.Pool())
		if pid(t, db) == used {
			t.Errorf("%s: the connection is used again", name)
		}
	}
}

func TestACancelledWithConnLosesNoConnection(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{MaxConns: 1})
	ctx, cancel := context.WithCancel(t.Context())
	err := db.WithConn(ctx, func(ctx context.Context, c *pgdbm.Conn) error {
		cancel()
		_, err := c.Exec(ctx, `SELECT 1`)
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wantIdle(t, db.Pool())
	err = db.WithConn(ctx, func(context.Context, *pgdbm.Conn) error {
		t.Error("the function ran on a done context")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := value[int](t, db, `SELECT 1`); got != 1 {
		t.Error(got)
	}
}

// A session that was used carelessly through the pool is closed at the next
// WithConn, not handed on.
func TestWithConnDoesNotHandOnWhatOthersLeft(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{MaxConns: 1})
	first, err := with(t, db, sql())
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, `LISTEN careless`)
	if second, err := with(t, db, sql()); err != nil || second != first {
		t.Fatalf("got %d, %v", second, err)
	}
	wantIdle(t, db.Pool())
	if pid(t, db) == first {
		t.Error("the connection is used again")
	}
}

func TestNotificationsArriveInWithConn(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{MaxConns: 2})
	err := db.WithConn(t.Context(), func(ctx context.Context, c *pgdbm.Conn) error {
		if _, err := c.Exec(ctx, `LISTEN {{schema}}`); err != nil {
			return err
		}
		mustExec(t, db, `SELECT pg_notify({{schema:literal}}, 'hello')`)
		n, err := c.Pgx().WaitForNotification(ctx)
		if err != nil || n.Payload != "hello" {
			t.Errorf("got %+v, %v", n, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestASessionThatCannotBeDescribedIsAnError(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{MaxConns: 1})
	_, asRole := role(t, db.Pool().Pgx().Config().ConnString())
	testdb.Exec(t, db.Pool().Pgx().Config().ConnString(), `REVOKE SELECT ON pg_catalog.pg_settings FROM PUBLIC`)
	theirs := mustSchema(t, openPool(t, pgdbm.Config{URL: asRole}), "x")
	err := theirs.WithConn(t.Context(), func(context.Context, *pgdbm.Conn) error {
		t.Error("the function ran")
		return nil
	})
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Code != "42501" {
		t.Errorf("got %v", err)
	}
	wantIdle(t, theirs.Pool())
}
