package engine_test

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A database is an empty database of the test's own.
type database struct {
	t   *testing.T
	url string
}

func newDatabase(t *testing.T) *database {
	t.Helper()
	return &database{t, testdb.URL(t)}
}

// A program is one process that migrates: a runner with a pool of a single connection, and what it logged.
type program struct {
	*engine.Runner
	t          *testing.T
	pool       *pgxpool.Pool
	logs       *logs
	roundTrips *atomic.Int64 // messages that the runner's connections have sent, connecting included
	connects   *atomic.Int64
	discarded  *atomic.Int64
}

func (d *database) program(change ...func(*pgxpool.Config)) *program {
	d.t.Helper()
	cfg, err := pgxpool.ParseConfig(d.url)
	if err != nil {
		d.t.Fatal(err)
	}
	cfg.MaxConns, cfg.MinConns = 1, 0
	p := &program{t: d.t, logs: new(logs), roundTrips: new(atomic.Int64), connects: new(atomic.Int64), discarded: new(atomic.Int64)}
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		p.connects.Add(1)
		return countingConn{conn, p.roundTrips}, nil
	}
	for _, fn := range change {
		fn(cfg)
	}
	p.pool, err = pgxpool.NewWithConfig(d.t.Context(), cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(p.pool.Close)
	p.Runner = &engine.Runner{
		Logger: slog.New(p.logs),
		Tool:   "engine_test 1",
		Acquire: func(ctx context.Context) (*pgx.Conn, func(bool), error) {
			c, err := p.pool.Acquire(ctx)
			if err != nil {
				return nil, nil, err
			}
			return c.Conn(), func(discard bool) {
				if discard {
					p.discarded.Add(1)
					c.Conn().Close(context.Background())
				}
				c.Release()
			}, nil
		},
	}
	return p
}

// countingConn counts writes: the driver makes one for each message that it waits on.
type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// logs keeps what was logged, a line each: "LEVEL message key=value ...".
type logs struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logs) WithGroup(string) slog.Handler            { return l }

func (l *logs) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// target loads the files, given as name and text in turn, of a module for a schema.
func target(t *testing.T, module, schema string, nameAndText ...string) engine.Target {
	t.Helper()
	names, err := sqltemplate.NewNames(schema, nil)
	if err != nil {
		t.Fatal(err)
	}
	return engine.Target{Module: module, Schema: schema, Files: load(t, module, nameAndText...), Names: names}
}

func load(t *testing.T, module string, nameAndText ...string) []*engine.File {
	t.Helper()
	files, err := engine.Load(module, mapFS(nameAndText...))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func mapFS(nameAndText ...string) fs.FS {
	m := make(fstest.MapFS)
	for i := 0; i < len(nameAndText); i += 2 {
		m[nameAndText[i]] = &fstest.MapFile{Data: []byte(nameAndText[i+1])}
	}
	return m
}

// up migrates and fails the test on an error.
func (p *program) up(target engine.Target) *engine.Result {
	p.t.Helper()
	res, err := p.Up(p.t.Context(), target)
	if err != nil {
		p.t.Fatalf("Up: %v", err)
	}
	return res
}

// versions are those that a result applied, joined by spaces.
func versions(res *engine.Result) string {
	var s []string
	for _, a := range res.Applied {
		s = append(s, a.Version)
	}
	return strings.Join(s, " ")
}

// connect opens a connection beside the programs under test.
func (d *database) connect() *pgx.Conn {
	d.t.Helper()
	c, err := pgx.Connect(d.t.Context(), d.url)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// exec runs statements as the database's owner.
func (d *database) exec(sql string) {
	d.t.Helper()
	c := d.connect()
	defer c.Close(context.Background())
	if _, err := c.PgConn().Exec(d.t.Context(), sql).ReadAll(); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
}

// value returns the single value of a query as text.
func (d *database) value(sql string, args ...any) string {
	d.t.Helper()
	c := d.connect()
	defer c.Close(context.Background())
	var v any
	if err := c.QueryRow(d.t.Context(), sql, args...).Scan(&v); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
	return fmt.Sprint(v)
}

// want fails the test unless the query's value is as said.
func (d *database) want(want, sql string, args ...any) {
	d.t.Helper()
	if got := d.value(sql, args...); got != want {
		d.t.Errorf("%s: got %s, want %s", sql, got, want)
	}
}

// eventually waits until the query's value is as said.
func (d *database) eventually(want, sql string, args ...any) {
	d.t.Helper()
	c := d.connect()
	defer c.Close(context.Background())
	var got any
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if err := c.QueryRow(d.t.Context(), sql, args...).Scan(&got); err != nil {
			d.t.Fatalf("%s: %v", sql, err)
		}
		if fmt.Sprint(got) == want {
			return
		}
	}
	d.t.Fatalf("%s: still %v, want %s", sql, got, want)
}

// contains fails the test unless text holds each of the parts.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q lacks %q", text, part)
		}
	}
}

// role creates a role of the test's own and grants it "create on database", or nothing.
func (d *database) role(grants string) string {
	d.t.Helper()
	name := "r_" + d.value("select current_database() || '_' || substr(md5(random()::text), 1, 6)")
	name = name[:min(63, len(name))]
	d.exec("create role " + sqltemplate.Quote(name))
	d.t.Cleanup(func() {
		c, err := pgx.Connect(context.Background(), d.url)
		if err != nil {
			return // the database is gone
		}
		defer c.Close(context.Background())
		quoted := sqltemplate.Quote(name)
		if _, err := c.PgConn().Exec(context.Background(), "drop owned by "+quoted+" cascade; drop role "+quoted).ReadAll(); err != nil {
			d.t.Errorf("drop role: %v", err)
		}
	})
	if grants == "create on database" {
		d.exec("grant create on database " + sqltemplate.Quote(d.value("select current_database()")) + " to " + sqltemplate.Quote(name))
	}
	return name
}

// contextUntil returns a context that ends when the condition holds.
func contextUntil(t *testing.T, cond func() bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // ends with the context
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if cond() {
					cancel()
				}
			}
		}
	}()
	return ctx, cancel
}

// asSuperuser skips the test where its role may not change the catalogs.
func (d *database) asSuperuser() {
	d.t.Helper()
	if d.value("select rolsuper from pg_roles where rolname = current_user") != "true" {
		d.t.Skip("takes a superuser")
	}
}

// encrypted reports whether connections use TLS.
func (d *database) encrypted() bool {
	d.t.Helper()
	return d.value("select coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false)") == "true"
}
