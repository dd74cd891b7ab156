package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

var moduleChecks = []check{
	{[]string{"module-pending", "module-drift"}, modules},
}

// modules compares each module's files with what is recorded, in the schema that
// it names, or in all that it is recorded in.
func modules(ctx context.Context, l *look) (found []Finding, err error) {
	var errs []error
	for _, m := range l.o.Modules {
		some, err := l.module(ctx, m)
		found = append(found, some...)
		if privilege, ok := errors.AsType[*pgdbm.PrivilegeError](err); ok {
			found = append(found, Finding{Code: "module-pending", Severity: Warning, Where: "module " + m.Name,
				What: fmt.Sprintf("%s may not migrate it in schema %s", privilege.Role, privilege.Schema),
				Fix:  statements(ended(privilege.Statements)...)})
		} else if err != nil {
			errs = append(errs, err)
		}
	}
	return found, errors.Join(errs...)
}

// ended are statements with a semicolon each.
func ended(sql []string) (list []string) {
	for _, s := range sql {
		list = append(list, s+";")
	}
	return list
}

func (l *look) module(ctx context.Context, m Module) ([]Finding, error) {
	if m.NoFiles != "" {
		return l.noFiles(ctx, m)
	}
	schemas, err := l.schemasOf(ctx, m)
	if err != nil {
		return nil, err
	}
	var found []Finding
	if len(schemas) == 1 && !m.OfTenants {
		found, err = l.status(ctx, m, schemas[0])
	} else {
		found, err = l.fleet(ctx, m, schemas)
	}
	if err != nil || !l.o.Verify {
		return found, err
	}
	// A schema that is refused or not complete already has its finding.
	for _, schema := range schemas {
		if slices.ContainsFunc(found, func(f Finding) bool { return f.Where == l.place(m, schema) }) {
			continue
		}
		some, err := l.verify(ctx, m, schema)
		if err != nil {
			return found, err
		}
		found = append(found, some...)
	}
	return found, nil
}

// noFiles is about a module that has no files yet, or no more.
func (l *look) noFiles(ctx context.Context, m Module) ([]Finding, error) {
	ok, err := l.own(l.ledger)
	if err != nil {
		return nil, err
	}
	f := Finding{Code: "module-pending", Severity: Warning, Where: "module " + m.Name, What: "has no files yet in " + m.NoFiles,
		Fix: Fix{Command: "pgdbm migrate new create_tables " + m.Flags}}
	if ok {
		n, err := read[int](ctx, l, `select count(*)::int from pgdbm.migrations where module = $1 and state in ('applied', 'baselined')`, m.Name)
		if err != nil {
			return nil, err
		}
		if n[0] > 0 {
			f.Code, f.Severity = "module-drift", Error
			f.What = fmt.Sprintf("has no files in %s, and %s of it recorded", m.NoFiles, count(n[0], "version"))
			f.Fix.Command = l.command("pgdbm schema list")
		}
	}
	return []Finding{f}, nil
}

// schemasOf are where the module is, or is to be.
func (l *look) schemasOf(ctx context.Context, m Module) ([]string, error) {
	if m.Schema != "" {
		return []string{m.Schema}, nil
	}
	if m.OfTenants {
		ok, err := l.own(l.tenants)
		if err != nil || !ok {
			return nil, err
		}
		return read[string](ctx, l, `select t.schema from pgdbm.tenants t
where t.state in ('active', 'suspended') and exists (select from pg_catalog.pg_namespace n where n.nspname = t.schema)
	and `+tenantPrefix+` in ('', $1) order by 1`, m.Prefix)
	}
	ok, err := l.own(l.ledger)
	if err != nil {
		return nil, err
	}
	var schemas []string
	if ok {
		schemas, err = read[string](ctx, l, `select distinct m.target_schema from pgdbm.migrations m
join pg_catalog.pg_namespace n on n.nspname = m.target_schema where m.module = $1 order by 1`, m.Name)
	}
	if len(schemas) == 0 {
		schemas = []string{m.Name}
	}
	return schemas, err
}

func (l *look) place(m Module, schema string) string {
	return fmt.Sprintf("module %s in %s", m.Name, sqltemplate.Quote(schema))
}

func (l *look) handle(m Module, schema string) (*pgdbm.DB, error) {
	aliases := maps.Clone(m.Aliases)
	for _, name := range m.Siblings {
		aliases[name] = schema
	}
	return l.pool.Handle(pgdbm.HandleConfig{Schema: schema, Aliases: aliases})
}

// migrate is a command of "pgdbm migrate" for a module in a schema.
func (l *look) migrate(verb string, m Module, schema string) Fix {
	return Fix{Command: l.command(fmt.Sprintf("pgdbm migrate %s %s --schema %s", verb, m.Flags, Shell(schema)))}
}

func (l *look) pending(m Module, schema string, n int) Finding {
	f := Finding{Code: "module-pending", Severity: Warning, Where: l.place(m, schema), Kind: fmt.Sprint(m.Name, n),
		What: count(n, "file") + " pending", Fix: l.migrate("up", m, schema)}
	if m.OfTenants {
		f.Fix.Command = l.command("pgdbm tenant migrate")
	}
	return f
}

func (l *look) drift(m Module, schema, what string) Finding {
	return Finding{Code: "module-drift", Severity: Error, Where: l.place(m, schema), Kind: m.Name + strings.ReplaceAll(what, schema, ""),
		What: what, Fix: l.migrate("status", m, schema)}
}

func (l *look) status(ctx context.Context, m Module, schema string) ([]Finding, error) {
	db, err := l.handle(m, schema)
	if err != nil {
		return nil, err
	}
	status, err := migrate.Status(ctx, db, m.Module, nil)
	if err != nil {
		return nil, err
	}
	var found []Finding
	if status.Problem != nil {
		found = append(found, l.drift(m, schema, status.Problem.Error()))
	} else if status.Pending() {
		n := 0
		for _, v := range status.Versions {
			if v.State == migrate.Pending || v.State == migrate.Failed || v.State == migrate.Running {
				n++
			}
		}
		found = append(found, l.pending(m, schema, n))
	}
	for _, w := range status.Warnings {
		f := l.drift(m, schema, strings.TrimPrefix(w.File+": "+w.Text, ": "))
		f.Severity = Warning
		found = append(found, f)
	}
	return found, nil
}

// fleet asks once for all schemas.
func (l *look) fleet(ctx context.Context, m Module, schemas []string) ([]Finding, error) {
	plan, err := migrate.FleetPlan(ctx, l.pool, m.Module, schemas, &migrate.FleetOptions{Aliases: m.Aliases})
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, e := range plan.Refused {
		found = append(found, l.drift(m, e.Schema, e.Error()))
	}
	for _, p := range plan.Pending {
		found = append(found, l.pending(m, p.Schema, len(p.Files)))
	}
	return found, nil
}

func (l *look) verify(ctx context.Context, m Module, schema string) ([]Finding, error) {
	db, err := l.handle(m, schema)
	if err != nil {
		return nil, err
	}
	res, err := migrate.Verify(ctx, db, m.Module, nil)
	switch {
	case err != nil:
		return nil, err
	case res.NotCompared != nil:
		// %v, since it is no privilege to migrate that is missing.
		err := fmt.Errorf("%s: %v", l.place(m, schema), res.NotCompared)
		if privilege, ok := errors.AsType[*pgdbm.PrivilegeError](res.NotCompared); ok {
			err = fmt.Errorf("%w: %s", err, strings.Join(privilege.Statements, "; "))
		}
		return nil, err
	case res.OK():
		return nil, nil
	}
	var names []string
	for _, d := range res.Differences {
		names = append(names, d.Kind+" "+d.Name)
	}
	if n := len(names) - 3; n > 0 {
		names = append(names[:3], fmt.Sprintf("%d more", n))
	}
	f := l.drift(m, schema, "is not what the files make: "+strings.Join(names, ", "))
	f.Fix = l.migrate("verify", m, schema)
	return []Finding{f}, nil
}
