package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// An objectKey names an object of a schema.
type objectKey struct {
	kind   string // "table", "column", "index" and so on
	parent string // the table or type that it belongs to; "" when it stands alone
	name   string
}

func (k objectKey) String() string {
	if k.parent == "" {
		return k.name
	}
	return k.parent + "." + k.name
}

// A fingerprint has the definition of each object of a schema, in a form that is the same for two schemas of other
// names. Comments, owners, privileges, statistics targets and the order of columns do not count, nor does what belongs
// to an extension.
type fingerprint map[objectKey]string

// A Difference is an object that differs between what the files make and what is there.
type Difference struct {
	Kind string
	Name string // with the name of its table before it, when it has one
	Want string // definition by the files or the reference; "" when there is no such object
	Have string // definition in the schema that was verified; "" when there is no such object
}

// fingerprint reads the schema inside the session's transaction. also are names of schemas that mean the same.
func (s *session) fingerprint(ctx context.Context, schema string, also ...string) (fingerprint, error) {
	return s.fingerprintOn(ctx, sqltemplate.Quote(schema), schema, also...)
}

// fingerprintOn is fingerprint with a search_path, whose schemas' names the server leaves out of what it prints.
func (s *session) fingerprintOn(ctx context.Context, path, schema string, also ...string) (fingerprint, error) {
	results, err := s.exec(ctx, "set local search_path to "+path, fingerprintQuery(schema))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range append(also, schema) {
		names = append(names, sqltemplate.Quote(name), "{{schema}}", "'"+name+"'", "{{schema:literal}}")
	}
	neutral := strings.NewReplacer(names...)
	f := make(fingerprint, len(results[1].Rows))
	for _, row := range results[1].Rows {
		key := objectKey{string(row[0]), string(row[1]), string(row[2])}
		def := neutral.Replace(castElements(string(row[3])))
		if key.kind == "function setting" {
			def = neutralPath(def, append(also, schema))
		}
		f[key] = def
	}
	return f, nil
}

// neutralPath replaces the schemas among names divided by commas, which are quoted only when they must be.
func neutralPath(value string, schemas []string) string {
	parts := strings.Split(value, ", ")
	for i, p := range parts {
		if slices.Contains(schemas, p) {
			parts[i] = "{{schema}}"
		}
	}
	return strings.Join(parts, ", ")
}

// fingerprintQuery selects kind, parent, name and definition of all objects of the schema.
func fingerprintQuery(schema string) string {
	return fmt.Sprintf(`with ns as (select oid, pg_catalog.quote_ident(nspname) || '.' as prefix from pg_catalog.pg_namespace where nspname = %s),
extended as (select classid, objid from pg_catalog.pg_depend where deptype = 'e'),
rel as (select c.* from pg_catalog.pg_class c where c.relnamespace = (select oid from ns)
    and not exists (select from extended e where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid)),
fn as (select p.* from pg_catalog.pg_proc p where p.pronamespace = (select oid from ns)
    and not exists (select from extended e where e.classid = 'pg_catalog.pg_proc'::regclass and e.objid = p.oid)),
ty as (select t.* from pg_catalog.pg_type t where t.typnamespace = (select oid from ns) and t.typtype in ('e', 'd', 'r')
    and not exists (select from extended e where e.classid = 'pg_catalog.pg_type'::regclass and e.objid = t.oid))
select case when relkind in ('v', 'm') then 'view' when relkind = 'c' then 'type' else 'table' end, '', relname::text,
    concat_ws(', ', case relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'f' then 'foreign table'
            when 'v' then 'view' when 'm' then 'materialized view' else 'composite type' end,
        case relpersistence when 'u' then 'unlogged' end,
        'partition by ' || case relkind when 'p' then pg_catalog.pg_get_partkeydef(oid) end,
        (select 'of ' || string_agg(inhparent::regclass::text, ', ' order by inhseqno) from pg_catalog.pg_inherits where inhrelid = rel.oid),
        pg_catalog.pg_get_expr(relpartbound, oid),
        'with ' || array_to_string(reloptions, ', '),
        case when relrowsecurity then 'row security' end, case when relforcerowsecurity then 'forced' end,
        case when relkind in ('v', 'm') then pg_catalog.pg_get_viewdef(oid, true) end)
from rel where relkind in ('r', 'p', 'f', 'v', 'm', 'c')
union all
select 'column', relname::text, attname::text,
    concat_ws(' ', pg_catalog.format_type(atttypid, atttypmod), case when attnotnull then 'not null' end,
        (select 'collate ' || pg_catalog.quote_ident(collname) from pg_catalog.pg_collation c join pg_catalog.pg_type t on t.oid = atttypid
            where c.oid = attcollation and attcollation <> t.typcollation),
        case attgenerated when '' then 'default ' else 'generated ' end || pg_catalog.pg_get_expr(d.adbin, d.adrelid),
        case attidentity when 'a' then 'identity always' when 'd' then 'identity by default' end)
from rel join pg_catalog.pg_attribute a on a.attrelid = rel.oid left join pg_catalog.pg_attrdef d on d.adrelid = rel.oid and d.adnum = a.attnum
where relkind in ('r', 'p', 'f', 'c') and attnum > 0 and not attisdropped
union all
select 'sequence', '', relname::text, concat_ws(' ', pg_catalog.format_type(seqtypid, null), 'start', seqstart, 'increment', seqincrement,
    'min', seqmin, 'max', seqmax, 'cache', seqcache, case when seqcycle then 'cycle' end)
from rel join pg_catalog.pg_sequence on seqrelid = rel.oid
union all
select 'constraint', coalesce((select relname from rel where oid = conrelid), (select typname from ty where oid = contypid))::text, conname::text,
    pg_catalog.pg_get_constraintdef(oid, true)
from pg_catalog.pg_constraint where contype <> 't' and (conrelid in (select oid from rel) or contypid in (select oid from ty))
union all
select 'index', (select relname from rel where oid = indrelid)::text, rel.relname::text,
    pg_catalog.pg_get_indexdef(indexrelid, 0, true) || case when indisvalid then '' else ' (invalid)' end
from pg_catalog.pg_index join rel on rel.oid = indexrelid
union all
select 'trigger', relname::text, tgname::text,
    pg_catalog.pg_get_triggerdef(t.oid, true) || case tgenabled when 'O' then '' when 'D' then ' (disabled)' else ' (' || tgenabled::text || ')' end
from pg_catalog.pg_trigger t join rel on rel.oid = tgrelid where not tgisinternal
union all
select 'rule', relname::text, rulename::text, pg_catalog.pg_get_ruledef(r.oid, true)
from pg_catalog.pg_rewrite r join rel on rel.oid = ev_class where rulename <> '_RETURN'
union all
select 'policy', relname::text, polname::text, concat_ws(' ', polcmd::text, case when polpermissive then 'permissive' else 'restrictive' end,
    (select 'to ' || string_agg(coalesce(rolname, 'public'), ', ' order by rolname) from pg_catalog.unnest(polroles) u (id) left join pg_catalog.pg_roles on oid = u.id),
    'using (' || pg_catalog.pg_get_expr(polqual, polrelid) || ')', 'with check (' || pg_catalog.pg_get_expr(polwithcheck, polrelid) || ')')
from pg_catalog.pg_policy join rel on rel.oid = polrelid
union all
select 'statistics', '', stxname::text, replace(pg_catalog.pg_get_statisticsobjdef(oid), (select prefix from ns), '')
from pg_catalog.pg_statistic_ext where stxnamespace = (select oid from ns)
union all
select 'function', '', proname || '(' || pg_catalog.pg_get_function_identity_arguments(fn.oid) || ')',
    concat_ws(' ', case prokind when 'f' then 'function' when 'p' then 'procedure' when 'a' then 'aggregate' else 'window function' end,
        '(' || pg_catalog.pg_get_function_arguments(fn.oid) || ')', 'returns ' || pg_catalog.pg_get_function_result(fn.oid),
        'language ' || lanname, case provolatile when 'i' then 'immutable' when 's' then 'stable' end,
        case when proisstrict then 'strict' end, case when prosecdef then 'security definer' end, case when proleakproof then 'leakproof' end,
        case proparallel when 's' then 'parallel safe' when 'r' then 'parallel restricted' end,
        (select concat_ws(' ', aggtransfn::regproc, aggtranstype::regtype, aggfinalfn::regproc, agginitval) from pg_catalog.pg_aggregate where aggfnoid = fn.oid),
        'as', coalesce(pg_catalog.pg_get_function_sqlbody(fn.oid), prosrc))
from fn join pg_catalog.pg_language l on l.oid = prolang
union all
select 'function setting', proname || '(' || pg_catalog.pg_get_function_identity_arguments(fn.oid) || ')', split_part(setting, '=', 1),
    substr(setting, strpos(setting, '=') + 1)
from fn cross join pg_catalog.unnest(proconfig) setting
union all
select 'type', '', typname::text, case typtype
    when 'e' then 'enum (' || (select string_agg(quote_literal(enumlabel), ', ' order by enumsortorder) from pg_catalog.pg_enum where enumtypid = ty.oid) || ')'
    when 'd' then concat_ws(' ', 'domain', pg_catalog.format_type(typbasetype, typtypmod), case when typnotnull then 'not null' end, 'default ' || typdefault)
    else (select 'range of ' || pg_catalog.format_type(rngsubtype, null) from pg_catalog.pg_range where rngtypid = ty.oid) end
from ty`, literal(schema))
}

// compare returns what differs, sorted. What belongs to a table that is missing, or that should not be there, is left
// out. With lenient, objects that only have has are no difference.
func (want fingerprint) compare(have fingerprint, lenient bool) []Difference {
	var keys []objectKey
	for k := range want {
		keys = append(keys, k)
	}
	for k := range maps.Keys(have) {
		if _, ok := want[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b objectKey) int {
		return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.parent, b.parent), strings.Compare(a.name, b.name))
	})
	wantParents, haveParents := want.parents(), have.parents()
	var out []Difference
	for _, k := range keys {
		w, wanted := want[k]
		h, had := have[k]
		switch {
		case wanted && had && w == h:
		case k.parent != "" && (wantParents[k.parent] != haveParents[k.parent]):
		case !wanted && lenient && (k.parent == "" || !wantParents[k.parent]):
		default:
			out = append(out, Difference{Kind: k.kind, Name: k.String(), Want: w, Have: h})
		}
	}
	return out
}

// parents are the objects that others belong to.
func (f fingerprint) parents() map[string]bool {
	out := make(map[string]bool)
	for k := range f {
		if k.parent == "" {
			out[k.name] = true
		}
	}
	return out
}
