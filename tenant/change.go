package tenant

import (
	"context"
	"fmt"

	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// Create makes a tenant: its schema, its role where Config.Isolate says so, what
// is granted to it, all that the modules' files make, and their rows in the ledger,
// in one transaction. When it fails nothing is left, and others never see a part of
// it. A file that runs outside a transaction makes it take several: until they have
// ended the tenant is [Creating], and a failure drops it again; after a crash,
// Create of the same id goes on. What Clone has begun only Clone goes on with.
//
// The error is [ErrExists] when there is such a tenant or its schema; a failed
// migration is a [*pgdbm.MigrationError], a missing privilege a
// [*pgdbm.PrivilegeError].
func (ts *Tenants) Create(ctx context.Context, id string) (*Tenant, error) {
	return ts.create(ctx, engine.NewTenant{ID: id, Schema: SchemaName(ts.config.Prefix, id)})
}

// Clone is Create with the rows of the tenant from copied, as they are at one
// moment; its users are not kept from anything. The new one is [Active], also where
// the other one is suspended, and has a role where that has one, whatever
// Config.Isolate says. Both must have the same tables and
// be at the newest version, else the error is [ErrDiffers]. Tables with FORCE ROW
// LEVEL SECURITY take a user with BYPASSRLS, or rows would be missing; the error is
// a [*pgdbm.PrivilegeError] else. Triggers do not run for
// copied rows; sequences go on from where they were.
func (ts *Tenants) Clone(ctx context.Context, from, id string) (*Tenant, error) {
	if err := ValidateID(from); err != nil {
		return nil, fmt.Errorf("tenant %q: %w", from, err)
	}
	return ts.create(ctx, engine.NewTenant{ID: id, Schema: SchemaName(ts.config.Prefix, id), From: from})
}

// Adopt makes a tenant of a schema that is there already, and brings it up to
// date: one from before there was a list of tenants. When it fails the schema stays,
// with the migrations that have ended.
//
// A tenant can be dropped, so a schema that is not one tenant's alone is refused:
// public, the ledger's, an extension's, that of a module which tenants share or
// which is none of theirs, and, with [ErrRequired], that of a module which one in
// another schema requires.
func (ts *Tenants) Adopt(ctx context.Context, id, schema string) (*Tenant, error) {
	if err := ts.mayAdopt(ctx, schema); err != nil {
		return nil, fmt.Errorf("tenant %q: %w", id, err)
	}
	return ts.create(ctx, engine.NewTenant{ID: id, Schema: schema, Adopt: true})
}

// mayAdopt is an error for a schema that cannot be adopted, as far as Config says.
func (ts *Tenants) mayAdopt(ctx context.Context, schema string) error {
	if err := sqltemplate.ValidateSchema(schema); err != nil {
		return err
	}
	shared, err := ts.sharedSchemas(ctx)
	if err != nil {
		return err
	}
	for module, in := range shared {
		if in == schema {
			return fmt.Errorf("schema %q is that of module %s, which all tenants share", schema, module)
		}
	}
	return nil
}

func (ts *Tenants) create(ctx context.Context, n engine.NewTenant) (_ *Tenant, err error) {
	defer func() { err = ts.changed(n.ID, err) }()
	n.Set = ts.set
	if err := ValidateID(n.ID); err != nil {
		return nil, err
	}
	if n.Modules, n.Reads, err = ts.targets(ctx, n.Schema); err != nil {
		return nil, err
	}
	for _, m := range ts.modules {
		n.Extensions = append(n.Extensions, m.Extensions...)
	}
	n.Isolate, n.Logins = ts.config.Isolate, ts.config.Logins
	if n.From != "" && !n.Isolate { // what keeps one apart is to keep its copy apart
		from, err := ts.get(ctx, n.From, false)
		if err != nil {
			return nil, fmt.Errorf("tenant %q: %w", n.From, err)
		}
		n.Isolate = from.Role != ""
	}
	r, err := bridge.TenantRunner(ts.pool, true)
	if err != nil {
		return nil, err
	}
	r.ThroughPooler = ts.config.ThroughPooler
	t, err := r.CreateTenant(ctx, n)
	if err != nil {
		return nil, err
	}
	return public(t), nil
}

// changed forgets what was known of a tenant, and completes an error.
func (ts *Tenants) changed(id string, err error) error {
	ts.cache.drop(id)
	if err != nil {
		return fmt.Errorf("tenant %q: %w", id, bridge.PublicError(err))
	}
	return nil
}

// Suspend keeps a tenant from being used: DB returns [ErrSuspended], here at once
// and in other programs after their Config.Refresh. Where it has a role, the server
// refuses every statement from then on, with SQLSTATE 42501, to handles that are
// out, too. What runs goes on. The tenant is migrated as before.
func (ts *Tenants) Suspend(ctx context.Context, id string) (*Tenant, error) {
	return ts.suspend(ctx, id, true)
}

// Resume ends what Suspend began.
func (ts *Tenants) Resume(ctx context.Context, id string) (*Tenant, error) {
	return ts.suspend(ctx, id, false)
}

func (ts *Tenants) suspend(ctx context.Context, id string, suspend bool) (_ *Tenant, err error) {
	defer func() { err = ts.changed(id, err) }()
	r, err := bridge.TenantRunner(ts.pool, false)
	if err != nil {
		return nil, err
	}
	t, err := r.SuspendTenant(ctx, &ts.set, id, suspend)
	if err != nil {
		return nil, err
	}
	return public(t), nil
}

// Rename gives a tenant another id, and its schema and role the names that Create
// would give them, in one transaction that waits for nobody's rows. Functions that
// hold the schema's name, as those made from {{tables.x}} do, are made anew. The
// error is [ErrRequired] when other text holds it: a view, default or constraint
// with {{schema:literal}}. Handles that are out go on to name the old schema, so
// their statements fail; Suspend it first if that matters.
func (ts *Tenants) Rename(ctx context.Context, id, newID string) (_ *Tenant, err error) {
	defer func() { err = ts.changed(id, err) }()
	if err := ValidateID(newID); err != nil {
		return nil, err
	}
	r, err := bridge.TenantRunner(ts.pool, false)
	if err != nil {
		return nil, err
	}
	t, err := r.RenameTenant(ctx, &ts.set, id, newID, SchemaName(ts.config.Prefix, newID))
	if err != nil {
		return nil, err
	}
	ts.cache.drop(newID)
	return public(t), nil
}

// Drop drops a tenant with all its data: the schema, its rows in the ledger, its
// role. The error is [ErrRequired], and nothing happens, when objects of other
// schemas depend on it. It is one transaction, unless the server has too few locks
// for all the tables: then the tenant is [Dropping] until the last has gone, and
// Drop goes on after a failure.
func (ts *Tenants) Drop(ctx context.Context, id string) (err error) {
	defer func() { err = ts.changed(id, err) }()
	r, err := bridge.TenantRunner(ts.pool, false)
	if err != nil {
		return err
	}
	return r.DropTenant(ctx, &ts.set, id)
}
