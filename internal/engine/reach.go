package engine

import "fmt"

// reach selects, as a JSON array of texts or NULL, what in a schema depends on tables or other objects of a schema that
// it may not read. A view, a foreign key, a rule or a trigger reads with the rights of the tables' owner, who made all
// schemas, so a role does not stop it. Nor does it stop a function that is SECURITY DEFINER. The bodies of other
// functions run as whoever calls them, and need no look.
func reach(schema string, reads []string) string {
	return "select pg_catalog.json_agg(text order by text) from (" + reachOf([]string{schema}, reads) + " order by text limit 20) b"
}

// reachOf selects the same of several schemas, which may read the same others: a schema's name and a text in each row.
// Whatever is looked up goes by an index: a catalog that holds many schemas is large, and what their tables depend on
// is the largest part.
func reachOf(schemas, reads []string) string {
	return fmt.Sprintf(`with ns as materialized (select oid, nspname from pg_catalog.pg_namespace where nspname = any (%s::name[])),
free as materialized (select oid from pg_catalog.pg_namespace where nspname = any (%s::name[] || array['pg_catalog', 'information_schema', 'pg_toast']::name[])),
made (home, class, id) as materialized (select ns.oid, m.classid, m.objid from ns cross join lateral (%s offset 0) m),
own (home, class, id) as materialized (select home, class, id from made
    union all select m.home, d.classid, d.objid from made m cross join lateral (select d.classid, d.objid from pg_catalog.pg_depend d
        where d.refclassid = m.class and d.refobjid = m.id and d.deptype in ('a', 'i') and d.classid in ('pg_catalog.pg_constraint'::regclass,
        'pg_catalog.pg_rewrite'::regclass, 'pg_catalog.pg_attrdef'::regclass, 'pg_catalog.pg_trigger'::regclass, 'pg_catalog.pg_policy'::regclass) offset 0) d),
found as materialized (select distinct o.home, o.class, o.id, d.refclassid, d.refobjid, case d.refclassid
    when 'pg_catalog.pg_class'::regclass then (select relnamespace from pg_catalog.pg_class where oid = d.refobjid)
    when 'pg_catalog.pg_type'::regclass then (select typnamespace from pg_catalog.pg_type where oid = d.refobjid)
    when 'pg_catalog.pg_proc'::regclass then (select pronamespace from pg_catalog.pg_proc where oid = d.refobjid) end as namespace
    from own o cross join lateral (select d.refclassid, d.refobjid from pg_catalog.pg_depend d
        where d.classid = o.class and d.objid = o.id and d.deptype in ('n', 'a') offset 0) d),
bad (home, text) as (select f.home, case f.class when 'pg_catalog.pg_rewrite'::regclass then
        (select case c.relkind when 'm' then 'materialized view ' when 'v' then 'view ' else 'rule of ' end || c.oid::regclass from pg_catalog.pg_rewrite r join pg_catalog.pg_class c on c.oid = r.ev_class where r.oid = f.id)
    else pg_catalog.pg_describe_object(f.class, f.id, 0) end || ' depends on ' || pg_catalog.pg_describe_object(f.refclassid, f.refobjid, 0)
    || ' of schema ' || n.nspname
    from found f join pg_catalog.pg_namespace n on n.oid = f.namespace
    where f.namespace <> f.home and (f.namespace not in (select oid from free) or f.class = 'pg_catalog.pg_rewrite'::regclass
        and f.refclassid = 'pg_catalog.pg_class'::regclass and n.nspname not in ('pg_catalog', 'information_schema')
        and (select r.ev_type <> '1' from pg_catalog.pg_rewrite r where r.oid = f.id)) -- what a rule writes it writes as the owner
    and not (n.nspname = 'public' and f.refclassid <> 'pg_catalog.pg_class'::regclass)
    and not exists (select from pg_catalog.pg_depend e where e.classid = f.refclassid and e.objid = f.refobjid and e.deptype = 'e')
    union all select m.home, pg_catalog.pg_describe_object(m.class, m.id, 0) || ' is SECURITY DEFINER'
    from made m join pg_catalog.pg_proc p on p.oid = m.id where m.class = 'pg_catalog.pg_proc'::regclass and p.prosecdef
    and not exists (select from pg_catalog.pg_depend e where e.classid = m.class and e.objid = m.id and e.deptype = 'e'))
select ns.nspname, bad.text from bad join ns on ns.oid = bad.home`,
		arrayLiteral(schemas), arrayLiteral(reads), madeIn("ns.oid"))
}

// relationsOf and routinesOf are WITH items, of the names rels and procs, that hold what a schema, a literal, has of
// pg_class and of pg_proc. They are found as madeIn finds them, each row by its oid.
func relationsOf(schema string) string { return madeOf("rels", "pg_class", schema) }
func routinesOf(schema string) string  { return madeOf("procs", "pg_proc", schema) }

func madeOf(name, catalog, schema string) string {
	return fmt.Sprintf(`%[1]s as materialized (select c.* from (%[2]s and classid = 'pg_catalog.%[3]s'::regclass) made
    cross join lateral (select c.* from pg_catalog.%[3]s c where c.oid = made.objid offset 0) c)`,
		name, madeIn("(select oid from pg_catalog.pg_namespace where nspname = "+schema+")"), catalog)
}

// madeIn selects the class and the oid of what is in a schema, an expression for its oid. There is no index by schema of
// tables, of types or of functions, which may be hundreds of thousands; there is one of what depends on a schema.
func madeIn(namespace string) string {
	return `select classid, objid from pg_catalog.pg_depend
    where refclassid = 'pg_catalog.pg_namespace'::regclass and refobjid = ` + namespace + ` and deptype = 'n'`
}
