package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// ErrReach: something in a schema that is to be isolated depends on another schema.
var ErrReach = errors.New("reaches beyond its schema")

// An Isolation gives a schema a role of its own.
type Isolation struct {
	Schema string
	Role   string   // "": one that is named after the schema and the database
	Reads  []string // schemas that the role may read as well
	Logins []string // roles that may SET ROLE to it, besides the session's user

	Suspended bool // the role is kept out of the schema
	New       bool // the schema is not there yet
}

// isolationFacts are what is there already.
type isolationFacts struct {
	Database string       `json:"database"`
	Version  int          `json:"version"`
	Recovery bool         `json:"recovery"`
	User     string       `json:"user"` // current_user
	Role     string       `json:"role"`
	Exists   bool         `json:"exists"`
	Owns     bool         `json:"owns"` // the role has all rights of the schema's owner
	Schema   bool         `json:"schema"`
	Granted  bool         `json:"granted"` // all that grantsIn would grant
	Open     bool         `json:"open"`    // there are views that the role may write and should not
	Others   []string     `json:"others"`  // roles of other schemas that have privileges in the schema
	Missing  []string     `json:"missing"` // logins that may not take the role
	Reads    []readsFacts `json:"reads"`
	Reach    []string     `json:"reach"` // what depends on other schemas
}

type readsFacts struct {
	Schema  string `json:"schema"`
	Role    string `json:"role"`
	Exists  bool   `json:"exists"`
	Granted bool   `json:"granted"` // all that readsIn would grant
	Member  bool   `json:"member"`  // the schema's role has it
}

func (f *isolationFacts) complete() bool {
	return f.Granted && !f.Open && len(f.Others) == 0 && len(f.Missing) == 0 &&
		!slices.ContainsFunc(f.Reads, func(q readsFacts) bool { return !q.Granted || !q.Member })
}

// Isolate sees to it that a schema has a role which may work in it, read those of i.Reads, and nothing else, and that
// the session's user may take it. It returns the role's name. The schema must exist. With all of it in place it is one
// round trip, which writes nothing.
func (r *Runner) Isolate(ctx context.Context, i Isolation) (role string, err error) {
	f, err := r.isolationFacts(ctx, i)
	if err == nil && len(f.Reach) > 0 {
		// Perhaps it is another module of the schema that requires what is reached.
		if i.Reads, err = r.readable(ctx, f.Role, i.Reads); err == nil {
			f, err = r.isolationFacts(ctx, i)
		}
	}
	switch {
	case err != nil:
		return "", err
	case f.Owns:
		return "", fmt.Errorf("isolate schema %q: role %q has the rights of the schema's owner", i.Schema, f.Role)
	case len(f.Reach) > 0:
		return "", reachError(i.Schema, f.Reach)
	case f.complete():
		return f.Role, nil
	case f.Recovery:
		return "", ErrReadOnly
	}
	if !i.Suspended {
		if i.Suspended, err = r.suspended(ctx, i.Schema); err != nil {
			return "", err
		}
	}
	s, results, err := r.locked(ctx, nil, schemaLock(i.Schema), f.Version, append(i.locks(), i.factsQuery())...)
	if err != nil {
		return "", err
	}
	defer s.close()
	if f, err = decodeIsolation(results[len(results)-1]); err != nil {
		s.rollback(ctx)
		return "", err
	}
	in, err := i.grantable(ctx, s, f)
	if err == nil {
		_, err = s.commit(ctx, i.statements(f, in))
	}
	if err != nil {
		s.rollback(ctx)
		if sqlState(err) == codeInsufficientRight {
			return "", &PrivilegeError{Role: f.User, Schema: i.Schema, Statements: i.statements(f, nil), Err: err}
		}
		return "", fmt.Errorf("isolate schema %q: %w", i.Schema, err)
	}
	return f.Role, nil
}

func (r *Runner) isolationFacts(ctx context.Context, i Isolation) (*isolationFacts, error) {
	s, err := r.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	results, err := s.exec(ctx, i.factsQuery())
	if err != nil {
		return nil, fmt.Errorf("isolate schema %q: %w", i.Schema, err)
	}
	return decodeIsolation(results[0])
}

// readable adds to reads the schemas that the role was given to read before.
func (r *Runner) readable(ctx context.Context, role string, reads []string) ([]string, error) {
	_, results, err := r.read(ctx, "", readableOf(literal(role)))
	if err != nil {
		return nil, err
	}
	reads = slices.Clone(reads)
	for _, schema := range texts(results[0]) {
		if !slices.Contains(reads, schema) {
			reads = append(reads, schema)
		}
	}
	return reads, nil
}

func decodeIsolation(res *pgconn.Result) (*isolationFacts, error) {
	f := new(isolationFacts)
	if len(res.Rows) != 1 {
		return nil, errors.New("isolation: no row")
	}
	if err := json.Unmarshal(res.Rows[0][0], f); err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	return f, nil
}

func reachError(schema string, what []string) error {
	return fmt.Errorf("schema %q %w: %s", schema, ErrReach, strings.Join(what, "; "))
}

// locks are those of the schemas to read, in an order in which no two can wait for each other.
func (i Isolation) locks() []string {
	var locks []string
	for _, q := range slices.Sorted(slices.Values(i.Reads)) {
		locks = append(locks, readerLock(q))
	}
	return locks
}

// grantable returns what there is to be granted in the schemas in which something is missing.
func (i Isolation) grantable(ctx context.Context, s *session, f *isolationFacts) (map[string]*grantable, error) {
	var queries []string
	if !f.Granted {
		queries = append(queries, grantableIn(i.Schema))
	}
	for _, q := range f.Reads {
		if !q.Granted {
			queries = append(queries, grantableIn(q.Schema))
		}
	}
	in := make(map[string]*grantable)
	if len(queries) == 0 {
		return in, nil
	}
	results, err := s.exec(ctx, queries...)
	if err != nil {
		return nil, err
	}
	for _, res := range results {
		var g grantable
		if err := json.Unmarshal(res.Rows[0][0], &g); err != nil {
			return nil, fmt.Errorf("isolation: %w", err)
		}
		in[g.Schema] = &g
	}
	return in, nil
}

// statements are what is missing. What is in the schemas is named where it is given.
func (i Isolation) statements(f *isolationFacts, in map[string]*grantable) []string {
	var statements []string
	if !f.Exists {
		statements = append(statements, createRole(f.Role, "works in", f.Database, i.Schema)...)
	}
	for _, login := range f.Missing {
		statements = append(statements, grantRole(f.Role, login, f.Version))
	}
	if !f.Granted {
		grants := grantsIn(i.Schema, f.Role, in[i.Schema])
		if i.Suspended {
			grants = grants[1:] // but for USAGE
		}
		statements = append(statements, grants...)
	}
	if !f.Granted || f.Open {
		statements = append(statements, closeViews(map[string]string{i.Schema: f.Role}))
	}
	for _, other := range f.Others {
		statements = append(statements, revokesIn(i.Schema, other)...)
	}
	for _, q := range f.Reads {
		if !q.Exists {
			statements = append(statements, createRole(q.Role, "reads", f.Database, q.Schema)...)
		}
		if !q.Granted {
			statements = append(statements, readsIn(q.Schema, q.Role, in[q.Schema])...)
		}
		if !q.Member {
			statements = append(statements, "grant "+sqltemplate.Quote(q.Role)+" to "+sqltemplate.Quote(f.Role))
		}
	}
	return statements
}

// factsQuery returns one row of JSON.
func (i Isolation) factsQuery() string {
	role := roleName(schemaRole, i.Schema)
	if i.Role != "" {
		role = literal(i.Role)
	}
	schema := literal(i.Schema)
	granted, outside := i.granted(), "("+reach(i.Schema, i.Reads)+")"
	open, others := "exists ("+openViewsOf(map[string]string{i.Schema: i.Role})+")", "("+othersIn("r.ns", "r.oid", i.Schema)+")"
	if i.New {
		granted, open, others, outside = "false", "false", "null", "null"
	}
	return `with n as materialized (select ` + role + ` as role,
    (select oid from pg_catalog.pg_namespace where nspname = ` + schema + `) as ns,
    pg_catalog.current_setting('server_version_num')::int as version),
r as materialized (select n.*, (select oid from pg_catalog.pg_roles where rolname = n.role) as oid from n),
q as materialized (select u.schema, u.role, (select oid from pg_catalog.pg_namespace where nspname = u.schema) as ns,
    (select oid from pg_catalog.pg_roles where rolname = u.role) as oid from ` + i.readers() + ` u (schema, role))
select pg_catalog.json_build_object(
'database', pg_catalog.current_database(), 'version', version, 'recovery', pg_catalog.pg_is_in_recovery(),
'user', current_user, 'role', role, 'exists', oid is not null,
'schema', ns is not null, 'owns', coalesce((select pg_catalog.pg_has_role(r.oid, nspowner, 'member') from pg_catalog.pg_namespace where oid = r.ns), false),
'granted', ` + granted + `, 'open', ` + open + `, 'others', ` + others + `,
'missing', (select pg_catalog.json_agg(l.login) from pg_catalog.unnest(` + arrayLiteral(i.Logins) + `::text[] || session_user::text) l (login)
    where not coalesce((select rolsuper from pg_catalog.pg_roles where rolname = l.login), false)
    and (oid is null or not pg_catalog.pg_has_role(l.login, oid, case when version >= 160000 then 'SET' else 'MEMBER' end))),
'reads', (select pg_catalog.json_agg(pg_catalog.json_build_object('schema', q.schema, 'role', q.role, 'exists', q.oid is not null,
    'granted', q.oid is not null and pg_catalog.has_schema_privilege(q.oid, q.ns, 'usage')
        and not exists (` + tablesWithout("q.oid", "q.ns", "select", "rpvmf") + `),
    'member', r.oid is not null and q.oid is not null and pg_catalog.pg_has_role(r.oid, q.oid, 'usage'))) from q),
'reach', ` + outside + `) from r`
}

// granted is an expression for whether the role has all that grantsIn would grant.
func (i Isolation) granted() string {
	usage := "pg_catalog.has_schema_privilege(oid, ns, 'usage')"
	if i.Suspended {
		usage = "true"
	}
	return `oid is not null and ns is not null and ` + usage + `
    and not (` + lacksOn("r.oid", "r.ns") + `)
    and not exists (select from (` + madeIn("r.ns") + `) m (class, id) join pg_catalog.pg_class c on c.oid = m.id
        where m.class = 'pg_catalog.pg_class'::regclass and case when c.relkind = 'S'
            then not (pg_catalog.has_sequence_privilege(r.oid, c.oid, 'usage') and pg_catalog.has_sequence_privilege(r.oid, c.oid, 'update')) end)
    and not exists (select from (` + madeIn("r.ns") + `) m (class, id)
        where m.class = 'pg_catalog.pg_proc'::regclass and not pg_catalog.has_function_privilege(r.oid, m.id, 'execute'))
    and exists (select from pg_catalog.pg_default_acl d, pg_catalog.aclexplode(d.defaclacl) x
        where d.defaclnamespace = r.ns and d.defaclobjtype = 'r' and x.grantee = r.oid
        and d.defaclrole = (select oid from pg_catalog.pg_roles where rolname = current_user))`
}

// readers is a FROM item of the schemas to read with their roles' names.
func (i Isolation) readers() string {
	if len(i.Reads) == 0 {
		return "(select null::text, null::text where false)"
	}
	var rows []string
	for _, q := range i.Reads {
		rows = append(rows, "select "+literal(q)+"::text, "+roleName(readerRole, q))
	}
	return "(" + strings.Join(rows, " union all ") + ")"
}
