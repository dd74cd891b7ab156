package engine

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// everybodys is an error for a schema that is no tenant's alone, whatever is listed.
func everybodys(schema string) error {
	if schema != extensionSchema {
		return nil
	}
	return fmt.Errorf("%w: schema %q is everybody's, and no tenant's; if it is listed, DELETE FROM %s WHERE schema = '%[2]s' takes it off the list",
		ErrRequired, schema, tenantsTable)
}

// requirers selects, as texts, the modules of other schemas that require one of a schema's and have it in none of their
// own; with onlyHome, one that is recorded in no further schema.
func requirers(schema string, onlyHome bool) string {
	schema = literal(schema)
	further := ""
	if onlyHome {
		further = fmt.Sprintf(" and not exists (select from %s o where o.module = m.module and o.state <> 'failed' and o.target_schema <> %s)", ledgerTable, schema)
	}
	return fmt.Sprintf(`with home as materialized (select distinct m.module from %[1]s m where m.target_schema = %[2]s and m.state <> 'failed'%[3]s)
select l.module || ' in schema ' || l.target_schema from (select distinct module, target_schema from %[1]s
    where (select pg_catalog.count(*) from home) > 0 and requires && (select pg_catalog.array_agg(module::text) from home)
    and target_schema <> %[2]s and state <> 'failed') l
cross join lateral (select n.requires from %[1]s n where n.module = l.module and n.target_schema = l.target_schema and n.state <> 'failed'
    order by n.applied_at desc limit 1) newest
where exists (select from home h where h.module = any (newest.requires)
    and not exists (select from %[1]s o where o.module = h.module and o.target_schema = l.target_schema and o.state <> 'failed'))
order by 1 limit 20`, ledgerTable, schema, further)
}

func refuseRequirers(res *pgconn.Result) error {
	if others := texts(res); len(others) > 0 {
		return fmt.Errorf("%w by module %s", ErrRequired, strings.Join(others, ", module "))
	}
	return nil
}

// strangers selects the modules of a schema that are none of a tenant's, and the extension whose schema it is.
func (n *NewTenant) strangers() string {
	return fmt.Sprintf(`select distinct 'module ' || module from %s where target_schema = %s and state <> 'failed' and module <> all (%s::text[])
union all select 'extension ' || e.extname from pg_catalog.pg_namespace s join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_namespace'::regclass
    and d.objid = s.oid and d.deptype = 'e' join pg_catalog.pg_extension e on e.oid = d.refobjid where s.nspname = %[2]s order by 1 limit 20`,
		ledgerTable, literal(n.Schema), arrayLiteral(n.Set.Modules))
}

// adoptable is an error for a schema that is, or may be, somebody else's, too: a tenant can be dropped.
func (n *NewTenant) adoptable(strangers, requirers *pgconn.Result) error {
	if others := texts(strangers); len(others) > 0 {
		return fmt.Errorf("schema %q is that of %s, not of the tenants' modules alone", n.Schema, strings.Join(others, ", "))
	}
	return refuseRequirers(requirers)
}
