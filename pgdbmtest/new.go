package pgdbmtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
)

const (
	keepEnv = "PGDBM_TEST_KEEP"

	defaultConns = 4

	// endLimit is how long a test's connections may take to come back.
	endLimit = 5 * time.Second
)

// Config is what [New], [Tx] and [EachSource] do differently from their
// defaults, which are its zero value. A Config may be used again and
// concurrently.
type Config struct {
	// Seed fills the template after the migrations, once, not in each test. What
	// it sets for the database itself, by ALTER DATABASE, is not copied.
	// Nil: nothing. It must close what it opens.
	Seed func(ctx context.Context, pool *pgdbm.Pool) error

	// SeedKey tells seeds apart: templates are found by it, since what a
	// function does cannot be seen. Required with Seed, and to be changed with
	// what Seed does.
	SeedKey string

	// Prefetch is how many copies of the template are kept ready beside those
	// that tests have. Zero: as many as tests have had at the same time, from 2 to 8. Negative:
	// none. On a
	// server that outlives the process tests in sequence get none.
	Prefetch int

	// Pool, if not nil, may change how a test's pool is opened: its logger,
	// tracer or MaxConns, which is 4. What says where to connect must stay.
	Pool func(*pgdbm.Config)
}

// New returns a pool of the test's own on a database of its own, in which the
// modules are migrated, each in its Module.Schema or else its Name.
//
// Modules are given with those that they require. pgdbm.Attach with the pool
// finds nothing to do. Pool and database end with the test; the pool's Close
// need not be called, and may. It is an error of the test when connections are
// still in use at its end.
//
// search_path has only the schemas that hold extensions, so SQL that names a
// table without its template fails.
func New(tb testing.TB, modules ...pgdbm.Module) *pgdbm.Pool {
	tb.Helper()
	return Config{}.New(tb, modules...)
}

// New is [New] as c says.
func (c Config) New(tb testing.TB, modules ...pgdbm.Module) *pgdbm.Pool {
	tb.Helper()
	log := newTestLog(tb)
	cfg := pgdbm.Config{MaxConns: defaultConns, Logger: log.logger(slog.LevelWarn)}
	if c.Pool != nil {
		c.Pool(&cfg)
	}
	conns := int(cmp.Or(cfg.MaxConns, defaultConns))
	cfg.MaxConns = int32(conns)
	d := c.database(tb, conns, modules)
	if c.Pool != nil { // opened in another way
		d.server.cool(&d.clone)
	}
	pool := d.clone.pool
	if pool == nil {
		cfg.URL = d.url
		var err error
		if pool, err = pgdbm.Open(tb.Context(), cfg); err != nil {
			tb.Fatalf("pgdbmtest: %v", err)
		}
		bridge.Budgeted(pool)
	} else {
		d.server.warm.end()
		d.clone.logger.set(tb)
		tb.Cleanup(func() { d.clone.logger.set(nil) })
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), endLimit)
		defer cancel()
		if err := pool.Shutdown(ctx); err != nil {
			tb.Errorf("pgdbmtest: connections are in use at the end of the test: %v", err)
		}
	})
	return pool
}

// URL returns the URL of a database as that of [New], without a pool: for
// programs that open their own, of up to four connections in all. The URL sets
// the search_path by libpq's parameter options.
func URL(tb testing.TB, modules ...pgdbm.Module) string {
	tb.Helper()
	return Config{}.URL(tb, modules...)
}

// URL is [URL] as c says.
func (c Config) URL(tb testing.TB, modules ...pgdbm.Module) string {
	tb.Helper()
	d := c.database(tb, defaultConns, modules)
	d.server.cool(&d.clone)
	return d.url
}

// database is one that a test has.
type database struct {
	server *server
	clone  clone
	name   string
	url    string
}

// database takes a clone and has it dropped, or kept, when the test ends. What
// the caller registers for clean-up runs before that.
func (c Config) database(tb testing.TB, conns int, modules []pgdbm.Module) database {
	tb.Helper()
	s, t := c.begin(tb, conns, modules)
	clone, err := t.take(tb.Context(), c.Prefetch)
	if err != nil {
		tb.Fatalf("pgdbmtest: clone: %v", err)
	}
	d := database{server: s, clone: clone, name: clone.name, url: s.url(clone.name, t.searchPath)}
	tb.Cleanup(func() { d.end(tb, t.searchPath) })
	return d
}

// begin enters the test with its connections and finds the template.
func (c Config) begin(tb testing.TB, conns int, modules []pgdbm.Module) (*server, *template) {
	tb.Helper()
	if (c.Seed == nil) != (c.SeedKey == "") {
		tb.Fatal("pgdbmtest: Seed and SeedKey go together")
	}
	s := serverFor(tb)
	s.enter()
	tb.Cleanup(s.leave)
	if conns > 0 {
		if err := s.slots.take(tb.Context(), tb.Name(), conns); err != nil {
			tb.Fatalf("pgdbmtest: wait for %d connections: %v", conns, err)
		}
		tb.Cleanup(func() { s.slots.give(tb.Name(), conns) })
	}
	t, err := s.template(tb.Context(), c, modules, Logger(tb, slog.LevelWarn))
	if err != nil {
		tb.Fatalf("pgdbmtest: %v", err)
	}
	return s, t
}

// end drops the database, or keeps it with what the log says to open it.
func (d database) end(tb testing.TB, searchPath string) {
	keep := tb.Failed()
	switch os.Getenv(keepEnv) {
	case "always":
		keep = true
	case "never":
		keep = false
	}
	if !keep {
		d.server.drops.add(drop{name: d.name, own: true})
		return
	}
	until, err := d.keep(tb)
	if err != nil {
		tb.Logf("pgdbmtest: keep database %s: %v", d.name, err)
	}
	show, password := d.server.target.With("password", ""), ""
	if d.server.target.Param("password") != "" {
		password = ", the password of " + urlEnv + " in PGPASSWORD"
	}
	tb.Logf("pgdbmtest: database kept %s\n\topen: psql %q\n\tdrop: psql %q -c 'DROP DATABASE %s'\n\twith the schema before each table's name%s",
		until, urlOf(show, d.name, searchPath), show.URL("postgres"), d.name, password)
}

// keepServerFor is how long a private server stays for a look at what failed.
var keepServerFor = 30 * time.Minute

// keep notes whose the database was, for the sweep, drops those that earlier
// runs of the same test left, and has a private server stay where somebody may
// come to look. It returns how long that will be.
func (d database) keep(tb testing.TB) (until string, err error) {
	until = "until it is dropped, or the test fails again"
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	switch {
	case d.server.foreign:
	case os.Getenv("CI") != "":
		until = "until these tests end, with their server"
	default:
		until = fmt.Sprintf("for %v, with its server", keepServerFor)
		err = d.server.local.Keep(ctx, keepServerFor)
	}
	n := note{Package: testProgram(), Test: tb.Name(), Kept: now()}
	if err := errors.Join(err, commentOn(ctx, d.server.admin, d.name, n)); err != nil {
		return until, err
	}
	all, err := databases(ctx, d.server.admin)
	for _, o := range all {
		if on := o.note(); o.Name != d.name && on.Kept != "" && on.Package == n.Package && on.Test == n.Test {
			d.server.drops.add(drop{name: o.Name})
		}
	}
	return until, err
}

// testProgram names the package under test.
func testProgram() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Path != "" {
		return info.Path
	}
	return os.Args[0]
}
