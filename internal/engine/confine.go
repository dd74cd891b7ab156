package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A Confinement says that a schema has a role, or is to get one: nothing in it may reach into a schema that the role
// may not read. What does is refused before it is committed.
type Confinement struct {
	Role  string   // "": the one that is named after the schema
	Reads []string // schemas that it may read, besides those of the modules that are required
}

// confine sees to it that the target says whether its schema is confined: where the caller has not said, the list of
// tenants does.
func (r *Runner) confine(ctx context.Context, t *Target, f *facts) error {
	if t.Confined == nil && !f.findsTenants() {
		return nil
	}
	if t.Confined == nil {
		roles, err := r.tenantRoles(ctx, "t.schema = "+literal(t.Schema))
		if err != nil || roles[t.Schema] == "" {
			return err
		}
		t.Confined = &Confinement{Role: roles[t.Schema]}
	}
	c := *t.Confined
	c.Reads = slices.Clone(c.Reads)
	c.Reads = append(c.Reads, required(t.Names, t.Requires)...)
	t.Confined = &c
	return nil
}

// findsTenants reports whether there is a list of tenants that the role may read.
func (f *facts) findsTenants() bool {
	return f.Tenants != nil && f.Tenants.Select && f.LedgerSchema.Usage
}

// required returns the schemas of modules.
func required(names *sqltemplate.Names, modules []string) (schemas []string) {
	for module, schema := range names.Aliases() {
		if slices.Contains(modules, module) {
			schemas = append(schemas, schema)
		}
	}
	return schemas
}

// tenantRoles returns the roles of tenants by their schemas.
func (r *Runner) tenantRoles(ctx context.Context, condition string) (map[string]string, error) {
	_, results, err := r.read(ctx, "", fmt.Sprintf("select t.schema, t.role from %s t where t.role is not null and %s", tenantsTable, condition))
	if err != nil || results == nil {
		return nil, err
	}
	roles := make(map[string]string, len(results[0].Rows))
	for _, row := range results[0].Rows {
		roles[string(row[0])] = string(row[1])
	}
	return roles, nil
}

// staysInside is an error when the schema is confined and something in it reaches beyond.
func (t *Target) staysInside(ctx context.Context, s *session) error {
	if t.Confined == nil {
		return nil
	}
	what, err := reaching(ctx, s, map[string]string{t.Schema: t.Confined.Role}, t.Confined.Reads)
	if err != nil {
		return fmt.Errorf("what schema %q depends on: %w", t.Schema, err)
	}
	if len(what[t.Schema]) > 0 {
		return reachError(t.Schema, what[t.Schema])
	}
	return s.closeViews(ctx, map[string]string{t.Schema: t.Confined.Role})
}

// reaching returns what reaches beyond schemas, which are given with the names of their roles or "". Where it is what
// another module of the schema requires, the role was given that to read before, and it is none.
func reaching(ctx context.Context, s *session, roles map[string]string, reads []string) (map[string][]string, error) {
	var schemas []string
	for schema := range roles {
		schemas = append(schemas, schema)
	}
	bad, err := reachingBeyond(ctx, s, schemas, reads)
	if err != nil || len(bad) == 0 {
		return nil, err
	}
	some := maps.Clone(roles)
	maps.DeleteFunc(some, func(schema, _ string) bool { return bad[schema] == nil })
	more, err := readableBy(ctx, s, some)
	if err != nil || len(more) == 0 {
		return bad, err
	}
	// Schemas of the same modules may read the same.
	groups := make(map[string][]string)
	for schema := range bad {
		slices.Sort(more[schema])
		key := fmt.Sprintf("%q", more[schema])
		groups[key] = append(groups[key], schema)
	}
	left := make(map[string][]string)
	for _, group := range groups {
		found, err := reachingBeyond(ctx, s, group, append(slices.Clone(reads), more[group[0]]...))
		if err != nil {
			return nil, err
		}
		for schema, what := range found {
			left[schema] = what
		}
	}
	return left, nil
}

func reachingBeyond(ctx context.Context, s *session, schemas, reads []string) (map[string][]string, error) {
	// Without a search path all names come with their schemas. It is left as it was: triggers may run at the commit.
	script := []string{"savepoint reach", "set local search_path to pg_catalog", reachOf(schemas, reads), "rollback to reach", "release reach"}
	if s.pg.TxStatus() == 'I' {
		script = append(append([]string{"begin"}, script[1:3]...), "rollback")
	}
	results, err := s.exec(ctx, script...)
	if err != nil {
		return nil, err
	}
	bad := make(map[string][]string)
	for _, row := range results[2].Rows {
		bad[string(row[0])] = append(bad[string(row[0])], string(row[1]))
	}
	for schema, what := range bad {
		slices.Sort(what)
		bad[schema] = what[:min(len(what), mostReached)]
	}
	return bad, nil
}

// mostReached bounds how much an error says.
const mostReached = 20

// readableBy returns the schemas that the roles of schemas, given as above, were given to read.
func readableBy(ctx context.Context, s *session, roles map[string]string) (map[string][]string, error) {
	results, err := s.exec(ctx, fmt.Sprintf("select u.schema, q.nspname from (values %s) u (schema, role) cross join lateral (%s) q", roleValues(roles), readableOf("u.role")))
	if err != nil {
		return nil, err
	}
	reads := make(map[string][]string)
	for _, row := range results[0].Rows {
		reads[string(row[0])] = append(reads[string(row[0])], string(row[1]))
	}
	return reads, nil
}

// readableOf selects the names of the schemas that a role, an expression for its name, may use by the roles that it is a
// member of. What a role has privileges on is found by an index, and the other way round it is not.
func readableOf(role string) string {
	return `select n.nspname from pg_catalog.pg_roles o join pg_catalog.pg_auth_members m on m.member = o.oid
join pg_catalog.pg_shdepend d on d.refclassid = 'pg_catalog.pg_authid'::regclass and d.refobjid = m.roleid
    and d.classid = 'pg_catalog.pg_namespace'::regclass and d.deptype = 'a'
    and d.dbid = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
join pg_catalog.pg_namespace n on n.oid = d.objid
where o.rolname = ` + role + ` and exists (select from pg_catalog.aclexplode(n.nspacl) x where x.grantee = m.roleid and x.privilege_type = 'USAGE')`
}
