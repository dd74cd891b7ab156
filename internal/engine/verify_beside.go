package engine

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A standIn takes, while files are built, the place of a schema of others: it has empty tables of the same columns and
// keys. What refers to those locks nothing that others use; a foreign key alone keeps all writers of a table waiting.
type standIn struct {
	schema string // whose place it takes
	name   string
	tables []string
}

// standIns makes of the target b, which is to be built, one whose required modules are found in stand-ins: those of which
// the files name nothing but relations that may be read. None where there is code in Go, whose names nobody knows.
func (m *migration) standIns(ctx context.Context, b Target, files []*File) (Target, []standIn, error) {
	aliases := maps.Collect(b.Names.Aliases())
	var ins []standIn
	for _, f := range files {
		if f.call != nil {
			return b, nil, nil
		}
		for _, module := range f.template.Modules() {
			schema := aliases[module]
			if schema != "" && schema != b.Schema && !slices.ContainsFunc(ins, func(s standIn) bool { return s.schema == schema }) {
				ins = append(ins, standIn{schema: schema, name: fmt.Sprintf("%s_%03d", b.Schema, len(ins))})
			}
		}
	}
	all, err := b.within(ins)
	if err != nil {
		return b, nil, err
	}
	kept := make([]standIn, 0, len(ins))
	for _, s := range ins {
		if err := s.find(files, all.Names); err != nil {
			return b, nil, err
		}
		if ok, err := m.readable(ctx, s); err != nil {
			return b, nil, err
		} else if ok {
			kept = append(kept, s)
		}
	}
	b, err = b.within(kept)
	return b, kept, err
}

// within is the target with the stand-ins in place.
func (t Target) within(ins []standIn) (Target, error) {
	aliases := maps.Collect(t.Names.Aliases())
	for module, schema := range aliases {
		for _, s := range ins {
			if s.schema == schema {
				aliases[module] = s.name
			}
		}
	}
	var err error
	t.Names, err = sqltemplate.NewNames(t.Schema, aliases)
	return t, err
}

// find notes the objects of the schema that the files name: a placeholder names no schema of others by itself.
func (s *standIn) find(files []*File, names *sqltemplate.Names) error {
	object := regexp.MustCompile(`"` + s.name + `"\."((?:[^"]|"")+)"`)
	for _, f := range files {
		expanded, err := f.template.Expand(names)
		if err != nil {
			return err
		}
		for _, match := range object.FindAllStringSubmatch(expanded, -1) {
			if name := strings.ReplaceAll(match[1], `""`, `"`); !slices.Contains(s.tables, name) {
				s.tables = append(s.tables, name)
			}
		}
	}
	return nil
}

// readable reports whether all that was found are relations with columns whose definition the role may read.
func (m *migration) readable(ctx context.Context, s standIn) (bool, error) {
	there, err := m.list(ctx, fmt.Sprintf(`select c.relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = %s and c.relname = any (%s) and c.relkind in ('r', 'p', 'v', 'm', 'f')
    and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'select')
    and not exists (select from pg_catalog.pg_proc p where p.pronamespace = n.oid and p.proname = c.relname)`, literal(s.schema), textArray(s.tables)))
	return len(there) == len(s.tables), err
}

// statements make the stand-in.
func (s *standIn) statements() []string {
	list := []string{"create schema " + sqltemplate.Quote(s.name)}
	for _, table := range s.tables {
		name := sqltemplate.Quote(table)
		list = append(list, fmt.Sprintf("create table %s.%s (like %s.%[2]s including constraints including defaults including generated including indexes)", sqltemplate.Quote(s.name), name, sqltemplate.Quote(s.schema)))
	}
	return list
}

// inPlace gives what was built beside stand-ins the names that it has without: those of the verified schema itself are
// neutral.
func (f fingerprint) inPlace(schema string, ins []standIn, quoted []string) {
	var pairs []string
	for i, s := range ins {
		name, text, plain := sqltemplate.Quote(s.schema), "'"+s.schema+"'", quoted[i]
		if s.schema == schema {
			name, text = "{{schema}}", "{{schema:literal}}"
		}
		pairs = append(pairs, sqltemplate.Quote(s.name), name, "'"+s.name+"'", text, s.name, plain)
	}
	real := strings.NewReplacer(pairs...)
	for k, definition := range maps.Clone(f) {
		delete(f, k)
		f[objectKey{k.kind, real.Replace(k.parent), real.Replace(k.name)}] = real.Replace(definition)
	}
}
