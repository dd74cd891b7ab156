package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

var objectChecks = []check{
	{[]string{"invalid-index"}, invalidIndexes},
	{[]string{"sequence-end"}, sequences},
	{[]string{"unvalidated-constraint"}, unvalidated},
	{[]string{"foreign-key-index"}, foreignKeys},
}

// userSchema picks the schemas n that are not the server's own.
const userSchema = `n.nspname !~ '^pg_' and n.nspname <> 'information_schema'`

// invalidIndexes leaves out those that are being built.
func invalidIndexes(ctx context.Context, l *look) (found []Finding, err error) {
	type row struct {
		Index, Table, Kind, Definition string
		Unique, Partitioned, Leftover  bool
		Keys, Filter                   string // of a unique index: what there are no two of, and where
		Constraint, ConstraintType     string // that it is of, quoted; or ""
		ConstraintDefinition           string
	}
	rows, err := read[row](ctx, l, `select pg_catalog.format('%I.%I', n.nspname, c.relname) as index, pg_catalog.format('%I.%I', tn.nspname, t.relname) as table,
	c.relname::text as kind, pg_catalog.pg_get_indexdef(c.oid) as definition, i.indisunique as unique, c.relkind = 'I' as partitioned,
	c.relname ~ '_cc(new|old)[0-9]*$' as leftover, k.keys, pg_catalog.concat_ws(' AND ', '(' || pg_catalog.pg_get_expr(i.indpred, i.indrelid) || ')',
		case when coalesce(pg_catalog.to_json(i) ->> 'indnullsnotdistinct', 'false') = 'false' then k.filled end) as filter,
	coalesce(pg_catalog.quote_ident(con.conname), '') as constraint, coalesce(con.contype::text, '') as constraint_type,
	coalesce(pg_catalog.pg_get_constraintdef(con.oid), '') as constraint_definition
from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_class t on t.oid = i.indrelid join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
left join pg_catalog.pg_constraint con on con.conindid = c.oid and con.conrelid = i.indrelid and con.contype in ('p', 'u', 'x')
cross join lateral (select pg_catalog.string_agg(key, ', ' order by place) as keys, pg_catalog.string_agg(key || ' IS NOT NULL', ' AND ' order by place) as filled
	from (select place, pg_catalog.pg_get_indexdef(i.indexrelid, place, true) as key from pg_catalog.generate_series(1, i.indnkeyatts) place) x) k
where not (i.indisvalid and i.indisready) and `+userSchema+`
	and not exists (select from pg_catalog.pg_stat_progress_create_index p where p.index_relid = c.oid and p.datname = pg_catalog.current_database())
order by 1`)
	for _, r := range rows {
		f := Finding{Code: "invalid-index", Severity: Warning, Where: r.Index, Kind: fmt.Sprint(r.Kind, r.Unique, r.Leftover, r.Partitioned, r.ConstraintType),
			What: fmt.Sprintf("index of %s is invalid: no query uses it, and every write pays for it", r.Table),
			Fix:  statements("REINDEX INDEX CONCURRENTLY " + r.Index + ";")}
		if r.Unique {
			f.Severity, f.What = Error, fmt.Sprintf("unique index of %s is invalid: there may be duplicates, with which REINDEX fails and leaves an index _ccnew. The first query shows them", r.Table)
			f.Fix.SQL = slices.Insert(f.Fix.SQL, 0, fmt.Sprintf("SELECT %s, count(*) FROM %s%s GROUP BY %[1]s HAVING count(*) > 1;", r.Keys, r.Table, where(r.Filter)))
		}
		switch {
		case r.Leftover:
			f.Severity, f.What = Warning, fmt.Sprintf("index of %s was left by a REINDEX that did not end", r.Table)
			f.Fix = statements("DROP INDEX CONCURRENTLY " + r.Index + ";")
		case r.Partitioned:
			f.What = fmt.Sprintf("index of %s is invalid: some of its partitions have no index that is attached to it", r.Table)
			f.Fix = statements("DROP INDEX "+r.Index+";", strings.Replace(r.Definition, " ON ONLY ", " ON ", 1)+";")
			if r.Constraint != "" { // which the index cannot be dropped without
				f.Fix = statements(fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s, ADD CONSTRAINT %[2]s %s;", r.Table, r.Constraint, r.ConstraintDefinition))
			}
		case r.ConstraintType == "x": // which nothing builds concurrently
			f.Fix = statements("REINDEX INDEX " + r.Index + ";")
		}
		found = append(found, f)
	}
	return found, err
}

func where(filter string) string {
	if filter == "" {
		return ""
	}
	return " WHERE " + filter
}

// sequencesAtOnce is how many sequences are read in a transaction. Reading one
// takes a lock on it, of which the server has a limited number for all.
const sequencesAtOnce = 100

func sequences(ctx context.Context, l *look) (found []Finding, err error) {
	oids, err := read[uint32](ctx, l, `select q.seqrelid from pg_catalog.pg_sequence q
join pg_catalog.pg_class c on c.oid = q.seqrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where not q.seqcycle and c.relpersistence <> 't' and `+userSchema+` order by n.nspname, c.relname`)
	for some := range slices.Chunk(oids, sequencesAtOnce) {
		if err != nil {
			break
		}
		var more []Finding
		more, err = someSequences(ctx, l, some)
		found = append(found, more...)
	}
	return found, err
}

// someSequences compares what a sequence has given with what it and the columns
// that it fills can hold. One that begins anew never ends.
func someSequences(ctx context.Context, l *look, oids []uint32) (found []Finding, err error) {
	type row struct {
		Sequence, Name, Table, Column, Type string // the last three: the column that ends first
		Last, Limit                         int64
		Used                                float64
		Up, Widest, Whole                   bool     // it ends where bigint does; it began where that does
		Views                               []string // that use the column, as DROP has them, those on others first
	}
	rows, err := read[row](ctx, l, `with s as materialized (
	select c.oid, n.nspname, c.relname, q.seqmin, q.seqmax, q.seqincrement > 0 as up,
		case when q.seqincrement > 0 then q.seqmax = 9223372036854775807 else q.seqmin = -9223372036854775808 end as widest,
		case when q.seqincrement > 0 then q.seqmin = -9223372036854775808 else q.seqmax = 9223372036854775807 end as whole,
		case when pg_catalog.has_sequence_privilege(c.oid, 'usage, select') and (c.relpersistence = 'p' or not pg_catalog.pg_is_in_recovery())
			then pg_catalog.pg_sequence_last_value(c.oid) end as last
	from pg_catalog.pg_sequence q join pg_catalog.pg_class c on c.oid = q.seqrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
	where q.seqrelid = any($2::oid[])
), owned (seq, rel, att) as (
	select d.objid, d.refobjid, d.refobjsubid from pg_catalog.pg_depend d where d.objid = any($2::oid[]) and d.classid = 'pg_catalog.pg_class'::regclass
		and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjsubid > 0 and d.deptype in ('a', 'i')
	union select d.refobjid, a.adrelid, a.adnum from pg_catalog.pg_depend d join pg_catalog.pg_attrdef a on a.oid = d.objid
		where d.classid = 'pg_catalog.pg_attrdef'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = any($2::oid[])
), col as (
	select o.seq, o.rel as relid, o.att as num, pg_catalog.format('%I.%I', n.nspname, c.relname) as rel, pg_catalog.quote_ident(a.attname) as att,
		pg_catalog.format_type(a.atttypid, null) as type, case a.atttypid when 'int2'::regtype then 32767 else 2147483647 end::bigint as max
	from owned o join pg_catalog.pg_class c on c.oid = o.rel join pg_catalog.pg_namespace n on n.oid = c.relnamespace
	join pg_catalog.pg_attribute a on a.attrelid = o.rel and a.attnum = o.att
	where a.atttypid in ('int2'::regtype, 'int4'::regtype) and c.relkind in ('r', 'p') and a.attinhcount = 0 -- else its parent's is changed
), u as (
	select s.*, c.relid, c.num, c.rel, c.att, c.type, case when s.up then least(s.seqmax, c.max) else greatest(s.seqmin, -c.max - 1) end as lim
	from s left join lateral (select * from col where col.seq = s.oid order by max, rel, att limit 1) c on true where s.last is not null
), v as (
	select u.*, case when up then (last::numeric - seqmin) / greatest(lim::numeric - seqmin, 1)
		else (seqmax - last::numeric) / greatest(seqmax - lim::numeric, 1) end * 100 as used from u
)
select pg_catalog.format('%I.%I', nspname, relname) as sequence, relname::text as name, coalesce(rel, '') as table, coalesce(att, '') as column,
	coalesce(type, '') as type, last, lim as limit, used::float8 as used, up, widest, whole, array(
		with recursive w (view, depth) as (
			select r.ev_class, 1 from pg_catalog.pg_depend d join pg_catalog.pg_rewrite r on r.oid = d.objid and d.classid = 'pg_catalog.pg_rewrite'::regclass
				where d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = v.relid and d.refobjsubid = v.num
			union select r.ev_class, w.depth + 1 from w join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid = w.view
				join pg_catalog.pg_rewrite r on r.oid = d.objid and d.classid = 'pg_catalog.pg_rewrite'::regclass and r.ev_class <> w.view)
		select case c.relkind when 'm' then 'MATERIALIZED ' else '' end || pg_catalog.format('VIEW %I.%I', n.nspname, c.relname)
		from w join pg_catalog.pg_class c on c.oid = w.view and c.relkind in ('v', 'm') join pg_catalog.pg_namespace n on n.oid = c.relnamespace
		group by c.relkind, n.nspname, c.relname order by max(w.depth) desc, n.nspname, c.relname) as views
from v where used >= $1::int order by 1`, l.o.Sequence, oids)
	for _, r := range rows {
		f := Finding{Code: "sequence-end", Severity: used(r.Used), Where: r.Sequence, Kind: fmt.Sprint(r.Name, r.Last, r.Limit, r.Column, r.Type, len(r.Views))}
		var sql []string
		switch {
		case r.Table == "":
			f.What = fmt.Sprintf("gave %d; the last value is %d", r.Last, r.Limit)
		case r.Used > 100:
			f.What = fmt.Sprintf("gave %d, more than column %s of %s holds, which is %s", r.Last, r.Column, r.Table, r.Type)
		default:
			f.What = fmt.Sprintf("gave %d; column %s of %s holds up to %d", r.Last, r.Column, r.Table, r.Limit)
		}
		if r.Table != "" {
			if len(r.Views) > 0 {
				f.What += "; what uses the column has to be dropped before its type changes, and made again after, with its grants"
			}
			for _, view := range r.Views {
				_, name, _ := strings.Cut(view, "VIEW ")
				sql = append(sql, fmt.Sprintf("SELECT pg_get_viewdef(%s::regclass);", literal(name)))
			}
			for _, view := range r.Views {
				sql = append(sql, "DROP "+view+";")
			}
			// The rows are written anew, with nobody beside it; docs/doctor.md says more.
			sql = append(sql, fmt.Sprintf("ALTER TABLE %s ALTER %s TYPE bigint;", r.Table, r.Column))
		}
		end, other := "NO MAXVALUE", "MINVALUE -9223372036854775808 RESTART WITH -9223372036854775808"
		if !r.Up {
			end, other = "NO MINVALUE", "MAXVALUE 9223372036854775807 RESTART WITH 9223372036854775807"
		}
		switch {
		case r.Table != "" || !r.Widest:
			sql = append(sql, fmt.Sprintf("ALTER SEQUENCE %s AS bigint %s;", r.Sequence, end))
		case r.Whole:
			f.What += ", and no type is wider: what takes its values has to be made anew, as uuid for instance"
			sql = append(sql, fmt.Sprintf("SELECT * FROM %s;", r.Sequence))
		default:
			f.What += ", and no type is wider. The SQL has it go on at the other end, where nobody relies on the order of its values"
			sql = append(sql, fmt.Sprintf("ALTER SEQUENCE %s %s;", r.Sequence, other))
		}
		f.Fix.SQL = sql
		found = append(found, f)
	}
	return found, err
}

// A constraint of a table whose columns are named by a query.
type constraint struct {
	Table, Constraint, Columns, Kind, Type string
	Partitioned                            bool
}

const constraintColumns = `pg_catalog.format('%I.%I', n.nspname, t.relname) as table, pg_catalog.quote_ident(c.conname) as constraint,
	coalesce((select pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' order by k.place) from pg_catalog.unnest(c.conkey) with ordinality k (num, place)
		join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.num), '') as columns,
	t.relname || '.' || c.conname as kind, c.contype::text as type, t.relkind = 'p' as partitioned
from pg_catalog.pg_constraint c join pg_catalog.pg_class t on t.oid = c.conrelid join pg_catalog.pg_namespace n on n.oid = t.relnamespace
where c.conparentid = 0 and ` + userSchema

// unvalidated leaves out constraints that PostgreSQL 18 is told not to enforce.
func unvalidated(ctx context.Context, l *look) (found []Finding, err error) {
	rows, err := read[constraint](ctx, l, `select `+constraintColumns+`
	and not c.convalidated and coalesce(pg_catalog.to_jsonb(c) ->> 'conenforced', 'true') = 'true' and c.coninhcount = 0 order by 1, 2`)
	for _, r := range rows {
		f := Finding{Code: "unvalidated-constraint", Severity: Warning, Where: r.Table, Kind: r.Kind,
			What: fmt.Sprintf("constraint %s was added NOT VALID: rows from before it may break it", r.Constraint),
			Fix:  statements(fmt.Sprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s;", r.Table, r.Constraint))}
		found = append(found, f)
	}
	return found, err
}

// foreignKeys looks for an index that begins with the columns, in any order.
func foreignKeys(ctx context.Context, l *look) (found []Finding, err error) {
	rows, err := read[constraint](ctx, l, `select `+constraintColumns+` and c.contype = 'f' and not exists (
	select from pg_catalog.pg_index i where i.indrelid = c.conrelid and i.indisvalid and i.indnkeyatts >= pg_catalog.cardinality(c.conkey)
		and (i.indpred is null or pg_catalog.pg_get_expr(i.indpred, i.indrelid) ~ '^[(]\S+ IS NOT NULL[)]$')
		and (i.indkey::int2[])[0:pg_catalog.cardinality(c.conkey) - 1] @> c.conkey) order by 1, 2`)
	for _, r := range rows {
		how := "CONCURRENTLY "
		if r.Partitioned {
			how = ""
		}
		found = append(found, Finding{Code: "foreign-key-index", Severity: Info, Where: r.Table, Kind: r.Kind + " " + r.Columns,
			What: fmt.Sprintf("foreign key %s has no index: deleting what it refers to reads the whole table", r.Constraint),
			Fix:  statements(fmt.Sprintf("CREATE INDEX %sON %s (%s);", how, r.Table, r.Columns))})
	}
	return found, err
}
