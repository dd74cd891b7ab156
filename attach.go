package pgdbm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
)

// Attached is a module's handle after [Attach]: its schema exists and its
// migrations have run. It is a [*DB] that may also end what Attach opened.
type Attached struct {
	*DB
	opened *opened // nil when the source was borrowed
	ended  atomic.Bool
}

// opened is a pool that Attach or AttachAll opened, shared by what it returned.
type opened struct {
	pool  *Pool
	users atomic.Int32
}

// Attach binds module m to the database of src and returns its handle. In
// every mode it does the same: it validates m before anything is touched,
// creates the module's extensions and schema where they are missing, finds the
// schemas of the modules that m requires, and applies the migrations that are
// pending, each once however many processes attach at the same time. With
// nothing to do it writes nothing and works on a read-only server.
//
// The schema is the one of the *DB, else Config.Schema, else Module.Schema,
// else Module.Name. A handle that another module's Attach returned is refused;
// several modules in one schema take a handle of [Pool.Schema] each.
//
// A failed migration is a [*MigrationError]; a missing privilege is a
// [*PrivilegeError]. A database that is ahead of the program's files, as in a
// rolling deploy, attaches with a warning.
//
// The caller closes the result; that closes the pool only if Attach opened it.
func Attach(ctx context.Context, src Source, m Module) (*Attached, error) {
	as, err := AttachAll(ctx, src, m)
	if err != nil {
		return nil, err
	}
	return as[0], nil
}

// AttachAll attaches several modules to one source, those that are required
// before those that require them, and returns the handles in the order given.
// A pool that it opened closes with the last of them. When one module fails,
// what was opened is closed again; the migrations of those before it stay.
func AttachAll(ctx context.Context, src Source, ms ...Module) ([]*Attached, error) {
	loads := make([]*loaded, len(ms))
	for i, m := range ms {
		l, err := m.load()
		if err != nil {
			return nil, fmt.Errorf("pgdbm: attach: %w", err)
		}
		loads[i] = l
	}
	order, err := dependencyOrder(loads)
	if err != nil {
		return nil, fmt.Errorf("pgdbm: attach: %w", err)
	}
	s, err := openSource(ctx, src)
	if err != nil {
		return nil, fmt.Errorf("pgdbm: attach: %w", err)
	}
	as, err := s.attach(ctx, loads, order)
	if err != nil {
		if s.owned {
			s.pool.Close()
		}
		return nil, fmt.Errorf("pgdbm: attach: %w", publicError(err))
	}
	return as, nil
}

func (s sourced) attach(ctx context.Context, ms []*loaded, order []int) ([]*Attached, error) {
	core := s.pool.core
	if err := core.identify(ctx); err != nil {
		return nil, err
	}
	var own *opened
	if s.owned {
		own = &opened{pool: s.pool}
		own.users.Store(int32(len(ms)))
	}
	as := make([]*Attached, len(ms))
	schemas := make(map[string]string) // of the modules attached so far
	for _, i := range order {
		db, err := s.attachOne(ctx, ms[i], schemas)
		if err != nil {
			return nil, err
		}
		schemas[ms[i].Name] = db.Schema()
		as[i] = &Attached{DB: db, opened: own}
		core.log().LogAttrs(ctx, slog.LevelDebug, "Module attached",
			slog.String("module", ms[i].Name), slog.String("schema", db.Schema()))
	}
	return as, nil
}

func (s sourced) attachOne(ctx context.Context, m *loaded, attached map[string]string) (*DB, error) {
	r := s.pool.core.runner("")
	if len(m.Extensions) > 0 {
		if err := r.EnsureExtensions(ctx, m.Extensions); err != nil {
			return nil, fmt.Errorf("module %s: %w", m.Name, publicError(err))
		}
	}
	db, err := s.bind(ctx, m, attached)
	if err != nil {
		return nil, err
	}
	if !m.migrates() {
		if err := s.pool.core.runner(db.Schema()).EnsureSchema(ctx, db.Schema()); err != nil {
			return nil, fmt.Errorf("module %s: %w", m.Name, publicError(err))
		}
	} else if _, err := s.pool.core.runner(db.Schema()).Up(ctx, s.target(m, db)); err != nil {
		return nil, err
	}
	if !s.roles {
		return db, nil
	}
	var reads []string
	for _, name := range m.Requires {
		if schema := db.h.ns.aliases[name]; schema != db.h.schema && !slices.Contains(reads, schema) {
			reads = append(reads, schema)
		}
	}
	if db, err = db.isolate(ctx, reads); err != nil {
		return nil, fmt.Errorf("module %s: %w", m.Name, err)
	}
	return db, nil
}

func (s sourced) target(m *loaded, db *DB) engine.Target {
	t := engine.Target{Module: m.Name, Schema: db.h.schema, Files: m.files, Names: db.h.ns.Names, Requires: m.Requires}
	if s.roles {
		t.Confined = &engine.Confinement{Role: db.h.ns.Role}
	}
	return t
}

// bind makes the handle of a module: its schema, and the schemas of others that
// its SQL may name.
func (s sourced) bind(ctx context.Context, m *loaded, attached map[string]string) (*DB, error) {
	schema := m.Name
	switch {
	case s.schema != "":
		schema = s.schema
	case m.Schema != "":
		schema = m.Schema
	}
	aliases := make(map[string]string)
	if h := s.handle; h != nil {
		if h.module != "" && h.module != m.Name {
			return nil, fmt.Errorf("module %s: the handle belongs to module %s", m.Name, h.module)
		}
		maps.Copy(aliases, h.ns.aliases)
	}
	if err := s.resolve(ctx, m, attached, aliases); err != nil {
		return nil, fmt.Errorf("module %s: %w", m.Name, err)
	}
	aliases[m.Name] = schema
	var (
		lim  *limits
		role string
	)
	if s.handle != nil {
		lim, role = s.handle.limits, s.handle.ns.Role
	}
	return s.pool.core.handle(schema, m.Name, aliases, role, lim)
}

// resolve completes aliases with the modules that m requires.
func (s sourced) resolve(ctx context.Context, m *loaded, attached, aliases map[string]string) error {
	var open []string
	for _, name := range m.Requires {
		if aliases[name] != "" {
			continue
		}
		if schema, ok := attached[name]; ok {
			aliases[name] = schema
			continue
		}
		open = append(open, name)
	}
	if len(open) == 0 {
		return nil
	}
	required, err := s.pool.core.runner("").Required(ctx, open, "HandleConfig.Aliases")
	maps.Copy(aliases, required)
	return publicError(err)
}

// dependencyOrder sorts modules so that each follows those it requires; what
// is not among them must be in the ledger. The order given decides otherwise.
func dependencyOrder(ms []*loaded) ([]int, error) {
	index := make(map[string]int, len(ms))
	for i, m := range ms {
		if _, twice := index[m.Name]; twice {
			return nil, fmt.Errorf("module %s: given twice", m.Name)
		}
		index[m.Name] = i
	}
	const visiting, done = 1, 2
	state := make([]int, len(ms))
	var order []int
	var path []string
	var visit func(i int) error
	visit = func(i int) error {
		path = append(path, ms[i].Name)
		switch state[i] {
		case done:
			path = path[:len(path)-1]
			return nil
		case visiting:
			return fmt.Errorf("modules require each other: %s", strings.Join(path, " -> "))
		}
		state[i] = visiting
		for _, name := range ms[i].Requires {
			if j, ok := index[name]; ok {
				if err := visit(j); err != nil {
					return err
				}
			}
		}
		state[i] = done
		order = append(order, i)
		path = path[:len(path)-1]
		return nil
	}
	for i := range ms {
		if err := visit(i); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// Shutdown ends what [Attach] opened, as [Pool.Shutdown] does; on a borrowed
// source it does nothing. It may be called more than once.
func (a *Attached) Shutdown(ctx context.Context) error {
	if a.last() {
		return a.opened.pool.Shutdown(ctx)
	}
	return nil
}

// Close ends what [Attach] opened, as [Pool.Close] does; on a borrowed source
// it does nothing. It may be called more than once.
func (a *Attached) Close() {
	if a.last() {
		a.opened.pool.Close()
	}
}

// last reports whether the pool has no other user left.
func (a *Attached) last() bool {
	if a.opened == nil {
		return false
	}
	if a.ended.Swap(true) {
		return a.opened.users.Load() == 0
	}
	return a.opened.users.Add(-1) == 0
}

// runner is the migration engine on this pool's connections; schema says for
// whom they are held.
func (c *core) runner(schema string) *engine.Runner {
	if c.held != nil {
		return c.heldRunner()
	}
	return c.runnerThat(schema, c.statements.Changed)
}

// runnerThat is runner with what is called when a migration has run on one of its
// connections.
func (c *core) runnerThat(schema string, changed func()) *engine.Runner {
	return &engine.Runner{
		Acquire:  c.engineAcquire(schema, callerOutside(), changed),
		Logger:   c.log(),
		Tool:     tool,
		MaxConns: int(c.maxConns),
		Go:       c.runGo,
	}
}

// engineAcquire takes connections for the engine. changed is called when one of
// them has run a migration.
func (c *core) engineAcquire(schema, caller string, changed func()) engine.Acquire {
	return func(ctx context.Context) (*pgx.Conn, func(discard bool), error) {
		l, err := c.acquireUnlimited(ctx, schema)
		if err != nil {
			return nil, nil, err
		}
		c.mu.Lock()
		l.caller = caller
		c.mu.Unlock()
		return l.conn.Conn(), func(discard bool) {
			if discard {
				changed()
			}
			l.end(discard)
		}, nil
	}
}

// tool is what the ledger records as the program that applied a migration.
var tool = "pgdbm " + version()

func version() string {
	const path = "github.com/pgdbm/pgdbm"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Path == path {
		return info.Main.Version
	}
	for _, d := range info.Deps {
		if d.Path == path {
			return d.Version
		}
	}
	return "unknown"
}

func init() {
	bridge.PublicError = publicError
	bridge.Reader = func(ctx context.Context, db any) (*engine.Runner, error) {
		d := db.(*DB)
		if _, err := openSource(ctx, d); err != nil {
			return nil, err
		}
		return d.h.core.runner(d.h.schema), nil
	}
	bridge.Prepare = func(ctx context.Context, db, module any) (*engine.Runner, engine.Target, error) {
		d, m := db.(*DB), module.(Module)
		l, err := m.load()
		if err != nil {
			return nil, engine.Target{}, err
		}
		if !l.migrates() {
			return nil, engine.Target{}, fmt.Errorf("module %s: %w", m.Name, errors.New("no migrations: Files and Go are nil"))
		}
		s, err := openSource(ctx, d)
		if err != nil {
			return nil, engine.Target{}, err
		}
		bound, err := s.bind(ctx, l, nil)
		if err != nil {
			return nil, engine.Target{}, err
		}
		return d.h.core.runner(bound.h.schema), s.target(l, bound), nil
	}
}
