package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

var grantChecks = []check{
	{[]string{"missing-grant"}, missingGrants},
	{[]string{"tenant-grant"}, tenantGrants},
}

// missingGrants looks at what a program that logs in as the login does: it reads
// the ledger, and works in the schemas of modules. A schema that has a role of its
// own is worked in as that role.
func missingGrants(ctx context.Context, l *look) (found []Finding, err error) {
	login := sqltemplate.Quote(l.login)
	own, err := l.ownGrants(ctx)
	if err != nil {
		return nil, err
	}
	found = append(found, own...)
	if ok, err := l.own(l.ledger); err != nil || !ok {
		return found, err
	}
	tenants := `select null::text where false`
	if ok, err := l.own(l.tenants); err != nil {
		return found, err
	} else if ok {
		tenants = `select schema from pgdbm.tenants where role is not null`
	}
	type row struct {
		Schema        string // quoted
		Role          string // of an isolated schema
		Member, Usage bool
		Tables        int // that the login may not read and write
		Table         string
		Sequences     int
	}
	rows, err := read[row](ctx, l, `with n as materialized (
	select n.oid, n.nspname, (select r.oid from pg_catalog.pg_roles r join pg_catalog.pg_shdescription d on d.objoid = r.oid and d.classoid = 'pg_catalog.pg_authid'::regclass
		where pg_catalog.starts_with(d.description, pg_catalog.format('pgdbm: works in schema "%s" of database', n.nspname))
			and exists (select from pg_catalog.aclexplode(n.nspacl) a where a.grantee = r.oid) limit 1) as role
	from pg_catalog.pg_namespace n
	where n.nspname in (select m.target_schema from pgdbm.migrations m) and n.nspname not in (`+tenants+`)
), t as materialized (
	select n.oid as schema, c.relname, c.relkind from n join pg_catalog.pg_class c on c.relnamespace = n.oid
	where n.role is null and case when c.relkind = 'S' then not pg_catalog.has_sequence_privilege($1::name, c.oid, 'usage')
		when c.relkind in ('r', 'p', 'f', 'v') then not (pg_catalog.has_table_privilege($1::name, c.oid, 'select') and pg_catalog.has_table_privilege($1::name, c.oid, 'insert')
			and pg_catalog.has_table_privilege($1::name, c.oid, 'update') and pg_catalog.has_table_privilege($1::name, c.oid, 'delete'))
		when c.relkind = 'm' then not pg_catalog.has_table_privilege($1::name, c.oid, 'select') end
)
select pg_catalog.quote_ident(n.nspname) as schema, coalesce((select pg_catalog.quote_ident(rolname) from pg_catalog.pg_roles where oid = n.role), '') as role,
	coalesce(pg_catalog.pg_has_role($1::name, n.role, `+l.takes()+`), false) as member, pg_catalog.has_schema_privilege($1::name, n.oid, 'usage') as usage,
	(select count(*) from t where t.schema = n.oid and t.relkind <> 'S')::int as tables,
	coalesce((select min(t.relname::text) from t where t.schema = n.oid and t.relkind <> 'S'), '') as table,
	(select count(*) from t where t.schema = n.oid and t.relkind = 'S')::int as sequences
from n order by 1`, l.login)
	for _, r := range rows {
		f := Finding{Code: "missing-grant", Severity: Warning, Where: "schema " + r.Schema}
		var lacks, sql []string
		switch {
		case r.Role != "" && !r.Member:
			lacks, sql = []string{"take its role " + r.Role}, []string{l.grantRole(r.Role)}
		case r.Role != "":
		default:
			if !r.Usage {
				lacks, sql = append(lacks, "use it"), append(sql, fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s;", r.Schema, login))
			}
			if r.Tables > 0 {
				lacks = append(lacks, fmt.Sprintf("read and write %s, such as %s", count(r.Tables, "table"), r.Table))
				sql = append(sql, fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %s TO %s;", r.Schema, login))
			}
			if r.Sequences > 0 {
				lacks = append(lacks, "use "+count(r.Sequences, "sequence"))
				sql = append(sql, fmt.Sprintf("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %s TO %s;", r.Schema, login))
			}
		}
		if len(lacks) == 0 {
			continue
		}
		f.What = fmt.Sprintf("%s may not %s", l.login, strings.Join(lacks, ", nor "))
		if r.Role != "" {
			f.What += l.inherits()
		}
		f.Fix.SQL = sql
		found = append(found, f)
	}
	return found, err
}

// takes is what a role needs to be able to do to take another one.
func (l *look) takes() string {
	if l.version >= 160000 {
		return "'set'"
	}
	return "'member'"
}

// grantRole lets the login take a role, quoted. From PostgreSQL 16 on it does not
// have the role's privileges without; before, that is up to the login.
func (l *look) grantRole(role string) string {
	sql := fmt.Sprintf("GRANT %s TO %s", role, sqltemplate.Quote(l.login))
	if l.version >= 160000 {
		sql += " WITH INHERIT FALSE, SET TRUE"
	}
	return sql + ";"
}

// inherits says of a login that would have the privileges of a role without taking
// it what keeps it from that.
func (l *look) inherits() string {
	if l.version >= 160000 || !l.inherit {
		return ""
	}
	return fmt.Sprintf(". A statement that forgets to would work all the same, unless ALTER ROLE %s NOINHERIT", sqltemplate.Quote(l.login))
}

// ownGrants are about pgdbm's own tables and the database.
func (l *look) ownGrants(ctx context.Context) (found []Finding, err error) {
	type row struct {
		Connect, Usage, Ledger, Tenants bool
	}
	rows, err := read[row](ctx, l, `with t as (
	select c.oid, c.relname, n.oid as schema from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
	where n.nspname = 'pgdbm' and c.relname in ('migrations', 'tenants') and c.relkind = 'r')
select pg_catalog.has_database_privilege($1::name, pg_catalog.current_database()::text, 'connect') as connect,
	coalesce((select bool_and(pg_catalog.has_schema_privilege($1::name, t.schema, 'usage')) from t), true) as usage,
	coalesce((select bool_and(pg_catalog.has_table_privilege($1::name, t.oid, 'select')) from t where relname = 'migrations'), true) as ledger,
	coalesce((select bool_and(pg_catalog.has_table_privilege($1::name, t.oid, 'select')) from t where relname = 'tenants'), true) as tenants`, l.login)
	if err != nil {
		return nil, err
	}
	login, r := sqltemplate.Quote(l.login), rows[0]
	for _, g := range []struct {
		has              bool
		where, may, what string
	}{
		{r.Connect, "database " + sqltemplate.Quote(l.database), "connect", "CONNECT ON DATABASE " + sqltemplate.Quote(l.database)},
		{r.Usage, "schema pgdbm", "use it: attaching a module fails", "USAGE ON SCHEMA pgdbm"},
		{r.Ledger, "table pgdbm.migrations", "read it: attaching a module fails", "SELECT ON pgdbm.migrations"},
		{r.Tenants, "table pgdbm.tenants", "read it: no tenant is found", "SELECT ON pgdbm.tenants"},
	} {
		if !g.has {
			found = append(found, Finding{Code: "missing-grant", Severity: Error, Where: g.where,
				What: fmt.Sprintf("%s may not %s", l.login, g.may), Fix: statements(fmt.Sprintf("GRANT %s TO %s;", g.what, login))})
		}
	}
	return found, nil
}

// tenantGrants looks at the roles of tenants: each works in its schema, unless the
// tenant is suspended, and the login may take it. Nobody else's does.
func tenantGrants(ctx context.Context, l *look) (found []Finding, err error) {
	if ok, err := l.own(l.tenants); err != nil || !ok {
		return nil, err
	}
	type row struct {
		ID, Role, Schema     string // the last two quoted
		Suspended            bool
		There, Member, Usage bool
		Tables, Sequences    int
		Table                string
	}
	rows, err := read[row](ctx, l, `with t as materialized (
	select t.id, t.role, n.nspname, t.state = 'suspended' as suspended, n.oid as ns, r.oid as ro
	from pgdbm.tenants t join pg_catalog.pg_namespace n on n.nspname = t.schema left join pg_catalog.pg_roles r on r.rolname = t.role
	where t.role is not null and t.state in ('active', 'suspended')
), m as materialized (
	select t.ns, c.relname::text, c.relkind = 'S' as seq from t join pg_catalog.pg_class c on c.relnamespace = t.ns
	where t.ro is not null and case when c.relkind = 'S' then not pg_catalog.has_sequence_privilege(t.ro, c.oid, 'usage')
		when c.relkind = 'v' then not pg_catalog.has_table_privilege(t.ro, c.oid, 'select') -- one on other schemas it may only read
		when c.relkind in ('r', 'p', 'f') then not (pg_catalog.has_table_privilege(t.ro, c.oid, 'select') and pg_catalog.has_table_privilege(t.ro, c.oid, 'insert')
			and pg_catalog.has_table_privilege(t.ro, c.oid, 'update') and pg_catalog.has_table_privilege(t.ro, c.oid, 'delete'))
		when c.relkind = 'm' then not pg_catalog.has_table_privilege(t.ro, c.oid, 'select') end
), l as (select ns, count(*) filter (where not seq) as tables, count(*) filter (where seq) as sequences, min(relname) filter (where not seq) as "table" from m group by ns),
v as (
	select t.id, pg_catalog.quote_ident(t.role) as role, pg_catalog.quote_ident(t.nspname) as schema, suspended, ro is not null as there,
		coalesce(pg_catalog.pg_has_role($1::name, ro, `+l.takes()+`), false) as member, coalesce(pg_catalog.has_schema_privilege(ro, ns, 'usage'), false) as usage,
		coalesce(l.tables, 0)::int as tables, coalesce(l.sequences, 0)::int as sequences, coalesce(l."table", '') as table
	from t left join l using (ns)
)
select * from v where not there or not member or usage = suspended or tables > 0 or sequences > 0 order by id`, l.login)
	for _, r := range rows {
		f := Finding{Code: "tenant-grant", Severity: Error, Where: "tenant " + literal(r.ID)}
		var what, sql []string
		add := func(kind, text, statement string) {
			f.Kind, what, sql = f.Kind+kind, append(what, text), append(sql, statement)
		}
		usage := fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s;", r.Schema, r.Role)
		tables := fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA %s TO %s;", r.Schema, r.Role)
		sequences := fmt.Sprintf("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %s TO %s;", r.Schema, r.Role)
		if !r.There {
			add("role ", "its role "+r.Role+" is gone", fmt.Sprintf("CREATE ROLE %s NOLOGIN;", r.Role))
			if !r.Suspended {
				sql = append(sql, usage)
			}
			sql = append(sql, tables, sequences, l.grantRole(r.Role))
		} else {
			if !r.Member {
				add("member ", l.login+" may not take its role"+l.inherits(), l.grantRole(r.Role))
			}
			if !r.Suspended && !r.Usage {
				add("usage ", "its role may not use its schema", usage)
			}
			if r.Suspended && r.Usage {
				add("revoke ", "is suspended, and its role may use its schema", fmt.Sprintf("REVOKE USAGE ON SCHEMA %s FROM %s;", r.Schema, r.Role))
			}
			if r.Tables > 0 {
				add(fmt.Sprint("tables ", r.Tables, r.Table), fmt.Sprintf("its role may not read and write %s, such as %s", count(r.Tables, "table"), r.Table), tables)
			}
			if r.Sequences > 0 {
				add(fmt.Sprint("sequences ", r.Sequences), "its role may not use "+count(r.Sequences, "sequence"), sequences)
			}
		}
		f.What, f.Fix.SQL = strings.Join(what, "; "), sql
		found = append(found, f)
	}
	if err != nil {
		return found, err
	}
	open, err := openTenants(ctx, l)
	return append(found, open...), err
}

// openTenants finds schemas of tenants that the roles of other tenants may use, or
// all may. A role that another one leads to, as its member, counts: a tenant's own
// role, too. Without USAGE on the schema no other privilege in it counts.
func openTenants(ctx context.Context, l *look) (found []Finding, err error) {
	type row struct {
		ID, Schema           string // the schema is quoted, and so are roles
		Grantee              string // "": all
		Other, Role, Through string // the tenant whose role may, its role, and where that has it from if that is another one
		Tables, Sequences    int
		Table                string
	}
	rows, err := read[row](ctx, l, `with recursive t as materialized (
	select t.id, n.nspname, n.nspowner, n.nspacl, n.oid as ns, r.oid as ro
	from pgdbm.tenants t join pg_catalog.pg_namespace n on n.nspname = t.schema left join pg_catalog.pg_roles r on r.rolname = t.role
	where t.state in ('active', 'suspended')
), reach (ns, id, own, role, through) as (
	select ns, id, ro, ro, null::oid from t where ro is not null
	union select r.ns, r.id, r.own, m.roleid, coalesce(r.through, m.roleid) from reach r join pg_catalog.pg_auth_members m on m.member = r.role
		where coalesce((pg_catalog.to_json(m) ->> 'inherit_option')::boolean, true) or coalesce((pg_catalog.to_json(m) ->> 'set_option')::boolean, true)
), g as materialized (
	select distinct t.id, t.nspname, t.ns, a.grantee from t cross join lateral pg_catalog.aclexplode(t.nspacl) a
	where a.privilege_type = 'USAGE' and a.grantee <> t.nspowner
)
select g.id, pg_catalog.quote_ident(g.nspname) as schema, case when g.grantee = 0 then '' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) end as grantee,
	coalesce(r.id, '') as other, coalesce(pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(r.own)), '') as role,
	coalesce(pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(r.through)), '') as through,
	c.tables::int as tables, c.sequences::int as sequences, coalesce(c."table", '') as table
from g left join reach r on r.role = g.grantee and r.ns <> g.ns
cross join lateral (select count(*) filter (where c.relkind <> 'S') as tables, count(*) filter (where c.relkind = 'S') as sequences,
	min(c.relname::text) filter (where c.relkind <> 'S') as "table" from pg_catalog.pg_class c
	where c.relnamespace = g.ns and (exists (select from pg_catalog.aclexplode(c.relacl) a where a.grantee = g.grantee)
		or exists (select from pg_catalog.pg_attribute t cross join lateral pg_catalog.aclexplode(t.attacl) a where t.attrelid = c.oid and a.grantee = g.grantee))) c
where g.grantee = 0 or r.id is not null
order by 2, 3, 5, 6`)
	for _, r := range rows {
		f := Finding{Code: "tenant-grant", Severity: Error, Where: "tenant " + literal(r.ID)}
		if r.Through != "" {
			f.Kind = "through"
			f.What = fmt.Sprintf("the role of tenant %s may use its schema, as a member of %s", literal(r.Other), r.Through)
			f.Fix = statements(fmt.Sprintf("REVOKE %s FROM %s;", r.Through, r.Role))
			found = append(found, f)
			continue
		}
		who, grantee := "everybody", "PUBLIC"
		if r.Grantee != "" {
			who, grantee = "the role of tenant "+literal(r.Other), r.Grantee
		}
		f.Kind = fmt.Sprint("open ", r.Grantee == "", r.Tables, r.Table)
		f.What = who + " may use its schema"
		f.Fix = statements(fmt.Sprintf("REVOKE ALL ON SCHEMA %s FROM %s;", r.Schema, grantee))
		if r.Tables > 0 {
			f.What += fmt.Sprintf(", and has privileges on %s, such as %s", count(r.Tables, "table"), r.Table)
			f.Fix.SQL = append(f.Fix.SQL, fmt.Sprintf("REVOKE ALL ON ALL TABLES IN SCHEMA %s FROM %s;", r.Schema, grantee))
		}
		if r.Sequences > 0 {
			f.Fix.SQL = append(f.Fix.SQL, fmt.Sprintf("REVOKE ALL ON ALL SEQUENCES IN SCHEMA %s FROM %s;", r.Schema, grantee))
		}
		found = append(found, f)
	}
	return found, err
}
