package pgdbm_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// onWarning is a logger that calls f for each warning, before the code that
// warns goes on.
func onWarning(f func()) *slog.Logger { return slog.New(warningHandler{f}) }

type warningHandler struct{ f func() }

func (warningHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (h warningHandler) WithAttrs([]slog.Attr) slog.Handler         { return h }
func (h warningHandler) WithGroup(string) slog.Handler              { return h }
func (h warningHandler) Handle(context.Context, slog.Record) error  { h.f(); return nil }

// quick retries without waiting long.
func quick(attempts int) pgdbm.Retry {
	return pgdbm.Retry{Attempts: attempts, Within: time.Minute, Backoff: time.Millisecond}
}

func realServer(t *testing.T, url string) *pgx.ConnConfig {
	t.Helper()
	cc, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return cc
}

func TestOpenTriesAgainWhileTheServerRefusesConnections(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	server := realServer(t, url)
	dir, err := os.MkdirTemp("", "s") // t.TempDir's name is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	// Nobody listens until the first attempt has failed.
	var once sync.Once
	logger := onWarning(func() {
		once.Do(func() {
			l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
			if err != nil {
				t.Error(err)
				return
			}
			serve(t, l, func(_ int, c *client) { c.forward(server) })
		})
	})
	pool := openPool(t, pgdbm.Config{URL: url, Host: dir, Port: 5432, Retry: quick(3), Logger: logger})
	if err := pool.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOpenTriesAgainWhileTheServerIsNotReady(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(c *client){
		"starting up":          func(c *client) { c.refuse("57P03") },
		"shutting down":        func(c *client) { c.refuse("57P01") },
		"after a crash":        func(c *client) { c.refuse("57P02") },
		"no connection free":   func(c *client) { c.refuse("53300") },
		"closes without words": func(*client) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := testdb.URL(t)
			to := realServer(t, url)
			server := listen(t, func(attempt int, c *client) {
				if attempt < 3 {
					first(c)
				} else {
					c.forward(to)
				}
			})
			cfg := server.through(t, url)
			var log logRecorder
			cfg.Retry, cfg.Logger = quick(3), slog.New(&log)
			pool := openPool(t, cfg)
			if err := pool.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			if n := server.attempts(); n != 3 {
				t.Errorf("%d attempts, want 3", n)
			}
			if !log.has("WARN", "cannot be reached", "attempt=2") {
				t.Errorf("log %q", log.texts)
			}
		})
	}
}

func TestOpenDoesNotTryAgainWhatCannotSucceed(t *testing.T) {
	t.Parallel()
	for _, code := range []string{
		"28P01", // wrong password
		"28000", // not allowed by pg_hba.conf, no such role
		"3D000", // no such database
		"08P01", // a pooler that refuses a parameter
		"42501", // no CONNECT privilege
		"22023", // bad value for a setting
	} {
		server := listen(t, refuse(code))
		_, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: server.url(), Retry: quick(5)})
		wantState(t, err, code)
		if n := server.attempts(); n != 1 {
			t.Errorf("%s: %d attempts, want 1", code, n)
		}
	}
}

func TestOpenFailsAtOnceForAnUnknownDatabaseOrRole(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	to := realServer(t, url)
	for _, c := range []struct {
		cfg  pgdbm.Config
		code []string
	}{
		{pgdbm.Config{Database: "pgdbm_no_such_database"}, []string{"3D000"}},
		{pgdbm.Config{User: "pgdbm_no_such_role", Password: "x"}, []string{"28000", "28P01"}}, // as pg_hba.conf has it
	} {
		server := listen(t, func(_ int, cl *client) { cl.forward(to) })
		cfg := server.through(t, url)
		cfg.Database, cfg.User, cfg.Password, cfg.Retry = c.cfg.Database, c.cfg.User, c.cfg.Password, quick(5)
		_, err := pgdbm.Open(t.Context(), cfg)
		if !slices.Contains(c.code, state(err)) {
			t.Errorf("got %v, want one of %v", err, c.code)
		}
		if n := server.attempts(); n != 1 {
			t.Errorf("%v: %d attempts, want 1", c.code, n)
		}
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		retry pgdbm.Retry
		want  int
	}{
		{pgdbm.Retry{Backoff: time.Millisecond}, 3},
		{pgdbm.Retry{Attempts: 1}, 1},
		{pgdbm.Retry{Attempts: 6, Backoff: time.Millisecond}, 6},
		{pgdbm.Retry{Attempts: 6, Within: 20 * time.Millisecond, Backoff: time.Hour}, 2},
	} {
		server := listen(t, refuse("57P03"))
		_, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: server.url(), Retry: c.retry})
		wantState(t, err, "57P03")
		if n := server.attempts(); n != c.want {
			t.Errorf("%+v: %d attempts, want %d", c.retry, n, c.want)
		}
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	t.Parallel()
	t.Run("before", func(t *testing.T) {
		t.Parallel()
		server := listen(t, refuse("57P03"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := pgdbm.Open(ctx, pgdbm.Config{URL: server.url()}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("while it connects", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		server := listen(t, func(_ int, c *client) { cancel(); silence(0, c) })
		if _, err := pgdbm.Open(ctx, pgdbm.Config{URL: server.url()}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("between two attempts", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		server := listen(t, refuse("57P03"))
		_, err := pgdbm.Open(ctx, pgdbm.Config{URL: server.url(), Logger: onWarning(cancel),
			Retry: pgdbm.Retry{Within: 2 * time.Hour, Backoff: time.Hour}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		wantState(t, err, "57P03") // the cause is not lost
	})
}

func TestAnOpenThatFailsLeavesNoConnection(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	to := realServer(t, url)
	server := listen(t, func(_ int, c *client) { c.forward(to) })
	cfg := server.through(t, url)
	cfg.InitSQL, cfg.MinConns = "SELECT 1/0", 2
	_, err := pgdbm.Open(t.Context(), cfg)
	wantState(t, err, "22012")
	waitUntil(t, func() bool {
		server.mu.Lock()
		defer server.mu.Unlock()
		return len(server.open) == 0
	})
}

func TestOpenNeedsItsContextOnlyUntilItReturns(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	pool, err := pgdbm.Open(ctx, pgdbm.Config{URL: testdb.URL(t), MinConns: 3, MaxConns: 4})
	cancel()
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	waitUntil(t, func() bool { return pool.Stat().IdleConns() >= 3 })
	if err := pool.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOpenCreatesNothingInTheDatabase(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{Schema: "tenant"})
	db := mustSchema(t, pool, "tenant")
	n := value[int](t, db, `SELECT count(*) FROM pg_namespace WHERE nspname IN ('tenant', 'pgdbm')`)
	if n != 0 {
		t.Errorf("%d schemas came into being", n)
	}
	if got := value[string](t, db, `SHOW search_path`); got != `"$user", public` {
		t.Errorf("search_path is %s", got)
	}
}

func TestInitialSQLRunsOnEachConnectionAndStays(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{MaxConns: 3, InitSQL: "SET work_mem = '5MB'; SET app.who = 'me'"})
	const show = `SELECT current_setting('work_mem') || ' ' || current_setting('app.who')`
	var held []pgx.Tx
	for range 3 {
		tx, err := db.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, tx)
		if got := value[string](t, tx, show); got != "5MB me" {
			t.Errorf("a new connection has %q", got)
		}
	}
	for _, tx := range held {
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for range 6 { // Python's asyncpg ran RESET ALL here
		if got := value[string](t, db, show); got != "5MB me" {
			t.Errorf("a used connection has %q", got)
		}
	}
}

func TestTimeoutsReachTheServer(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{StatementTimeout: time.Second, LockTimeout: 7 * time.Second,
		IdleInTransactionTimeout: 8 * time.Second})
	_, err := db.Exec(t.Context(), "SELECT pg_sleep(20)")
	wantState(t, err, "57014")
	for name, want := range map[string]string{"lock_timeout": "7s", "idle_in_transaction_session_timeout": "8s"} {
		if got := value[string](t, db, "SELECT current_setting($1)", name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestStatNeedsNoConnection(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 1})
	db := mustSchema(t, pool, "x")
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := pool.Stat()
	if s.AcquiredConns() != 1 || s.IdleConns() != 0 || s.MaxConns() != 1 {
		t.Errorf("acquired %d, idle %d, max %d", s.AcquiredConns(), s.IdleConns(), s.MaxConns())
	}
	if got := db.Pool().Stat().AcquiredConns(); got != 1 {
		t.Errorf("a view says %d", got)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
	wantIdle(t, pool)
}

// users takes a connection through each method of a handle, for tests of how
// one is refused.
var users = map[string]func(ctx context.Context, db *pgdbm.DB) error{
	"Exec": func(ctx context.Context, db *pgdbm.DB) error {
		_, err := db.Exec(ctx, "SELECT 1")
		return err
	},
	"Query": func(ctx context.Context, db *pgdbm.DB) error {
		rows, err := db.Query(ctx, "SELECT 1")
		rows.Close()
		if rerr := rows.Err(); !errors.Is(rerr, err) {
			return fmt.Errorf("Query returned %v, its rows %v", err, rerr)
		}
		return err
	},
	"QueryRow": func(ctx context.Context, db *pgdbm.DB) error {
		var n int
		return db.QueryRow(ctx, "SELECT 1").Scan(&n)
	},
	"SendBatch": func(ctx context.Context, db *pgdbm.DB) error {
		var b pgx.Batch
		b.Queue("SELECT 1")
		return db.SendBatch(ctx, &b).Close()
	},
	"SendBatch with BeginTx": func(ctx context.Context, db *pgdbm.DB) error {
		var b pgx.Batch
		b.BeginTx(pgx.TxOptions{})
		br := db.SendBatch(ctx, &b)
		err := br.Close()
		if rerr := br.Tx().Rollback(ctx); err != nil && !errors.Is(rerr, pgx.ErrTxClosed) {
			return fmt.Errorf("after %v, Rollback returned %v", err, rerr)
		}
		return err
	},
	"CopyFrom": func(ctx context.Context, db *pgdbm.DB) error {
		_, err := db.CopyFrom(ctx, pgx.Identifier{"pg_catalog", "pg_class"}, []string{"none"}, pgx.CopyFromRows(nil))
		return err
	},
	"Begin": func(ctx context.Context, db *pgdbm.DB) error {
		tx, err := db.Begin(ctx)
		if err != nil {
			if tx != nil {
				return fmt.Errorf("Begin returned %v with %v", tx, err)
			}
			return err
		}
		return tx.Rollback(ctx)
	},
	"BeginTx": func(ctx context.Context, db *pgdbm.DB) error {
		tx, err := db.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.Serializable})
		if err != nil {
			return err
		}
		return tx.Rollback(ctx)
	},
	"InTx": func(ctx context.Context, db *pgdbm.DB) error {
		return db.InTx(ctx, func(context.Context, *pgdbm.Tx) error { return nil })
	},
	"InTxOptions": func(ctx context.Context, db *pgdbm.DB) error {
		return db.InTxOptions(ctx, pgdbm.TxOptions{Retries: 3}, func(context.Context, *pgdbm.Tx) error { return nil })
	},
	"WithConn": func(ctx context.Context, db *pgdbm.DB) error {
		return db.WithConn(ctx, func(context.Context, *pgdbm.Conn) error { return nil })
	},
	"TableExists": func(ctx context.Context, db *pgdbm.DB) error {
		_, err := db.TableExists(ctx, "x")
		return err
	},
	"Ping":      func(ctx context.Context, db *pgdbm.DB) error { return db.Ping(ctx) },
	"Pool.Ping": func(ctx context.Context, db *pgdbm.DB) error { return db.Pool().Ping(ctx) },
	"All": func(ctx context.Context, db *pgdbm.DB) error {
		_, err := pgdbm.All[int](ctx, db, "SELECT 1")
		return err
	},
	"One": func(ctx context.Context, db *pgdbm.DB) error {
		_, err := pgdbm.One[int](ctx, db, "SELECT 1")
		return err
	},
	"Value": func(ctx context.Context, db *pgdbm.DB) error {
		_, err := pgdbm.Value[int](ctx, db, "SELECT 1")
		return err
	},
	"Each": func(ctx context.Context, db *pgdbm.DB) error {
		for _, err := range pgdbm.Each[int](ctx, db, "SELECT 1") {
			if err != nil {
				return err
			}
		}
		return nil
	},
}

func TestAcquireTimeoutEndsTheWaitOfEveryMethod(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 1, AcquireTimeout: 300 * time.Millisecond})
	db := mustSchema(t, pool, "x")
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	for name, use := range users {
		t.Run(name, func(t *testing.T) {
			err := use(t.Context(), db)
			if !errors.Is(err, pgdbm.ErrAcquireTimeout) || !strings.Contains(err.Error(), "1 of 1") {
				t.Errorf("got %v", err)
			}
		})
	}
	// The caller's own deadline is not the pool's.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := db.Exec(ctx, "SELECT 1"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, pgdbm.ErrAcquireTimeout) {
		t.Errorf("the caller's deadline: got %v", err)
	}
}

func TestAcquireTimeoutDoesNotBoundOpen(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{AcquireTimeout: time.Nanosecond})
	if err := pool.Ping(t.Context()); !errors.Is(err, pgdbm.ErrAcquireTimeout) {
		t.Errorf("got %v", err)
	}
}

func TestAcquireTimeoutDoesNotBoundTheStatement(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{AcquireTimeout: 50 * time.Millisecond})
	if _, err := db.Exec(t.Context(), "SELECT pg_sleep(0.2)"); err != nil {
		t.Error(err)
	}
}

// sqlTracer collects the statements that go to the server.
type sqlTracer struct {
	mu   sync.Mutex // guards sqls
	sqls []string
}

func (tr *sqlTracer) add(sql string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.sqls = append(tr.sqls, sql)
}

func (tr *sqlTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	tr.add(d.SQL)
	return ctx
}
func (tr *sqlTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (tr *sqlTracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}
func (tr *sqlTracer) TraceBatchQuery(_ context.Context, _ *pgx.Conn, d pgx.TraceBatchQueryData) {
	tr.add(d.SQL)
}
func (tr *sqlTracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}
func (tr *sqlTracer) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceCopyFromStartData) context.Context {
	tr.add("copy " + d.TableName.Sanitize())
	return ctx
}
func (tr *sqlTracer) TraceCopyFromEnd(context.Context, *pgx.Conn, pgx.TraceCopyFromEndData) {}

func TestTheTracerSeesWhatGoesToTheServer(t *testing.T) {
	t.Parallel()
	var tracer sqlTracer
	db := notes(t, pgdbm.Config{Tracer: &tracer})
	tracer.mu.Lock()
	tracer.sqls = nil
	tracer.mu.Unlock()

	mustExec(t, db, `DELETE FROM {{tables.notes}}`)
	err := db.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
		var b pgx.Batch
		b.Queue(`INSERT INTO {{tables.notes}} VALUES (1)`)
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"id"}, pgx.CopyFromRows([][]any{{2}}))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`DELETE FROM "diary"."notes"`, "begin", `INSERT INTO "diary"."notes" VALUES (1)`, `copy "diary"."notes"`, "commit"}
	if !slices.Equal(tracer.sqls, want) {
		t.Errorf("got  %q\nwant %q", tracer.sqls, want)
	}
}

// here is the place of the caller's line plus some.
func here(lines int) string {
	_, file, line, _ := runtime.Caller(1)
	return fmt.Sprintf("%s:%d", file, line+lines)
}

// soon is a context that ends almost at once.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestShutdownNamesWhoHoldsConnections(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 8})
	ctx := t.Context()
	var want []pgdbm.Holder
	holds := func(schema, where string) *pgdbm.DB {
		want = append(want, pgdbm.Holder{Schema: schema, Caller: where})
		return mustSchema(t, pool, schema)
	}
	running, end := make(chan struct{}, 2), make(chan struct{})
	var functions sync.WaitGroup

	db := holds("a query", here(1))
	rows, err := db.Query(ctx, "SELECT 1")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, pgdbm.Holder{Schema: "a row", SQL: "SELECT 1 AS {{schema}}"})
	row := mustSchema(t, pool, "a row").QueryRow(ctx, "SELECT 1 AS {{schema}}")

	db = holds("a transaction", here(1))
	tx, err := db.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	db = holds("a batch", here(3))
	var b pgx.Batch
	b.Queue("SELECT 1")
	results := db.SendBatch(ctx, &b)

	lib := library{holds("a library", here(1))}
	libTx, err := lib.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := pool.Pgx().Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// Two inside functions; they end when the test says so.
	db = holds("a function", here(3))
	inTx := db
	functions.Go(func() {
		err := inTx.InTx(ctx, func(context.Context, *pgdbm.Tx) error {
			running <- struct{}{}
			<-end
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-running
	db = holds("a loop", here(2))
	functions.Go(func() {
		for _, err := range pgdbm.Each[int](ctx, db, "SELECT 1") {
			if err != nil {
				t.Error(err)
			}
			running <- struct{}{}
			<-end
		}
	})
	<-running

	err = pool.Shutdown(soon(t))
	var se *pgdbm.ShutdownError
	if !errors.As(err, &se) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	got := slices.Clone(se.Holders)
	for i := range got {
		if got[i].Held <= 0 || got[i].Held > time.Minute {
			t.Errorf("held for %v", got[i].Held)
		}
		got[i].Held = 0
	}
	if !slices.Equal(got, want) {
		t.Errorf("holders\n got %+v\nwant %+v", got, want)
	}
	if se.Foreign != 1 {
		t.Errorf("Foreign %d, want 1", se.Foreign)
	}
	text := err.Error()
	for _, h := range want {
		who := "by " + h.Caller
		if h.SQL != "" {
			who = fmt.Sprintf("in %q", h.SQL)
		}
		if !strings.Contains(text, fmt.Sprintf("schema %q %s", h.Schema, who)) {
			t.Errorf("%q does not name %+v", text, h)
		}
	}
	if !strings.Contains(text, "8 connections") || !strings.Contains(text, "1 acquired from the pgxpool.Pool directly") {
		t.Errorf("text %q", text)
	}

	// It may be called again, and each connection ends as it comes back.
	close(end)
	functions.Wait()
	rows.Close()
	if err := row.Scan(new(int)); err != nil {
		t.Error(err)
	}
	if err := results.Close(); err != nil {
		t.Error(err)
	}
	foreign.Release()
	if err := pool.Shutdown(soon(t)); !errors.As(err, &se) || len(se.Holders) != 2 || se.Foreign != 0 {
		t.Errorf("with two left: got %v", err)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Error(err)
	}
	if err := libTx.Rollback(ctx); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := pool.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}
	if n := pool.Stat().TotalConns(); n != 0 {
		t.Errorf("%d connections stay", n)
	}
}

func TestShutdownNamesWhoMigrates(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{})
	look := admin(t, pool)
	ctx, cancel := context.WithCancel(t.Context())
	m := pgdbm.Module{Name: "slow", Files: files("1_x.sql", "SELECT pg_sleep(600);")}
	var where string
	done := make(chan error, 1)
	go func() {
		where = here(1)
		_, err := pgdbm.Attach(ctx, pool, m)
		done <- err
	}()
	waitUntil(t, func() bool {
		var n int
		err := look.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()`).Scan(&n)
		return err == nil && n == 1
	})
	err := pool.Shutdown(soon(t))
	cancel()
	if aerr := <-done; aerr == nil {
		t.Error("Attach succeeded")
	}
	if err == nil || !strings.Contains(err.Error(), `schema "slow" by `+where) {
		t.Errorf("got %v, want it to name %s", err, where)
	}
}

func TestShutdownRefusesNewWorkAndLetsOldWorkFinish(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 4})
	pool := ownerOf(db)
	ctx := t.Context()
	look := admin(t, db.Pool())

	tx, err := db.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- pool.Shutdown(ctx) }()
	waitUntil(t, func() bool { return errors.Is(db.Ping(ctx), pgdbm.ErrClosed) })
	for name, use := range users {
		if err := use(ctx, db); !errors.Is(err, pgdbm.ErrClosed) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := pgdbm.Attach(ctx, pool, shop); !errors.Is(err, pgdbm.ErrClosed) {
		t.Errorf("Attach: got %v", err)
	}
	select {
	case err := <-done:
		t.Fatalf("Shutdown did not wait: %v", err)
	default:
	}
	// What runs may go on, savepoints and all.
	sp, err := tx.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, sp, `INSERT INTO {{tables.notes}} VALUES (1, 'late')`)
	if err := errors.Join(sp.Commit(ctx), tx.Commit(ctx)); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	var n int
	if err := look.QueryRow(ctx, `SELECT count(*) FROM diary.notes`).Scan(&n); err != nil || n != 1 {
		t.Errorf("%d rows committed, %v", n, err)
	}
	waitUntil(t, func() bool { return sessions(t, look, "%") == 0 })
	if _, err := pool.Pgx().Acquire(ctx); err == nil {
		t.Error("the pgxpool.Pool is open")
	}
}

func TestWhoWaitsForAConnectionIsRefusedByShutdown(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 1})
	db := mustSchema(t, pool, "x")
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	waiter := make(chan error, 1)
	go func() { waiter <- db.Ping(context.Background()) }()
	done := make(chan error, 1)
	go func() { done <- pool.Shutdown(t.Context()) }()
	waitUntil(t, func() bool { return errors.Is(db.Ping(soon(t)), pgdbm.ErrClosed) })
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-waiter; !errors.Is(err, pgdbm.ErrClosed) {
		t.Errorf("the waiter got %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownMayBeCalledByManyAtOnce(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 4})
	db := mustSchema(t, pool, "x")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for {
				if _, err := db.Exec(t.Context(), "SELECT 1"); err != nil {
					if !errors.Is(err, pgdbm.ErrClosed) {
						t.Errorf("work: %v", err)
					}
					return
				}
				if i%4 == 0 {
					break
				}
			}
			if err := pool.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			pool.Close()
		})
	}
	wg.Wait()
}

func TestShutdownOfAnIdlePoolSucceedsAtOnce(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MinConns: 2})
	if err := pool.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	pool.Close()
	pool.Close()
	if err := pool.Ping(t.Context()); !errors.Is(err, pgdbm.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := pool.Schema("x"); err != nil {
		t.Errorf("a handle of a closed pool: %v", err) // harmless: its use is refused
	}
}

func TestShutdownWithADoneContextStillCloses(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the process must end")
	cancel(why)
	if err := pool.Shutdown(ctx); err != nil && !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	waitUntil(t, func() bool { return pool.Stat().TotalConns() == 0 })
	if err := pool.Ping(t.Context()); !errors.Is(err, pgdbm.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestCloseDoesNotWaitForEverAndSaysWhoIsToBlame(t *testing.T) {
	t.Parallel()
	var log logRecorder
	pool := openPool(t, pgdbm.Config{Logger: slog.New(&log)})
	db := mustSchema(t, pool, "leaky")
	where := here(1)
	rows, err := db.Query(t.Context(), "SELECT 1")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	pool.Close()
	if d := time.Since(start); d < 4*time.Second || d > 15*time.Second {
		t.Errorf("Close took %v, want about 5 s", d)
	}
	if !log.has("WARN", "connections in use", `schema "leaky"`, where) {
		t.Errorf("log %q", log.texts)
	}
	rows.Close()
}

func TestAViewOfAPoolCannotCloseIt(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{})
	db := mustSchema(t, pool, "x")
	db.Pool().Close()
	if err := db.Pool().Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	mustSchema(t, db.Pool(), "y").Pool().Close()
	if err := db.Ping(t.Context()); err != nil {
		t.Errorf("after closing views: %v", err)
	}
}

func TestABorrowedPoolStaysOpen(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	theirs, err := pgxpool.New(ctx, testdb.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	pool, err := pgdbm.Borrow(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if pool.Pgx() != theirs {
		t.Error("Pgx returns another pool")
	}
	db := mustSchema(t, pool, "x")
	where := here(1)
	rows, err := db.Query(ctx, "SELECT 1")
	if err != nil {
		t.Fatal(err)
	}
	own, err := theirs.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Release()
	// Only what went through handles counts.
	var se *pgdbm.ShutdownError
	if err := pool.Shutdown(soon(t)); !errors.As(err, &se) || len(se.Holders) != 1 || se.Holders[0].Caller != where || se.Foreign != 0 {
		t.Errorf("got %v", err)
	}
	rows.Close()
	if err := pool.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	pool.Close()
	if err := db.Ping(ctx); !errors.Is(err, pgdbm.ErrClosed) {
		t.Errorf("the handle: got %v", err)
	}
	if err := theirs.Ping(ctx); err != nil {
		t.Errorf("the borrowed pool: %v", err)
	}
	again, err := pgdbm.Borrow(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.Ping(ctx); err != nil {
		t.Errorf("borrowed again: %v", err)
	}
}

func TestBorrowingNothingIsAnError(t *testing.T) {
	t.Parallel()
	if pool, err := pgdbm.Borrow(nil); err == nil || pool != nil {
		t.Errorf("got %v, %v", pool, err)
	}
}

func TestAConnectionThatDiesIsReplaced(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{MaxConns: 1})
	look := admin(t, db.Pool())
	before := pid(t, db)
	if _, err := look.Exec(t.Context(), "SELECT pg_terminate_backend($1)", before); err != nil {
		t.Fatal(err)
	}
	// The first use may meet the dead connection; none after that does.
	_, err := db.Exec(t.Context(), "SELECT 1")
	var pe *pgconn.PgError
	if err != nil && errors.As(err, &pe) && pe.Code != "57P01" {
		t.Errorf("got %v", err)
	}
	if after := pid(t, db); after == before {
		t.Error("the same connection")
	}
}

func TestShutdownWakesThoseWhoWaitForALeakedConnection(t *testing.T) {
	t.Parallel()
	pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: testdb.URL(t), MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	db := mustSchema(t, pool, "x")
	leaked, err := db.Query(t.Context(), `SELECT generate_series(1, 10)`)
	if err != nil {
		t.Fatal(err)
	}
	const waiters = 8
	errs := make(chan error, waiters)
	for range waiters {
		go func() {
			_, err := db.Exec(context.Background(), `SELECT 1`) // without a deadline of its own
			errs <- err
		}()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := pool.Shutdown(ctx); err == nil {
		t.Error("Shutdown succeeded with a connection leaked")
	}
	for range waiters {
		if err := <-errs; !errors.Is(err, pgdbm.ErrClosed) {
			t.Errorf("a waiter got %v", err)
		}
	}
	leaked.Close()
	if err := pool.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
