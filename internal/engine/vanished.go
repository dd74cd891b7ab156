package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A file may drop what a repeatable file has made, by CASCADE say or since a column under a view changes its type. The
// repeatable file's text is as it was, so it is put up for running again when the catalog says that something is gone.
// That is written in the transaction that drops it, as a failure of the repeatable file, which is pending like any other.

// A schemaObject is what a repeatable file may have made in a schema: all but tables and sequences.
type schemaObject struct {
	identity string   // its kind and qualified name
	names    []string // all of which a file must name that makes it
}

// objectsQuery selects schema, identity and names of the objects of schemas. It starts at what depends on a schema, for
// which there is an index, so it costs the same however many other schemas there are.
func objectsQuery(schemas []string) string {
	return fmt.Sprintf(`with own as (select n.nspname, d.classid, d.objid, c.relkind, coalesce(c.relname, t.typname)::text as name
    from pg_catalog.pg_namespace n join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass and d.refobjid = n.oid
    left join pg_catalog.pg_class c on d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and c.oid = d.objid
    left join pg_catalog.pg_type t on d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass and t.oid = d.objid
    where n.nspname = any (%s::name[])),
relation as (select * from own where relkind in ('r', 'p', 'f', 'v', 'm'))
select x.nspname, o.type || ' ' || o.identity as identity,
    pg_catalog.array_to_json(case when x.name is null then a.object_names[2:] else array[x.name] end)
from (select nspname, classid, objid, name from own where relkind is null or relkind in ('v', 'm')
    union all select nspname, 'pg_catalog.pg_class'::pg_catalog.regclass, i.indexrelid, name
        from relation join pg_catalog.pg_index i on i.indrelid = objid where relkind = 'm'
    union all select nspname, 'pg_catalog.pg_trigger'::pg_catalog.regclass, t.oid, null
        from relation join pg_catalog.pg_trigger t on t.tgrelid = objid where not t.tgisinternal
    union all select nspname, 'pg_catalog.pg_rewrite'::pg_catalog.regclass, w.oid, null
        from relation join pg_catalog.pg_rewrite w on w.ev_class = objid where w.rulename <> '_RETURN'
    union all select nspname, 'pg_catalog.pg_policy'::pg_catalog.regclass, p.oid, null
        from relation join pg_catalog.pg_policy p on p.polrelid = objid) x
cross join lateral pg_catalog.pg_identify_object(x.classid, x.objid, 0) o
cross join lateral pg_catalog.pg_identify_object_as_address(x.classid, x.objid, 0) a`, arrayLiteral(schemas))
}

// decodeObjects reads what objectsQuery selected, by schema.
func decodeObjects(result *pgconn.Result) (map[string][]schemaObject, error) {
	objects := make(map[string][]schemaObject)
	for _, row := range result.Rows {
		o := schemaObject{identity: string(row[1])}
		if err := json.Unmarshal(row[2], &o.names); err != nil {
			return nil, fmt.Errorf("names of %s: %w", o.identity, err)
		}
		objects[string(row[0])] = append(objects[string(row[0])], o)
	}
	return objects, nil
}

// A claim says that a repeatable file may have made an object.
type claim struct{ schema, identity, version string }

// claims are those of the repeatable files but one, which has just run and knows what it drops. A file may have made an
// object that it names, and any when it makes names up as it runs.
func claims(schema string, files []*File, but string, objects []schemaObject) []claim {
	var all []claim
	for _, f := range files {
		if !f.Repeatable() || f.Version == but || len(objects) == 0 {
			continue
		}
		text := strings.ToLower(f.Source)
		anything := makesNamesUp(text)
		for _, o := range objects {
			if anything || o.namedIn(text) {
				all = append(all, claim{schema, o.identity, f.Version})
			}
		}
	}
	return all
}

// namedIn reports whether a text in lower case has all names of the object.
func (o schemaObject) namedIn(text string) bool {
	return len(o.names) > 0 && !slices.ContainsFunc(o.names, func(name string) bool {
		return !containsWord(text, strings.ToLower(strings.ReplaceAll(name, `"`, `""`)))
	})
}

var executed = regexp.MustCompile(`\bexecute\b\s*(\w*)`)

// makesNamesUp reports whether a text has EXECUTE in a body, not that of a trigger or a privilege, or Unicode escapes.
func makesNamesUp(text string) bool {
	return strings.Contains(text, `u&"`) || slices.ContainsFunc(executed.FindAllStringSubmatch(text, -1), func(m []string) bool {
		return !slices.Contains([]string{"function", "procedure", "on"}, m[1])
	})
}

// containsWord reports whether a text has a word that is not a part of a longer one.
func containsWord(text, word string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(word)
		if (start == 0 || !partOfName(text[start-1])) && (end == len(text) || !partOfName(text[end])) {
			return true
		}
		from = start + 1
	}
}

func partOfName(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z'
}

// vanished selects the claims on objects that are gone, as c.
func vanished(all []claim) (with, from, where string) {
	var schemas, known, identities, versions []string
	for _, c := range all {
		if !slices.Contains(known, c.schema) {
			known = append(known, c.schema)
		}
		schemas, identities, versions = append(schemas, c.schema), append(identities, c.identity), append(versions, c.version)
	}
	return fmt.Sprintf("with there as materialized (%s)", objectsQuery(known)),
		fmt.Sprintf("from rows from (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) c (schema, identity, version)",
			arrayLiteral(schemas), arrayLiteral(identities), arrayLiteral(versions)),
		"where c.identity not in (select identity from there)"
}

// forgetVanished is a statement that puts those repeatable files up for running again whose objects are gone after a
// file, and returns a row for each. There is none when no repeatable file can have made anything.
func (m *migration) forgetVanished(f *File) []string {
	all := claims(m.target.Schema, m.target.Files, f.Version, m.objects)
	if len(all) == 0 || f.recordOnly {
		return nil
	}
	with, from, where := vanished(all)
	return []string{fmt.Sprintf(`%s
update %s m set state = 'failed', error_sqlstate = null, error = c.identity || %s
%s
%s and m.module = %s and m.target_schema = c.schema and m.version = c.version and m.%s
returning m.version, m.file_name, c.identity`,
		with, ledgerTable, literal(" was dropped by "+f.Name), from, where, literal(m.target.Module), countsAsRecorded)}
}

// nothingVanished is a statement that fails when a batch has dropped something, so that its schemas are migrated one by
// one.
func (w *fleetWorker) nothingVanished(ready []tenant) []string {
	var all []claim
	for _, t := range ready {
		all = append(all, claims(t.schema, w.Files, t.pending[len(t.pending)-1].Version, w.objects[t.schema])...)
	}
	if len(all) == 0 {
		return nil
	}
	with, from, where := vanished(all)
	return []string{fmt.Sprintf("%s\nselect (c.identity || ' was dropped')::integer\n%s\n%s", with, from, where)}
}

// noteVanished tells the caller and the log which files run again, and why. Files that drop what each other makes would
// never come to an end.
func (m *migration) noteVanished(ctx context.Context, f *File) error {
	most := 0
	for _, f := range m.target.Files {
		if f.Repeatable() {
			most++
		}
	}
	for _, result := range m.dropped {
		for _, row := range result.Rows {
			version, file := string(row[0]), string(row[1])
			what := withoutSchema(string(row[2]), m.target.Schema)
			runs := 0
			for _, a := range m.result.Applied {
				if a.Version == version {
					runs++
				}
			}
			if runs >= most {
				return m.located(f, fmt.Errorf("drops %s, which %s has made in this run and drops something for in turn; let one file make both", what, file))
			}
			w := Warning{m.target.Module, m.target.Schema, version, file, fmt.Sprintf("applied again, since %s dropped %s", f.Name, what)}
			m.result.Again = append(m.result.Again, w)
			m.runner.Logger.LogAttrs(ctx, slog.LevelInfo, "migration: "+w.Text, slog.String("module", w.Module),
				slog.String("schema", w.Schema), slog.String("version", w.Version), slog.String("file", w.File))
			m.vanished = true
		}
	}
	m.dropped = nil
	return nil
}

// withoutSchema is an identity in which the schema is left out, so that it is one in all schemas.
func withoutSchema(identity, schema string) string {
	return strings.NewReplacer(" "+sqltemplate.Quote(schema)+".", " ", " "+schema+".", " ").Replace(identity)
}
