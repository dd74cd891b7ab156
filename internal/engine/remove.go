package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// RemoveOptions say how much to remove.
type RemoveOptions struct {
	KeepObjects bool // the ledger's rows only
}

// Remove ends a module in a schema: it drops the schema with all that is in it, and the module's rows with it. It is
// refused when others need it: modules in the same schema, modules that require it, objects of other schemas.
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
		if o.KeepObjects || inEffect == 0 || m.facts.Schema == nil {
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
