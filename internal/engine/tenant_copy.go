package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// ErrTenantsDiffer: the tenant whose rows are to be copied has other tables than the new one.
var ErrTenantsDiffer = errors.New("tables differ")

// copied is what a schema holds that copying has to know of.
type copied struct {
	Tables      []copiedTable  `json:"tables"`
	Constraints []copiedAside  `json:"constraints"`
	Triggers    []copiedSwitch `json:"triggers"`
	Rules       []copiedSwitch `json:"rules"`
	Sequences   []string       `json:"sequences"`
	Filled      []string       `json:"filled"` // materialized views with rows, in the order in which they were made
}

type copiedTable struct {
	Name     string         `json:"name"`
	Columns  []copiedColumn `json:"columns"`  // but those that are generated
	Parts    bool           `json:"parts"`    // it is partitioned
	Identity bool           `json:"identity"` // a column is GENERATED ALWAYS AS IDENTITY
	Hidden   bool           `json:"hidden"`   // row-level security holds for the session's user, too
}

type copiedColumn struct {
	Name string `json:"name"`
	Type string `json:"type"` // as it reads within the schema
	Own  string `json:"own"`  // the name of a type that is the schema's own: the other schema has another one
}

// copiedAside is a constraint that rows in some order, or old ones, do not meet: a foreign key between two tables of the
// schema, or one that is NOT VALID.
type copiedAside struct {
	Table      string `json:"table"`
	Name       string `json:"name"`
	Definition string `json:"definition"`
	Comment    string `json:"comment"`
}

// copiedSwitch is a trigger or a rule that does something: it is not disabled.
type copiedSwitch struct {
	Table string `json:"table"`
	Name  string `json:"name"`
	State string `json:"state"` // as in pg_trigger.tgenabled
	Whole bool   `json:"whole"` // it is switched with those of the partitions, which PostgreSQL 14 lets nobody switch
}

// on is the word after ENABLE that brings back the state.
func (w copiedSwitch) on() string {
	return map[string]string{"R": "replica ", "A": "always "}[w.State]
}

// copiedQuery selects it, as JSON. The search path must be the schema's.
func copiedQuery(schema string) string {
	return "with " + relationsOf(literal(schema)) + `
select pg_catalog.json_build_object(
'tables', (select pg_catalog.json_agg(pg_catalog.json_build_object('name', c.relname, 'parts', c.relkind = 'p', 'hidden', pg_catalog.row_security_active(c.oid),
    'identity', exists (select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attidentity = 'a'),
    'columns', (select pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname, 'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
            'own', case when t.typnamespace = c.relnamespace then t.typname end) order by a.attnum)
        from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '')) order by c.oid)
    from rels c where c.relkind in ('r', 'p') and not c.relispartition),
'constraints', (select pg_catalog.json_agg(pg_catalog.json_build_object('table', c.relname, 'name', k.conname,
    'definition', pg_catalog.pg_get_constraintdef(k.oid), 'comment', pg_catalog.obj_description(k.oid, 'pg_constraint')) order by k.oid)
    from rels c cross join lateral (select k.* from pg_catalog.pg_constraint k where k.conrelid = c.oid offset 0) k
    where k.conparentid = 0 and k.coninhcount = 0
    and (not k.convalidated or k.contype = 'f' and k.confrelid in (select oid from rels))),
'triggers', (select pg_catalog.json_agg(pg_catalog.json_build_object('table', c.relname, 'name', t.tgname, 'state', t.tgenabled,
        'whole', exists (select from pg_catalog.pg_trigger p where p.tgparentid = t.oid and p.tgisinternal)) order by c.oid, t.oid)
    from rels c cross join lateral (select t.* from pg_catalog.pg_trigger t where t.tgrelid = c.oid offset 0) t
    where c.relkind in ('r', 'p') and not t.tgisinternal and t.tgenabled <> 'D'),
'rules', (select pg_catalog.json_agg(pg_catalog.json_build_object('table', c.relname, 'name', r.rulename, 'state', r.ev_enabled) order by r.oid)
    from rels c cross join lateral (select r.* from pg_catalog.pg_rewrite r where r.ev_class = c.oid offset 0) r
    where c.relkind in ('r', 'p') and r.ev_enabled <> 'D'),
'sequences', (select pg_catalog.json_agg(c.relname order by c.relname) from rels c where c.relkind = 'S'),
'filled', (select pg_catalog.json_agg(c.relname order by c.oid) from rels c where c.relkind = 'm' and c.relispopulated))`
}

// copyRows fills a schema that its migrations have just made with the rows of another tenant's, as they are at one
// moment: it is one statement, whose parts see the same. Users of that tenant are not kept from anything.
func (c *tenantChange) copyRows(ctx context.Context, from *Tenant, schema string, modules []Target) error {
	for _, t := range modules {
		if want := t.newest(); from.Versions[t.Module] != want {
			return fmt.Errorf("tenant %q: %w: module %s is at version %s there, its files at %s", from.ID, ErrTenantsDiffer,
				t.Module, orNone(from.Versions[t.Module]), want)
		}
	}
	results, err := c.session.exec(ctx, "set local row_security = off", searchPath(from.Schema), copiedQuery(from.Schema),
		searchPath(schema), copiedQuery(schema))
	if err != nil {
		return err
	}
	var theirs, ours copied
	for i, into := range []*copied{&theirs, &ours} {
		if err := json.Unmarshal(results[2+2*i].Rows[0][0], into); err != nil {
			return fmt.Errorf("copy: %w", err)
		}
	}
	if err := theirs.differs(&ours); err != nil {
		return fmt.Errorf("tenant %q: %w: %w", from.ID, ErrTenantsDiffer, err)
	}
	if len(ours.Tables)+len(ours.Sequences) == 0 {
		return nil
	}
	if hidden := slices.Concat(theirs.hidden(), ours.hidden()); len(hidden) > 0 {
		slices.Sort(hidden)
		return &PrivilegeError{Role: c.facts.Role, Schema: from.Schema,
			Statements: []string{"ALTER ROLE " + sqltemplate.Quote(c.facts.Role) + " BYPASSRLS"},
			Err:        fmt.Errorf("row-level security would leave out rows of %s", strings.Join(slices.Compact(hidden), ", "))}
	}
	c.session.dirty = true
	if _, err := c.session.exec(ctx, ours.statements(from.Schema, schema, theirs.Filled)...); err != nil {
		return fmt.Errorf("copy rows of tenant %q: %w", from.ID, err)
	}
	return nil
}

// hidden are the tables of which the session's user may not see all rows.
func (c *copied) hidden() (names []string) {
	for _, t := range c.Tables {
		if t.Hidden {
			names = append(names, t.Name)
		}
	}
	return names
}

func orNone(version string) string {
	if version == "" {
		return "none"
	}
	return version
}

// differs says which table, column or sequence one has and the other has not.
func (from *copied) differs(to *copied) error {
	columns := func(c *copied) map[string][]string {
		m := make(map[string][]string)
		for _, t := range c.Tables {
			m[t.Name] = []string{}
			for _, column := range t.Columns {
				m[t.Name] = append(m[t.Name], column.Name+" "+column.Type)
			}
			slices.Sort(m[t.Name])
		}
		for _, s := range c.Sequences {
			m["sequence "+s] = nil
		}
		return m
	}
	theirs, ours := columns(from), columns(to)
	for name, cols := range theirs {
		switch mine, ok := ours[name]; {
		case !ok:
			return fmt.Errorf("%s is not what the migrations make", name)
		case !slices.Equal(cols, mine):
			return fmt.Errorf("%s has the columns %s, the migrations make %s", name, strings.Join(cols, ", "), strings.Join(mine, ", "))
		}
	}
	for name := range ours {
		if _, ok := theirs[name]; !ok {
			return fmt.Errorf("%s is missing", name)
		}
	}
	return nil
}

// statements copy all rows. Triggers and rules have done their work where the rows were written first, and keys would
// have an order of the tables, which there need not be.
func (to *copied) statements(from, schema string, filled []string) []string {
	source := func(name string) string { return sqltemplate.Quote(from) + "." + sqltemplate.Quote(name) }
	target := func(name string) string { return sqltemplate.Quote(schema) + "." + sqltemplate.Quote(name) }
	before, after := to.putAside(target)
	var parts, all []string
	text := false // some values are copied as their text
	for i, t := range to.Tables {
		all = append(all, target(t.Name))
		var columns, values []string
		for _, column := range t.Columns {
			name := sqltemplate.Quote(column.Name)
			columns = append(columns, name)
			if column.Own != "" {
				name += "::text::" + target(column.Own)
				text = true
			}
			values = append(values, name)
		}
		list, overriding, only := "", "", " only"
		if len(columns) > 0 {
			list = " (" + strings.Join(columns, ", ") + ")"
		}
		if t.Identity {
			overriding = " overriding system value"
		}
		if t.Parts {
			only = ""
		}
		parts = append(parts, fmt.Sprintf("t%d as (insert into %s%s%s select %s from%s %s)",
			i, target(t.Name), list, overriding, strings.Join(values, ", "), only, source(t.Name)))
	}
	if len(all) > 0 {
		copying := "with " + strings.Join(parts, ",\n") + "\nselect"
		before = append(before, "truncate "+strings.Join(all, ", ")) // of what the migrations have written
		if text {
			before = append(before, exactText("3", "iso, mdy", "postgres")...)
		}
		before = append(before, copying)
		if text {
			before = append(before, exactText("default", "default", "default")...)
		}
		before = append(before, "set constraints all immediate")
	}
	for _, s := range to.Sequences {
		before = append(before, fmt.Sprintf("select pg_catalog.setval(%s, last_value, is_called) from %s", literal(target(s)), source(s)))
	}
	statements := append(before, after...)
	for _, v := range to.Filled {
		refresh := "refresh materialized view " + target(v)
		if !slices.Contains(filled, v) {
			refresh += " with no data"
		}
		statements = append(statements, refresh)
	}
	return statements
}

// putAside takes away what rows must not meet while they are copied, and brings it back.
func (to *copied) putAside(target func(string) string) (before, after []string) {
	before = []string{"set constraints all immediate"} // a table whose rows wait for a check cannot be altered
	for _, k := range to.Constraints {
		table, name := target(k.Table), sqltemplate.Quote(k.Name)
		before = append(before, "alter table "+table+" drop constraint "+name)
		after = append(after, "alter table "+table+" add constraint "+name+" "+k.Definition)
		if k.Comment != "" {
			after = append(after, "comment on constraint "+name+" on "+table+" is "+literal(k.Comment))
		}
	}
	for _, t := range to.Triggers {
		table, name := "alter table only "+target(t.Table), sqltemplate.Quote(t.Name)
		if t.Whole {
			table = "alter table " + target(t.Table)
		}
		before = append(before, table+" disable trigger "+name)
		after = append(after, table+" enable "+t.on()+"trigger "+name)
	}
	for _, r := range to.Rules {
		table, name := "alter table "+target(r.Table), sqltemplate.Quote(r.Name)
		before = append(before, table+" disable rule "+name)
		after = append(after, table+" enable "+r.on()+"rule "+name)
	}
	return before, after
}

// exactText sets how values become text: so that nothing is lost.
func exactText(floats, dates, intervals string) []string {
	return []string{
		"set local extra_float_digits = " + floats,
		"set local datestyle = " + dates,
		"set local intervalstyle = " + intervals,
	}
}
