package tenant

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// Config says what tenants are made of. The zero value of each field is its
// default.
type Config struct {
	// Modules are what each tenant has, all of them in its schema. A module that
	// they require and that is not among them is one that all tenants share.
	Modules []pgdbm.Module

	// Prefix begins the names of tenants' schemas, and says whose tenants they are:
	// programs of one prefix share their tenants, those of another one have a list
	// of their own, in which the same ids may be. Empty: "tenant_".
	Prefix string

	// Isolate gives each tenant that is created a role of its own, which its
	// handles work as; see [pgdbm.Pool.Isolate].
	Isolate bool

	// Logins are database users that may work as the tenants' roles, besides the
	// pool's own: where one program creates tenants and another one serves them.
	Logins []string

	// Aliases says in which schemas shared modules are, where the ledger has them
	// in several.
	Aliases map[string]string

	// ThroughPooler lets files outside a transaction run on connections that go
	// through a pooler such as PgBouncer; see [migrate.UpOptions].
	ThroughPooler bool

	// Handle sets the limits of each tenant's handles. Its Schema, Role and Aliases
	// are ignored; MinConns must be zero.
	Handle pgdbm.HandleConfig

	// Cached is how many tenants' handles are kept, those used last. Zero: 1024.
	Cached int

	// Refresh is how long a tenant is taken to be as it was last seen: for so long
	// another program may not notice that one was suspended, renamed or dropped.
	// Zero: 10 seconds.
	Refresh time.Duration
}

// State says what may be done with a tenant.
type State string

// The states of a tenant.
const (
	Creating  State = State(engine.TenantCreating) // not finished; Create goes on
	Active    State = State(engine.TenantActive)
	Suspended State = State(engine.TenantSuspended) // DB returns ErrSuspended
	Dropping  State = State(engine.TenantDropping)  // not finished; Drop goes on
)

// Tenant is what the database knows of a tenant.
type Tenant struct {
	Prefix    string // of its program; empty: an earlier version of pgdbm has listed it
	ID        string
	Schema    string
	Role      string // empty: it has none of its own
	State     State
	CreatedAt time.Time
	// Versions is the newest version in effect of each module, as the ledger has it.
	Versions map[string]string
}

// Tenants are the tenants of one prefix in one database. It is safe for concurrent use. Make one
// with [New].
type Tenants struct {
	pool    *pgdbm.Pool
	config  Config
	modules []bridge.LoadedModule
	byName  map[string]pgdbm.Module
	set     engine.TenantSet
	cache   cache

	mu     sync.Mutex        // guards shared
	shared map[string]string // schemas of the modules that tenants share; nil: not asked yet
}

// New returns the tenants of the pool's database. It makes no round trip; the pool
// stays its owner's.
func New(pool *pgdbm.Pool, c Config) (*Tenants, error) {
	if pool == nil {
		return nil, errors.New("tenant: nil *pgdbm.Pool")
	}
	if c.Prefix == "" {
		c.Prefix = "tenant_"
	}
	if err := checkPrefix(c.Prefix); err != nil {
		return nil, fmt.Errorf("tenant: Prefix: %w", err)
	}
	if c.Cached < 0 || c.Refresh < 0 {
		return nil, fmt.Errorf("tenant: Cached %d, Refresh %v: negative", c.Cached, c.Refresh)
	}
	if c.Cached == 0 {
		c.Cached = 1024
	}
	if c.Refresh == 0 {
		c.Refresh = 10 * time.Second
	}
	modules, err := bridge.LoadModules(c.Modules)
	if err != nil {
		return nil, fmt.Errorf("tenant: %w", bridge.PublicError(err))
	}
	c.Modules, c.Logins, c.Aliases = slices.Clone(c.Modules), slices.Clone(c.Logins), maps.Clone(c.Aliases)
	ts := &Tenants{pool: pool, config: c, modules: modules, byName: make(map[string]pgdbm.Module)}
	for _, m := range c.Modules {
		ts.byName[m.Name] = m
	}
	ts.set = engine.TenantSet{Prefix: c.Prefix, Schema: func(id string) string { return SchemaName(c.Prefix, id) }}
	for _, m := range modules {
		ts.set.Modules = append(ts.set.Modules, m.Name)
	}
	ts.cache.limit = c.Cached
	if c.Handle.MinConns != 0 {
		return nil, fmt.Errorf("tenant: Handle.MinConns: %d for each tenant is more than any pool has; keep connections for single tenants by pool.Handle", c.Handle.MinConns)
	}
	h := c.Handle
	h.Schema, h.Role, h.Aliases = c.Prefix+"x", "", nil
	if _, err := pool.Handle(h); err != nil {
		return nil, fmt.Errorf("tenant: %w", err)
	}
	return ts, nil
}

// DB returns the handle of a tenant, bound to its schema and, where it has one, to
// its role. {{tables.module.x}} names the tables of all its modules and of those
// that they require. The handle is the one returned before, as long as it is kept
// and nothing has changed; asking takes a round trip every Config.Refresh. The
// error is [ErrNotFound], [ErrSuspended] or [ErrNotReady], if not the server's.
//
// Do not keep the handle for longer than a request takes: it does not notice that
// the tenant was suspended or renamed.
func (ts *Tenants) DB(ctx context.Context, id string) (*pgdbm.DB, error) {
	e, ok := ts.cache.get(id)
	if ok && time.Since(e.seen) < ts.config.Refresh {
		return e.db, nil
	}
	changes := ts.cache.changes()
	now := time.Now()
	db, role, err := ts.open(ctx, id, e)
	if err != nil {
		return nil, fmt.Errorf("tenant %q: %w", id, err)
	}
	ts.cache.put(entry{id: id, db: db, role: role, seen: now}, changes)
	return db, nil
}

// open looks a tenant up and returns its handle, which is that of the entry if it
// does still.
func (ts *Tenants) open(ctx context.Context, id string, e entry) (db *pgdbm.DB, role string, err error) {
	if err := ValidateID(id); err != nil {
		return nil, "", err
	}
	t, err := ts.get(ctx, id, false)
	if err != nil {
		return nil, "", err
	}
	switch t.State {
	case Active:
	case Suspended:
		return nil, "", ErrSuspended
	default:
		return nil, "", ErrNotReady
	}
	if e.db != nil && e.db.Schema() == t.Schema && e.role == t.Role {
		return e.db, t.Role, nil
	}
	aliases, err := ts.aliases(ctx, t.Schema)
	if err != nil {
		return nil, "", err
	}
	h := ts.config.Handle
	h.Schema, h.Role, h.Aliases = t.Schema, t.Role, aliases
	db, err = ts.pool.Handle(h)
	return db, t.Role, err
}

// aliases are the schemas of all modules that a tenant's SQL may name.
func (ts *Tenants) aliases(ctx context.Context, schema string) (map[string]string, error) {
	shared, err := ts.sharedSchemas(ctx)
	if err != nil {
		return nil, err
	}
	aliases := maps.Clone(shared)
	for _, m := range ts.modules {
		aliases[m.Name] = schema
	}
	return aliases, nil
}

// sharedSchemas are the schemas of the modules that tenants share.
func (ts *Tenants) sharedSchemas(ctx context.Context) (map[string]string, error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.shared != nil {
		return ts.shared, nil
	}
	shared := maps.Clone(ts.config.Aliases)
	if shared == nil {
		shared = make(map[string]string)
	}
	var open []string
	for _, m := range ts.modules {
		for _, name := range m.Requires {
			if _, own := ts.byName[name]; !own && shared[name] == "" && !slices.Contains(open, name) {
				open = append(open, name)
			}
		}
	}
	if len(open) > 0 {
		r, err := bridge.TenantRunner(ts.pool, false)
		if err != nil {
			return nil, err
		}
		required, err := r.Required(ctx, open, "Config.Aliases")
		if err != nil {
			return nil, bridge.PublicError(err)
		}
		maps.Copy(shared, required)
	}
	ts.shared = shared
	return shared, nil
}

// targets are the modules of a tenant, for the engine.
func (ts *Tenants) targets(ctx context.Context, schema string) (targets []engine.Target, reads []string, err error) {
	aliases, err := ts.aliases(ctx, schema)
	if err != nil {
		return nil, nil, err
	}
	for _, m := range ts.modules {
		own := map[string]string{m.Name: schema}
		for _, name := range m.Requires {
			own[name] = aliases[name]
			if s := aliases[name]; s != schema && !slices.Contains(reads, s) {
				reads = append(reads, s)
			}
		}
		if len(m.Files) == 0 {
			continue
		}
		names, err := sqltemplate.NewNames(schema, own)
		if err != nil {
			return nil, nil, err
		}
		targets = append(targets, engine.Target{Module: m.Name, Schema: schema, Files: m.Files, Names: names, Requires: m.Requires})
	}
	return targets, reads, nil
}

func (ts *Tenants) get(ctx context.Context, id string, versions bool) (*Tenant, error) {
	r, err := bridge.TenantRunner(ts.pool, false)
	if err != nil {
		return nil, err
	}
	found, err := r.Tenants(ctx, &ts.set, id, versions)
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	if len(found) == 0 {
		return nil, ErrNotFound
	}
	return public(&found[0]), nil
}

// Get returns a tenant as it is now; [ErrNotFound] if there is none.
func (ts *Tenants) Get(ctx context.Context, id string) (*Tenant, error) {
	err := ValidateID(id)
	if err == nil {
		var t *Tenant
		if t, err = ts.get(ctx, id, true); err == nil {
			return t, nil
		}
	}
	return nil, fmt.Errorf("tenant %q: %w", id, err)
}

// List returns all tenants of the prefix, by id, also those that other programs have
// made.
func (ts *Tenants) List(ctx context.Context) ([]*Tenant, error) { return listOf(ctx, ts.pool, &ts.set) }

// All returns the tenants of a database, of all prefixes, by id.
func All(ctx context.Context, pool *pgdbm.Pool) ([]*Tenant, error) { return listOf(ctx, pool, nil) }

func listOf(ctx context.Context, pool *pgdbm.Pool, set *engine.TenantSet) ([]*Tenant, error) {
	r, err := bridge.TenantRunner(pool, false)
	if err != nil {
		return nil, fmt.Errorf("tenant: list: %w", err)
	}
	found, err := r.Tenants(ctx, set, "", true)
	if err != nil {
		return nil, fmt.Errorf("tenant: list: %w", bridge.PublicError(err))
	}
	list := make([]*Tenant, len(found))
	for i := range found {
		list[i] = public(&found[i])
	}
	return list, nil
}

func public(t *engine.Tenant) *Tenant {
	return &Tenant{Prefix: t.Prefix, ID: t.ID, Schema: t.Schema, Role: t.Role, State: State(t.State), CreatedAt: t.CreatedAt, Versions: t.Versions}
}

// Pool returns the pool that New was given.
func (ts *Tenants) Pool() *pgdbm.Pool { return ts.pool }
