package pgdbm_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

const poolerNotice = "A connection pooler stands before the server"

// throughPgBouncer returns the URLs of a new database, direct and through
// PgBouncer in transaction mode.
func throughPgBouncer(t *testing.T) (direct, through string) {
	t.Helper()
	direct = testdb.URL(t)
	return direct, testdb.PgBouncer(t, direct)(direct)
}

func TestEveryReadThroughPgBouncerIsTheRightTenants(t *testing.T) {
	t.Parallel()
	const schemas, goroutines, reads = 50, 24, 100_000
	_, url := throughPgBouncer(t)
	var log logRecorder
	dbs := tenants(t, schemas, pgdbm.Config{URL: url, MaxConns: goroutines, Logger: slog.New(&log)})
	ctx := t.Context()
	var done atomic.Int64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for n := done.Add(1); n <= reads; n = done.Add(1) {
				db := dbs[rand.IntN(schemas)]
				id := rand.IntN(20) + 1
				var got string
				var gotID int
				err := db.QueryRow(ctx, `SELECT id, owner FROM {{tables.notes}} WHERE id = $1`, id).Scan(&gotID, &got)
				if err != nil || got != db.Schema() || gotID != id {
					t.Errorf("read %d: row %d of %s for %d of %s, %v", n, gotID, got, id, db.Schema(), err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := log.said(poolerNotice); n != 1 {
		t.Errorf("the log tells of the pooler %d times", n)
	}
	if n := value[int](t, dbs[0], `SELECT count(*)::int FROM pg_prepared_statements`); n != 0 {
		t.Errorf("%d named statements on a server connection", n)
	}
}

func TestADirectConnectionIsNoPooler(t *testing.T) {
	t.Parallel()
	var log logRecorder
	db := tenants(t, 1, pgdbm.Config{Logger: slog.New(&log)})[0]
	for range 5 {
		wantOwner(t, db, 1)
	}
	if n := log.said(poolerNotice); n != 0 {
		t.Errorf("the log tells of a pooler %d times", n)
	}
}

// Each way to run SQL, by many goroutines at a time.
func TestEverythingButSessionsWorksThroughPgBouncer(t *testing.T) {
	t.Parallel()
	_, url := throughPgBouncer(t)
	pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 8})
	const schemas = 6
	var modules [schemas]*pgdbm.DB
	module := pgdbm.Module{Name: "notes", Files: files("001_notes.sql",
		`CREATE TABLE {{tables.notes}} (id bigint GENERATED ALWAYS AS IDENTITY, owner text NOT NULL, n int);`)}
	for i := range modules {
		db := mustSchema(t, pool, fmt.Sprintf("t%d", i))
		modules[i] = mustAttach(t, db, module).DB
	}
	const insert, read = `INSERT INTO {{tables.notes}} (owner, n) VALUES ($1, $2)`, `SELECT owner FROM {{tables.notes}} WHERE n = $1`
	uses := map[string]func(ctx context.Context, db *pgdbm.DB, n int) error{
		"Exec": func(ctx context.Context, db *pgdbm.DB, n int) error {
			_, err := db.Exec(ctx, insert, db.Schema(), n)
			return err
		},
		"NamedArgs": func(ctx context.Context, db *pgdbm.DB, n int) error {
			_, err := db.Exec(ctx, `INSERT INTO {{tables.notes}} (owner, n) VALUES (@owner, @n)`, pgx.NamedArgs{"owner": db.Schema(), "n": n})
			return err
		},
		"InTx": func(ctx context.Context, db *pgdbm.DB, n int) error {
			return db.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
				if _, err := tx.Exec(ctx, insert, db.Schema(), n); err != nil {
					return err
				}
				return tx.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
					_, err := pgdbm.All[string](ctx, tx, read, n)
					return err
				})
			})
		},
		"batch": func(ctx context.Context, db *pgdbm.DB, n int) error {
			var b pgx.Batch
			b.Queue(insert, db.Schema(), n)
			b.Queue(read, n).QueryRow(func(row pgx.Row) error { return row.Scan(new(string)) })
			return db.SendBatch(ctx, &b).Close()
		},
		"batch that begins": func(ctx context.Context, db *pgdbm.DB, n int) error {
			var b pgx.Batch
			b.BeginTx(pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
			b.Queue(insert, db.Schema(), n)
			b.Queue(read, n).QueryRow(func(row pgx.Row) error { return row.Scan(new(string)) })
			br := db.SendBatch(ctx, &b)
			tx := br.Tx()
			defer tx.Rollback(ctx)
			if err := br.Close(); err != nil {
				return err
			}
			var level string
			if err := tx.QueryRow(ctx, `SHOW transaction_isolation`).Scan(&level); err != nil || level != "repeatable read" {
				return fmt.Errorf("%s, %w", level, err)
			}
			return tx.Commit(ctx)
		},
		"CopyFrom": func(ctx context.Context, db *pgdbm.DB, n int) error {
			_, err := db.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"owner", "n"}, pgx.CopyFromRows([][]any{{db.Schema(), n}}))
			return err
		},
		"WithConn": func(ctx context.Context, db *pgdbm.DB, n int) error {
			return db.WithConn(ctx, func(ctx context.Context, c *pgdbm.Conn) error {
				_, err := c.Exec(ctx, insert, db.Schema(), n)
				return err
			})
		},
	}
	ctx := t.Context()
	for name, use := range uses {
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for n := range 30 {
					if err := use(ctx, modules[(g+n)%schemas], n); err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	for _, db := range modules {
		owners, err := pgdbm.All[string](ctx, db, `SELECT DISTINCT owner FROM {{tables.notes}}`)
		if err != nil || len(owners) != 1 || owners[0] != db.Schema() {
			t.Errorf("%s has rows of %v, %v", db.Schema(), owners, err)
		}
	}
	total := 0
	for _, db := range modules {
		total += value[int](t, db, `SELECT count(*)::int FROM {{tables.notes}}`)
	}
	if want := len(uses) * 8 * 30; total != want {
		t.Errorf("%d rows, want %d", total, want)
	}
}

func TestABatchsCommitQueryIsKeptThroughPgBouncer(t *testing.T) {
	t.Parallel()
	_, url := throughPgBouncer(t)
	db := tenants(t, 1, pgdbm.Config{URL: url})[0]
	var b pgx.Batch
	b.BeginTx(pgx.TxOptions{CommitQuery: "COMMIT; DO $$ BEGIN RAISE 'the commit query ran'; END $$"})
	b.Queue(ownerSQL, 1)
	br := db.SendBatch(t.Context(), &b)
	tag, err := br.Exec()
	if err != nil || tag.String() != "BEGIN" {
		t.Errorf("the first result is %v, %v", tag, err)
	}
	if err := br.Close(); err != nil {
		t.Fatal(err)
	}
	if err := br.Tx().Commit(t.Context()); err == nil || !strings.Contains(err.Error(), "the commit query ran") {
		t.Errorf("got %v", err)
	}
}

func TestABatchWhoseBeginFailsLeavesNoTransaction(t *testing.T) {
	t.Parallel()
	direct, url := throughPgBouncer(t)
	for _, url := range []string{direct, url} {
		db := tenants(t, 1, pgdbm.Config{URL: url, MaxConns: 1})[0]
		var b pgx.Batch
		b.BeginTx(pgx.TxOptions{BeginQuery: "BEGIN NONSENSE"})
		b.Queue(`INSERT INTO {{tables.notes}} VALUES ($1, $2)`, 99, "x")
		br := db.SendBatch(t.Context(), &b)
		if err := br.Close(); err == nil {
			t.Error("no error")
		}
		if err := br.Tx().Rollback(t.Context()); !errors.Is(err, pgx.ErrTxClosed) {
			t.Errorf("got %v", err)
		}
		if n := value[int](t, db, `SELECT count(*)::int FROM {{tables.notes}}`); n != 20 {
			t.Errorf("%d rows", n)
		}
		mustExec(t, db, `DROP SCHEMA {{schema}} CASCADE`)
	}
}

// describeExec is the mode that parses in one message and runs in the next.
func describeExec(c *pgxpool.Config) error {
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	return nil
}

func TestDescribeExecIsRefusedBehindAPoolerAndOnlyThere(t *testing.T) {
	t.Parallel()
	direct, url := throughPgBouncer(t)
	_, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: url, Pgx: describeExec})
	if !errors.Is(err, pgdbm.ErrDescribeExec) {
		t.Errorf("Open: %v", err)
	}
	wantOwner(t, tenants(t, 1, pgdbm.Config{URL: direct, Pgx: describeExec})[0], 1)

	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	_ = describeExec(cfg) // it has no error
	raw, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	pool, err := pgdbm.Borrow(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	db := mustSchema(t, pool, "t0")
	var b pgx.Batch
	b.Queue(ownerSQL, 1)
	rows, queryErr := db.Query(t.Context(), ownerSQL, 1)
	rows.Close()
	_, execErr := db.Exec(t.Context(), ownerSQL, 1)
	_, attachErr := pgdbm.Attach(t.Context(), db, shop)
	for name, err := range map[string]error{
		"Query": queryErr, "Exec": execErr, "Attach": attachErr,
		"QueryRow":  db.QueryRow(t.Context(), ownerSQL, 1).Scan(new(string)),
		"SendBatch": db.SendBatch(t.Context(), &b).Close(),
		"InTx": db.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
			_, err := tx.Exec(ctx, ownerSQL, 1)
			return err
		}),
	} {
		if !errors.Is(err, pgdbm.ErrDescribeExec) {
			t.Errorf("%s of a borrowed pool: %v", name, err)
		}
	}
	asked := mustSchema(t, openPool(t, pgdbm.Config{URL: url}), "t0")
	err = asked.QueryRow(t.Context(), ownerSQL, pgx.QueryExecModeDescribeExec, 1).Scan(new(string))
	if !errors.Is(err, pgdbm.ErrDescribeExec) {
		t.Errorf("asked for by one call: %v", err)
	}
}

// Why it is refused: pgx itself reads other tenants' rows in that mode.
func TestDescribeExecReadsOthersRowsThroughPgBouncer(t *testing.T) {
	t.Parallel()
	_, url := throughPgBouncer(t)
	dbs := tenants(t, 20, pgdbm.Config{URL: url, MaxConns: 4})
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	_ = describeExec(cfg)
	cfg.MaxConns = 24
	raw, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	var mu sync.Mutex
	wrong, failed := 0, 0
	var wg sync.WaitGroup
	for g := range 24 {
		wg.Go(func() {
			for n := range 100 {
				schema := dbs[(g+n)%len(dbs)].Schema()
				var got string
				err := raw.QueryRow(t.Context(), fmt.Sprintf(`SELECT owner FROM %s.notes WHERE id = $1`, schema), 1).Scan(&got)
				mu.Lock()
				if err != nil {
					failed++
				} else if got != schema {
					wrong++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("of 2400 reads %d were another tenant's and %d failed", wrong, failed)
	if wrong+failed == 0 {
		t.Error("this pooler keeps unnamed statements together: ErrDescribeExec is not needed with it")
	}
}

func TestCopyFromThroughPgBouncerWritesWhatPgxWrites(t *testing.T) {
	t.Parallel()
	direct, url := throughPgBouncer(t)
	ctx := t.Context()
	columns := []string{"a", "b", "c", "d", "e", "f", "g", "h", "Mixed"}
	theirs, ours := connect(t, direct), mustSchema(t, openPool(t, pgdbm.Config{URL: url}), "ours")
	for _, schema := range []string{"theirs", "ours"} {
		testdb.Exec(t, direct, `CREATE SCHEMA `+schema+`; CREATE TABLE `+schema+`.t (a int, b text, c timestamptz, d numeric, e text[], f jsonb, g uuid, h bytea, "Mixed" int[])`)
	}
	var rows [][]any
	for n := range 3000 {
		rows = append(rows, []any{n, strings.Repeat("x", n%100), time.Unix(int64(n), 1000), float64(n) / 3, []string{"a", `"`}, map[string]any{"n": n},
			[16]byte{byte(n)}, []byte{0, byte(n)}, []int32{int32(n)}})
	}
	rows = append(rows, []any{"7", nil, "2026-01-01 00:00:00Z", "1.5", "{x,y}", `{"a": 1}`, "00000000-0000-0000-0000-000000000001", nil, "{{1,2},{3,4}}"},
		[]any{nil, "", nil, nil, nil, nil, nil, []byte{}, nil})
	for n := range 2 {
		want, err := theirs.CopyFrom(ctx, pgx.Identifier{"theirs", "t"}, columns, pgx.CopyFromRows(rows))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ours.CopyFrom(ctx, pgx.Identifier{"t"}, columns, pgx.CopyFromRows(rows)); got != want || err != nil {
			t.Fatalf("copy %d: %d rows, want %d, %v", n, got, want, err)
		}
	}
	if n := value[int](t, ours, `SELECT count(*)::int FROM (SELECT * FROM {{tables.t}} EXCEPT ALL SELECT * FROM theirs.t) x`); n != 0 {
		t.Errorf("%d rows differ", n)
	}
	before := value[int](t, ours, `SELECT count(*)::int FROM {{tables.t}}`)
	sourceErr := errors.New("source")
	bad := append([][]any{rows[0]}, make([]any, len(columns)))
	bad[1][0] = struct{}{}
	for name, src := range map[string]pgx.CopyFromSource{
		"a value that is none": pgx.CopyFromRows(bad),
		"too few values":       pgx.CopyFromRows([][]any{rows[0], {1}}),
		"an error of the source": pgx.CopyFromSlice(5000, func(i int) ([]any, error) {
			if i == 4000 {
				return nil, sourceErr
			}
			return rows[0], nil
		}),
	} {
		_, err := ours.CopyFrom(ctx, pgx.Identifier{"t"}, columns, src)
		if err == nil || strings.HasPrefix(name, "an error") && !strings.Contains(err.Error(), sourceErr.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ours.CopyFrom(ctx, pgx.Identifier{"none"}, columns, pgx.CopyFromRows(rows)); pgError(err) == nil {
		t.Errorf("no table: %v", err)
	}
	if after := value[int](t, ours, `SELECT count(*)::int FROM {{tables.t}}`); after != before {
		t.Errorf("%d rows more after copies that failed", after-before)
	}
}
