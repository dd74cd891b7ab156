package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// Roles belong to a server and schemas to a database, so the names of roles that this program makes end in a hash of
// both names: two databases of one server may each have a schema of the same name.
const (
	schemaRole = "pgdbm_"      // may work in a schema
	readerRole = "pgdbm_read_" // may read a schema; the roles of the schemas that require it are its members

	roleHash = 12 // hexadecimal digits at the end of a role's name
)

// roleName is SQL for the name of a schema's role of a kind.
func roleName(kind, schema string) string {
	const longest = 63 - 1 - roleHash // with the hash it stays within what PostgreSQL keeps of a name
	readable := []rune(schema)
	for len(kind)+len(string(readable)) > longest {
		readable = readable[:len(readable)-1]
	}
	return fmt.Sprintf(`(%s || pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
    %s || pg_catalog.current_database() || '/' || %s, 'UTF8')), 'hex'), %d))`,
		literal(kind+string(readable)+"_"), literal(kind), literal(schema), roleHash)
}

// roleValues are the rows of VALUES of schemas and their roles' names, where "" is the one named after the schema.
func roleValues(roles map[string]string) string {
	var rows []string
	for schema, role := range roles {
		name := roleName(schemaRole, schema)
		if role != "" {
			name = literal(role)
		}
		rows = append(rows, "("+literal(schema)+", "+name+")")
	}
	slices.Sort(rows)
	return strings.Join(rows, ", ")
}

// grantsIn are the statements that let a role work in a schema, now and with what the current user adds to it. A
// migration's tables are the current user's; with the default privileges no grant needs to follow it.
//
// What is in the schema is named one by one where it is given: for ALL TABLES the server reads the whole of pg_class, and
// more than once.
func grantsIn(schema, role string, in *grantable) []string {
	schema, role = sqltemplate.Quote(schema), sqltemplate.Quote(role)
	const tables, sequences = "select, insert, update, delete, truncate", "usage, select, update"
	return slices.Concat([]string{"grant usage on schema " + schema + " to " + role},
		in.grant(tables, "table", schema, role),
		in.grant(sequences, "sequence", schema, role),
		in.grant("execute", "routine", schema, role),
		[]string{
			"alter default privileges in schema " + schema + " grant " + tables + " on tables to " + role,
			"alter default privileges in schema " + schema + " grant " + sequences + " on sequences to " + role,
			"alter default privileges in schema " + schema + " grant execute on routines to " + role,
		})
}

// readsIn are as grantsIn, for reading.
func readsIn(schema, role string, in *grantable) []string {
	schema, role = sqltemplate.Quote(schema), sqltemplate.Quote(role)
	return slices.Concat([]string{"grant usage on schema " + schema + " to " + role},
		in.grant("select", "table", schema, role),
		[]string{"alter default privileges in schema " + schema + " grant select on tables to " + role})
}

// grantable is what a schema has that privileges are granted on, as SQL names it.
type grantable struct {
	Schema    string   `json:"schema"`
	Tables    []string `json:"tables"`
	Sequences []string `json:"sequences"`
	Routines  []string `json:"routines"`
}

// grantableIn selects it, as JSON.
func grantableIn(schema string) string {
	relations := func(kinds string) string {
		return "(select pg_catalog.json_agg(pg_catalog.format('%I.%I', " + literal(schema) + ", relname) order by oid) from rels where relkind in (" + quoteKinds(kinds) + "))"
	}
	return "with " + relationsOf(literal(schema)) + ", " + routinesOf(literal(schema)) + `
select pg_catalog.json_build_object('schema', ` + literal(schema) + `, 'tables', ` + relations("rvmfp") + `, 'sequences', ` + relations("S") + `,
    'routines', (select pg_catalog.json_agg(oid::regprocedure::text order by oid) from procs))`
}

// grant is the statement that grants privileges on all of a kind; none where there are no such.
func (in *grantable) grant(privileges, kind, schema, role string) []string {
	objects := "all " + kind + "s in schema " + schema
	if in != nil {
		named := map[string][]string{"table": in.Tables, "sequence": in.Sequences, "routine": in.Routines}[kind]
		if len(named) == 0 {
			return nil
		}
		objects = kind + " " + strings.Join(named, ", ")
	}
	return []string{"grant " + privileges + " on " + objects + " to " + role}
}

// othersIn selects, as a JSON array or NULL, the roles that this program made for other schemas and that have privileges
// in this one, as a copy of a schema brings along. namespace and role are expressions for oids.
func othersIn(namespace, role, schema string) string {
	return fmt.Sprintf(`select pg_catalog.json_agg(g.rolname order by g.rolname) from pg_catalog.pg_roles g where g.oid in (
    select x.grantee from pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) x where n.oid = %[1]s
    union select x.grantee from (%[2]s) m join pg_catalog.pg_class c on c.oid = m.objid, pg_catalog.aclexplode(c.relacl) x
        where m.classid = 'pg_catalog.pg_class'::regclass
    union select x.grantee from (%[2]s) m join pg_catalog.pg_proc p on p.oid = m.objid, pg_catalog.aclexplode(p.proacl) x
        where m.classid = 'pg_catalog.pg_proc'::regclass
    union select x.grantee from pg_catalog.pg_default_acl d, pg_catalog.aclexplode(d.defaclacl) x where d.defaclnamespace = %[1]s)
and g.oid is distinct from %[3]s and g.rolname <> %[4]s
and pg_catalog.shobj_description(g.oid, 'pg_authid') like 'pgdbm: %% schema %% of database %%'`,
		namespace, madeIn(namespace), role, roleName(readerRole, schema))
}

// revokesIn are the statements that take from a role all that it may do in a schema.
func revokesIn(schema, role string) []string {
	schema, role = sqltemplate.Quote(schema), sqltemplate.Quote(role)
	statements := []string{"revoke all on schema " + schema + " from " + role}
	for _, what := range []string{"tables", "sequences", "routines"} {
		statements = append(statements, "revoke all on all "+what+" in schema "+schema+" from "+role,
			"alter default privileges in schema "+schema+" revoke all on "+what+" from "+role)
	}
	return statements
}

// createRole are the statements that make a role which nobody logs in as.
func createRole(role, what, database, schema string) []string {
	return []string{
		"create role " + sqltemplate.Quote(role) + " nologin",
		fmt.Sprintf("comment on role %s is %s", sqltemplate.Quote(role),
			literal(fmt.Sprintf("pgdbm: %s schema %q of database %q", what, schema, database))),
	}
}

// grantRole lets a login SET ROLE to a role. From PostgreSQL 16 on it does not have the role's privileges without.
func grantRole(role, login string, serverVersion int) string {
	s := "grant " + sqltemplate.Quote(role) + " to " + sqltemplate.Quote(login)
	if serverVersion >= 160000 {
		s += " with inherit false, set true"
	}
	return s
}

// tablesWithout selects the tables of a schema, an expression for its oid, on which a role, likewise, lacks a
// privilege.
func tablesWithout(role, namespace, privilege, kinds string) string {
	return fmt.Sprintf(`select from (%s) m (class, id) join pg_catalog.pg_class c on c.oid = m.id
    where m.class = 'pg_catalog.pg_class'::regclass and c.relkind in (%s) and not pg_catalog.has_table_privilege(%s, c.oid, '%s')`,
		madeIn(namespace), quoteKinds(kinds), role, privilege)
}

// lacksOn is an expression for whether a role lacks what grantsIn grants on tables of a schema, both given as above.
// Some views it may only read.
func lacksOn(role, namespace string) string {
	lacks := "exists (" + tablesWithout(role, namespace, "select", "rpvmf") + ")"
	for _, privilege := range []string{"insert", "update", "delete", "truncate"} {
		lacks += " or exists (" + tablesWithout(role, namespace, privilege, "rpf") + ")"
	}
	return lacks
}

func quoteKinds(kinds string) string {
	return "'" + strings.Join(strings.Split(kinds, ""), "', '") + "'"
}
