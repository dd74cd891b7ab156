package pgdbm_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// soakFor is how long each random load goes on; make soak asks for more.
var soakFor = flag.Duration("soak", 4*time.Second, "how long each random load goes on")

const (
	soakSchemas = 30
	soakDropped = 3 // of them, the last ones, are dropped and made again
	soakRows    = 20
	soakWorkers = 20
	soakChanges = 2 // goroutines that change tables
)

// soak is a random load on many schemas whose tables change under it.
type soak struct {
	t    *testing.T
	way  string
	pool *pgdbm.Pool
	dbs  []*pgdbm.DB
	url  string // straight to the server
	end  time.Time

	rows, wrong atomic.Int64 // checked
	lines       atomic.Int64 // of logs, numbered
	jobs        atomic.Int64 // begun

	mu       sync.Mutex        // guards the fields below
	count    map[string]int    // what was done, and what came of it
	lastLost error             // the last use that lost its connection
	written  map[string]string // lines of logs that must be there, and their schemas
}

// Random statements in many schemas, while their tables change, calls are
// cancelled and server processes are killed: no row is another's, what was
// written is there once, and in the end no connection and no goroutine is left.
func TestNothingGoesWrongUnderRandomChangesAndFailures(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"straight", "pgbouncer"} {
		t.Run(way, func(t *testing.T) {
			// Goroutines inherit the label of the one that starts them.
			label := "soak " + way
			s := &soak{t: t, way: way, url: testdb.URL(t), count: make(map[string]int), written: make(map[string]string)}
			// So that a moment cast from one type to another is another moment.
			testdb.Exec(t, s.url, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = %L', current_database(), 'Asia/Tokyo'); END $$`)
			url := s.url
			if way == "pgbouncer" {
				url = testdb.PgBouncer(t, s.url)(s.url)
			}
			pprof.Do(t.Context(), pprof.Labels("test", label), func(context.Context) { s.run(url) })
			left := labelled(t, label)
			for n := 0; left != "" && n < 500; n++ { // a connection that ends takes a moment
				<-time.After(10 * time.Millisecond)
				left = labelled(t, label)
			}
			if left != "" {
				t.Errorf("goroutines are left:\n%s", left)
			}
		})
	}
}

// labelled returns the stacks of the goroutines that have a label.
func labelled(t *testing.T, label string) (stacks string) {
	t.Helper()
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		t.Fatal(err)
	}
	for stack := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(stack, `"test":"`+label+`"`) {
			stacks += stack + "\n\n"
		}
	}
	return stacks
}

func (s *soak) run(url string) {
	t := s.t
	pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: url, MaxConns: 8, SchemasPerConn: 20,
		ApplicationName: "soak", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.pool = pool
	conn := connect(t, s.url)
	for i := range soakSchemas {
		db := mustSchema(t, pool, fmt.Sprintf("tenant_%d", i))
		s.dbs = append(s.dbs, db)
		if _, err := conn.Exec(t.Context(), soakTables(db.Schema(), i)); err != nil {
			t.Fatal(err)
		}
	}
	s.end = time.Now().Add(*soakFor)
	var wg sync.WaitGroup
	for n := range soakWorkers {
		wg.Go(func() { s.work(rand.New(rand.NewPCG(uint64(n), 0))) })
	}
	for n := range soakChanges {
		wg.Go(func() { s.change(rand.New(rand.NewPCG(uint64(n), 1))) })
	}
	wg.Go(func() { s.migrate(rand.New(rand.NewPCG(0, 2))) })
	wg.Go(s.kill)
	wg.Wait()

	wantIdle(t, pool)
	connections := pool.Stat().NewConnsCount()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := pool.Shutdown(ctx); err != nil {
		t.Errorf("connections are left: %v", err)
	}
	s.audit(conn)
	s.report(connections)
	if s.way == "straight" { // PgBouncer keeps its own for a while
		waitUntil(t, func() bool {
			var left int
			err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'soak'`).Scan(&left)
			return err == nil && left == 0
		})
	}
}

// note counts something.
func (s *soak) note(what string) {
	s.mu.Lock()
	s.count[what]++
	s.mu.Unlock()
}

func (s *soak) noteLost(err error) {
	s.note("error: lost")
	s.mu.Lock()
	s.lastLost = err
	s.mu.Unlock()
}

// done says that it is over.
func (s *soak) done() bool { return time.Now().After(s.end) || s.t.Failed() }

// audit reads every row past pgdbm.
func (s *soak) audit(conn *pgx.Conn) {
	for n, db := range s.dbs {
		rows, err := conn.Query(s.t.Context(), `SELECT `+thingColumns+` FROM `+db.Schema()+`.things ORDER BY id`, pgx.QueryExecModeExec)
		if err != nil {
			s.t.Fatal(err)
		}
		all, err := pgx.CollectRows(rows, pgx.RowToStructByName[thing])
		if err != nil || len(all) != soakRows {
			s.t.Fatalf("%d rows of %s in the end: %v", len(all), db.Schema(), err)
		}
		for i, got := range all {
			s.check(db, int64(i+1), got)
		}
		s.auditLog(conn, n)
	}
	for line, schema := range s.written {
		s.t.Errorf("%s lacks line %s", schema, line)
	}
}

// auditLog looks for lines that are another schema's, are there twice, or are not
// there. Those of schemas that were dropped may be lost.
func (s *soak) auditLog(conn *pgx.Conn, n int) {
	schema := s.dbs[n].Schema()
	rows, err := conn.Query(s.t.Context(), `SELECT owner, note, count(*) FROM `+schema+`.log GROUP BY owner, note`, pgx.QueryExecModeExec)
	if err != nil {
		s.t.Fatal(err)
	}
	var owner, line string
	var times int
	_, err = pgx.ForEachRow(rows, []any{&owner, &line, &times}, func() error {
		s.rows.Add(1)
		if home, _, _ := strings.Cut(line, "/"); owner != schema || home != schema || times != 1 {
			s.wrong.Add(1)
			s.t.Errorf("%s has line %s of %s %d times", schema, line, owner, times)
		}
		delete(s.written, line)
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if n >= soakSchemas-soakDropped {
		maps.DeleteFunc(s.written, func(_, home string) bool { return home == schema })
	}
}

// report logs what was done, and fails when more went wrong than was disturbed.
func (s *soak) report(connections int64) {
	var counts strings.Builder
	for _, what := range slices.Sorted(maps.Keys(s.count)) {
		fmt.Fprintf(&counts, "\n%8d %s", s.count[what], what)
	}
	s.t.Logf("%d rows checked, %d wrong, %d connections made%s", s.rows.Load(), s.wrong.Load(), connections, counts.String())
	if s.jobs.Load() > 1000 { // the machine is not too busy for that
		s.enough(connections)
	}
	// A connection that was killed fails one use of it. PgBouncer ends its client's
	// a moment later, and refuses some while it notices.
	lost, most := s.count["error: lost"], s.count["killed"]
	if s.way == "pgbouncer" {
		most = 2*most + 10
	}
	if lost > most {
		s.t.Errorf("%d uses lost their connection, where %d were killed; the last one: %v", lost, s.count["killed"], s.lastLost)
	}
	if n := s.count["error: stale when killed"]; n > 2+s.count["killed"]/20 {
		s.t.Errorf("%d single statements were stale", n)
	}
	if s.way == "pgbouncer" && s.count["named statements"] > 0 {
		s.t.Errorf("%d statements have names", s.count["named statements"])
	}
}

// enough fails when something that may go wrong was not done.
func (s *soak) enough(connections int64) {
	want := []string{"killed", "dropped", "changed", "migrated"}
	want = slices.AppendSeq(want, maps.Keys(soakWork))
	if s.way == "straight" {
		want = append(want, "named statements", "cancelled")
	}
	for _, what := range want {
		if s.count[what] == 0 {
			s.t.Errorf("did not happen: %s", what)
		}
	}
	if connections < soakWorkers {
		s.t.Errorf("%d connections: none was recycled", connections)
	}
}

// kill ends a server process of the pool's now and then.
func (s *soak) kill() {
	conn := connect(s.t, s.url)
	for tick := time.NewTicker(150 * time.Millisecond); !s.done(); <-tick.C {
		var killed bool
		err := conn.QueryRow(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'soak' ORDER BY random() LIMIT 1`).Scan(&killed)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
		case err != nil:
			s.t.Error(err)
		case killed:
			s.note("killed")
		}
	}
}

// lost reports whether an error is that of a connection which has ended.
func (s *soak) lost(err error) bool {
	if code := state(err); code != "" {
		// PgBouncer says 08P01 when the server has ended a connection.
		return code == "57P01" || s.way == "pgbouncer" && code == "08P01" && pgError(err).Routine == ""
	}
	var dial net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.As(err, &dial) ||
		strings.Contains(err.Error(), "conn closed")
}
