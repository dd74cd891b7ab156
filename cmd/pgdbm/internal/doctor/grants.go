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
		f.Fix.SQL = strings.Join(sql, " ")
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

// grantRole lets the login take a role, quoted, without having its privileges.
func (l *look) grantRole(role string) string {
	sql := fmt.Sprintf("GRANT %s TO %s", role, sqltemplate.Quote(l.login))
	if l.version >= 160000 {
		sql += " WITH INHERIT FALSE, SET TRUE"
	}
	return sql + ";"
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
				What: fmt.Sprintf("%s may not %s", l.login, g.may), Fix: Fix{SQL: fmt.Sprintf("GRANT %s TO %s;", g.what, login)}})
		}
	}
	return found, nil
}

// tenantGrants looks at the roles of tenants: each works in its schema, unless the
// tenant is suspended, and the login may take it.
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
	select t.id, c.relname::text, c.relkind = 'S' as seq from t join pg_catalog.pg_class c on c.relnamespace = t.ns
	where t.ro is not null and case when c.relkind = 'S' then not pg_catalog.has_sequence_privilege(t.ro, c.oid, 'usage')
		when c.relkind = 'v' then not pg_catalog.has_table_privilege(t.ro, c.oid, 'select') -- one on other schemas it may only read
		when c.relkind in ('r', 'p', 'f') then not (pg_catalog.has_table_privilege(t.ro, c.oid, 'select') and pg_catalog.has_table_privilege(t.ro, c.oid, 'insert')
			and pg_catalog.has_table_privilege(t.ro, c.oid, 'update') and pg_catalog.has_table_privilege(t.ro, c.oid, 'delete'))
		when c.relkind = 'm' then not pg_catalog.has_table_privilege(t.ro, c.oid, 'select') end
), l as (select id, count(*) filter (where not seq) as tables, count(*) filter (where seq) as sequences, min(relname) filter (where not seq) as "table" from m group by id),
v as (
	select t.id, pg_catalog.quote_ident(t.role) as role, pg_catalog.quote_ident(t.nspname) as schema, suspended, ro is not null as there,
		coalesce(pg_catalog.pg_has_role($1::name, ro, `+l.takes()+`), false) as member, coalesce(pg_catalog.has_schema_privilege(ro, ns, 'usage'), false) as usage,
		coalesce(l.tables, 0)::int as tables, coalesce(l.sequences, 0)::int as sequences, coalesce(l."table", '') as table
	from t left join l using (id)
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
				add("member ", l.login+" may not take its role", l.grantRole(r.Role))
			}
			if !r.Suspended && !r.Usage {
				add("usage ", "its role may not use its schema", usage)
			}
			if r.Suspended && r.Usage {
				add("revoke ", "is suspended, and its role may use its schema", fmt.Sprintf("REVOKE USAGE ON SCHEMA %s FROM %s;", r.Schema, r.Role))
			}
			if r.Tables > 0 {
				add("tables ", fmt.Sprintf("its role may not read and write %s, such as %s", count(r.Tables, "table"), r.Table), tables)
			}
			if r.Sequences > 0 {
				add("sequences ", "its role may not use "+count(r.Sequences, "sequence"), sequences)
			}
		}
		f.What, f.Fix.SQL = strings.Join(what, "; "), strings.Join(sql, " ")
		found = append(found, f)
	}
	return found, err
}
