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
	Tables    []copiedTable `json:"tables"`
	Keys      []copiedKey   `json:"keys"`
	Sequences []string      `json:"sequences"`
	Filled    []string      `json:"filled"` // materialized views with rows, in the order in which they were made
}

type copiedTable struct {
	Name     string   `json:"name"`
	Columns  []string `json:"columns"`  // but those that are generated
	Parts    bool     `json:"parts"`    // it is partitioned
	Triggers bool     `json:"triggers"` // of users
	Identity bool     `json:"identity"` // a column is GENERATED ALWAYS AS IDENTITY
}

// copiedKey is a foreign key between two tables of the schema.
type copiedKey struct {
	Table      string `json:"table"`
	Name       string `json:"name"`
	Definition string `json:"definition"`
}

func copiedQuery(schema string) string {
	in := "(select oid from pg_catalog.pg_namespace where nspname = " + literal(schema) + ")"
	return `select pg_catalog.json_build_object(
'tables', (select pg_catalog.json_agg(pg_catalog.json_build_object('name', c.relname, 'parts', c.relkind = 'p',
    'triggers', exists (select from pg_catalog.pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal),
    'identity', exists (select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attidentity = 'a'),
    'columns', (select pg_catalog.json_agg(a.attname order by a.attnum) from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '')) order by c.oid)
    from pg_catalog.pg_class c where c.relnamespace = ` + in + ` and c.relkind in ('r', 'p') and not c.relispartition
    and c.relpersistence = 'p'),
'keys', (select pg_catalog.json_agg(pg_catalog.json_build_object('table', c.relname, 'name', k.conname,
    'definition', pg_catalog.pg_get_constraintdef(k.oid)) order by k.oid)
    from pg_catalog.pg_constraint k join pg_catalog.pg_class c on c.oid = k.conrelid join pg_catalog.pg_class r on r.oid = k.confrelid
    where k.contype = 'f' and k.conparentid = 0 and c.relnamespace = ` + in + ` and r.relnamespace = c.relnamespace),
'sequences', (select pg_catalog.json_agg(c.relname order by c.relname) from pg_catalog.pg_class c where c.relnamespace = ` + in + ` and c.relkind = 'S'),
'filled', (select pg_catalog.json_agg(c.relname order by c.oid) from pg_catalog.pg_class c where c.relnamespace = ` + in + ` and c.relkind = 'm' and c.relispopulated))`
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
	results, err := c.session.exec(ctx, "set local row_security = off", searchPath(schema), copiedQuery(from.Schema), copiedQuery(schema))
	if err != nil {
		return err
	}
	var theirs, ours copied
	for i, into := range []*copied{&theirs, &ours} {
		if err := json.Unmarshal(results[2+i].Rows[0][0], into); err != nil {
			return fmt.Errorf("copy: %w", err)
		}
	}
	if err := theirs.differs(&ours); err != nil {
		return fmt.Errorf("tenant %q: %w: %w", from.ID, ErrTenantsDiffer, err)
	}
	if len(ours.Tables)+len(ours.Sequences) == 0 {
		return nil
	}
	c.session.dirty = true
	if _, err := c.session.exec(ctx, ours.statements(from.Schema, schema, theirs.Filled)...); err != nil {
		return fmt.Errorf("copy rows of tenant %q: %w", from.ID, err)
	}
	return nil
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
			m[t.Name] = slices.Sorted(slices.Values(t.Columns))
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

// statements copy all rows. Triggers have done their work where the rows were written first, and keys would have an
// order of the tables, which there need not be.
func (to *copied) statements(from, schema string, filled []string) []string {
	source := func(name string) string { return sqltemplate.Quote(from) + "." + sqltemplate.Quote(name) }
	target := func(name string) string { return sqltemplate.Quote(schema) + "." + sqltemplate.Quote(name) }
	var before, parts, after []string
	for _, k := range to.Keys {
		before = append(before, "alter table "+target(k.Table)+" drop constraint "+sqltemplate.Quote(k.Name))
		after = append(after, "alter table "+target(k.Table)+" add constraint "+sqltemplate.Quote(k.Name)+" "+k.Definition)
	}
	var all []string
	for i, t := range to.Tables {
		all = append(all, target(t.Name))
		if t.Triggers {
			before = append(before, "alter table "+target(t.Name)+" disable trigger user")
			after = append(after, "alter table "+target(t.Name)+" enable trigger user")
		}
		if len(t.Columns) == 0 {
			continue
		}
		var columns []string
		for _, name := range t.Columns {
			columns = append(columns, sqltemplate.Quote(name))
		}
		list := strings.Join(columns, ", ")
		overriding, only := "", " only"
		if t.Identity {
			overriding = " overriding system value"
		}
		if t.Parts {
			only = ""
		}
		parts = append(parts, fmt.Sprintf("t%d as (insert into %s (%s)%s select %s from%s %s)",
			i, target(t.Name), list, overriding, list, only, source(t.Name)))
	}
	if len(all) > 0 {
		before = append(before, "truncate "+strings.Join(all, ", ")) // of what the migrations have written
	}
	if len(parts) > 0 {
		before = append(before, "with "+strings.Join(parts, ",\n")+"\nselect", "set constraints all immediate")
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
