package pgdbm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/statement"
)

// core is what all handles and views of one pool share.
type core struct {
	pgx            *pgxpool.Pool
	owned          bool // Open made pgx, so shutdown closes it
	logger         *slog.Logger
	schema         string      // Config.Schema
	isolates       bool        // Config.Isolate
	roles          atomic.Bool // a handle has a role
	acquireTimeout time.Duration
	maxConns       int64
	statements     *statement.Cache
	gate           *gate
	run            executor
	held           *bridge.Held // the transaction that all handles live in; mostly nil
	entry          *poolEntry

	closing atomic.Bool     // set under mu; read without it as an early refusal
	life    context.Context // ends with closing, for those who wait for a connection
	refuse  context.CancelFunc

	mu      sync.Mutex // guards the fields below
	leases  lease      // sentinel of a ring of the leases in use
	inUse   int
	drained chan struct{} // closed once closing and inUse == 0
	closed  chan struct{} // closed once pgx.Close has returned; nil before it is called
}

// newCore makes the core of a pool. schemas is how many a connection may work in
// before it is closed; see Config.SchemasPerConn.
func newCore(p *pgxpool.Pool, owned bool, schemas int) *core {
	c := &core{pgx: p, owned: owned, drained: make(chan struct{})}
	c.statements = statement.New(schemas, c.sawPooler)
	c.life, c.refuse = context.WithCancel(context.Background())
	c.maxConns = int64(p.Config().MaxConns)
	c.gate = newGate(int(c.maxConns))
	c.leases.prev, c.leases.next = &c.leases, &c.leases
	c.run = &poolExecutor{c}
	return c
}

// log returns the logger; the default one is looked up anew, so that a program
// may set it after it opened its pool.
func (c *core) log() *slog.Logger {
	if c.logger != nil {
		return c.logger
	}
	return slog.Default()
}

// sawPooler is called once, when a connection turns out to go through a pooler.
func (c *core) sawPooler() {
	c.log().Info("A connection pooler stands before the server: statements are sent without names",
		slog.String("server", c.pgx.Config().ConnConfig.Host))
}

// lease is one connection in the hands of one caller, from acquire to release.
// It remembers who took it, for Shutdown to name. Leases are recycled: nothing
// that outlives the release may point at one.
type lease struct {
	core   *core
	conn   *pgxpool.Conn
	schema string
	share  string // whose part of the pool it is; empty: nobody's
	sql    string // of a single statement; else the call stack says who it is
	since  time.Time
	pcs    [8]uintptr
	npcs   int

	prev, next *lease // guarded by core.mu
	caller     string // guarded by core.mu; file:line where the stack is too deep to tell

	// Result sets handed out are never used again, since callers may look at
	// them after Close; so they are cut off slabs, as pgxpool does.
	rowsSlab []rows
	rowSlab  []row
}

var leasePool = sync.Pool{New: func() any { return new(lease) }}

// acquire takes a connection on behalf of a handle. sql, if not empty, is the
// statement that it is for and whose end gives it back; other users are known by
// their call stack, which costs as much as a twentieth of a fast query.
func (c *core) acquire(ctx context.Context, h *handle, sql string) (*lease, error) {
	return c.acquireAs(ctx, h.schema, h.schema, h.limits, sql)
}

// acquireUnlimited takes a connection that counts for no schema's share. schema
// says for whom it is held.
func (c *core) acquireUnlimited(ctx context.Context, schema string) (*lease, error) {
	return c.acquireAs(ctx, schema, "", nil, "")
}

func (c *core) acquireAs(ctx context.Context, schema, share string, lim *limits, sql string) (*lease, error) {
	if c.closing.Load() {
		return nil, ErrClosed
	}
	if holding(ctx, c.pgx) {
		return nil, fmt.Errorf("%w: of schema %q", ErrNestedAcquire, schema)
	}
	now := time.Now()
	conn, waited, err := c.acquireConn(ctx, share, lim, now)
	if err != nil {
		if c.closing.Load() {
			return nil, ErrClosed
		}
		return nil, err
	}
	if waited {
		now = time.Now()
	}
	l := leasePool.Get().(*lease)
	l.core, l.conn, l.schema, l.share, l.sql, l.since = c, conn, schema, share, sql, now
	c.statements.Renew(now)
	l.npcs = 0
	if sql == "" {
		l.npcs = runtime.Callers(4, l.pcs[:])
	}

	c.mu.Lock()
	if c.closing.Load() {
		c.mu.Unlock()
		conn.Release()
		c.gate.give(share)
		return nil, ErrClosed
	}
	l.prev, l.next = c.leases.prev, &c.leases
	l.prev.next, l.next.prev = l, l
	c.inUse++
	c.mu.Unlock()
	return l, nil
}

// acquireConn takes a connection's token and then the connection, and reports
// whether it had to wait for the token.
func (c *core) acquireConn(ctx context.Context, share string, lim *limits, now time.Time) (_ *pgxpool.Conn, waited bool, _ error) {
	timeout := c.acquireTimeout
	if lim != nil && lim.timeout > 0 {
		timeout = lim.timeout
	}
	if timeout <= 0 {
		return c.acquireWithin(ctx, share, lim, now)
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, waited, err := c.acquireWithin(limited, share, lim, now)
	if err != nil && ctx.Err() == nil && errors.Is(limited.Err(), context.DeadlineExceeded) {
		s := c.pgx.Stat()
		err = fmt.Errorf("%w: %d of %d in use after %v", ErrAcquireTimeout, s.AcquiredConns(), s.MaxConns(), timeout)
		if held, limit := c.gate.standing(share, lim); share != "" && held >= limit {
			err = fmt.Errorf("%w, %d of them by schema %q, which may hold %d", err, held, share, limit)
		}
		return nil, waited, err
	}
	return conn, waited, err
}

func (c *core) acquireWithin(ctx context.Context, share string, lim *limits, now time.Time) (_ *pgxpool.Conn, waited bool, _ error) {
	w, err := c.gate.take(share, lim, now)
	if err != nil {
		return nil, false, err
	}
	if w != nil {
		// It may wait for one that never comes back; closing the pool ends that.
		waiting, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(c.life, cancel)
		err := c.gate.wait(waiting, w)
		stop()
		cancel()
		if err != nil {
			return nil, true, err
		}
	}
	conn, err := c.pgx.Acquire(ctx)
	if err != nil {
		c.gate.give(share)
	}
	return conn, w != nil, err
}

// release gives the connection back. It must be called exactly once.
func (l *lease) release() { l.end(false) }

// discard closes the connection instead of giving it back.
func (l *lease) discard() { l.end(true) }

func (l *lease) end(discard bool) {
	c, conn := l.core, l.conn
	c.mu.Lock()
	l.prev.next, l.next.prev = l.next, l.prev
	l.prev, l.next, l.caller = nil, nil, ""
	c.inUse--
	last := c.inUse == 0 && c.closing.Load()
	c.mu.Unlock()

	share := l.share
	l.core, l.conn, l.schema, l.share, l.sql = nil, nil, "", "", ""
	leasePool.Put(l)

	if discard || statement.Spent(conn.Conn()) {
		// pgxpool destroys a closed connection when it comes back.
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		_ = conn.Conn().Close(ctx)
		cancel()
	}
	conn.Release()
	c.gate.give(share)
	if last {
		close(c.drained)
	}
}

// shutdown drains and closes; it may be called by several goroutines at once.
func (c *core) shutdown(ctx context.Context) error {
	c.mu.Lock()
	if !c.closing.Swap(true) && c.inUse == 0 {
		close(c.drained)
	}
	c.mu.Unlock()
	c.refuse()
	c.entry.leave()

	select {
	case <-c.drained:
	case <-ctx.Done():
		c.closePgx() // so that connections end as they come back
		return c.shutdownError(ctx)
	}
	select {
	case <-c.closePgx():
		return nil
	case <-ctx.Done():
		return c.shutdownError(ctx)
	}
}

// closePgx starts to close an owned pool, once, and returns a channel that is
// closed when that is done. pgxpool's Close waits for every connection without
// limit, so it has a goroutine of its own, which ends with the last of them.
func (c *core) closePgx() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == nil {
		done := make(chan struct{})
		c.closed = done
		if !c.owned {
			close(done)
			return done
		}
		go func() {
			defer close(done)
			c.pgx.Close()
		}()
	}
	return c.closed
}

func (c *core) shutdownError(ctx context.Context) error {
	e := &ShutdownError{Err: context.Cause(ctx)}
	c.mu.Lock()
	for l := c.leases.next; l != &c.leases; l = l.next {
		h := Holder{Schema: l.schema, SQL: l.sql, Held: time.Since(l.since)}
		switch {
		case l.caller != "":
			h.Caller = l.caller
		case l.sql == "":
			h.Caller = outside(l.pcs[:l.npcs])
		}
		e.Holders = append(e.Holders, h)
	}
	c.mu.Unlock()
	if c.owned {
		e.Foreign = max(0, int(c.pgx.Stat().AcquiredConns())-len(e.Holders))
	}
	if len(e.Holders)+e.Foreign == 0 && c.isClosed() {
		return nil // the last one came back while we looked
	}
	return e
}

func (c *core) isClosed() bool {
	select {
	case <-c.closePgx():
		return true
	default:
		return false
	}
}

// callerOutside is the file:line that called into this package.
func callerOutside() string {
	var pcs [16]uintptr
	return outside(pcs[:runtime.Callers(2, pcs[:])])
}

// outside is the innermost frame of pcs that is not this package's own code.
func outside(pcs []uintptr) string {
	frames := runtime.CallersFrames(slices.Clone(pcs))
	for {
		f, more := frames.Next()
		own := strings.HasPrefix(f.Function, packagePrefix) || strings.HasPrefix(f.Function, migratePrefix) || strings.HasPrefix(f.Function, tenantPrefix) ||
			path.Dir(f.File) == packageDir && !strings.HasSuffix(f.File, "_test.go") ||
			strings.HasPrefix(f.Function, "runtime.") // where a goroutine begins
		if f.Function != "" && !own {
			return fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if !more {
			return "unknown"
		}
	}
}

// packagePrefix begins the name of every function of this package, and of no
// other: an external test package is called pgdbm_test.
const packagePrefix = "github.com/pgdbm/pgdbm."

// migratePrefix and tenantPrefix are those of packages that call in for their
// callers.
const (
	migratePrefix = "github.com/pgdbm/pgdbm/migrate."
	tenantPrefix  = "github.com/pgdbm/pgdbm/tenant."
)

// packageDir tells this package's own code where the name does not: a closure
// of a function that was inlined, as Each's, is named after the caller.
var packageDir = func() string {
	_, file, _, _ := runtime.Caller(0)
	return path.Dir(file)
}()
