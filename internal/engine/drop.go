package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// DropOptions say what may be dropped.
type DropOptions struct {
	Check    bool // find out whether it would be refused, and change nothing
	Leftover bool // only a schema that is gone, or that has nothing in it and of no module a version in effect
}

// DropSchema drops a schema with all that is in it, and what the ledger has of it, in one transaction, and returns the
// modules that were recorded there. It is refused when others need it: modules in the same schema, modules that require
// one of it, objects outside of it, a tenant whose schema it is.
func (r *Runner) DropSchema(ctx context.Context, schema string, o DropOptions) (modules []string, err error) {
	if err := sqltemplate.ValidateSchema(schema); err != nil {
		return nil, err
	}
	f, _, err := r.read(ctx, schema)
	switch {
	case err != nil:
		return nil, err
	case f.Recovery && !o.Check:
		return nil, ErrReadOnly
	}
	m := &migration{runner: r, target: Target{Schema: schema}, result: new(Result), serverVersion: f.Version}
	defer m.end()
	whole := new(File) // stands for the drop in what is logged
	for {
		modules, err = m.dropOnce(ctx, o)
		if err == nil {
			return modules, nil
		}
		m.abandon(ctx)
		if err = m.retryOr(ctx, whole, err, m.blockers); !errors.Is(err, errAgain) {
			return nil, err
		}
	}
}

func (m *migration) dropOnce(ctx context.Context, o DropOptions) (modules []string, err error) {
	m.blockers = nil
	schema := m.target.Schema
	s, results, err := m.runner.locked(ctx, nil, schemaLock(schema), m.serverVersion, factsQuery(schema), lockTimeoutSetting(m.lockTimeout(nil)))
	if err != nil {
		return nil, err
	}
	m.session = s
	if m.facts, err = decodeFacts(results[0]); err != nil {
		return nil, err
	}
	inEffect := false
	if m.facts.Ledger != nil {
		results, err := m.session.exec(ctx, fmt.Sprintf(`select module, bool_or(%s) from %s
where target_schema = %s group by module order by module`, countsAsRecorded, ledgerTable, literal(schema)))
		if err != nil {
			return nil, err
		}
		for _, row := range results[0].Rows {
			modules, inEffect = append(modules, string(row[0])), inEffect || string(row[1]) == "t"
		}
	}
	var statements []string
	if len(modules) > 0 {
		if !m.facts.Ledger.Delete {
			return nil, &PrivilegeError{Role: m.facts.Role, Schema: LedgerSchema, Statements: []string{m.facts.grantDelete()}}
		}
		statements = append(statements, fmt.Sprintf("delete from %s where target_schema = %s", ledgerTable, literal(schema)))
	}
	switch {
	case o.Leftover && m.facts.Schema == nil:
	case o.Leftover && inEffect:
		return nil, fmt.Errorf("%w by module %s, which is in effect", ErrRequired, strings.Join(modules, ", "))
	case m.facts.Schema == nil:
		return nil, ErrNoSchema
	case schema == extensionSchema || schema == LedgerSchema:
		return nil, fmt.Errorf("%w by whatever else is in schema %s", ErrRequired, schema)
	case o.Leftover: // without CASCADE, so that it fails where somebody has put something into it
		statements = append(statements, "drop schema "+sqltemplate.Quote(schema))
	case len(modules) > 1:
		return nil, fmt.Errorf("%w: schema %q is that of several modules: %s", ErrRequired, schema, strings.Join(modules, ", "))
	default:
		statements = append(statements, dropSchema(schema))
	}
	if err := m.refuseTenants(ctx); err != nil {
		return nil, err
	}
	for _, name := range modules {
		m.target.Module = name
		if err := m.refuseRequired(ctx, true); err != nil {
			return nil, err
		}
	}
	if o.Check {
		defer m.abandon(ctx)
		return modules, m.refuseDependents(ctx)
	}
	w := m.runner.watchBlockers(ctx, m.facts.PID, m.lockTimeout(nil))
	defer func() { m.blockers = w.stop() }()
	if err := m.claimTables(ctx); err != nil {
		return nil, err
	}
	if err := m.refuseDependents(ctx); err != nil {
		return nil, err
	}
	if _, err = m.session.commit(ctx, statements); err == nil {
		m.end()
	}
	return modules, err
}

func dropSchema(schema string) string {
	return "drop schema " + sqltemplate.Quote(schema) + " cascade"
}

// claimTables takes the locks of the schema's tables that dropping them takes, before anybody looks what depends on them:
// DROP waits for the transactions that use them, and would take along what those have made meanwhile. Tables on which the
// role has no right can be dropped by the schema's owner, and cannot be locked.
func (m *migration) claimTables(ctx context.Context) error {
	_, err := m.session.exec(ctx, "do "+literal(`declare name text; begin
for name in select pg_catalog.format('%I.%I', n.nspname, c.relname) from (`+madeIn("(select oid from pg_catalog.pg_namespace where nspname = "+literal(m.target.Schema)+")")+`) made
    join pg_catalog.pg_class c on c.oid = made.objid and made.classid = 'pg_catalog.pg_class'::regclass
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and pg_catalog.has_table_privilege(c.oid, 'update, delete, truncate') order by c.oid
loop execute 'lock table only ' || name || ' in access exclusive mode'; end loop; end`))
	return err
}

// refuseDependents refuses when dropping the schema would take along what is not of it.
func (m *migration) refuseDependents(ctx context.Context) error {
	names, err := m.list(ctx, dependents(literal(m.target.Schema)))
	if err != nil {
		return err
	}
	return refuseDependents(names)
}

func refuseDependents(names []string) error {
	if len(names) == 0 {
		return nil
	}
	if more := len(names) - maxDependents; more > 0 {
		names = append(names[:maxDependents], "others")
	}
	return fmt.Errorf("%w by %s", ErrRequired, strings.Join(names, ", "))
}

// maxDependents is how many objects an error names.
const maxDependents = 20

// dependents selects what DROP SCHEMA ... CASCADE would drop of what is not of the schema, a literal. It follows the
// server's own records as the server does: to all that depends on what is dropped, and from a part to its whole, an
// extension of its member for instance. At an object that is not of the schema it goes no further.
//
// Of the schema is what is in it, parts of its tables, casts of its types, and extensions in it with their members. A
// partition in another schema is not, although the server would drop it without CASCADE.
func dependents(schema string) string {
	relation := func(column, catalog string) string { // the schema of the relation that an object is a part of
		return "(select c.relnamespace from pg_catalog." + catalog + " x join pg_catalog.pg_class c on c.oid = x." + column + " where x.oid = d.id)"
	}
	direct := func(column, catalog string) string {
		return "(select " + column + " from pg_catalog." + catalog + " where oid = d.id)"
	}
	typeOf := func(column string) string {
		return "(select t.typnamespace from pg_catalog.pg_type t where t.oid = x." + column + ")"
	}
	namespaces := []struct{ catalog, namespace string }{
		{"pg_class", direct("relnamespace", "pg_class")},
		{"pg_type", direct("typnamespace", "pg_type")},
		{"pg_proc", direct("pronamespace", "pg_proc")},
		{"pg_constraint", direct("connamespace", "pg_constraint")},
		{"pg_operator", direct("oprnamespace", "pg_operator")},
		{"pg_opclass", direct("opcnamespace", "pg_opclass")},
		{"pg_opfamily", direct("opfnamespace", "pg_opfamily")},
		{"pg_collation", direct("collnamespace", "pg_collation")},
		{"pg_conversion", direct("connamespace", "pg_conversion")},
		{"pg_ts_config", direct("cfgnamespace", "pg_ts_config")},
		{"pg_ts_dict", direct("dictnamespace", "pg_ts_dict")},
		{"pg_ts_parser", direct("prsnamespace", "pg_ts_parser")},
		{"pg_ts_template", direct("tmplnamespace", "pg_ts_template")},
		{"pg_default_acl", direct("defaclnamespace", "pg_default_acl")},
		{"pg_extension", direct("extnamespace", "pg_extension")},
		{"pg_namespace", "d.id"},
		{"pg_statistic_ext", relation("stxrelid", "pg_statistic_ext")},
		{"pg_rewrite", relation("ev_class", "pg_rewrite")},
		{"pg_attrdef", relation("adrelid", "pg_attrdef")},
		{"pg_policy", relation("polrelid", "pg_policy")},
		{"pg_publication_rel", relation("prrelid", "pg_publication_rel")},
		// Triggers that a foreign key has made are parts of it, on whichever table.
		{"pg_trigger", `(select coalesce(case when x.tgisinternal then (select k.connamespace from pg_catalog.pg_constraint k where k.oid = x.tgconstraint) end, c.relnamespace)
        from pg_catalog.pg_trigger x join pg_catalog.pg_class c on c.oid = x.tgrelid where x.oid = d.id)`},
		{"pg_amop", "(select f.opfnamespace from pg_catalog.pg_amop x join pg_catalog.pg_opfamily f on f.oid = x.amopfamily where x.oid = d.id)"},
		{"pg_amproc", "(select f.opfnamespace from pg_catalog.pg_amproc x join pg_catalog.pg_opfamily f on f.oid = x.amprocfamily where x.oid = d.id)"},
		{"pg_cast", "(select case ns.oid when " + typeOf("castsource") + " then ns.oid when " + typeOf("casttarget") + " then ns.oid end from pg_catalog.pg_cast x, ns where x.oid = d.id)"},
		{"pg_transform", "(select " + typeOf("trftype") + " from pg_catalog.pg_transform x where x.oid = d.id)"},
	}
	var cases strings.Builder
	for _, n := range namespaces {
		fmt.Fprintf(&cases, "\n            when 'pg_catalog.%s'::regclass then %s", n.catalog, n.namespace)
	}
	return `with recursive ns as materialized (select oid from pg_catalog.pg_namespace where nspname = ` + schema + `),
gone (class, id, sub, outside) as (
    select 'pg_catalog.pg_namespace'::regclass::oid, oid, 0, false from ns
    union select d.class, d.id, d.sub, not coalesce(
        (select s.namespace = (select oid from ns) or s.namespace = 'pg_toast'::regnamespace from (select case d.class` + cases.String() + `
            end as namespace) s),
        coalesce(d.class = pg_catalog.to_regclass('pg_catalog.pg_publication_namespace'), false) or
        exists (select from pg_catalog.pg_depend e join pg_catalog.pg_extension x on x.oid = e.refobjid where e.classid = d.class and e.objid = d.id
            and e.deptype = 'e' and e.refclassid = 'pg_catalog.pg_extension'::regclass and x.extnamespace = (select oid from ns)))
    from gone g cross join lateral (
        select classid, objid, objsubid from pg_catalog.pg_depend
            where refclassid = g.class and refobjid = g.id and (g.sub = 0 or refobjsubid = g.sub)
        union all select refclassid, refobjid, refobjsubid from pg_catalog.pg_depend
            where classid = g.class and objid = g.id and (g.sub = 0 or objsubid = g.sub) and deptype in ('e', 'i')
        offset 0) d (class, id, sub)
    where not g.outside)
select distinct pg_catalog.pg_describe_object(case when v.oid is null then class else 'pg_catalog.pg_class'::regclass end, coalesce(v.ev_class, id), sub)
from gone left join pg_catalog.pg_rewrite v on class = 'pg_catalog.pg_rewrite'::regclass and v.oid = id and v.rulename = '_RETURN'
where outside order by 1 limit ` + fmt.Sprint(maxDependents+1)
}
