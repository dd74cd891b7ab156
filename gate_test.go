package pgdbm_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// hold takes connections of a handle until one has to wait, or n are held, and
// returns how many it got, and what gives them back.
func hold(t *testing.T, db *pgdbm.DB, n int) (held int, release func()) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var got atomic.Int64
	for range n {
		wg.Go(func() {
			_ = db.WithConn(ctx, func(context.Context, *pgdbm.Conn) error { // it may be cancelled while it waits
				got.Add(1)
				<-ctx.Done()
				return nil
			})
		})
	}
	waitUntil(t, func() bool {
		for _, s := range db.Pool().Stat().Schemas() {
			if s.Schema == db.Schema() && s.Held+s.Waiting == n && int64(s.Held) == got.Load() {
				return true
			}
		}
		return false
	})
	return int(got.Load()), func() { stop(); wg.Wait() }
}

func TestASchemaAloneMayHoldTheWholePool(t *testing.T) {
	t.Parallel()
	db := mustSchema(t, openPool(t, pgdbm.Config{MaxConns: 10}), "busy")
	n, release := hold(t, db, 10)
	defer release()
	if n != 10 {
		t.Errorf("it holds %d", n)
	}
}

func TestABusySchemaLeavesSomeOfThePoolToOthers(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 10})
	busy, quiet := mustSchema(t, pool, "busy"), mustSchema(t, pool, "quiet")
	value[int](t, quiet, `SELECT 1`)
	n, release := hold(t, busy, 50)
	defer release()
	if n != 8 {
		t.Errorf("it holds %d of 10", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := pgdbm.Value[int](ctx, quiet, `SELECT 1`); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(pool.Stat().Schemas()); got != "[{busy 8 42}]" {
		t.Errorf("Schemas: %s", got)
	}
}

func TestASmallPoolIsNotDivided(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 4})
	busy, quiet := mustSchema(t, pool, "busy"), mustSchema(t, pool, "quiet")
	value[int](t, quiet, `SELECT 1`)
	n, release := hold(t, busy, 4)
	defer release()
	if n != 4 {
		t.Errorf("it holds %d of 4", n)
	}
}

func TestASchemaAtItsCapKeepsNoOtherWaiting(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 4})
	busy, err := pool.Handle(pgdbm.HandleConfig{Schema: "busy", MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	n, release := hold(t, busy, 10)
	defer release()
	if n != 2 {
		t.Errorf("it holds %d", n)
	}
	m, releaseOther := hold(t, mustSchema(t, pool, "other"), 2)
	defer releaseOther()
	if m != 2 {
		t.Errorf("the other one holds %d", m)
	}
	// A transaction counts, and gives its place to one that waits.
	release()
	if err := busy.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
		if got := fmt.Sprint(pool.Stat().Schemas()); got != "[{busy 1 0} {other 2 0}]" {
			t.Errorf("Schemas: %s", got)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestTooManyWaitersAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 4})
	db, err := pool.Handle(pgdbm.HandleConfig{Schema: "busy", MaxConns: 1, MaxWaiting: 2})
	if err != nil {
		t.Fatal(err)
	}
	_, release := hold(t, db, 3)
	want := `schema "busy" holds 1 of the pool's 4 connections, at most 1, and 2 calls wait`
	if _, err := db.Exec(t.Context(), `SELECT 1`); !errors.Is(err, pgdbm.ErrSchemaBusy) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	release()
	if _, err := db.Exec(t.Context(), `SELECT 1`); err != nil {
		t.Error(err)
	}
	none, err := pool.Handle(pgdbm.HandleConfig{Schema: "busy", MaxConns: 1, MaxWaiting: -1})
	if err != nil {
		t.Fatal(err)
	}
	_, release = hold(t, none, 1)
	defer release()
	if _, err := none.Exec(t.Context(), `SELECT 1`); !errors.Is(err, pgdbm.ErrSchemaBusy) {
		t.Errorf("none may wait: %v", err)
	}
}

func TestAHandlesAcquireTimeoutIsItsOwn(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 1, AcquireTimeout: time.Hour})
	db, err := pool.Handle(pgdbm.HandleConfig{Schema: "busy", AcquireTimeout: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	_, release := hold(t, mustSchema(t, pool, "other"), 1)
	defer release()
	if _, err := db.Exec(t.Context(), `SELECT 1`); !errors.Is(err, pgdbm.ErrAcquireTimeout) || !strings.Contains(err.Error(), "1ms") {
		t.Errorf("got %v", err)
	}
}

func TestATimeoutSaysThatTheSchemasOwnLimitIsTheCause(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 4})
	db, err := pool.Handle(pgdbm.HandleConfig{Schema: "busy", MaxConns: 2, AcquireTimeout: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	_, release := hold(t, mustSchema(t, pool, "busy"), 2)
	defer release()
	want := `2 of 4 in use after 1ms, 2 of them by schema "busy", which may hold 2`
	if _, err := db.Exec(t.Context(), `SELECT 1`); !errors.Is(err, pgdbm.ErrAcquireTimeout) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}

func TestConnectionsAreKeptForASchemaWithAMinimum(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 4})
	kept, err := pool.Handle(pgdbm.HandleConfig{Schema: "kept", MinConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	n, release := hold(t, mustSchema(t, pool, "busy"), 10)
	defer release()
	if n != 2 {
		t.Errorf("the busy one holds %d of 4", n)
	}
	m, releaseKept := hold(t, kept, 2)
	defer releaseKept()
	if m != 2 {
		t.Errorf("the other one holds %d", m)
	}
	if _, err := pool.Handle(pgdbm.HandleConfig{Schema: "more", MinConns: 2}); err == nil || err.Error() != "pgdbm: handle: MinConns: 4 are kept for schemas then, which leaves none of a pool of 4 to others and to migrations" {
		t.Errorf("got %v", err)
	}
}

func TestClosingThePoolEndsTheWait(t *testing.T) {
	t.Parallel()
	pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: testdb.URL(t), MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	db := mustSchema(t, pool, "busy")
	_, release := hold(t, db, 1)
	waited := make(chan error)
	go func() {
		_, err := db.Exec(context.Background(), `SELECT 1`)
		waited <- err
	}()
	waitUntil(t, func() bool { return fmt.Sprint(pool.Stat().Schemas()) == "[{busy 1 1}]" })
	closed := make(chan error)
	go func() { closed <- pool.Shutdown(context.Background()) }()
	if err := <-waited; !errors.Is(err, pgdbm.ErrClosed) {
		t.Errorf("got %v", err)
	}
	release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestPoolsBorrowedFromOneShareItsConnections(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 4})
	again, err := pgdbm.Borrow(pool.Pgx())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	_, release := hold(t, mustSchema(t, pool, "busy"), 3)
	defer release()
	if got := fmt.Sprint(again.Stat().Schemas()); got != "[{busy 3 0}]" {
		t.Errorf("Schemas: %s", got)
	}
}

func TestLimitsDoNotHoldMigrationsBack(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 3})
	db, err := pool.Handle(pgdbm.HandleConfig{Schema: "shop", MaxConns: 1, MaxWaiting: -1})
	if err != nil {
		t.Fatal(err)
	}
	a := mustAttach(t, db, pgdbm.Module{Name: "shop", Files: files("001_a.sql", `CREATE TABLE {{tables.a}} (x int);`,
		"002_b.sql", "-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY i ON {{tables.a}} (x);")})
	_, release := hold(t, a.DB, 1) // the handle has kept its limits
	defer release()
	if _, err := a.Exec(t.Context(), `SELECT 1`); !errors.Is(err, pgdbm.ErrSchemaBusy) {
		t.Errorf("got %v", err)
	}
}

func TestLimitsThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 4})
	for want, c := range map[string]pgdbm.HandleConfig{
		"MaxConns: -1 is negative": {MaxConns: -1},
		"MinConns: -1 is negative": {MinConns: -1},
		"MinConns: 4 leaves none of the pool's 4 to others and to migrations": {MinConns: 4},
		"MinConns: 3 is more than MaxConns, 2":                                {MinConns: 3, MaxConns: 2},
		"AcquireTimeout: -1ns is negative":                                    {AcquireTimeout: -1},
		"HandleConfig.Weight: -1 is not a weight":                             {Weight: -1},
		"HandleConfig.Weight: NaN is not a weight":                            {Weight: math.NaN()},
		"HandleConfig.Weight: +Inf is not a weight":                           {Weight: math.Inf(1)},
		`schema "": an empty name is no schema`:                               {},
	} {
		if want != `schema "": an empty name is no schema` {
			c.Schema = "s"
		}
		_, err := pool.Handle(c)
		if err == nil || c.Schema != "" && err.Error() != "pgdbm: handle: "+want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// Schemas that always want more get connections by their weights.
func TestWeightsDivideThePool(t *testing.T) {
	t.Parallel()
	weights := map[string]float64{"one": 1, "two": 2, "five": 5}
	g := pgdbm.NewGate(4)
	type waiting struct {
		schema string
		ready  <-chan struct{}
	}
	var queue []waiting
	served := make(map[string]int)
	want := func(schema string) {
		ready, _, err := g.Take(schema, pgdbm.HandleConfig{Schema: schema, Weight: weights[schema]})
		if err != nil {
			t.Fatal(err)
		}
		if ready == nil {
			c := make(chan struct{})
			close(c)
			ready = c
		}
		queue = append(queue, waiting{schema, ready})
	}
	for range 20 {
		for schema := range weights {
			want(schema)
		}
	}
	const rounds = 8000
	for range rounds {
		// Whoever has a token gives it back and asks again.
		var holders []int
		for i, w := range queue {
			select {
			case <-w.ready:
				holders = append(holders, i)
			default:
			}
		}
		if len(holders) == 0 {
			t.Fatal("nobody has a token")
		}
		i := holders[rand.IntN(len(holders))]
		schema := queue[i].schema
		queue = append(queue[:i], queue[i+1:]...)
		served[schema]++
		g.Give(schema)
		want(schema)
	}
	for schema, weight := range weights {
		if part := float64(served[schema]) / rounds * 8 / weight; part < 0.9 || part > 1.1 {
			t.Errorf("%s got %.2f of its part: %v", schema, part, served)
		}
	}
}

// However many calls of schemas at their caps wait, a free connection goes to whoever may have it.
func TestASchemaAtItsCapNeverBlocksAnother(t *testing.T) {
	t.Parallel()
	const tokens = 6
	caps := map[string]int{"capped at 1": 1, "capped at 2": 2, "uncapped": 0, "another": 0}
	schemas := []string{"capped at 1", "capped at 2", "uncapped", "another"}
	g := pgdbm.NewGate(tokens)
	type call struct {
		schema string
		ready  <-chan struct{} // nil: granted at once
	}
	granted := func(c call) bool {
		if c.ready == nil {
			return true
		}
		select {
		case <-c.ready:
			return true
		default:
			return false
		}
	}
	var calls []call
	served := make(map[string]int)
	for step := range 20000 {
		schema := schemas[rand.IntN(len(schemas))]
		if len(calls) < 100 && (strings.HasPrefix(schema, "capped") || rand.IntN(2) == 0) {
			ready, _, err := g.Take(schema, pgdbm.HandleConfig{Schema: schema, MaxConns: caps[schema]})
			if err != nil {
				t.Fatal(err)
			}
			calls = append(calls, call{schema, ready})
		} else if i := rand.IntN(max(1, len(calls))); len(calls) > 0 && granted(calls[i]) {
			served[calls[i].schema]++
			g.Give(calls[i].schema)
			calls = append(calls[:i], calls[i+1:]...)
		}
		held, all, waits := make(map[string]int), 0, make(map[string]bool)
		for _, c := range calls {
			if granted(c) {
				held[c.schema]++
				all++
			} else {
				waits[c.schema] = true
			}
		}
		for schema := range waits {
			limit := caps[schema]
			if limit == 0 {
				limit = tokens - tokens/5 // what one schema may hold while others use the pool
			}
			if held[schema] < limit && all < tokens {
				t.Fatalf("step %d: %s holds %d of %d and waits, and %d of %d are taken: %v", step, schema, held[schema], limit, all, tokens, held)
			}
		}
	}
	for _, schema := range schemas {
		if served[schema] == 0 {
			t.Errorf("%s got nothing: %v", schema, served)
		}
	}
}

// A thousand schemas come, wait, give up and go, and nothing is left.
func TestTheGateLosesNoToken(t *testing.T) {
	t.Parallel()
	const tokens = 7
	g := pgdbm.NewGate(tokens)
	if err := g.Keep("kept", 2); err != nil {
		t.Fatal(err)
	}
	var held atomic.Int64
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			for range 3000 {
				schema := fmt.Sprintf("s%d", rand.IntN(1000))
				if i == 0 {
					schema = "kept"
				}
				ready, cancel, err := g.Take(schema, pgdbm.HandleConfig{Schema: schema, MaxConns: rand.IntN(4), MaxWaiting: rand.IntN(6) - 1, Weight: float64(rand.IntN(3))})
				if err != nil {
					continue // busy
				}
				if ready != nil {
					if rand.IntN(3) == 0 {
						cancel()
						continue
					}
					<-ready
				}
				if n := held.Add(1); n > tokens {
					t.Errorf("%d of %d tokens are held", n, tokens)
				}
				held.Add(-1)
				g.Give(schema)
			}
		})
	}
	wg.Wait()
	if err := g.Keep("kept", 0); err != nil {
		t.Error(err)
	}
	_, _, _ = g.Take("kept", pgdbm.HandleConfig{Schema: "kept"})
	g.Give("kept")
	if err := g.Idle(); err != nil {
		t.Error(err)
	}
}
