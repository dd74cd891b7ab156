package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// RenameTenant gives a tenant another id, and its schema and role the names that go with it, in one transaction.
// Functions that name the schema are made anew; whatever else has its name in its text is an error.
func (r *Runner) RenameTenant(ctx context.Context, set *TenantSet, id, newID, newSchema string) (*Tenant, error) {
	t, f, err := r.tenant(ctx, set, id)
	if err != nil {
		return nil, err
	}
	old, versions := t.Schema, t.Versions
	if err := everybodys(old); err != nil {
		return nil, err
	}
	if err := f.mayChangeTenants([]string{"SELECT", "UPDATE"}, true, false); err != nil {
		return nil, err
	}
	reads := []string{
		awaitLock(schemaLock(newSchema).key),
		Isolation{Schema: newSchema, New: true}.factsQuery(),
		requirers(old, true),
	}
	ids := []string{min(id, newID), max(id, newID)} // in one order, or two could wait for each other
	if id == newID {
		ids = ids[:1]
	}
	err = r.changeTenants(ctx, set, f, ids, old, reads, func(ctx context.Context, c *tenantChange) ([]string, error) {
		if t, err = c.one(id); err != nil {
			return nil, err
		}
		if _, err := c.one(newID); err == nil && newID != id {
			return nil, fmt.Errorf("tenant %q: %w", newID, ErrTenantExists)
		}
		iso, err := decodeIsolation(c.extra[1])
		switch {
		case err != nil:
			return nil, err
		case t.Schema != old:
			return nil, fmt.Errorf("tenant %q was renamed meanwhile", id)
		case t.State != TenantActive && t.State != TenantSuspended:
			return nil, fmt.Errorf("%w: it is %s", ErrTenantNotReady, t.State)
		case iso.Schema && newSchema != old:
			return nil, fmt.Errorf("%w: schema %q is there", ErrTenantExists, newSchema)
		case newSchema == old:
			return []string{fmt.Sprintf("update %s set id = %s where schema = %s", tenantsTable, literal(newID), literal(old))}, nil
		}
		if err := refuseRequirers(c.extra[2]); err != nil {
			return nil, err
		}
		return c.rename(ctx, t, newID, newSchema, iso)
	})
	if err != nil {
		return nil, err
	}
	t.ID, t.Schema, t.Versions = newID, newSchema, versions
	return t, nil
}

func (c *tenantChange) rename(ctx context.Context, t *Tenant, newID, newSchema string, iso *isolationFacts) ([]string, error) {
	old := t.Schema
	results, err := c.session.exec(ctx,
		"alter schema "+sqltemplate.Quote(old)+" rename to "+sqltemplate.Quote(newSchema),
		searchPath(newSchema), "set local check_function_bodies = off",
		naming(old, newSchema), functionsNaming(old, newSchema), objectsOf(newSchema))
	if err != nil && len(results) == 0 {
		return nil, c.mayRename(old, err)
	}
	if err != nil {
		return nil, err
	}
	if named := texts(results[3]); len(named) > 0 {
		return nil, fmt.Errorf("%w: the name of schema %q is in the text of %s", ErrRequired, old, strings.Join(named, ", "))
	}
	objects := texts(results[5])
	var statements []string
	for _, definition := range texts(results[4]) {
		if other := renamed(definition, old, newSchema, objects); other != definition {
			statements = append(statements, other)
		}
	}
	role := t.Role
	if role != "" && role != iso.Role {
		// It cannot keep its name: the next tenant of the old one's schema is given a role of that name.
		t.Role = iso.Role
		if iso.Exists { // left by a tenant that is gone, and granted something that keeps it
			t.Role = iso.Role[:len(iso.Role)-roleHash] + fmt.Sprintf("%0*x", roleHash, rand.Uint64()>>(64-4*roleHash))
		}
		statements = append(statements, "alter role "+sqltemplate.Quote(role)+" rename to "+sqltemplate.Quote(t.Role),
			createRole(t.Role, "works in", iso.Database, newSchema)[1])
	}
	return append(statements,
		fmt.Sprintf("update %s set target_schema = %s where target_schema = %s", ledgerTable, literal(newSchema), literal(old)),
		fmt.Sprintf("update %s set id = %s, schema = %s, role = %s where schema = %s",
			tenantsTable, literal(newID), literal(newSchema), nullable(t.Role), literal(old))), nil
}

// mayRename makes an error of the server's that says what lets the role rename a schema.
func (c *tenantChange) mayRename(schema string, err error) error {
	if sqlState(err) == codeInsufficientRight && !c.facts.MayCreate {
		return &PrivilegeError{Role: c.facts.Role, Schema: schema, Err: err, Statements: []string{c.facts.grantCreate()}}
	}
	return c.facts.ownSchema(schema, err)
}

// renamed puts the new name of a schema into a function: where the old one is quoted, as placeholders have it, where it
// is a string of its own, and where it stands before one of the schema's objects, as format('%I.x') writes it.
func renamed(definition, old, schema string, objects []string) string {
	if unquotedName.MatchString(old) {
		qualified := regexp.MustCompile(`(^|[^\w"$.])` + old + `(\s*\.\s*"?)(\w+)`)
		definition = qualified.ReplaceAllStringFunc(definition, func(text string) string {
			m := qualified.FindStringSubmatch(text)
			if !slices.Contains(objects, m[3]) {
				return text
			}
			return m[1] + sqltemplate.Quote(schema) + m[2] + m[3]
		})
	}
	return strings.NewReplacer(sqltemplate.Quote(old), sqltemplate.Quote(schema), "'"+old+"'", "'"+schema+"'").Replace(definition)
}

var unquotedName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// objectsOf selects the names of what a schema has.
func objectsOf(schema string) string {
	return "with " + relationsOf(literal(schema)) + ", " + routinesOf(literal(schema)) + ", " + madeOf("types", "pg_type", literal(schema)) + `
select relname from rels union select typname from types union select proname from procs
union select i.relname from rels c join pg_catalog.pg_index x on x.indrelid = c.oid join pg_catalog.pg_class i on i.oid = x.indexrelid
union select a.typname from pg_catalog.pg_type t join pg_catalog.pg_type a on a.oid = t.typarray
    where t.oid in (select oid from types union all select reltype from rels)`
}

// naming selects what in a schema, which has been renamed already, has its old name in its text, apart from functions:
// what PostgreSQL keeps as a tree of oids has followed, but a string in it has not.
func naming(old, schema string) string {
	match := func(text string) string {
		return fmt.Sprintf("(select pg_catalog.strpos(t, %s) + pg_catalog.strpos(t, %s) + pg_catalog.strpos(t, %s) > 0 from (select %s) x (t))",
			literal("'"+old+"'"), literal("'"+old+"."), literal(`"`+old+`"`), text)
	}
	// of are the rows of a catalog about the schema's relations or types.
	of := func(what, catalog, column, alias string) string {
		return fmt.Sprintf("%s c cross join lateral (select %[3]s.* from pg_catalog.%[2]s %[3]s where %[3]s.%[4]s = c.oid offset 0) %[3]s", what, catalog, alias, column)
	}
	return "with " + relationsOf(literal(schema)) + ", " + madeOf("types", "pg_type", literal(schema)) + `,
indexes as materialized (select i.indexrelid, pg_catalog.pg_get_indexdef(i.indexrelid) as definition from ` + of("rels", "pg_index", "indrelid", "i") + `)
select what from (
select 'view ' || c.relname as what from rels c where c.relkind in ('v', 'm') and ` + match("pg_catalog.pg_get_viewdef(c.oid)") + `
union all select 'default of column ' || c.relname || '.' || a.attname from ` + of("rels", "pg_attrdef", "adrelid", "d") + `
    join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = d.adnum where ` + match("pg_catalog.pg_get_expr(d.adbin, d.adrelid)") + `
union all select 'default of domain ' || typname from types where ` + match("pg_catalog.pg_get_expr(typdefaultbin, 0)") + `
union all select 'constraint ' || k.conname from ` + of("rels", "pg_constraint", "conrelid", "k") + ` where k.contype = 'c' and ` + match("pg_catalog.pg_get_constraintdef(k.oid)") + `
union all select 'constraint ' || k.conname from ` + of("types", "pg_constraint", "contypid", "k") + ` where k.contype = 'c' and ` + match("pg_catalog.pg_get_constraintdef(k.oid)") + `
union all select 'partition ' || c.relname from rels c where c.relispartition and c.relkind in ('r', 'p', 'f') and ` + match("pg_catalog.pg_get_expr(c.relpartbound, c.oid)") + `
union all select 'policy ' || p.polname from ` + of("rels", "pg_policy", "polrelid", "p") + `
    where ` + match("pg_catalog.pg_get_expr(p.polqual, p.polrelid)") + ` or ` + match("pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)") + `
union all select 'rule ' || r.rulename from ` + of("rels", "pg_rewrite", "ev_class", "r") + ` where c.relkind in ('r', 'p') and ` + match("pg_catalog.pg_get_ruledef(r.oid)") + `
union all select 'trigger ' || t.tgname from ` + of("rels", "pg_trigger", "tgrelid", "t") + ` where not t.tgisinternal and ` + match("pg_catalog.pg_get_triggerdef(t.oid)") + `
union all select 'index ' || x.relname from indexes i join pg_catalog.pg_class x on x.oid = i.indexrelid where ` + match("i.definition") + `
) n order by what limit 20`
}

// functionsNaming selects the definitions of the functions of a schema, which has been renamed already, that name it as
// it was.
func functionsNaming(old, schema string) string {
	return fmt.Sprintf(`with %s select definition from (select case when p.prokind in ('f', 'p') then pg_catalog.pg_get_functiondef(p.oid) end
    from procs p) d (definition)
where pg_catalog.strpos(definition, %s) > 0`, routinesOf(literal(schema)), literal(old))
}
