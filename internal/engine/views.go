package engine

import (
	"context"
	"fmt"
)

// A view works on the tables under it with the rights of its owner, who made all schemas; so a role that may write the
// view may write what it may only read. What a role may do with such a view is to read it.

// openViewsOf selects the views of schemas, given with the names of their roles, that stand on tables of another schema,
// by way of other views too, and that the role may write: the view, quoted, and the role.
func openViewsOf(roles map[string]string) string {
	return fmt.Sprintf(`with recursive ns as materialized (select n.oid, o.oid as role from (values %s) u (schema, role)
    join pg_catalog.pg_namespace n on n.nspname = u.schema join pg_catalog.pg_roles o on o.rolname = u.role),
views as materialized (select ns.oid as home, ns.role, c.oid, c.relname from ns cross join lateral (%s offset 0) m
    join pg_catalog.pg_class c on c.oid = m.objid where m.classid = 'pg_catalog.pg_class'::regclass and c.relkind = 'v'),
under as materialized (select v.*, d.refobjid as relation from views v join pg_catalog.pg_rewrite w on w.ev_class = v.oid
    cross join lateral (select d.refobjid from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
        and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> v.oid offset 0) d),
open (home, role, oid, relname) as (select u.home, u.role, u.oid, u.relname from under u join pg_catalog.pg_class c on c.oid = u.relation
    where c.relnamespace <> u.home and c.relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    union select u.home, u.role, u.oid, u.relname from under u join open on open.oid = u.relation)
select pg_catalog.format('%%I.%%I', n.nspname, v.relname), pg_catalog.quote_ident(o.rolname)
from open v join pg_catalog.pg_namespace n on n.oid = v.home join pg_catalog.pg_roles o on o.oid = v.role
where pg_catalog.has_table_privilege(v.role, v.oid, 'insert, update, delete, truncate')`, roleValues(roles), madeIn("ns.oid"))
}

// closeViews is a statement that has the roles of schemas only read those views.
func closeViews(roles map[string]string) string {
	return "do " + literal(fmt.Sprintf(`declare v text; r text; begin
for v, r in %s loop execute 'revoke insert, update, delete, truncate on ' || v || ' from ' || r; end loop; end`, openViewsOf(roles)))
}

// closeViews does that in the session's transaction, where there is something to do.
func (s *session) closeViews(ctx context.Context, roles map[string]string) error {
	results, err := s.exec(ctx, openViewsOf(roles))
	if err != nil || len(results[0].Rows) == 0 {
		return err
	}
	_, err = s.exec(ctx, closeViews(roles))
	return err
}
