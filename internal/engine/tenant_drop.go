package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// dropAtOnce is how many tables a transaction drops, or fewer: each takes several locks of the server's table of locks,
// which others use as well. It is a power of 4.
const dropAtOnce = 256

// DropTenant drops a tenant's schema with all that is in it, what the ledger has of it, its role and its row, in one
// transaction; in several where the server's table of locks is too small for it. It is refused when objects of other
// schemas depend on the tenant's.
func (r *Runner) DropTenant(ctx context.Context, set *TenantSet, id string) error {
	return r.dropTenant(ctx, set, id, "")
}

// dropTenant drops a tenant; where a state is given, only one that is in it.
func (r *Runner) dropTenant(ctx context.Context, set *TenantSet, id string, only TenantState) error {
	t, f, err := r.tenant(ctx, set, id)
	if err != nil || only != "" && t.State != only {
		return err
	}
	if err := everybodys(t.Schema); err != nil {
		return err
	}
	if err := f.mayChangeTenants([]string{"SELECT", "UPDATE", "DELETE"}, true, true); err != nil {
		return err
	}
	if t.State != TenantDropping {
		err = r.dropSchema(ctx, set, f, t, only)
		if !outOfLocks(err) {
			return err
		}
		err = r.changeTenants(ctx, set, f, []string{id}, t.Schema, nil, func(ctx context.Context, c *tenantChange) ([]string, error) {
			now, err := c.one(id)
			if err != nil || only != "" && now.State != only {
				return []string{"select"}, err
			}
			t.State = TenantDropping
			return []string{setState(t.Schema, TenantDropping)}, nil
		})
		if err != nil || t.State != TenantDropping {
			return err
		}
	}
	for n := dropAtOnce; ; {
		left, err := r.dropTables(ctx, set, f, t, n)
		switch {
		case outOfLocks(err) && n > 1:
			n /= 4
		case err != nil:
			return err
		case !left:
			return r.dropSchema(ctx, set, f, t, "")
		}
	}
}

// dropSchema drops the schema and what is recorded of the tenant. A statement that a killed process has left running in it
// is waited for, until the context ends.
func (r *Runner) dropSchema(ctx context.Context, set *TenantSet, f *facts, t *Tenant, only TenantState) error {
	work := r.newWait(workLock(t.Schema))
	for {
		err := r.dropSchemaOnce(ctx, set, f, t, only, work)
		if !errors.Is(err, errBeside) {
			return f.ownSchema(t.Schema, err)
		}
		if err := work.sleep(ctx); err != nil {
			return err
		}
	}
}

func (r *Runner) dropSchemaOnce(ctx context.Context, set *TenantSet, f *facts, t *Tenant, only TenantState, work *wait) error {
	reads := []string{requirers(t.Schema, true), dependents(literal(t.Schema)), work.tryLock(), work.lock.holder()}
	return r.changeTenants(ctx, set, f, []string{t.ID}, t.Schema, reads, func(ctx context.Context, c *tenantChange) ([]string, error) {
		now, err := c.one(t.ID)
		switch {
		case err != nil:
			return nil, err
		case only != "" && now.State != only:
			return []string{"select"}, nil
		case now.Schema != t.Schema:
			return nil, fmt.Errorf("tenant %q was renamed meanwhile", t.ID)
		case string(c.extra[2].Rows[0][0]) != "t":
			work.noteHolder(c.extra[3])
			return nil, errBeside
		}
		if err := refuseRequirers(c.extra[0]); err != nil {
			return nil, err
		}
		// Once before tables are locked, which may be more than the server has locks for, and again behind the locks.
		if err := refuseDependents(texts(c.extra[1])); err != nil {
			return nil, err
		}
		if err := c.claimTables(ctx); err != nil {
			return nil, err
		}
		if err := c.refuseDependents(ctx); err != nil {
			return nil, err
		}
		statements := []string{
			"drop schema if exists " + sqltemplate.Quote(t.Schema) + " cascade",
			fmt.Sprintf("delete from %s where target_schema = %s", ledgerTable, literal(t.Schema)),
			fmt.Sprintf("delete from %s where schema = %s", tenantsTable, literal(t.Schema)),
		}
		if t.Role != "" {
			statements = append(statements, dropRole(t.Role))
		}
		return statements, nil
	})
}

// dropRole drops a role whose schema is gone, with what it owns, which are large objects mostly, and with what it was
// granted elsewhere in the database. One that has more, in another database say, stays: nobody can log in as it.
func dropRole(role string) string {
	return "do " + literal(fmt.Sprintf(`declare
    before text := pg_catalog.current_setting('role'); r name := %s; it text;
begin
    if not exists (select from pg_catalog.pg_roles where rolname = r) then return; end if;
    begin
        for it in select case d.classid
            when 'pg_catalog.pg_namespace'::regclass then (select pg_catalog.format('revoke all on schema %%I', nspname) from pg_catalog.pg_namespace where oid = d.objid)
            when 'pg_catalog.pg_proc'::regclass then 'revoke all on routine ' || d.objid::regprocedure
            when 'pg_catalog.pg_largeobject'::regclass then 'revoke all on large object ' || d.objid
            when 'pg_catalog.pg_class'::regclass then (select 'revoke all on ' || case relkind when 'S' then 'sequence ' else '' end || oid::regclass from pg_catalog.pg_class where oid = d.objid)
            when 'pg_catalog.pg_default_acl'::regclass then (select pg_catalog.format('alter default privileges for role %%I%%s revoke all on %%s', o.rolname, ' in schema ' || pg_catalog.quote_ident(n.nspname),
                case a.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'routines' when 'T' then 'types' else 'schemas' end)
                from pg_catalog.pg_default_acl a join pg_catalog.pg_roles o on o.oid = a.defaclrole left join pg_catalog.pg_namespace n on n.oid = a.defaclnamespace where a.oid = d.objid) end
            from pg_catalog.pg_shdepend d where d.refclassid = 'pg_catalog.pg_authid'::regclass and d.deptype = 'a'
            and d.refobjid = (select oid from pg_catalog.pg_roles where rolname = r)
            and d.dbid = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
        loop
            if it is not null then execute pg_catalog.format('%%s from %%I', it, r); end if;
        end loop;
        perform pg_catalog.set_config('role', r, true);
        execute pg_catalog.format('drop owned by %%I', r);
        perform pg_catalog.set_config('role', before, true);
        execute pg_catalog.format('drop role %%I', r);
    exception when dependent_objects_still_exist or insufficient_privilege then null;
    end;
end`, literal(role)))
}

// dropTables drops n of a tenant's tables, the last made first, since a table that others refer to takes locks of all of
// these, and reports whether others are left.
func (r *Runner) dropTables(ctx context.Context, set *TenantSet, f *facts, t *Tenant, n int) (left bool, err error) {
	reads := []string{fmt.Sprintf(`with %s select pg_catalog.format('%%I.%%I', %s, relname) from rels
where relkind in ('r', 'p') order by relispartition desc, oid desc limit %d`, relationsOf(literal(t.Schema)), literal(t.Schema), n)}
	err = r.changeTenants(ctx, set, f, []string{t.ID}, t.Schema, reads, func(ctx context.Context, c *tenantChange) ([]string, error) {
		tables := texts(c.extra[0])
		left = len(tables) > 0
		if !left {
			return []string{"select"}, nil
		}
		return []string{"drop table if exists " + strings.Join(tables, ", ") + " cascade"}, nil
	})
	return left, err
}
