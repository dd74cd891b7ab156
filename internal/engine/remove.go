package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// RemoveOptions say how much to remove.
type RemoveOptions struct {
	KeepObjects bool // the ledger's rows only
}

// Remove ends a module in a schema: it drops the schema with all that is in it, and the module's rows with it. It is
// refused when others need it: modules in the same schema, modules that require it, objects of other schemas, a tenant whose
// schema it is.
func (r *Runner) Remove(ctx context.Context, t Target, o RemoveOptions) (dropped bool, err error) {
	if err := t.complete(); err != nil {
		return false, err
	}
	_, err = r.change(ctx, t, true, func(m *migration) ([]string, error) {
		dropped = false
		entries, inEffect := 0, 0
		for _, s := range m.plan.Steps {
			if s.Entry != nil {
				entries++
			}
		}
		if inEffect = len(m.plan.inEffect()); entries == 0 {
			return nil, ErrNotRecorded
		}
		statements := []string{fmt.Sprintf("delete from %s where module = %s and target_schema = %s", ledgerTable, literal(t.Module), literal(t.Schema))}
		if err := m.refuseRequired(ctx, false); err != nil {
			return nil, err
		}
		if o.KeepObjects || inEffect == 0 {
			return statements, nil
		}
		if err := m.refuseTenants(ctx); err != nil {
			return nil, err
		}
		if m.facts.Schema == nil {
			return statements, nil
		}
		if err := m.refuseShared(ctx); err != nil {
			return nil, err
		}
		if err := m.claimTables(ctx); err != nil {
			return nil, err
		}
		if err := m.refuseDependents(ctx); err != nil {
			return nil, err
		}
		dropped = true
		return append([]string{dropSchema(t.Schema)}, statements...), nil
	})
	return dropped && err == nil, t.wrap(err)
}

// refuseRequired refuses when another module requires this one and finds it in no other schema. With whole, modules in the
// same schema go with it.
func (m *migration) refuseRequired(ctx context.Context, whole bool) error {
	module, beside := literal(m.target.Module), ""
	if whole {
		beside = "and target_schema <> " + literal(m.target.Schema)
	}
	names, err := m.list(ctx, fmt.Sprintf(`select l.module || case when l.module = l.target_schema then '' else ' in schema ' || l.target_schema end
from (select distinct on (module, target_schema) module, target_schema, requires from %[1]s
    where module <> %[2]s and state <> 'failed' %[4]s order by module, target_schema, applied_at desc) l
where %[2]s = any (l.requires) and not exists (select from %[1]s o where o.module = %[2]s and o.state <> 'failed' and o.target_schema <> %[3]s)
order by 1 limit 20`, ledgerTable, module, literal(m.target.Schema), beside))
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("%w by module %s", ErrRequired, strings.Join(names, ", "))
	}
	return err
}

// refuseTenants refuses for a tenant's schema, also when it is gone: the tenant would stay in the list, without what it has.
func (m *migration) refuseTenants(ctx context.Context) error {
	there, err := m.list(ctx, `select c.relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'pgdbm' and c.relname = 'tenants'`)
	if err != nil || len(there) == 0 {
		return err
	}
	ids, err := m.list(ctx, "select id from "+tenantsTable+" where schema = "+literal(m.target.Schema))
	if sqlState(err) == codeInsufficientRight {
		return &PrivilegeError{Role: m.facts.Role, Schema: LedgerSchema, Err: err,
			Statements: []string{"GRANT SELECT ON " + tenantsTable + " TO " + sqltemplate.Quote(m.facts.Role)}}
	}
	if err == nil && len(ids) > 0 {
		err = fmt.Errorf("%w: schema %q is that of tenant %q and goes with it: tenant.Drop, or pgdbm tenant drop", ErrRequired, m.target.Schema, ids[0])
	}
	return err
}

// refuseShared refuses when dropping the schema would take more with it than the module.
func (m *migration) refuseShared(ctx context.Context) error {
	schema := literal(m.target.Schema)
	if m.target.Schema == extensionSchema {
		return fmt.Errorf("%w by whatever else is in schema %s", ErrRequired, m.target.Schema)
	}
	names, err := m.list(ctx, fmt.Sprintf("select distinct module from %s where target_schema = %s and module <> %s and state <> 'failed' order by 1",
		ledgerTable, schema, literal(m.target.Module)))
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("%w: schema %q is also that of module %s", ErrRequired, m.target.Schema, strings.Join(names, ", "))
	}
	return nil
}

// list returns the rows of a query of one column.
func (m *migration) list(ctx context.Context, query string) ([]string, error) {
	results, err := m.session.exec(ctx, query)
	if err != nil {
		return nil, err
	}
	return texts(results[0]), nil
}

// texts are the values of a result's first column.
func texts(res *pgconn.Result) []string {
	var out []string
	for _, row := range res.Rows {
		out = append(out, string(row[0]))
	}
	return out
}
