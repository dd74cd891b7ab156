package doctor_test

import (
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
	"github.com/pgdbm/pgdbm/tenant"
)

func modules(ms ...pgdbm.Module) (list []doctor.Module) {
	for _, m := range ms {
		list = append(list, doctor.Module{Module: m, Flags: "--module " + m.Name})
	}
	return list
}

func TestItFindsModulesThatAreNotAsTheirFilesSay(t *testing.T) {
	t.Parallel()
	_, url := create(t, shared(t), "")
	const first = "CREATE TABLE {{tables.a}} (id int)"
	attach(t, url, module("m", "001_a.sql", first))
	newer := module("m", "001_a.sql", first, "002_b.sql", "SELECT 1", "003_c.sql", "SELECT 1")
	f := one(t, look(t, url, doctor.Options{Modules: modules(newer)}), "module-pending", "2 files", doctor.Warning)
	if f.Where != `module m in "m"` || f.Fix.Command != "pgdbm migrate up --module m --schema m" {
		t.Errorf("%+v", f)
	}
	changed := module("m", "001_a.sql", "CREATE TABLE {{tables.a}} (id bigint)")
	f = one(t, look(t, url, doctor.Options{Modules: modules(changed)}), "module-drift", "001_a.sql", doctor.Error)
	if f.Fix.Command != "pgdbm migrate status --module m --schema m" {
		t.Errorf("%+v", f)
	}
	one(t, look(t, url, doctor.Options{Modules: modules(module("never", "001_a.sql", first))}), "module-pending", `"never"`, doctor.Warning)

	same := doctor.Options{Modules: modules(module("m", "001_a.sql", first))}
	execute(t, url, "ALTER TABLE m.a ADD b int")
	if found := find(look(t, url, same), "module-drift", ""); len(found) > 0 {
		t.Errorf("without Verify: %+v", found)
	}
	same.Verify = true
	one(t, look(t, url, same), "module-drift", "column a.b", doctor.Error)
}

func TestAModuleOfManySchemasIsComparedInEachOfThem(t *testing.T) {
	t.Parallel()
	_, url := create(t, shared(t), "")
	m := module("m", "001_a.sql", "CREATE TABLE {{tables.a}} (id int)")
	for _, schema := range []string{"x", "y"} {
		m.Schema = schema
		attach(t, url, m)
	}
	m.Schema = ""
	if found := find(look(t, url, doctor.Options{Modules: modules(m)}), "module-pending", ""); len(found) > 0 {
		t.Errorf("%+v", found)
	}
	newer := module("m", "001_a.sql", "CREATE TABLE {{tables.a}} (id int)", "002_b.sql", "SELECT 1")
	r := look(t, url, doctor.Options{Modules: modules(newer)})
	one(t, r, "module-pending", `in "x"`, doctor.Warning)
	one(t, r, "module-pending", `in "y"`, doctor.Warning)
	one(t, look(t, url, doctor.Options{Modules: modules(module("m", "001_a.sql", "SELECT 1"))}), "module-drift", `in "x"`, doctor.Error)
	newer.Schema = "y"
	if found := find(look(t, url, doctor.Options{Modules: modules(newer)}), "module-pending", ""); len(found) != 1 {
		t.Errorf("%+v", found)
	}
}

func TestFilesThatCannotBeReadAreNoFinding(t *testing.T) {
	t.Parallel()
	_, url := create(t, shared(t), "")
	pool := open(t, pgdbm.Config{URL: url})
	r, err := doctor.Look(t.Context(), pool, doctor.Options{Modules: modules(module("m", "001_a.sql", "SELECT 'open"))})
	if err != nil || len(r.Skipped) != 1 || !strings.Contains(r.Skipped[0].Err.Error(), "001_a.sql:1:8") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestWhoMayNotMigrateIsToldWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := start(t, healthy)
	_, url := create(t, s, "")
	attach(t, url, shop)
	execute(t, url, "CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA pgdbm TO reader; GRANT SELECT ON pgdbm.migrations TO reader")
	pool := open(t, pgdbm.Config{URL: url, User: "reader"})
	r, err := doctor.Look(t.Context(), pool, doctor.Options{Modules: modules(module("more", "001_a.sql", "SELECT 1"))})
	if err != nil {
		t.Fatal(err)
	}
	one(t, r, "module-pending", "more", doctor.Warning)
}

func TestAModuleOfTenantsIsThatOfThePrefix(t *testing.T) {
	t.Parallel()
	s := start(t, healthy)
	_, url := create(t, s, "")
	pool, _ := furnish(t, url)
	others, err := tenant.New(pool, tenant.Config{Modules: []pgdbm.Module{module("blog", "001_posts.sql", "CREATE TABLE {{tables.posts}} (id int)")}, Prefix: "other_"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := others.Create(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	notes := module("notes", "001_notes.sql", "CREATE TABLE {{tables.notes}} (id serial PRIMARY KEY, text text)")
	r := look(t, url, doctor.Options{Modules: []doctor.Module{{Module: notes, OfTenants: true, Prefix: "tenant_"}}, Verify: true})
	if len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
}
