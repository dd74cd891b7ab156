package pgdbm

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"weak"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm/internal/bridge"
)

// serverID says which database a pool really reaches, seen from the server: a
// socket, localhost, an address and a pooler in between all look the same.
// The zero value is unknown.
type serverID struct {
	system   string // of the cluster; empty where the role may not ask
	started  string // when the server was; tells copies of a cluster apart
	database string // OID
	user     string
	maxConns int // what the server has for roles without special rights
}

// poolEntry is one open pool of this process.
type poolEntry struct {
	core     weak.Pointer[core]
	pool     weak.Pointer[pgxpool.Pool]
	address  string // hosts and ports as configured, fallbacks included
	database string
	user     string
	target   string // HOST:PORT/DATABASE, for messages
	where    string // file:line that opened it
	maxConns int
	borrowed bool

	id       serverID // guarded by open.mu, as is budgeted
	budgeted bool     // does not count against the server's connections
}

// open lists the pools of this process. Entries hold pools weakly, since who
// borrows a pool need not tell when they are done.
var open struct {
	mu      sync.Mutex // guards entries and their ids
	entries []*poolEntry
}

// register enters the pool and complains about others to the same database.
func (c *core) register(id serverID, where string, policy DuplicatePolicy) error {
	cfg := c.pgx.Config()
	database := cmp.Or(cfg.ConnConfig.Database, cfg.ConnConfig.User) // as the server has it
	e := &poolEntry{
		core:     weak.Make(c),
		pool:     weak.Make(c.pgx),
		database: database,
		user:     cfg.ConnConfig.User,
		target:   fmt.Sprintf("%s:%d/%s", cfg.ConnConfig.Host, cfg.ConnConfig.Port, database),
		where:    where,
		maxConns: int(cfg.MaxConns),
		borrowed: !c.owned,
		id:       id,
	}
	if cfg.BeforeConnect == nil { // else nobody knows where it connects
		e.address = addresses(cfg.ConnConfig)
	}

	open.mu.Lock()
	sweepLocked()
	n := e.neighboursLocked()
	if n.complaint(id) {
		dropClosedLocked(e)
		n = e.neighboursLocked()
	}
	if len(n.twins) > 0 && policy == DuplicateFail {
		open.mu.Unlock()
		return fmt.Errorf("%w: %s, opened at %s", ErrDuplicatePool, e.target, n.twins[0].where)
	}
	open.entries = append(open.entries, e)
	open.mu.Unlock()
	c.entry = e

	if !n.known {
		warnDuplicates(c, e, n.twins)
		if n.tooMany(id) {
			c.log().Warn("Open pools together could exceed the server's connections",
				slog.String("target", e.target), slog.Int("max_conns", n.conns), slog.Int("server_connections", id.maxConns))
		}
	}
	return nil
}

// gateOf returns the gate of a pool that is borrowed already, or was opened by
// this package, so that all its users share its connections fairly.
func gateOf(p *pgxpool.Pool) *gate {
	open.mu.Lock()
	defer open.mu.Unlock()
	for _, e := range open.entries {
		if c := e.core.Value(); c != nil && c.pgx == p {
			return c.gate
		}
	}
	return nil
}

// neighbours are the open pools that matter to a new one.
type neighbours struct {
	known bool         // the new one is not new: it was borrowed again
	twins []*poolEntry // to the same database as the same user
	conns int          // what all pools to the server may open, with the new one
}

func (n neighbours) tooMany(id serverID) bool { return id.maxConns > 0 && n.conns > id.maxConns }

func (n neighbours) complaint(id serverID) bool {
	return !n.known && (len(n.twins) > 0 || n.tooMany(id))
}

func (e *poolEntry) neighboursLocked() neighbours {
	n := neighbours{conns: e.maxConns}
	counted := make(map[weak.Pointer[pgxpool.Pool]]bool) // one that is open and borrowed has two entries
	for _, o := range open.entries {
		if o.pool == e.pool {
			n.known = true
			continue
		}
		if o.sameDatabase(e) && o.sameUser(e) {
			n.twins = append(n.twins, o)
		}
		if o.sameServer(e) && !counted[o.pool] && !o.budgeted {
			counted[o.pool] = true
			n.conns += o.maxConns
		}
	}
	return n
}

// warnDuplicates tells the loggers of both pools, each logger once.
func warnDuplicates(c *core, e *poolEntry, twins []*poolEntry) {
	var told []*slog.Logger
	for _, o := range twins {
		logs := []*slog.Logger{c.log()}
		if oc := o.core.Value(); oc != nil {
			logs = append(logs, oc.log())
		}
		for _, log := range logs {
			if slices.Contains(told, log) {
				continue
			}
			told = append(told, log)
			log.Warn("Creating another connection pool to "+e.target,
				slog.String("opened_at", e.where), slog.String("first_opened_at", o.where))
		}
	}
}

func init() {
	bridge.Budgeted = func(pool any) {
		open.mu.Lock()
		defer open.mu.Unlock()
		pool.(*Pool).core.entry.budgeted = true
	}
}

// leave removes the entry; it may be called more than once.
func (e *poolEntry) leave() {
	if e == nil {
		return
	}
	open.mu.Lock()
	defer open.mu.Unlock()
	open.entries = slices.DeleteFunc(open.entries, func(o *poolEntry) bool { return o == e })
}

// sweepLocked drops entries whose pool is no more.
func sweepLocked() {
	open.entries = slices.DeleteFunc(open.entries, func(o *poolEntry) bool { return o.pool.Value() == nil })
}

// dropClosedLocked drops borrowed pools to the server of e that their owner has
// closed. The question is not free, so it is asked before a complaint only.
func dropClosedLocked(e *poolEntry) {
	open.entries = slices.DeleteFunc(open.entries, func(o *poolEntry) bool {
		p := o.pool.Value()
		return p == nil || o.borrowed && o.sameServer(e) && isClosed(p)
	})
}

// isClosed reports whether the owner has closed p. pgxpool does not say, but a
// closed pool has no connections and answers an acquire at once; one that is
// open and has none begins to connect, which is not waited for.
func isClosed(p *pgxpool.Pool) bool {
	if p == nil {
		return true
	}
	if p.Stat().TotalConns() > 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	conn, err := p.Acquire(ctx)
	if err == nil {
		conn.Release()
		return false
	}
	return ctx.Err() == nil && strings.Contains(err.Error(), "closed pool")
}

func addresses(cc *pgx.ConnConfig) string {
	as := []string{cc.Host + ":" + strconv.Itoa(int(cc.Port))}
	for _, f := range cc.Fallbacks {
		as = append(as, f.Host+":"+strconv.Itoa(int(f.Port)))
	}
	slices.Sort(as)
	return strings.Join(slices.Compact(as), ",")
}

// sameServer, sameDatabase and sameUser compare what the servers said, or the
// configuration where one of them has not been asked.

func (e *poolEntry) sameServer(o *poolEntry) bool {
	address := e.address != "" && e.address == o.address
	if e.id.system != "" && o.id.system != "" {
		// A standby and a copied data directory have the same identifier. After
		// a restart, the address tells.
		return e.id.system == o.id.system && (e.id.started == o.id.started || address)
	}
	return address
}

func (e *poolEntry) sameDatabase(o *poolEntry) bool {
	if !e.sameServer(o) {
		return false
	}
	if e.id.database != "" && o.id.database != "" {
		return e.id.database == o.id.database
	}
	return e.database == o.database
}

func (e *poolEntry) sameUser(o *poolEntry) bool {
	if e.id.user != "" && o.id.user != "" {
		return e.id.user == o.id.user
	}
	return e.user == o.user
}

// sameDatabase reports whether both cores reach one database.
func (c *core) sameDatabase(o *core) bool {
	if c.pgx == o.pgx {
		return true
	}
	open.mu.Lock()
	defer open.mu.Unlock()
	return c.entry.sameDatabase(o.entry)
}

// identify asks a borrowed pool's server who it is, once; Borrow itself makes
// no round trip.
func (c *core) identify(ctx context.Context) error {
	open.mu.Lock()
	known := c.entry.id.database != ""
	open.mu.Unlock()
	if known {
		return nil
	}
	id, err := c.askServer(ctx)
	if err != nil {
		return err
	}
	open.mu.Lock()
	c.entry.id = id
	open.mu.Unlock()
	return nil
}

const (
	databaseSQL = `SELECT (SELECT oid::text FROM pg_catalog.pg_database WHERE datname = current_database()), session_user::text,
	current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
		- coalesce(current_setting('reserved_connections', true)::int, 0),
	pg_catalog.pg_backend_pid()::text`
	systemSQL = `SELECT system_identifier::text, extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text
	FROM pg_catalog.pg_control_system()`
)

// askServer identifies the server by the simple protocol, which works through
// every pooler and prepares nothing.
func (c *core) askServer(ctx context.Context) (serverID, error) {
	var id serverID
	l, err := c.acquireUnlimited(ctx, "")
	if err != nil {
		return id, err
	}
	defer l.release()
	conn := l.conn.Conn()
	var backend string
	err = conn.QueryRow(ctx, databaseSQL, pgx.QueryExecModeSimpleProtocol).Scan(&id.database, &id.user, &id.maxConns, &backend)
	if err != nil {
		return id, err
	}
	c.statements.Answered(conn, backend)
	if err := c.statements.Check(ctx, conn); err != nil {
		return id, err
	}
	// Any role may call it by default; one that may not goes by its address.
	err = conn.QueryRow(ctx, systemSQL, pgx.QueryExecModeSimpleProtocol).Scan(&id.system, &id.started)
	if err != nil && sqlState(err) == "none" {
		return id, err
	}
	return id, nil
}
