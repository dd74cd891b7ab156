package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

// testdb measures a database of pgdbmtest for a test, from the call until a
// query has run on it, and its end. The peer is the method of pgtestdb: clone a
// template when the test asks, on a connection of its own, and drop the clone
// when it ends.
func testdb(ctx context.Context, url string) ([]result, error) {
	if url != "" {
		if err := os.Setenv("PGDBM_TEST_URL", url); err != nil {
			return nil, err
		}
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	m := pgdbm.Module{Name: "bench", Files: fstest.MapFS{"001_tables.sql": {Data: []byte(fiftyTables())}}}
	hold := &task{ctx: ctx, name: "peer"} // has the server as long as the peer
	defer hold.end()
	p, err := newPeer(ctx, hold, m)
	if err != nil {
		return nil, err
	}

	prefetched := newTest(pgdbmtest.Config{}, m)
	onDemand := newTest(pgdbmtest.Config{Prefetch: -1, SeedKey: "on demand", Seed: noSeed}, m)
	inTx := func(tb *task) error {
		_, err := pgdbm.Value[int](ctx, pgdbmtest.Tx(tb, m), probe)
		return err
	}
	var results []result
	var ours, peers timings
	for _, c := range []struct {
		name         string
		test         func(*task) error
		workers      int
		tests        int // of each worker, in each of the rounds
		length       time.Duration
		reportsClose bool
	}{
		{"new-prefetched", prefetched, 4, 20, 50 * time.Millisecond, true},
		{"new-prefetched-tight", prefetched, 4, 20, 0, false},
		{"new", onDemand, 1, 20, 0, false},
		{"tx", inTx, 1, 20, 0, false},
	} {
		ours, peers = timings{}, timings{}
		const rounds = 5
		for round := range rounds + 1 {
			if round == 1 { // the first was to warm up
				ours, peers = timings{}, timings{}
			}
			if err := ours.measure(ctx, c.test, c.workers, c.tests, c.length); err != nil {
				return nil, err
			}
			if err := peers.measure(ctx, p.test, c.workers, c.tests, c.length); err != nil {
				return nil, err
			}
		}
		results = append(results, compare(c.name, "ms", millis(median(ours.begin)), millis(median(peers.begin))))
		if c.reportsClose {
			results = append(results, compare("cleanup", "ms", millis(median(ours.end)), millis(median(peers.end))))
		}
	}
	servers, err := servers(ctx)
	return append(results, servers...), err
}

const probe = `SELECT count(*) FROM {{tables.t1}}`

func noSeed(context.Context, *pgdbm.Pool) error { return nil }

func newTest(c pgdbmtest.Config, m pgdbm.Module) func(*task) error {
	return func(tb *task) error {
		db, err := c.New(tb, m).Schema("bench")
		if err != nil {
			return err
		}
		_, err = pgdbm.Value[int](tb.Context(), db, probe)
		return err
	}
}

// fiftyTables is a migration with 50 tables and 200 indexes.
func fiftyTables() string {
	var b strings.Builder
	for i := range 50 {
		fmt.Fprintf(&b, `CREATE TABLE {{tables.t%d}} (id bigint PRIMARY KEY, a int, b text, c timestamptz);
			CREATE INDEX ON {{tables.t%d}} (a); CREATE INDEX ON {{tables.t%d}} (b); CREATE INDEX ON {{tables.t%d}} (c);
			`, i, i, i, i)
	}
	return b.String()
}

// peer clones its own template.
type peer struct {
	admin    *pgx.ConnConfig
	template string
}

func newPeer(ctx context.Context, hold *task, m pgdbm.Module) (p *peer, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%v", v)
		}
	}()
	admin := pgdbmtest.New(hold).Pgx().Config().ConnConfig.Copy()
	admin.Database = "postgres"
	p = &peer{admin, "bench_" + strings.ToLower(rand.Text()[:10])}
	if err := p.exec(ctx, "CREATE DATABASE "+p.template); err != nil {
		return nil, err
	}
	hold.Cleanup(func() {
		if err := p.exec(context.WithoutCancel(ctx), "DROP DATABASE "+p.template); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	})
	cfg, err := pgxpool.ParseConfig(admin.ConnString())
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.Database = p.template
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	borrowed, err := pgdbm.Borrow(pool)
	if err != nil {
		return nil, err
	}
	_, err = pgdbm.Attach(ctx, borrowed, m)
	return p, err
}

func (p *peer) exec(ctx context.Context, sql string) error {
	conn, err := pgx.ConnectConfig(ctx, p.admin)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

func (p *peer) test(tb *task) error {
	ctx := tb.Context()
	admin, err := pgx.ConnectConfig(ctx, p.admin)
	if err != nil {
		return err
	}
	tb.Cleanup(func() { admin.Close(ctx) })
	name := "bench_" + strings.ToLower(rand.Text()[:10])
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE "+p.template); err != nil {
		return err
	}
	tb.Cleanup(func() {
		if _, err := admin.Exec(ctx, "DROP DATABASE "+name); err != nil {
			tb.Error(err)
		}
	})
	cfg, err := pgxpool.ParseConfig(p.admin.ConnString())
	if err != nil {
		return err
	}
	cfg.ConnConfig.Database = name
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	tb.Cleanup(pool.Close)
	var n int
	return pool.QueryRow(ctx, `SELECT count(*) FROM bench.t1`).Scan(&n)
}

// timings are how long the tests took to begin and to end.
type timings struct {
	mu         sync.Mutex // guards the fields below
	begin, end []time.Duration
	err        error
}

// measure runs tests of this length, so many on each of the workers.
func (ts *timings) measure(ctx context.Context, test func(*task) error, workers, tests int, length time.Duration) error {
	select {
	case <-time.After(300 * time.Millisecond): // what goes on in the background is the other side's
	case <-ctx.Done():
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range tests {
				tb := &task{ctx: ctx, name: fmt.Sprintf("%d-%d", w, i)}
				start := time.Now()
				err := tb.run(test)
				begin := time.Since(start)
				select {
				case <-time.After(length):
				case <-ctx.Done():
				}
				start = time.Now()
				tb.end()
				end := time.Since(start)
				ts.mu.Lock()
				ts.begin, ts.end = append(ts.begin, begin), append(ts.end, end)
				if ts.err == nil {
					ts.err = err
				}
				if ts.err == nil {
					ts.err = tb.err
				}
				ts.mu.Unlock()
			}
		})
	}
	wg.Wait()
	if ts.err == nil {
		ts.err = ctx.Err()
	}
	return ts.err
}

func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// task is what pgdbmtest needs of a test.
type task struct {
	testing.TB // nil: nothing else is called
	ctx        context.Context
	name       string
	err        error
	cleanups   []func()
}

func (t *task) Helper()                        {}
func (t *task) Context() context.Context       { return t.ctx }
func (t *task) Name() string                   { return t.name }
func (t *task) Failed() bool                   { return false }
func (t *task) Cleanup(f func())               { t.cleanups = append(t.cleanups, f) }
func (t *task) Log(args ...any)                {}
func (t *task) Logf(format string, a ...any)   {}
func (t *task) Error(args ...any)              { t.err = fmt.Errorf("%s", fmt.Sprint(args...)) }
func (t *task) Errorf(format string, a ...any) { t.err = fmt.Errorf(format, a...) }
func (t *task) Skip(args ...any)               { t.Fatal(args...) }
func (t *task) Fatal(args ...any)              { t.Error(args...); panic(t.err) }
func (t *task) Fatalf(format string, a ...any) { t.Errorf(format, a...); panic(t.err) }

func (t *task) run(test func(*task) error) (err error) {
	defer func() {
		if v := recover(); v != nil && v == any(t.err) {
			err = t.err
		} else if v != nil {
			panic(v)
		}
	}()
	return test(t)
}

func (t *task) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}
