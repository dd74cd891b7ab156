package pgdbm

import (
	"context"
	"fmt"
	"maps"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// DB is a pool seen from one schema: {{tables.users}} in its SQL is that
// schema's users. It is immutable, safe for concurrent use, and cheap: making
// one costs no round trip and creates nothing. Another schema is another DB.
//
// A DB does not own its pool and has no Close. The query methods have the
// signatures and the behaviour of *pgxpool.Pool's. The zero value is not
// usable.
type DB struct {
	h *handle
}

// HandleConfig describes a handle for [Pool.Handle].
type HandleConfig struct {
	// Schema is the schema the handle is bound to. Required.
	Schema string
	// Aliases maps module names to schemas, for {{tables.module.x}}. An alias
	// wins over what the ledger says about a module in Requires.
	Aliases map[string]string

	// MaxConns is how many connections of the pool the schema may hold at a time,
	// transactions and open result sets included. Calls beyond wait, and keep no
	// other schema waiting. It is checked for calls through this handle and counts
	// those through all handles of the schema. Zero: four fifths of the pool while
	// other schemas use it, too, and for a minute after, and all of it otherwise, as
	// in a pool of less than 5 connections.
	MaxConns int
	// MinConns is how many connections are kept for the schema: others do not get
	// them while it does not hold as many. One connection of the pool at least is
	// kept for nobody. It lasts until the pool is closed or another handle of the
	// schema has another MinConns that is not zero. Zero: nothing changes.
	MinConns int
	// MaxWaiting is how many calls of the schema may wait for a connection; the
	// next one fails with ErrSchemaBusy. Zero: any number. Negative: none.
	MaxWaiting int
	// AcquireTimeout bounds the wait for a connection; past it the call fails with
	// ErrAcquireTimeout. Zero: Config.AcquireTimeout.
	AcquireTimeout time.Duration
	// Weight is the schema's part of the connections when schemas compete for
	// them: one with weight 2 gets twice as many as one with 1. Zero: 1.
	Weight float64

	// Role is the database role that every statement of the handle runs as,
	// transactions included, in the same round trip: set_config('role') goes before
	// it, and the end of the transaction undoes it, so a connection carries it to
	// nobody. [Pool.Isolate] makes such roles. The pool's user must be allowed to
	// SET ROLE to it, else statements fail with [ErrRole]. Statements that no
	// privilege keeps to a schema, as LISTEN and CREATE TEMPORARY TABLE, fail with
	// [ErrEscape]. Outside a transaction pgx's QueryExecModes have no effect, and
	// CopyFrom, CALL and DO take two round trips more; these two have a transaction
	// of their own, so that a procedure which commits fails with SQLSTATE 2D000.
	// Empty: the pool's user.
	Role string
}

// Schema returns a handle bound to the schema name. Nothing is created and
// nothing asked of the server. A name that PostgreSQL would cut or that cannot
// be quoted everywhere is an error.
func (p *Pool) Schema(name string) (*DB, error) {
	return p.Handle(HandleConfig{Schema: name})
}

// Handle returns a handle as c describes it; see [Pool.Schema].
func (p *Pool) Handle(c HandleConfig) (*DB, error) {
	lim, err := c.limits(int(p.core.maxConns))
	if err != nil {
		return nil, fmt.Errorf("pgdbm: handle: %w", err)
	}
	db, err := p.core.handle(c.Schema, "", c.Aliases, c.Role, lim)
	if err != nil {
		return nil, fmt.Errorf("pgdbm: handle: %w", err)
	}
	if c.MinConns > 0 {
		if err := p.core.gate.keep(c.Schema, c.MinConns); err != nil {
			return nil, fmt.Errorf("pgdbm: handle: MinConns: %w", err)
		}
	}
	return db, nil
}

// limits returns nil where c sets none. The pool has n connections.
func (c HandleConfig) limits(n int) (*limits, error) {
	switch {
	case c.MaxConns < 0:
		return nil, fmt.Errorf("MaxConns: %d is negative", c.MaxConns)
	case c.MinConns < 0:
		return nil, fmt.Errorf("MinConns: %d is negative", c.MinConns)
	case c.MinConns > 0 && c.MinConns >= n:
		return nil, fmt.Errorf("MinConns: %d leaves none of the pool's %d to others and to migrations", c.MinConns, n)
	case c.MaxConns > 0 && c.MinConns > c.MaxConns:
		return nil, fmt.Errorf("MinConns: %d is more than MaxConns, %d", c.MinConns, c.MaxConns)
	case c.AcquireTimeout < 0:
		return nil, fmt.Errorf("AcquireTimeout: %v is negative", c.AcquireTimeout)
	case !(c.Weight >= 0) || math.IsInf(c.Weight, 0):
		return nil, fmt.Errorf("HandleConfig.Weight: %v is not a weight", c.Weight)
	}
	l := limits{max: c.MaxConns, waiting: c.MaxWaiting, weight: c.Weight, timeout: c.AcquireTimeout}
	if l == (limits{}) {
		return nil, nil
	}
	return &l, nil
}

func (c *core) handle(schema, module string, aliases map[string]string, role string, lim *limits) (*DB, error) {
	names, err := c.statements.Namespace(schema, aliases, role)
	if err != nil {
		return nil, err
	}
	if role != "" {
		c.roles.Store(true)
	}
	ns := &namespace{Namespace: names, aliases: maps.Clone(aliases)}
	return &DB{&handle{core: c, ns: ns, schema: schema, module: module, limits: lim}}, nil
}

// Exec, Query and the others do what *pgxpool.Pool's methods of these names
// do, with templates expanded first.

// Exec executes sql and returns its command tag.
func (db *DB) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return db.h.core.run.exec(ctx, db.h, sql, args)
}

// Query executes sql and returns its rows, which hold a connection until they
// are closed or read to the end. An error is also in the rows' Err.
func (db *DB) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return db.h.core.run.query(ctx, db.h, sql, args)
}

// QueryRow executes sql and returns its first row, which holds a connection
// until Scan is called. Errors, pgx.ErrNoRows among them, come from Scan.
func (db *DB) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return db.h.core.run.queryRow(ctx, db.h, sql, args)
}

// SendBatch sends b, which is not changed. The results hold a connection until
// they are closed. A transaction begun by the batch is a [*Tx].
func (db *DB) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return db.h.core.run.sendBatch(ctx, db.h, b)
}

// CopyFrom copies rows into table. A name of one part is a table of the
// handle's schema; a longer one goes through as it is. Names are exact, not
// folded to lower case.
func (db *DB) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	return db.h.core.run.copyFrom(ctx, db.h, table, columns, src)
}

// Begin is [DB.BeginTx] with default options.
func (db *DB) Begin(ctx context.Context) (pgx.Tx, error) {
	return db.BeginTx(ctx, pgx.TxOptions{})
}

// BeginTx begins a transaction. The result is a [*Tx]; it holds a connection
// until Commit or Rollback. ctx bounds the begin alone: see [DB.InTx] for a
// transaction that ends by itself.
func (db *DB) BeginTx(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error) {
	tx, err := db.begin(ctx, o)
	if err != nil {
		return nil, err // a nil interface, not a nil *Tx in one
	}
	return tx, nil
}

func (db *DB) begin(ctx context.Context, o pgx.TxOptions) (*Tx, error) {
	if c := db.h.core; c.held != nil {
		return c.beginHeld(ctx, db.h)
	}
	l, err := db.h.core.acquire(ctx, db.h, "")
	if err != nil {
		return nil, err
	}
	t, err := db.h.core.statements.Begin(ctx, l.conn.Conn(), db.h.ns.Namespace, o)
	if err != nil {
		l.release()
		return nil, err
	}
	return newTx(db.h, t, l, nil), nil
}

// Schema returns the schema that db is bound to.
func (db *DB) Schema() string { return db.h.schema }

// Pool returns a view of the pool below; its Close and Shutdown do nothing.
func (db *DB) Pool() *Pool { return &Pool{core: db.h.core, view: true} }

// Ping is [Pool.Ping].
func (db *DB) Ping(ctx context.Context) error { return db.Pool().Ping(ctx) }

// Expand returns sql as it would go to the server.
func (db *DB) Expand(sql string) (string, error) { return db.h.expand(sql) }

const tableExistsSQL = `SELECT EXISTS (
	SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind = ANY ('{r,p,f,v,m}'))`

// TableExists reports whether the handle's schema has a table of this name; a
// foreign or partitioned table and a view count too. The name is read as in
// {{tables.name}}: bare it folds to lower case, in double quotes it is exact,
// and a name with a schema is an error.
func (db *DB) TableExists(ctx context.Context, table string) (bool, error) {
	name, err := tableName(table)
	if err != nil {
		return false, err
	}
	var exists bool
	err = db.QueryRow(ctx, tableExistsSQL, db.h.schema, name).Scan(&exists)
	return exists, err
}

func tableName(table string) (string, error) {
	// The template parser decides what a name is. The placeholder has to be the
	// whole text, so that nothing hides behind it.
	t, err := sqltemplate.Parse("{{tables." + table + "}}")
	if err != nil || strings.Contains(table, "}}") || len(t.Modules()) > 0 {
		return "", fmt.Errorf("pgdbm: table name %q is not one name, bare or in double quotes", table)
	}
	sql, err := t.Expand(noSchema)
	if err != nil {
		return "", fmt.Errorf("pgdbm: table name %q: %w", table, err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(sql, `"x"."`), `"`), nil
}

// noSchema stands for any schema where only the name after it matters.
var noSchema = func() *sqltemplate.Names {
	n, err := sqltemplate.NewNames("x", nil)
	if err != nil {
		panic("pgdbm: bug: " + err.Error())
	}
	return n
}()
