package tenant

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/migrate"
)

// Migrate brings all tenants up to date, suspended ones included, as
// [migrate.Fleet] does: module after module in the order of their dependencies. It
// ends with the first module that fails somewhere; running it again goes on. What
// would reach from a tenant with a role into another schema is rolled back, with
// [pgdbm.ErrEscape]; where a file outside a transaction has made it, it is there,
// and Migrate refuses the tenant until it is gone. A tenant whose schema is gone
// fails with [ErrSchemaGone], and is not made anew.
func (ts *Tenants) Migrate(ctx context.Context, o *migrate.FleetOptions) ([]*migrate.FleetResult, error) {
	f, err := ts.fleet(ctx, o)
	if err != nil {
		return nil, err
	}
	var results []*migrate.FleetResult
	applied := false
	for _, m := range f.modules {
		res, err := migrate.Fleet(ctx, ts.pool, m, f.schemas, &f.options)
		results = append(results, res)
		applied = applied || res != nil && res.Applied > 0
		if err != nil {
			return results, f.explain(err)
		}
	}
	if applied && len(f.isolated) > 0 {
		err = ts.isolateNew(ctx, f.isolated)
	}
	return results, err
}

// Plan returns what Migrate would do with the same options, module after module,
// as [migrate.FleetPlan] does. It changes nothing.
func (ts *Tenants) Plan(ctx context.Context, o *migrate.FleetOptions) ([]*migrate.FleetPlanResult, error) {
	f, err := ts.fleet(ctx, o)
	if err != nil {
		return nil, err
	}
	var plans []*migrate.FleetPlanResult
	for _, m := range f.modules {
		plan, err := migrate.FleetPlan(ctx, ts.pool, m, f.schemas, &f.options)
		if err != nil {
			return plans, err
		}
		plans = append(plans, plan)
	}
	return plans, nil
}

// fleet is what there is to migrate.
type fleet struct {
	modules  []pgdbm.Module // those with files, in the order of their dependencies
	schemas  []string
	ids      map[string]string // by schema
	isolated []*Tenant         // those with roles
	options  migrate.FleetOptions
}

func (ts *Tenants) fleet(ctx context.Context, o *migrate.FleetOptions) (*fleet, error) {
	all, err := ts.List(ctx)
	if err != nil {
		return nil, err
	}
	f := &fleet{ids: make(map[string]string)}
	for _, t := range all {
		if t.State != Active && t.State != Suspended {
			continue
		}
		f.schemas = append(f.schemas, t.Schema)
		f.ids[t.Schema] = t.ID
		if t.Role != "" {
			f.isolated = append(f.isolated, t)
		}
	}
	shared, err := ts.sharedSchemas(ctx)
	if err != nil {
		return nil, fmt.Errorf("tenant: migrate: %w", err)
	}
	if o != nil {
		f.options = *o
	}
	f.options.Existing = true
	aliases := maps.Clone(shared)
	maps.Copy(aliases, f.options.Aliases)
	f.options.Aliases = aliases
	f.options.ThroughPooler = f.options.ThroughPooler || ts.config.ThroughPooler
	for _, m := range ts.modules {
		if len(m.Files) > 0 {
			f.modules = append(f.modules, ts.byName[m.Name])
		}
	}
	return f, nil
}

// explain names, beside the error of a fleet, the tenants whose schemas are gone.
func (f *fleet) explain(err error) error {
	partial, ok := errors.AsType[*migrate.FleetError](err)
	if !ok {
		return err
	}
	errs := []error{err}
	for _, cause := range partial.Unwrap() {
		if e, ok := errors.AsType[*pgdbm.MigrationError](cause); ok && errors.Is(e, migrate.ErrSchemaGone) {
			errs = append(errs, fmt.Errorf("tenant %q: %w: %q", f.ids[e.Schema], ErrSchemaGone, e.Schema))
		}
	}
	return errors.Join(errs...)
}

// isolateNew grants what new migrations have made, where the default privileges
// have not. What privileges there are on its sequences and functions, two of the
// tenants show: all have them from the same files.
func (ts *Tenants) isolateNew(ctx context.Context, isolated []*Tenant) error {
	r, err := bridge.TenantRunner(ts.pool, false)
	if err != nil {
		return err
	}
	lacking, err := r.UngrantedTenants(ctx)
	if err != nil {
		return fmt.Errorf("tenant: migrate: %w", bridge.PublicError(err))
	}
	for i, t := range isolated {
		if i != 0 && i != len(isolated)-1 && !slices.Contains(lacking, t.Schema) {
			continue
		}
		if err := ts.isolate(ctx, r, t); err != nil {
			return fmt.Errorf("tenant %q: %w", t.ID, bridge.PublicError(err))
		}
	}
	return nil
}

func (ts *Tenants) isolate(ctx context.Context, r *engine.Runner, t *Tenant) error {
	_, reads, err := ts.targets(ctx, t.Schema)
	if err != nil {
		return err
	}
	_, err = r.Isolate(ctx, engine.Isolation{Schema: t.Schema, Role: t.Role, Reads: reads, Logins: ts.config.Logins, Suspended: t.State == Suspended})
	return err
}
