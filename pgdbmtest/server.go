package pgdbmtest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm/internal/testurl"
	"github.com/pgdbm/pgdbm/localpg"
)

const (
	urlEnv    = "PGDBM_TEST_URL"
	remoteEnv = "PGDBM_TEST_ALLOW_REMOTE"

	// marker in the comment of the maintenance database says that a remote
	// server is there for tests.
	marker = "pgdbm test server"

	// runClass is the first half of the advisory lock that each process holds
	// as long as it lives; the second is its run's number.
	runClass = 0x7067646d

	startLimit = time.Minute

	// waitLimit is how long a run may wait for others to leave it connections.
	waitLimit = 8 * time.Minute

	maxSpare = 8 // clones of a template that are ready
)

// server is the PostgreSQL server of this process's tests, with the databases
// that this process, a run, makes on it.
type server struct {
	local    *localpg.Server // nil for that of PGDBM_TEST_URL
	target   testurl.Target
	admin    *pgxpool.Pool // on the maintenance database
	run      string        // eight hex digits, in the names of the run's databases
	foreign  bool          // of PGDBM_TEST_URL: it outlives all processes
	fileCopy string        // clause of CREATE DATABASE
	facts    []string      // that shape a template
	workers  int           // clones made at the same time
	slots    *budget
	warm     readiness // clones with a connection
	rested   readiness // connections of databases for Tx
	drops    *dropper

	lifeMu sync.Mutex // guards life
	life   *pgx.Conn  // holds the locks of the run and of its templates

	restedMu sync.Mutex    // guards restedIn
	restedIn []*txDatabase // what the connections that wait are of, the oldest first

	late sync.Once // the second sweep

	mu        sync.Mutex // guards the fields below
	templates map[string]*template
	active    int // databases in the hands of tests
	peak      int // the most there were
}

// current is the server of this process once a test has asked for it.
var current struct {
	mu     sync.Mutex // guards the fields below; held while the server is opened
	opened bool
	server *server
	err    error
}

// shared returns the process's server, which the first caller opens.
func shared() (*server, error) {
	current.mu.Lock()
	defer current.mu.Unlock()
	if !current.opened {
		ctx, cancel := context.WithTimeout(context.Background(), startLimit)
		defer cancel()
		current.server, current.err = open(ctx)
		current.opened = true
	}
	return current.server, current.err
}

// Shutdown ends what this package keeps for tests to come: connections,
// goroutines, databases that are ready, and this process's hold on the private
// server. Nobody needs to call it, since all of it ends with the process, but a
// TestMain that looks for leaked goroutines, which does so after m.Run. A test
// that comes after it begins anew; none may be running.
func Shutdown() {
	current.mu.Lock()
	defer current.mu.Unlock()
	if current.server != nil {
		current.server.close()
	}
	current.opened, current.server, current.err = false, nil, nil
}

// serverFor returns the process's server, or ends the test.
func serverFor(tb testing.TB) *server {
	tb.Helper()
	s, err := shared()
	if err == nil {
		return s
	}
	var missing *localpg.NotFoundError
	if os.Getenv("CI") == "" && (errors.As(err, &missing) || errors.Is(err, errors.ErrUnsupported)) {
		tb.Skip(err)
	}
	tb.Fatal(err)
	return nil
}

func open(ctx context.Context) (*server, error) {
	s := &server{workers: min(runtime.GOMAXPROCS(0), 4), templates: map[string]*template{}}
	text := os.Getenv(urlEnv)
	s.foreign = text != ""
	if !s.foreign {
		var err error
		if s.local, err = localpg.Start(ctx, &localpg.Options{Shared: true, Fetch: true}); err != nil {
			return nil, err // it ends with the last process that uses it
		}
		text = s.local.URL("postgres")
	}
	var err error
	if s.target, err = testurl.Parse(text); err != nil {
		return nil, fmt.Errorf("pgdbmtest: %s: %w", urlEnv, err)
	}
	if err := s.connect(ctx); err != nil {
		return nil, fmt.Errorf("pgdbmtest: test server: %w", err)
	}
	if err := s.sweep(ctx); err != nil {
		return nil, fmt.Errorf("pgdbmtest: sweep: %w", err)
	}
	return s, nil
}

// sweep has dropped what dead runs left.
func (s *server) sweep(ctx context.Context) error {
	drops, err := leftovers(ctx, s.admin)
	for _, d := range drops {
		s.drops.add(d)
	}
	return err
}

// sweepLate has dropped what the server still made for a run that was killed just
// before this one began.
func (s *server) sweepLate() {
	ctx, cancel := context.WithTimeout(context.Background(), dropLimit)
	defer cancel()
	_ = s.sweep(ctx) // what stays is for the next run
}

// connect opens the administrative connections and learns what the server is.
func (s *server) connect(ctx context.Context) error {
	cfg, err := maintenance(ctx, s.target)
	if err != nil {
		return err
	}
	cfg.MaxConns = int32(s.workers) + 2 // creating, dropping, and one to ask meanwhile
	if s.life, err = connectInTurn(ctx, cfg.ConnConfig); err != nil {
		return err
	}
	if s.admin, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return err
	}
	s.drops = newDropper(s.admin)
	connections, err := s.learn(ctx)
	if err != nil {
		return err
	}
	if err := s.register(ctx); err != nil {
		return err
	}
	return s.share(connections, runUnits*unitSize-1-int(cfg.MaxConns))
}

// share takes this run's units of the server's connections, of which this many
// may stay open for tests to come.
func (s *server) share(connections, idle int) error {
	u, err := newUnits(s, connections)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	got, err := u.await(ctx, runUnits+testUnits)
	if err != nil {
		return fmt.Errorf("wait for connections, of which others' tests have too many: %w", err)
	}
	s.slots = newBudget(u, got[:testUnits])
	// What is just convenient comes from a quarter that is not needed by anybody.
	for _, n := range []int{3, 1} {
		more, err := u.try(n, u.total-u.total/4+1)
		if err != nil {
			return err
		}
		if more != nil {
			idle += n * unitSize
			break
		}
	}
	s.rested.most = max(idle/3, 1)
	s.warm.most = idle - s.rested.most
	return nil
}

// connectInTurn waits while the server has no connection left.
func connectInTurn(ctx context.Context, cfg *pgx.ConnConfig) (conn *pgx.Conn, err error) {
	waitErr := poll(ctx, func() (bool, error) {
		conn, err = pgx.ConnectConfig(ctx, cfg)
		refused, ok := errors.AsType[*pgconn.PgError](err)
		full := ok && refused.Code == "53300" // too_many_connections
		return !full, nil
	})
	if waitErr != nil {
		err = errors.Join(waitErr, err)
	}
	return conn, err
}

// poll calls done until it reports so, fails, or ctx ends.
func poll(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(unitPoll)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// maintenance configures connections to the database postgres, where locks of
// all runs meet, or else to the one that the URL names.
func maintenance(ctx context.Context, target testurl.Target) (*pgxpool.Config, error) {
	var first error
	for _, database := range []string{"postgres", ""} {
		cfg, err := pgxpool.ParseConfig(target.URL(database))
		if err != nil {
			return nil, errors.New("URL cannot be used") // the cause quotes it
		}
		cfg.ConnConfig.RuntimeParams["application_name"] = "pgdbmtest"
		cfg.ConnConfig.RuntimeParams["idle_session_timeout"] = "0"
		conn, err := connectInTurn(ctx, cfg.ConnConfig)
		if err == nil {
			return cfg, conn.Close(ctx)
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// learn asks the server for what shapes a template and a run. It returns how
// many connections tests may have.
func (s *server) learn(ctx context.Context) (connections int, err error) {
	var version int
	var fsync, comment, encoding, collate, ctype, role string
	err = s.life.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('fsync'),
		current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
			- coalesce(current_setting('reserved_connections', true)::int, 0),
		coalesce((SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()), ''),
		pg_encoding_to_char(t.encoding), t.datcollate, t.datctype, current_user
		FROM pg_database t WHERE t.datname = 'template0'`).
		Scan(&version, &fsync, &connections, &comment, &encoding, &collate, &ctype, &role)
	if err != nil {
		return 0, err
	}
	if s.foreign && !local(s.target.Hosts()) && os.Getenv(remoteEnv) != "1" && !strings.Contains(comment, marker) {
		return 0, fmt.Errorf("%s names a server of another machine; %s is not 1, nor has its database postgres the comment %q",
			urlEnv, remoteEnv, marker)
	}
	if version >= 150000 && fsync == "off" {
		s.fileCopy = " STRATEGY file_copy" // its checkpoints cost nothing without fsync
	}
	s.facts = []string{fmt.Sprint(version), encoding, collate, ctype, role}
	return connections, nil
}

func local(hosts []string) bool {
	for _, h := range hosts {
		ip := net.ParseIP(h)
		if !strings.HasPrefix(h, "/") && !strings.HasPrefix(h, "@") && h != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

// use marks a template as used by this run as long as it lives.
func (s *server) use(ctx context.Context, template string) error {
	ctx = context.WithoutCancel(ctx) // its end would take the session along
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	_, err := s.life.Exec(ctx, "SELECT pg_advisory_lock_shared($1)", useKey(template))
	return err
}

// register takes the run's lock, before the run makes anything.
func (s *server) register(ctx context.Context) error {
	for {
		var id [4]byte
		rand.Read(id[:]) // never fails
		var ok bool
		err := s.life.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, $2)", int32(runClass), int32(binary.BigEndian.Uint32(id[:]))).Scan(&ok)
		if err != nil {
			return err
		}
		if ok {
			s.run = hex.EncodeToString(id[:])
			return nil
		}
	}
}

// url returns the URL of a database whose sessions have this search_path.
func (s *server) url(database, searchPath string) string {
	return urlOf(s.target, database, searchPath)
}

func urlOf(t testurl.Target, database, searchPath string) string {
	escape := strings.NewReplacer(`\`, `\\`, " ", `\ `)
	options := t.Param("options") + " -csearch_path=" + escape.Replace(searchPath)
	return t.With("options", strings.TrimSpace(options)).URL(database)
}

// enter and leave count the databases that tests have. On a server that
// outlives this process the last one to leave takes all with it, since nobody
// can tell whether another test will follow.
func (s *server) enter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active++
	s.peak = max(s.peak, s.active)
}

func (s *server) leave() {
	s.mu.Lock()
	s.active--
	active := s.active
	s.mu.Unlock()
	if active > 0 {
		return
	}
	s.late.Do(s.sweepLate)
	s.drops.waitSwept() // this may be the last chance
	if s.foreign {
		s.flush()
	}
}

// flush drops the clones that nobody has.
func (s *server) flush() {
	for _, t := range s.all() {
		for _, c := range t.surplus() {
			s.cool(&c)
			s.drops.add(drop{name: c.name, own: true})
		}
	}
	s.drops.wait()
}

func (s *server) all() []*template {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.templates))
}

func (s *server) close() {
	for _, t := range s.all() {
		t.sharing.Lock()
		if d := t.tx; d != nil {
			d.pool.Close()
			s.drops.add(drop{name: d.name, own: true})
			t.tx = nil
		}
		t.sharing.Unlock()
	}
	s.flush()
	s.slots.close()
	s.admin.Close()
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	_ = s.life.Close(ctx) // its locks go with the server's session in any case
	if s.local != nil {
		_ = s.local.Stop(ctx) // lets go, which cannot fail
	}
}

// spare is how many clones of a template are kept ready where a test asks for
// this many; 0 is no wish.
func (s *server) spare(prefetch int) int {
	if prefetch < 0 {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if prefetch == 0 {
		prefetch = max(s.workers, min(s.peak, maxSpare)) // parallel tests ask at the same time
	}
	switch {
	case !s.foreign:
		return prefetch
	case s.active == 0:
		return 0
	}
	return min(prefetch, s.peak-1) // tests in sequence would flush them
}
