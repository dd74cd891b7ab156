package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
	"github.com/pgdbm/pgdbm/tenant"
)

var schemaChecks = []check{
	{[]string{"schema-gone"}, schemasGone},
	{[]string{"schema-unowned"}, schemasUnowned},
	{[]string{"tenant-unfinished"}, tenantsUnfinished},
	{[]string{"migration-unfinished"}, migrationsUnfinished},
}

// own reports whether there are tables of pgdbm to read, and an error where they
// may not be read.
func (l *look) own(t table) (bool, error) {
	if t.there && !t.readable {
		return false, errLedger
	}
	return t.there, nil
}

// tenantPrefix is the prefix of a tenant t, empty where an older program has listed it.
const tenantPrefix = `coalesce(pg_catalog.to_json(t) ->> 'prefix', '')`

// schemasGone finds what is recorded of schemas that are not there.
func schemasGone(ctx context.Context, l *look) (found []Finding, err error) {
	gone := make(map[string]bool) // schemas of tenants
	if ok, err := l.own(l.tenants); err != nil {
		return nil, err
	} else if ok {
		type row struct{ ID, Prefix, Schema string }
		rows, err := read[row](ctx, l, `select t.id, `+tenantPrefix+` as prefix, t.schema from pgdbm.tenants t
where t.state in ('active', 'suspended') and not exists (select from pg_catalog.pg_namespace n where n.nspname = t.schema) order by 1`)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			gone[r.Schema] = true
			found = append(found, Finding{Code: "schema-gone", Severity: Error, Where: "tenant " + literal(r.ID), Kind: "tenant",
				What: fmt.Sprintf("its schema %s is gone: bring it back from a backup, or end the tenant", sqltemplate.Quote(r.Schema)), Fix: l.dropTenant(r.ID, r.Prefix)})
		}
	}
	if ok, err := l.own(l.ledger); err != nil || !ok {
		return found, err
	}
	type row struct{ Module, Schema string }
	rows, err := read[row](ctx, l, `select distinct m.module, m.target_schema as schema from pgdbm.migrations m
where not exists (select from pg_catalog.pg_namespace n where n.nspname = m.target_schema) order by 1, 2`)
	for _, r := range rows {
		if gone[r.Schema] {
			continue
		}
		found = append(found, Finding{Code: "schema-gone", Severity: Error, Where: "module " + r.Module, Kind: r.Module,
			What: fmt.Sprintf("is recorded in schema %s, which is gone: attaching it there fails", sqltemplate.Quote(r.Schema)),
			Fix:  Fix{Command: l.command("pgdbm schema clean --yes")}})
	}
	return found, err
}

// dropTenant ends a tenant with whatever is left of it.
func (l *look) dropTenant(id, prefix string) Fix {
	command := "pgdbm tenant drop " + Shell(id)
	if prefix != "" {
		command += " --prefix " + Shell(prefix)
	}
	return Fix{Command: l.command(command)}
}

// schemasUnowned finds schemas that no module and no tenant is recorded in, in a
// database that pgdbm works in. Those that are named like its tenants, or that it
// has given a role, are warnings; what others may have made is no more than info.
func schemasUnowned(ctx context.Context, l *look) (found []Finding, err error) {
	if ok, err := l.own(l.ledger); err != nil || !ok {
		return nil, err
	}
	recorded := `select target_schema from pgdbm.migrations`
	var prefixes []string
	if ok, err := l.own(l.tenants); err != nil {
		return nil, err
	} else if ok {
		recorded += ` union select schema from pgdbm.tenants`
		if prefixes, err = tenantPrefixes(ctx, l); err != nil {
			return nil, err
		}
	}
	type row struct {
		Name    string
		Objects int
		Role    string
		Quoted  string
	}
	rows, err := read[row](ctx, l, `select n.nspname::text as name, pg_catalog.quote_ident(n.nspname) as quoted,
	(select count(*) from pg_catalog.pg_depend d where d.refclassid = 'pg_catalog.pg_namespace'::regclass and d.refobjid = n.oid
		and d.classid <> 'pg_catalog.pg_default_acl'::regclass)::int as objects,
	coalesce((select r.rolname from pg_catalog.aclexplode(n.nspacl) a join pg_catalog.pg_roles r on r.oid = a.grantee
		where pg_catalog.starts_with(r.rolname, 'pgdbm_') limit 1)::text, '') as role
from pg_catalog.pg_namespace n
where `+userSchema+` and n.nspname not in ('public', 'pgdbm')
	and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_namespace'::regclass and d.objid = n.oid and d.deptype = 'e')
	and not exists (select from (`+recorded+`) r (schema) where r.schema = n.nspname)
order by 1`)
	for _, r := range rows {
		has := "with " + count(r.Objects, "object")
		if r.Objects == 0 {
			has = "is empty and"
		}
		f := Finding{Code: "schema-unowned", Severity: Info, Where: "schema " + r.Quoted,
			What: has + " belongs to no module that is recorded",
			// It never says CASCADE: what nobody knows may be somebody's.
			Fix: statements(fmt.Sprintf(`SELECT pg_describe_object(classid, objid, 0), CASE classid WHEN 'pg_class'::regclass THEN pg_size_pretty(pg_total_relation_size(objid)) END AS size FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = %s::regnamespace;`, literal(r.Quoted)))}
		switch prefix := prefixOf(prefixes, r.Name); {
		case prefix != "":
			f.Severity, f.Kind, f.What = Warning, prefix+has, has+" is named like a tenant's, and no tenant has it"
		case r.Role != "":
			f.Severity, f.What = Warning, has+" has a role of pgdbm's, and no module or tenant that is recorded"
		}
		if r.Objects == 0 {
			f.Fix = statements("DROP SCHEMA " + r.Quoted + ";")
		}
		found = append(found, f)
	}
	return found, err
}

// tenantPrefixes are what programs have put before the names of tenants' schemas.
func tenantPrefixes(ctx context.Context, l *look) ([]string, error) {
	type row struct{ ID, Schema string }
	rows, err := read[row](ctx, l, `select id, schema from pgdbm.tenants`)
	if err != nil {
		return nil, err
	}
	var prefixes []string
	for _, r := range rows {
		if prefixOf(prefixes, r.Schema) != "" {
			continue
		}
		// The longest does: what makes the names never shortens the prefix.
		for at := len(r.Schema) - 1; at > 0; at-- {
			if r.Schema[at-1] == '_' && tenant.SchemaName(r.Schema[:at], r.ID) == r.Schema {
				prefixes = append(prefixes, r.Schema[:at])
				break
			}
		}
	}
	return prefixes, nil
}

func prefixOf(prefixes []string, schema string) string {
	for _, p := range prefixes {
		if strings.HasPrefix(schema, p) {
			return p
		}
	}
	return ""
}

func tenantsUnfinished(ctx context.Context, l *look) (found []Finding, err error) {
	if ok, err := l.own(l.tenants); err != nil || !ok {
		return nil, err
	}
	type row struct {
		ID, Prefix, State string
		Seconds           float64
	}
	rows, err := read[row](ctx, l, `select id, `+tenantPrefix+` as prefix, state,
	extract(epoch from pg_catalog.clock_timestamp() - created_at)::float8 as seconds
from pgdbm.tenants t where state in ('creating', 'dropping') and created_at <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1) order by id`, l.o.HalfMade.Seconds())
	for _, r := range rows {
		f := Finding{Code: "tenant-unfinished", Severity: Warning, Where: "tenant " + literal(r.ID), Kind: r.State + age(seconds(r.Seconds)),
			What: fmt.Sprintf("its creation began %s ago and has not ended; the program that asks for it again goes on. The command discards it", age(seconds(r.Seconds))),
			Fix:  l.dropTenant(r.ID, r.Prefix)}
		if r.State == "dropping" {
			f.Kind, f.What = r.State, "it was to be dropped, and is not quite; the command goes on, and so does the program that drops it again"
		}
		found = append(found, f)
	}
	return found, err
}

// IsThere reports whether a SQLSTATE says that an object is there already.
func IsThere(sqlstate string) bool {
	return slices.Contains([]string{"42P06", "42P07", "42701", "42710", "42723"}, sqlstate)
}

// flagsOf are the flags of "pgdbm migrate" for a module, as far as they are known.
func (l *look) flagsOf(module string) string {
	for _, m := range l.o.Modules {
		if m.Name == module {
			return m.Flags
		}
	}
	return "--module " + Shell(module)
}

// migrationsUnfinished finds versions that stopped half-way. One that is running
// may be at work.
func migrationsUnfinished(ctx context.Context, l *look) (found []Finding, err error) {
	if ok, err := l.own(l.ledger); err != nil || !ok {
		return nil, err
	}
	type row struct {
		Module, Schema, Version, File, State string
		Done, Total                          int
		Error                                string
	}
	rows, err := read[row](ctx, l, `select module, target_schema as schema, version, file_name as file, state, stmt_done as done, stmt_total as total,
	coalesce(error_sqlstate, '') as error from pgdbm.migrations
where state = 'failed' or state = 'running' and applied_at <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1) order by 1, 2, 3`, l.o.HalfMade.Seconds())
	for _, r := range rows {
		f := Finding{Code: "migration-unfinished", Severity: Error, Where: fmt.Sprintf("%s of module %s", r.File, r.Module),
			Kind: fmt.Sprint(r.Module, "/", r.File, r.State, r.Done, r.Total, r.Error),
			What: fmt.Sprintf("has failed in schema %s, with %d of %d statements done", sqltemplate.Quote(r.Schema), r.Done, r.Total),
			Fix:  Fix{Command: l.command("pgdbm migrate up " + l.flagsOf(r.Module) + " --schema " + Shell(r.Schema))}}
		if r.Error != "" {
			f.What += ": SQLSTATE " + r.Error
		}
		if IsThere(r.Error) {
			f.What += ", what it makes is there already. If nobody needs that, drop or rename it before; if it is all that the file makes, record the file instead of running it: pgdbm migrate baseline --to " + r.Version
		}
		if r.State == "running" {
			f.Severity = Warning
			f.What = fmt.Sprintf("is running, or was interrupted, in schema %s, with %d of %d statements done", sqltemplate.Quote(r.Schema), r.Done, r.Total)
		}
		found = append(found, f)
	}
	return found, err
}
