package engine_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/pgdbm/pgdbm/internal/engine"
)

// needs skips the test unless the server has the extensions.
func (d *database) needs(extensions ...string) {
	d.t.Helper()
	for _, name := range extensions {
		if d.value("select count(*) from pg_available_extensions where name = $1", name) != "1" {
			d.t.Skipf("the server has no extension %s", name)
		}
	}
}

func TestExtensionsAreCreatedOncePerDatabase(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	names := []string{"citext", "earthdistance", "hstore"} // the second requires another, cube
	d.needs(names...)
	d.exec("create schema ext; create extension hstore schema ext")
	programs := make([]*program, 16)
	for i := range programs {
		programs[i] = d.program()
	}
	together(t, 16, func(i int) error { return programs[i].EnsureExtensions(t.Context(), names) })
	d.want("citext public, cube public, earthdistance public, hstore ext, plpgsql pg_catalog",
		"select string_agg(extname || ' ' || nspname, ', ' order by extname) from pg_extension join pg_namespace n on n.oid = extnamespace")

	p := programs[0]
	if err := p.pool.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := p.roundTrips.Load()
	if err := p.EnsureExtensions(t.Context(), names); err != nil {
		t.Fatal(err)
	}
	if got := p.roundTrips.Load() - before; got != 1 {
		t.Errorf("%d round trips with all present, want 1", got)
	}
	if err := (&engine.Runner{}).EnsureExtensions(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestAnExtensionThatPrescribesItsSchemaGoesThere(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	name := d.value(`select coalesce(min(v.name), '') from pg_available_extension_versions v join pg_available_extensions a
		on a.name = v.name and a.default_version = v.version
		where v.schema = 'pg_catalog' and v.requires is null and v.name not like 'pl%' and v.name not in (select extname from pg_extension)`)
	if name == "" {
		t.Skip("the server has no such extension")
	}
	if err := d.program().EnsureExtensions(t.Context(), []string{name}); err != nil {
		t.Fatal(err)
	}
	d.want("pg_catalog", "select nspname from pg_extension join pg_namespace n on n.oid = extnamespace where extname = $1", name)
}

func TestExtensionsThatCannotBeCreated(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.needs("dblink")
	p := d.program()
	for name, want := range map[string]string{
		"no_such_extension":     `extension "no_such_extension": not available on the server`,
		`x"; drop table y; --`:  `invalid name`,
		"":                      `extension "": invalid name`,
		strings.Repeat("x", 64): `invalid name`,
	} {
		if err := p.EnsureExtensions(t.Context(), []string{name}); err == nil {
			t.Errorf("%q: no error", name)
		} else {
			contains(t, err.Error(), want)
		}
	}
	role := d.role("nothing")
	err := d.program(asRole(role)).EnsureExtensions(t.Context(), []string{"dblink"})
	var privilege *engine.PrivilegeError
	if !errors.As(err, &privilege) {
		t.Fatalf("got %v", err)
	}
	if len(privilege.Statements) != 1 || privilege.Statements[0] != `CREATE EXTENSION IF NOT EXISTS "dblink" SCHEMA "public" CASCADE` || privilege.Role != role {
		t.Errorf("got %+v", privilege)
	}
	d.grant(err)
	if err := d.program(asRole(role)).EnsureExtensions(t.Context(), []string{"dblink"}); err != nil {
		t.Error(err)
	}
}

func TestMissingExtensionsWaitUnderALockOfTheirOwn(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.needs("citext", "hstore")
	p := d.program()
	defer d.hold(engine.LedgerKey())()
	defer d.hold(engine.SchemaKey("public"))()
	if err := p.EnsureExtensions(t.Context(), []string{"citext"}); err != nil {
		t.Fatal(err)
	}
	q := d.program()
	release := d.hold(engine.ExtensionKey())
	var once sync.Once
	engine.OnWait(q.Runner, func() { once.Do(release) })
	if err := q.EnsureExtensions(t.Context(), []string{"citext", "hstore"}); err != nil {
		t.Fatal(err)
	}
}
