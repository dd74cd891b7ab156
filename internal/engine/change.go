package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// change writes the ledger under the schema's lock, in one transaction: what decide returns once it has seen the plan.
// With no statements nothing is written.
func (r *Runner) change(ctx context.Context, t Target, removes bool, decide func(m *migration) ([]string, error)) ([]*pgconn.Result, error) {
	f, _, err := r.read(ctx, t.Schema)
	switch {
	case err != nil:
		return nil, err
	case f.Recovery:
		return nil, ErrReadOnly
	case f.Ledger == nil && removes:
		return nil, ErrNotRecorded
	}
	missing := f.lackingForLedger()
	if removes && !f.Ledger.Delete {
		missing = append(missing, f.grantDelete())
	}
	if len(missing) > 0 {
		return nil, &PrivilegeError{Role: f.Role, Schema: LedgerSchema, Statements: missing}
	}
	if len(f.ledgerStatements()) > 0 {
		if err := r.ensureLedger(ctx, f); err != nil {
			return nil, err
		}
	}
	m := &migration{runner: r, target: t, result: new(Result), serverVersion: f.Version}
	defer m.end()
	whole := new(File) // stands for the change in what is logged
	for {
		results, err := m.changeOnce(ctx, decide)
		if err == nil {
			return results, nil
		}
		m.abandon(ctx)
		if err = m.retryOr(ctx, whole, err, nil); !errors.Is(err, errAgain) {
			return nil, err
		}
	}
}

func (m *migration) changeOnce(ctx context.Context, decide func(m *migration) ([]string, error)) ([]*pgconn.Result, error) {
	m.plan = nil
	if _, err := m.lock(ctx); m.plan == nil {
		return nil, err // what the plan refuses concerns going up
	}
	statements, err := decide(m)
	if err != nil || len(statements) == 0 {
		m.abandon(ctx)
		return nil, err
	}
	return m.session.commit(ctx, statements)
}

func (f *facts) grantDelete() string {
	return "GRANT DELETE ON " + ledgerTable + " TO " + sqltemplate.Quote(f.Role)
}

// Baseline records the files up to version to, or all when it is "", as in effect already, without running them. Those
// that are recorded stay as they are. It returns the files that it recorded.
func (r *Runner) Baseline(ctx context.Context, t Target, to string) ([]*File, error) {
	t.To = to
	if err := t.complete(); err != nil {
		return nil, err
	}
	var files []*File
	_, err := r.change(ctx, t, false, func(m *migration) ([]string, error) {
		if m.facts.Schema == nil {
			return nil, fmt.Errorf("schema %q does not exist, so nothing of it can be in effect", t.Schema)
		}
		files = nil
		var statements []string
		for _, f := range t.Files {
			if t.to != nil && f.number > *t.to {
				break
			}
			switch s := m.plan.step(f.Version); s.State {
			case Pending, Failed, Late:
				files = append(files, f)
				statements = append(statements, r.recordOutcome(t, f, outcome{state: Baselined, done: f.Statements})+
					", attempts = case when m.state = 'failed' then m.attempts end")
			case Running:
				return nil, f.located(t.Module, t.Schema, fmt.Errorf("version %s: %w", f.Version, ErrInterrupted))
			case Changed, Conflict:
				return nil, s.Err
			}
		}
		return statements, nil
	})
	if err != nil {
		return nil, t.wrap(err)
	}
	return files, nil
}

// RepairOptions say what to accept, and why.
type RepairOptions struct {
	Versions []string // none: all that differ
	Reason   string   // required
	By       string   // who; "" is the session's user
}

// A Repaired version has the hashes of its file now.
type Repaired struct {
	File     *File
	Semantic bool     // its statements had changed, not only space and comments
	Schemas  []string // in which it was recorded as it was here
}

// Repair accepts that files differ from those that were applied: it records their hashes, who did so and why. It does
// so in all schemas of the database where the version is recorded with the same statements as here, since they would
// conflict with this one otherwise.
func (r *Runner) Repair(ctx context.Context, t Target, o RepairOptions) ([]Repaired, error) {
	if err := t.complete(); err != nil {
		return nil, err
	}
	if strings.TrimSpace(o.Reason) == "" {
		return nil, t.wrap(errors.New("repair without a reason"))
	}
	var repaired []Repaired
	results, err := r.change(ctx, t, false, func(m *migration) ([]string, error) {
		var statements []string
		var err error
		repaired, err = t.repairs(m.plan, o.Versions)
		for _, p := range repaired {
			statements = append(statements, r.recordRepair(t, p.File, m.plan.step(p.File.Version).Entry, o))
		}
		return statements, err
	})
	if err != nil {
		return nil, t.wrap(err)
	}
	for i := range repaired {
		for _, row := range results[i].Rows {
			repaired[i].Schemas = append(repaired[i].Schemas, string(row[0]))
		}
	}
	return repaired, nil
}

// repairs picks the versions whose files differ.
func (t *Target) repairs(plan *Plan, versions []string) ([]Repaired, error) {
	wanted := make(map[string]bool)
	for _, v := range versions {
		n, err := strconv.ParseInt(v, 10, 64)
		s := plan.step(strconv.FormatInt(n, 10))
		if err != nil || s == nil || s.Entry == nil {
			return nil, fmt.Errorf("version %s: %w", v, ErrNotRecorded)
		}
		if s.State == Missing || s.State == Ahead {
			return nil, &Error{Module: t.Module, Schema: t.Schema, Version: s.Version, File: s.File,
				Err: fmt.Errorf("recorded version %s %w", s.Version, ErrMissing)}
		}
		wanted[s.Version] = true
	}
	var out []Repaired
	for _, f := range t.Files {
		s := plan.step(f.Version)
		if (s.State == Changed || s.State == Cosmetic) && (len(versions) == 0 || wanted[f.Version]) {
			out = append(out, Repaired{File: f, Semantic: s.State == Changed})
		}
	}
	return out, nil
}

func (r *Runner) recordRepair(t Target, f *File, e *Entry, o RepairOptions) string {
	by := "session_user"
	if o.By != "" {
		by = literal(o.By)
	}
	return fmt.Sprintf(`with repaired as (update %s set file_name = %s, raw_hash = %s, semantic_hash = %s, stmt_done = %[5]d, stmt_total = %[5]d,
repaired_at = pg_catalog.clock_timestamp(), repaired_by = %[6]s, repair_reason = %[7]s
where module = %[8]s and version = %[9]s and %[10]s and (semantic_hash = %[11]s or target_schema = %[12]s)
returning target_schema) select target_schema from repaired order by target_schema`,
		ledgerTable, literal(f.Name), literal(f.RawHash), literal(f.SemanticHash), f.Statements, by, literal(o.Reason),
		literal(t.Module), literal(f.Version), countsAsRecorded, literal(e.SemanticHash), literal(t.Schema))
}

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
		if err := m.refuseRequired(ctx); err != nil {
			return nil, err
		}
		if o.KeepObjects || inEffect == 0 || m.facts.Schema == nil {
			return statements, nil
		}
		if err := m.refuseShared(ctx); err != nil {
			return nil, err
		}
		dropped = true
		return append([]string{"drop schema " + sqltemplate.Quote(t.Schema) + " cascade"}, statements...), nil
	})
	return dropped && err == nil, t.wrap(err)
}

// refuseRequired refuses when another module requires this one and finds it in no other schema.
func (m *migration) refuseRequired(ctx context.Context) error {
	module := literal(m.target.Module)
	names, err := m.list(ctx, fmt.Sprintf(`select l.module || case when l.module = l.target_schema then '' else ' in schema ' || l.target_schema end
from (select distinct on (module, target_schema) module, target_schema, requires from %[1]s
    where module <> %[2]s and state <> 'failed' order by module, target_schema, applied_at desc) l
where %[2]s = any (l.requires) and not exists (select from %[1]s o where o.module = %[2]s and o.state <> 'failed' and o.target_schema <> %[3]s)
order by 1 limit 20`, ledgerTable, module, literal(m.target.Schema)))
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
	if names, err = m.list(ctx, dependents(schema)); err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("%w by %s", ErrRequired, strings.Join(names, ", "))
	}
	return nil
}

// list returns the rows of a query of one column.
func (m *migration) list(ctx context.Context, query string) ([]string, error) {
	results, err := m.session.exec(ctx, query)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, row := range results[0].Rows {
		out = append(out, string(row[0]))
	}
	return out, nil
}

// dependents selects objects of other schemas that depend on objects of this one, a literal.
func dependents(schema string) string {
	return `with ns as (select oid from pg_catalog.pg_namespace where nspname = ` + schema + `),
objects (class, id) as (
    select 'pg_catalog.pg_class'::regclass, oid from pg_catalog.pg_class where relnamespace = (select oid from ns)
    union all select 'pg_catalog.pg_type'::regclass, oid from pg_catalog.pg_type where typnamespace = (select oid from ns)
    union all select 'pg_catalog.pg_proc'::regclass, oid from pg_catalog.pg_proc where pronamespace = (select oid from ns)),
found as (select d.classid, d.objid, d.objsubid, case d.classid
    when 'pg_catalog.pg_class'::regclass then (select relnamespace from pg_catalog.pg_class where oid = d.objid)
    when 'pg_catalog.pg_type'::regclass then (select typnamespace from pg_catalog.pg_type where oid = d.objid)
    when 'pg_catalog.pg_proc'::regclass then (select pronamespace from pg_catalog.pg_proc where oid = d.objid)
    when 'pg_catalog.pg_constraint'::regclass then (select connamespace from pg_catalog.pg_constraint where oid = d.objid)
    when 'pg_catalog.pg_rewrite'::regclass then (select relnamespace from pg_catalog.pg_rewrite r join pg_catalog.pg_class c on c.oid = r.ev_class where r.oid = d.objid)
    when 'pg_catalog.pg_attrdef'::regclass then (select relnamespace from pg_catalog.pg_attrdef a join pg_catalog.pg_class c on c.oid = a.adrelid where a.oid = d.objid)
    when 'pg_catalog.pg_trigger'::regclass then (select relnamespace from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid where t.oid = d.objid)
    when 'pg_catalog.pg_policy'::regclass then (select relnamespace from pg_catalog.pg_policy p join pg_catalog.pg_class c on c.oid = p.polrelid where p.oid = d.objid)
    end as namespace
    from objects o join pg_catalog.pg_depend d on d.refclassid = o.class and d.refobjid = o.id where d.deptype in ('n', 'a'))
select distinct pg_catalog.pg_describe_object(classid, objid, objsubid) from found
join pg_catalog.pg_namespace n on n.oid = found.namespace
where found.namespace <> (select oid from ns) and n.nspname not like 'pg\_toast%' order by 1 limit 20`
}
