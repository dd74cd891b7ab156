package engine

import "fmt"

// reach selects, as a JSON array of texts or NULL, what in a schema depends on tables or other objects of a schema that
// it may not read. A view, a foreign key, a rule or a trigger reads with the rights of the tables' owner, who made all
// schemas, so a role does not stop it. Nor does it stop a function that is SECURITY DEFINER. The bodies of other
// functions run as whoever calls them, and need no look.
func reach(schema string, reads []string) string {
	return fmt.Sprintf(`with ns as (select oid from pg_catalog.pg_namespace where nspname = %s),
free as (select oid from pg_catalog.pg_namespace where nspname = any (%s::text[] || array['pg_catalog', 'information_schema', 'pg_toast'])
    union select oid from ns),
own (class, id) as (
    select 'pg_catalog.pg_class'::regclass, oid from pg_catalog.pg_class where relnamespace = (select oid from ns)
    union all select 'pg_catalog.pg_type'::regclass, oid from pg_catalog.pg_type where typnamespace = (select oid from ns)
    union all select 'pg_catalog.pg_proc'::regclass, oid from pg_catalog.pg_proc where pronamespace = (select oid from ns)
    union all select 'pg_catalog.pg_constraint'::regclass, oid from pg_catalog.pg_constraint where connamespace = (select oid from ns)
    union all select 'pg_catalog.pg_rewrite'::regclass, r.oid from pg_catalog.pg_rewrite r join pg_catalog.pg_class c on c.oid = r.ev_class where c.relnamespace = (select oid from ns)
    union all select 'pg_catalog.pg_attrdef'::regclass, a.oid from pg_catalog.pg_attrdef a join pg_catalog.pg_class c on c.oid = a.adrelid where c.relnamespace = (select oid from ns)
    union all select 'pg_catalog.pg_trigger'::regclass, t.oid from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid where c.relnamespace = (select oid from ns)
    union all select 'pg_catalog.pg_policy'::regclass, p.oid from pg_catalog.pg_policy p join pg_catalog.pg_class c on c.oid = p.polrelid where c.relnamespace = (select oid from ns)),
found as (select o.class, o.id, d.refclassid, d.refobjid, case d.refclassid
    when 'pg_catalog.pg_class'::regclass then (select relnamespace from pg_catalog.pg_class where oid = d.refobjid)
    when 'pg_catalog.pg_type'::regclass then (select typnamespace from pg_catalog.pg_type where oid = d.refobjid)
    when 'pg_catalog.pg_proc'::regclass then (select pronamespace from pg_catalog.pg_proc where oid = d.refobjid)
    when 'pg_catalog.pg_constraint'::regclass then (select connamespace from pg_catalog.pg_constraint where oid = d.refobjid) end as namespace
    from own o join pg_catalog.pg_depend d on d.classid = o.class and d.objid = o.id where d.deptype in ('n', 'a')),
bad as (select distinct case f.class when 'pg_catalog.pg_rewrite'::regclass then
        (select case c.relkind when 'm' then 'materialized view ' when 'v' then 'view ' else 'rule of ' end || c.oid::regclass from pg_catalog.pg_rewrite r join pg_catalog.pg_class c on c.oid = r.ev_class where r.oid = f.id)
    else pg_catalog.pg_describe_object(f.class, f.id, 0) end || ' depends on ' || pg_catalog.pg_describe_object(f.refclassid, f.refobjid, 0)
    || ' of schema ' || n.nspname as text
    from found f join pg_catalog.pg_namespace n on n.oid = f.namespace
    where f.namespace not in (select oid from free)
    and not (n.nspname = 'public' and f.refclassid <> 'pg_catalog.pg_class'::regclass)
    and not exists (select from pg_catalog.pg_depend e where e.classid = f.refclassid and e.objid = f.refobjid and e.deptype = 'e')
    union select pg_catalog.pg_describe_object('pg_catalog.pg_proc'::regclass, p.oid, 0) || ' is SECURITY DEFINER'
    from pg_catalog.pg_proc p where p.pronamespace = (select oid from ns) and p.prosecdef
    and not exists (select from pg_catalog.pg_depend e where e.classid = 'pg_catalog.pg_proc'::regclass and e.objid = p.oid and e.deptype = 'e'))
select pg_catalog.json_agg(text order by text) from (select text from bad order by text limit 20) b`, literal(schema), arrayLiteral(reads))
}
