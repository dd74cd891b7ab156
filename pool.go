package pgdbm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Pool is one pool of connections to one database. Handles bound to schemas
// come from [Pool.Schema], [Pool.Handle] and [Attach]; they all share its
// connections. A Pool is safe for concurrent use. Its zero value is not usable.
//
// A Pool from [Open] is closed by whoever opened it, with [Pool.Shutdown] or
// [Pool.Close]. A Pool from [Borrow] never closes the pgxpool.Pool it stands
// on. [DB.Pool] returns a view: its Shutdown and Close do nothing.
type Pool struct {
	core *core
	view bool
}

// closeTimeout is how long [Pool.Close] drains.
const closeTimeout = 5 * time.Second

// Open opens a pool and waits until the database answers, trying again as
// cfg.Retry says. It creates nothing in the database. When this process
// already has a pool to the same database, Open warns, or fails with
// [ErrDuplicatePool] under [DuplicateFail]. The caller owns the pool.
//
// ctx bounds Open alone, not the pool's life.
func Open(ctx context.Context, cfg Config) (*Pool, error) {
	pc, err := cfg.pgxConfig()
	if err != nil {
		return nil, fmt.Errorf("pgdbm: open: %w", err)
	}
	pp, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("pgdbm: open: %w", err)
	}
	c := newCore(pp, true, cfg.SchemasPerConn)
	c.logger = cfg.Logger
	c.schema, c.isolates = cfg.Schema, cfg.Isolate

	id, err := cfg.Retry.connect(ctx, c)
	if err != nil {
		go pp.Close()
		return nil, fmt.Errorf("pgdbm: open: %w", err)
	}
	c.acquireTimeout = cfg.AcquireTimeout // not before: the first wait is ConnectTimeout's
	if err := c.register(id, callerOutside(), cfg.OnDuplicate); err != nil {
		go pp.Close()
		return nil, fmt.Errorf("pgdbm: open: %w", err)
	}
	return &Pool{core: c}, nil
}

// Borrow makes a Pool of a pgxpool.Pool that somebody else owns. Closing the
// result ends its own work and never touches p, which must stay open as long
// as handles of the result are used. No hook or tracer is added to p.
// A connection of p that has worked in 1000 schemas is closed when it is given
// back; see [Config.SchemasPerConn].
func Borrow(p *pgxpool.Pool) (*Pool, error) {
	if p == nil {
		return nil, errors.New("pgdbm: borrow: nil *pgxpool.Pool")
	}
	c := newCore(p, false, 0)
	if g := gateOf(p); g != nil {
		c.gate = g
	}
	// A duplicate is a warning here, whatever the other pool's policy: Borrow
	// opened nothing.
	_ = c.register(serverID{}, callerOutside(), DuplicateWarn)
	return &Pool{core: c}, nil
}

// Ping takes a connection and asks the server for nothing, successfully.
func (p *Pool) Ping(ctx context.Context) error {
	if held := p.core.held; held != nil {
		_, err := held.Tx.Exec(ctx, "")
		return err
	}
	l, err := p.core.acquireUnlimited(ctx, "")
	if err != nil {
		return err
	}
	defer l.release()
	return l.conn.Ping(ctx)
}

// Stat returns a snapshot of the pool's counters. It takes no connection.
func (p *Pool) Stat() Stat { return Stat{p.core.pgx.Stat(), p.core.gate.snapshot()} }

// Pgx returns the pgxpool.Pool below, for what this package does not offer. It
// belongs to p: do not close it.
func (p *Pool) Pgx() *pgxpool.Pool { return p.core.pgx }

// Shutdown refuses new work with [ErrClosed], waits until every connection has
// come back, and closes the pool if Open made it. When ctx ends first, it
// returns a [*ShutdownError] that names who still holds connections; the pool
// stays closed to new work, and each connection is closed as it comes back.
// Shutdown may be called again, to wait on. On a view it does nothing.
func (p *Pool) Shutdown(ctx context.Context) error {
	if p.view {
		return nil
	}
	return p.core.shutdown(ctx)
}

// Close is [Pool.Shutdown] with 5 seconds to drain; what Shutdown would return
// goes to the logger as a warning. It never blocks for longer.
func (p *Pool) Close() {
	if p.view {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := p.core.shutdown(ctx); err != nil {
		p.core.log().LogAttrs(ctx, slog.LevelWarn, "Pool closed with connections in use", slog.Any("error", err))
	}
}

// Stat is a snapshot of a pool's counters; the methods are pgxpool's, and Schemas.
type Stat struct {
	*pgxpool.Stat
	schemas []SchemaStat
}

// SchemaStat is what a schema has of a pool at one moment.
type SchemaStat struct {
	Schema  string
	Held    int // connections in use through handles of the schema
	Waiting int // calls that wait for one
}

// Schemas lists the schemas that hold connections or wait for one, by name.
func (s Stat) Schemas() []SchemaStat { return slices.Clone(s.schemas) }
