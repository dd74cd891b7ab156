package pgdbm_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// lasting are statements that leave something with the session, which another
// schema has next.
var lasting = []string{
	`DECLARE c CURSOR WITH HOLD FOR SELECT text FROM {{tables.notes}}`,
	`SET TIME ZONE 'Asia/Tokyo'`,
	`SET SESSION work_mem = '1MB'`,
	`SET app.tenant = 'a'`,
	`SET default_transaction_read_only = on`,
	`SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY`,
	`RESET ALL`,
	`SELECT set_config('app.tenant', 'a', false)`,
	`SELECT pg_catalog.set_config('app.tenant', text, FALSE) FROM {{tables.notes}}`,
	`PREPARE mine AS SELECT text FROM {{tables.notes}}`,
	`DEALLOCATE ALL`,
	`SELECT pg_advisory_lock(1)`,
	`SELECT pg_catalog.pg_try_advisory_lock_shared(1, 2)`,
	`SELECT pg_advisory_unlock_all()`,
}

func TestWhatStaysWithTheSessionIsRefusedToARoleOutsideWithConn(t *testing.T) {
	asLogins(t, func(t *testing.T, url string) {
		pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 2})
		a := isolated(t, pool, "a")[0]
		for _, kind := range sessionKinds {
			if kind.name == "Attached" {
				continue // whose module is another one
			}
			held := kind.name == "Conn" || kind.name == "Tx of a Conn"
			for _, sql := range lasting {
				for _, try := range tries {
					kind.with(t, a, func(ctx context.Context, s session) {
						err := try.run(ctx, s, sql, nil)
						if refused := errors.Is(err, pgdbm.ErrEscape); refused == held {
							t.Errorf("%s, %s, %s: %v", kind.name, try.name, sql, err)
						}
						if err != nil && !held && !strings.Contains(err.Error(), "WithConn") {
							t.Errorf("%s: %v does not say what to use", sql, err)
						}
					})
				}
			}
		}
		// What lasts for the transaction alone is nobody else's.
		for _, sql := range []string{
			`SET LOCAL TIME ZONE 'Asia/Tokyo'`, `SET TRANSACTION READ ONLY`, `SET CONSTRAINTS ALL DEFERRED`,
			`SELECT set_config('app.tenant', 'a', true)`, `SELECT pg_advisory_xact_lock(1)`,
			`DECLARE c CURSOR WITHOUT HOLD FOR WITH hold AS (SELECT 1) SELECT * FROM hold`,
		} {
			err := a.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
				_, err := tx.Exec(ctx, sql)
				return err
			})
			if err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
	})
}

func TestWhatARoleLeavesInWithConnReachesNobodyElse(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 1})
	dbs := isolated(t, pool, "a", "b")
	for _, sql := range lasting {
		_ = dbs[0].WithConn(t.Context(), func(ctx context.Context, c *pgdbm.Conn) error {
			_, err := c.Exec(ctx, sql)
			return err
		})
		var zone, readOnly, tenant string
		var prepared, cursors, locks int
		err := dbs[1].QueryRow(t.Context(), `SELECT current_setting('TimeZone'), current_setting('default_transaction_read_only'),
			coalesce(current_setting('app.tenant', true), ''),
			(SELECT count(*) FROM pg_prepared_statements WHERE from_sql), (SELECT count(*) FROM pg_cursors WHERE is_holdable),
			(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())`).
			Scan(&zone, &readOnly, &tenant, &prepared, &cursors, &locks)
		if err != nil || zone == "Asia/Tokyo" || readOnly != "off" || tenant != "" || prepared+cursors+locks > 0 {
			t.Errorf("after %s: zone %s, read only %s, tenant %q, %d prepared, %d cursors, %d locks, %v", sql, zone, readOnly, tenant, prepared, cursors, locks, err)
		}
	}
}

// A plain handle may drop the statements of its connection, also the one that
// sets roles.
func TestARoleIsTakenAgainWhenItsStatementHasBeenDropped(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	for _, sql := range []string{`DEALLOCATE ALL`, `DISCARD ALL`, `DO $$ BEGIN DEALLOCATE ALL; END $$`} {
		pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 1})
		dbs := isolated(t, pool, "a"+strings.ToLower(sql[:2]), "b"+strings.ToLower(sql[:2]))
		plain := mustSchema(t, pool, "c")
		read := func(db pgdbm.Querier) string {
			return value[string](t, db, `SELECT text FROM {{tables.notes}} WHERE id = $1`, 1)
		}
		drop := func() {
			for range 6 { // until the statements have names
				read(dbs[0])
			}
			mustExec(t, plain, sql)
		}
		for name, use := range map[string]func(){
			"query": func() { read(dbs[0]) },
			"exec":  func() { mustExec(t, dbs[0], `UPDATE {{tables.notes}} SET text = text WHERE id > $1`, 0) },
			"a new statement": func() {
				value[string](t, dbs[0], `SELECT text FROM {{tables.notes}} WHERE id < $1 AND $2 <> `+"'"+sql[:3]+"'", 2, "x")
			},
			"batch": func() {
				var b pgx.Batch
				b.Queue(`SELECT text FROM {{tables.notes}} WHERE id = $1`, 1)
				b.Queue(`SELECT count(*) FROM {{tables.notes}} WHERE id < $1`, 1)
				if err := dbs[0].SendBatch(t.Context(), &b).Close(); err != nil {
					t.Errorf("%s: batch: %v", sql, err)
				}
			},
			"copy": func() {
				_, err := dbs[0].CopyFrom(t.Context(), pgx.Identifier{"notes"}, []string{"text"}, pgx.CopyFromRows([][]any{{"x"}}))
				if err != nil {
					t.Errorf("%s: copy: %v", sql, err)
				}
			},
			"transaction": func() {
				err := dbs[0].InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
					_, err := tx.Exec(ctx, `UPDATE {{tables.notes}} SET text = text`)
					return err
				})
				if err != nil {
					t.Errorf("%s: %v", sql, err)
				}
			},
		} {
			drop()
			use()
			if got := read(dbs[1]); got != dbs[1].Schema() {
				t.Errorf("%s, %s: %q", sql, name, got)
			}
		}
		// In a transaction that has gone over to another role, the statement is lost
		// with it, and it can be run again.
		drop()
		move := func() error {
			return dbs[0].InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
				return in(t, tx, dbs[1]).QueryRow(ctx, `SELECT text FROM {{tables.notes}} WHERE id = $1`, 1).Scan(new(string))
			})
		}
		if err := move(); err != nil && !errors.Is(err, pgdbm.ErrStalePlan) {
			t.Errorf("%s: %v", sql, err)
		}
		if err := move(); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// In a transaction that several roles share, what changes the role unseen must not
// be believed to have left it.
func TestTheRoleIsSetAgainAfterWhatMayHaveChangedIt(t *testing.T) {
	asLogins(t, func(t *testing.T, url string) {
		pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 1})
		dbs := isolated(t, pool, "a", "b")
		plain := mustSchema(t, pool, "elsewhere")
		set := `SELECT set_config($1, 'none', true)`
		for name, change := range map[string]func(tx *pgdbm.Tx) error{
			"a name that is an argument": func(tx *pgdbm.Tx) error { _, err := tx.Exec(t.Context(), set, "role"); return err },
			"by the simple protocol": func(tx *pgdbm.Tx) error {
				_, err := tx.Exec(t.Context(), set, pgx.QueryExecModeSimpleProtocol, "role")
				return err
			},
			"a name in escapes": func(tx *pgdbm.Tx) error {
				_, err := tx.Exec(t.Context(), `SELECT set_config(E'r\x6fle', 'none', true)`)
				return err
			},
			"a name in dollar quotes": func(tx *pgdbm.Tx) error {
				_, err := tx.Exec(t.Context(), `SELECT set_config($$role$$, 'none', true)`)
				return err
			},
			"DO": func(tx *pgdbm.Tx) error { _, err := tx.Exec(t.Context(), `DO 'BEGIN RESET ROLE; END'`); return err },
			"batch": func(tx *pgdbm.Tx) error {
				var b pgx.Batch
				b.Queue(set, "role")
				return tx.SendBatch(t.Context(), &b).Close()
			},
		} {
			for _, first := range []*pgdbm.DB{dbs[0], plain} {
				err := first.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
					a := in(t, tx, dbs[0])
					if err := change(a); err != nil {
						t.Errorf("%s: %v", name, err)
					}
					if got := value[bool](t, in(t, tx, plain), `SELECT current_user = session_user`); !got {
						t.Errorf("%s: a plain handle works as a role", name)
					}
					if err := change(a); err != nil {
						t.Errorf("%s: %v", name, err)
					}
					_, err := a.Exec(ctx, `SELECT text FROM b.notes WHERE id > $1`, 0)
					if state(err) != "42501" {
						t.Errorf("%s: the other schema's notes: %v", name, err)
					}
					return errStop
				})
				if !errors.Is(err, errStop) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		wantIdle(t, pool)
	})
}

func TestNothingFollowsARollbackToASavepointInOneMessage(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 1})
	dbs := isolated(t, pool, "a", "b")
	plain := mustSchema(t, pool, "elsewhere")
	script := `ROLLBACK TO SAVEPOINT s; DELETE FROM b.notes`
	for name, run := range map[string]func(ctx context.Context, tx *pgdbm.Tx) error{
		"Exec": func(ctx context.Context, tx *pgdbm.Tx) error { _, err := tx.Exec(ctx, script); return err },
		"Query": func(ctx context.Context, tx *pgdbm.Tx) error {
			rows, err := tx.Query(ctx, script, pgx.QueryExecModeSimpleProtocol)
			if err == nil {
				rows.Close()
				err = rows.Err()
			}
			return err
		},
		"QueryRow": func(ctx context.Context, tx *pgdbm.Tx) error {
			return tx.QueryRow(ctx, script, pgx.QueryExecModeSimpleProtocol).Scan(new(string))
		},
		"a rewriter's text": func(ctx context.Context, tx *pgdbm.Tx) error {
			_, err := tx.Exec(ctx, `SELECT 1`, pgx.QueryExecModeSimpleProtocol, rewriteTo(script))
			return err
		},
	} {
		_ = plain.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
			mustExec(t, tx, `SAVEPOINT s`)
			err := run(ctx, in(t, tx, dbs[0]))
			if !errors.Is(err, pgdbm.ErrEscape) {
				t.Errorf("%s: %v", name, err)
			}
			return nil // so that what has been deleted would stay
		})
		if n := value[int](t, dbs[1], `SELECT count(*) FROM {{tables.notes}}`); n != 1 {
			t.Fatalf("%s: %d notes", name, n)
		}
	}
	// A batch that pgx sends, of which the last query is the rollback.
	_ = plain.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
		mustExec(t, tx, `SAVEPOINT s`)
		a := in(t, tx, dbs[0])
		if _, err := a.Prepare(ctx, "named", `SELECT 1`); err != nil {
			t.Error(err)
		}
		var b pgx.Batch
		b.Queue("named")
		b.Queue(`ROLLBACK TO SAVEPOINT s`)
		if err := a.SendBatch(ctx, &b).Close(); err != nil {
			t.Error(err)
		}
		if _, err := a.Exec(ctx, `DELETE FROM b.notes`); state(err) != "42501" {
			t.Errorf("after a batch: %v", err)
		}
		return nil
	})
}

// rewriteTo is a rewriter that makes any statement this one.
type rewriteTo string

func (r rewriteTo) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	return string(r), nil, nil
}

func TestWhatARewriterMakesOfAStatementIsLookedAt(t *testing.T) {
	asLogins(t, func(t *testing.T, url string) {
		pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 1})
		dbs := isolated(t, pool, "a", "b")
		for _, kind := range sessionKinds {
			if kind.name == "Attached" {
				continue // whose module is another one
			}
			for _, sql := range []string{`SET LOCAL ROLE NONE`, `LISTEN x`, `DO 'BEGIN COMMIT; DELETE FROM b.notes; END'`} {
				for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
					kind.with(t, dbs[0], func(ctx context.Context, s session) {
						if _, err := s.Exec(ctx, `SELECT 1`, mode, rewriteTo(sql)); err == nil {
							t.Errorf("%s, %v, %s: no error", kind.name, mode, sql)
						}
					})
				}
			}
			kind.with(t, dbs[0], func(ctx context.Context, s session) {
				var n int
				if err := s.QueryRow(ctx, `SELECT 1`, pgx.QueryExecModeExec, rewriteTo(`SELECT 7`)).Scan(&n); err != nil || n != 7 {
					t.Errorf("%s: %d, %v", kind.name, n, err)
				}
			})
		}
		err := dbs[0].WithConn(t.Context(), func(ctx context.Context, c *pgdbm.Conn) error {
			_, err := c.Exec(ctx, `SELECT 1`, rewriteTo(`SELECT set_config('app.tenant', 'a', false)`))
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if got := value[string](t, dbs[1], `SELECT coalesce(current_setting('app.tenant', true), '')`); got != "" {
			t.Errorf("the other tenant's setting is %q", got)
		}
		if n := value[int](t, dbs[1], `SELECT count(*) FROM {{tables.notes}}`); n != 1 {
			t.Errorf("%d notes", n)
		}
	})
}

func TestAStatementPreparedByNameIsWhatItsTextIs(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 1})
	dbs := isolated(t, pool, "a", "b")
	plain := mustSchema(t, pool, "elsewhere")
	prepare := func(tx *pgdbm.Tx, name, sql string) {
		t.Helper()
		if _, err := tx.Prepare(t.Context(), name, sql); err != nil {
			t.Error(err)
		}
	}
	_ = plain.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
		mustExec(t, tx, `SAVEPOINT s`)
		a := in(t, tx, dbs[0])
		prepare(a, "back", `ROLLBACK TO s`)
		mustExec(t, a, "back")
		if _, err := a.Exec(ctx, `DELETE FROM b.notes`); state(err) != "42501" {
			t.Errorf("after ROLLBACK by name: %v", err)
		}
		return nil
	})
	for _, sql := range []string{`COMMIT AND CHAIN`, `RESET ROLE`, `SET LOCAL ROLE NONE`, `SET app.tenant = 'a'`} {
		err := dbs[0].InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
			name := strings.ReplaceAll(sql, " ", "_")
			prepare(in(t, tx, plain), name, sql)
			_, err := tx.Exec(ctx, name)
			return err
		})
		if !errors.Is(err, pgdbm.ErrEscape) {
			t.Errorf("%s by name: %v", sql, err)
		}
	}
	// A statement whose name is its text, as some programs have it, is any other
	// statement outside the transaction.
	sql := `SELECT text FROM {{tables.notes}}`
	err := dbs[0].InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
		prepare(tx, sql, sql)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if got := value[string](t, dbs[0], sql); got != "a" {
		t.Errorf("%q", got)
	}
}

func TestAConnectionThatWasKeptIsNotTrustedInLaterTransactions(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 1})
	db := isolated(t, pool, "a")[0]
	err := db.WithConn(t.Context(), func(ctx context.Context, c *pgdbm.Conn) error {
		raw := c.Pgx()
		return c.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
			if _, err := raw.Exec(ctx, `SET LOCAL ROLE NONE`); err != nil {
				return err
			}
			if !value[bool](t, tx, `SELECT current_user <> session_user`) {
				t.Error("no role")
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
}

func TestLargeObjectsAreOpenedAsTheRole(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 1})
	dbs := isolated(t, pool, "a", "b")
	var oid uint32
	err := dbs[1].InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) (err error) {
		lo := tx.LargeObjects()
		oid, err = lo.Create(ctx, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, db := range []*pgdbm.DB{dbs[1], mustSchema(t, pool, "elsewhere")} {
		_ = db.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
			lo := in(t, tx, dbs[0]).LargeObjects()
			if _, err := lo.Open(ctx, oid, pgx.LargeObjectModeRead); state(err) != "42501" {
				t.Errorf("opened from %s: %v", db.Schema(), err)
			}
			return errStop
		})
	}
}

// The pool's settings may give it a role, which has fewer rights than the login.
func TestAPlainHandleKeepsTheRoleOfThePool(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	const own = "pg_monitor"
	for name, c := range map[string]pgdbm.Config{
		"settings":    {Settings: map[string]string{"role": own}},
		"initial SQL": {InitSQL: `SET ROLE ` + own},
	} {
		isolated(t, openPool(t, pgdbm.Config{URL: admin, MaxConns: 1}), "a")
		c.URL, c.MaxConns = admin, 1
		pool := openPool(t, c)
		a, err := pool.Handle(pgdbm.HandleConfig{Schema: "a", Role: roleOf(t, admin, "a")})
		if err != nil {
			t.Fatal(err)
		}
		plain := mustSchema(t, pool, "elsewhere")
		user := func(q pgdbm.Querier) string { return value[string](t, q, `SELECT current_user::text`) }
		for range 2 {
			for _, first := range []*pgdbm.DB{a, plain} {
				err := first.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
					if got := user(in(t, tx, a)); !strings.HasPrefix(got, "pgdbm_a_") {
						t.Errorf("%s: %s", name, got)
					}
					if got := user(in(t, tx, plain)); got != own {
						t.Errorf("%s: a plain handle works as %s in a transaction", name, got)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
			if got := user(plain); got != own {
				t.Errorf("%s: a plain handle works as %s", name, got)
			}
		}
	}
}

// roleOf returns the role of an isolated schema.
func roleOf(t *testing.T, url, schema string) string {
	t.Helper()
	db, err := openPool(t, pgdbm.Config{URL: url, MaxConns: 1}).
		Isolate(t.Context(), pgdbm.HandleConfig{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	return value[string](t, db, `SELECT current_user::text`)
}

func TestNothingStaysWithASessionThatAPoolerGivesToOthers(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: testdb.PgBouncer(t, admin)(admin), MaxConns: 1})
	db := isolated(t, pool, "a")[0]
	err := db.WithConn(t.Context(), func(ctx context.Context, c *pgdbm.Conn) error {
		_, err := c.Exec(ctx, `SET app.tenant = 'a'`)
		return err
	})
	if !errors.Is(err, pgdbm.ErrEscape) {
		t.Errorf("got %v", err)
	}
}

func TestARolesProcedureIsCalledAgainWhenItsStatementIsGone(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 1})
	db := isolated(t, pool, "a")[0]
	plain := mustSchema(t, pool, "a")
	mustExec(t, plain, `CREATE PROCEDURE a.adds(n int) LANGUAGE sql AS 'INSERT INTO a.notes (text) VALUES (n::text)'`)
	mustExec(t, plain, `CREATE PROCEDURE a.doubles(INOUT n int) LANGUAGE plpgsql AS 'BEGIN n := 2 * n; END'`)
	for range 3 {
		for range 6 {
			mustExec(t, db, `CALL a.adds($1)`, 1)
			value[int](t, db, `CALL a.doubles($1)`, 4)
		}
		mustExec(t, plain, `DEALLOCATE ALL`)
		mustExec(t, db, `CALL a.adds($1)`, 1)
		mustExec(t, plain, `DEALLOCATE ALL`)
		if got := value[int](t, db, `CALL a.doubles($1)`, 4); got != 8 {
			t.Errorf("4 doubled is %d", got)
		}
	}
	if n := value[int](t, db, `SELECT count(*) FROM {{tables.notes}}`); n != 1+3*7 {
		t.Errorf("%d notes", n)
	}
}

func TestATransactionsOptionsMayBeginItByText(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 1})
	db := isolated(t, pool, "a")[0]
	err := db.WithConn(t.Context(), func(ctx context.Context, c *pgdbm.Conn) error {
		mustExec(t, c, `BEGIN ISOLATION LEVEL SERIALIZABLE`)
		var level string
		var role bool
		err := c.QueryRow(ctx, `SELECT current_setting('transaction_isolation'), current_user <> session_user`).Scan(&level, &role)
		if err != nil || level != "serializable" || !role {
			t.Errorf("%s, %v, %v", level, role, err)
		}
		mustExec(t, c, `COMMIT`)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if tag := mustExecTag(t, db, "-- nothing"); tag != "" {
		t.Errorf("tag of a comment: %s", tag)
	}
}

func mustExecTag(t *testing.T, q pgdbm.Querier, sql string) string {
	t.Helper()
	tag, err := q.Exec(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	return tag.String()
}
