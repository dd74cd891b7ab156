package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/localpg"
	"github.com/pgdbm/pgdbm/migrate"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

func TestAFleetStopsAfterAsManyFailuresAsItMay(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ most, failed int }{{0, 1}, {2, 3}, {-1, 5}} {
		d := newFleetDB(t, 4)
		schemas := tenants(60)
		d.fleet(module("1_a.sql", createA), schemas, nil)
		for _, i := range []int{1, 21, 22, 41, 59} {
			d.exec(fmt.Sprintf(`DROP TABLE tenant_%03d.a`, i))
		}
		m := module("1_a.sql", createA, "2_b.sql", `ALTER TABLE {{tables.a}} ADD COLUMN n int;`)
		res, err := migrate.Fleet(t.Context(), d.pool, m, schemas, &migrate.FleetOptions{Workers: 1, MaxFailures: test.most})
		var partial *migrate.FleetError
		if !errors.As(err, &partial) || partial.Failed != test.failed || len(res.Failed) != test.failed {
			t.Errorf("at most %d: %v", test.most, err)
			continue
		}
		if res.Migrated+len(res.Failed)+len(res.Remaining) != 60 || test.most < 0 && len(res.Remaining) != 0 ||
			test.most >= 0 && len(res.Remaining) == 0 || partial.Remaining != len(res.Remaining) || partial.Done != res.Migrated {
			t.Errorf("at most %d: %+v", test.most, res)
		}
		var me *pgdbm.MigrationError
		if !errors.As(err, &me) || me.Schema != "tenant_001" || errors.Is(err, context.Canceled) {
			t.Errorf("at most %d: first error %v", test.most, me)
		}
		d.want(60+res.Migrated, appliedRows)
	}
}

func TestSchemasThatUpRefusesFailAloneAndBeforeAnythingIsWritten(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 4)
	schemas := tenants(40)
	m := module("1_a.sql", createA, "3_b.sql", createB)
	d.fleet(m, schemas, nil)
	d.exec(`UPDATE pgdbm.migrations SET semantic_hash = 'other' WHERE target_schema = 'tenant_003' AND version = '1';
		DELETE FROM pgdbm.migrations WHERE target_schema = 'tenant_005' AND version = '1';
		INSERT INTO pgdbm.migrations (module, target_schema, version, state, file_name) VALUES ('app', 'tenant_007', '2', 'applied', '2_x.sql'),
			('app', 'tenant_009', '9', 'applied', '9_x.sql'), ('app', 'tenant_010', '9', 'applied', '9_x.sql'), ('app', 'tenant_012', '4', 'failed', '4_c.sql');
		UPDATE pgdbm.migrations SET raw_hash = 'other' WHERE target_schema = 'tenant_011' AND version = '1';
		DROP SCHEMA tenant_013 CASCADE`)
	m = module("1_a.sql", createA, "3_b.sql", createB, "4_c.sql", `CREATE TABLE {{tables.c}} ();`)
	want := map[string]error{"tenant_003": migrate.ErrChanged, "tenant_005": migrate.ErrOrder, "tenant_007": migrate.ErrMissing,
		"tenant_009": migrate.ErrOrder, "tenant_010": migrate.ErrOrder, "tenant_013": migrate.ErrSchemaGone}
	plan, err := migrate.FleetPlan(t.Context(), d.pool, m, append(schemas, "tenant_new"), nil)
	if err != nil || plan.Schemas != 41 || plan.UpToDate != 0 || len(plan.Pending) != 35 || len(plan.Refused) != 6 || len(plan.Warnings) != 2 {
		t.Fatalf("plan %+v, %v", plan, err)
	}
	if p := plan.Pending[0]; p.Schema != "tenant_000" || !p.Exists || !slices.Equal(versions(p.Files), []string{"4 4_c.sql"}) {
		t.Errorf("first pending %+v", p)
	}
	if p := plan.Pending[34]; p.Schema != "tenant_new" || p.Exists || len(p.Files) != 3 {
		t.Errorf("last pending %+v", p)
	}
	for _, most := range []int{0, -1} {
		res, err := migrate.Fleet(t.Context(), d.pool, m, schemas, &migrate.FleetOptions{MaxFailures: most})
		if len(res.Failed) != len(want) {
			t.Fatalf("%+v, %v", res, err)
		}
		for _, e := range res.Failed {
			if !errors.Is(e, want[e.Schema]) || !errors.Is(err, want[e.Schema]) {
				t.Errorf("%s: %v", e.Schema, e)
			}
		}
		if migrated := map[int]int{0: 0, -1: 34}[most]; res.Migrated != migrated || len(res.Remaining) != 34-migrated {
			t.Errorf("at most %d: %d migrated, %d remain", most, res.Migrated, len(res.Remaining))
		}
		var warnings []string
		for _, w := range res.Warnings {
			warnings = append(warnings, fmt.Sprint(w.Version, " ", w.Schema, " ", w.Schemas))
		}
		slices.Sort(warnings)
		if want := []string{"1 tenant_011 1", "9 tenant_009 2"}; !reflect.DeepEqual(warnings, want) {
			t.Errorf("warnings %q", warnings)
		}
	}
	d.want(0, appliedRows+` AND version = '4' AND target_schema IN ('tenant_003', 'tenant_005', 'tenant_007', 'tenant_013')`)
	d.want(1, appliedRows+` AND version = '4' AND target_schema = 'tenant_012' AND attempts = 2`)

	// The name of the module is somebody else's outside the fleet.
	res, err := migrate.Fleet(t.Context(), d.pool, module("1_other.sql", createB), []string{"elsewhere"}, nil)
	var me *pgdbm.MigrationError
	if !errors.Is(err, migrate.ErrConflict) || !errors.As(err, &me) || len(res.Failed) != 0 || me.File != "1_other.sql" {
		t.Errorf("conflict: %+v, %v", res, err)
	}
}

func TestFilesThatCannotShareATransactionRunInOneOfTheirOwn(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]pgdbm.Module{
		"a value added to an enum and used": module("1_a.sql", `CREATE TYPE {{types.mood}} AS ENUM ('sad'); CREATE TABLE {{tables.t}} (m {{types.mood}});`,
			"2_b.sql", `ALTER TYPE {{types.mood}} ADD VALUE 'glad';`, "3_c.sql", `INSERT INTO {{tables.t}} VALUES ('glad');`),
		"DO":        module("1_a.sql", `CREATE TABLE {{tables.t}} (m text); DO $$ BEGIN INSERT INTO {{tables.t}} VALUES ('glad'); END $$;`),
		"SET":       module("1_a.sql", `SET search_path = pg_catalog; CREATE TABLE {{tables.t}} (m text); INSERT INTO {{tables.t}} VALUES ('glad');`),
		"SET LOCAL": module("1_a.sql", `SET LOCAL check_function_bodies = off; CREATE TABLE {{tables.t}} AS SELECT text 'glad' AS m;`),
		"COPY":      module("1_a.sql", "CREATE TABLE {{tables.t}} (m text);\nCOPY {{tables.t}} FROM stdin;\nglad\n\\.\n"),
		"pg_dump":   module("1_a.sql", "\\restrict abc\nSELECT pg_catalog.set_config('search_path', '', false);\nCREATE TABLE {{tables.t}} (m text);\nINSERT INTO {{tables.t}} VALUES ('glad');\n\\unrestrict abc\n"),
		"restrict":  module("1_a.sql", "\\restrict abc\nCREATE TABLE {{tables.t}} (m text);\nINSERT INTO {{tables.t}} VALUES ('glad');\n\\unrestrict abc"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newFleetDB(t, 4)
			schemas := tenants(12)
			res := d.fleet(m, schemas, &migrate.FleetOptions{Workers: 2, BatchSize: 5})
			if res.Migrated != 12 || res.Created != 12 || len(res.Failed) != 0 {
				t.Fatalf("%+v", res)
			}
			for _, s := range schemas {
				d.want(1, "SELECT count(*) FROM "+s+".t WHERE m::text = 'glad'")
			}
			d.want(res.Applied, appliedRows)
			d.want(0, `SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace`)
		})
	}
}

func TestAFleetNeedsOneConnectionOnly(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 1)
	schemas := tenants(50)
	d.fleet(module("1_a.sql", createA), schemas, &migrate.FleetOptions{Workers: 9})
	d.exec(`DROP TABLE tenant_031.a`)
	m := module("1_a.sql", createA, "2_b.sql", `ALTER TABLE {{tables.a}} ADD COLUMN n int;`)
	res, err := migrate.Fleet(t.Context(), d.pool, m, schemas, &migrate.FleetOptions{MaxFailures: -1})
	if res.Migrated != 49 || len(res.Failed) != 1 || err == nil {
		t.Errorf("%+v, %v", res, err)
	}
}

// A server of its own, whose table of locks has room for few schemas.
func TestASmallTableOfLocksIsNotExceeded(t *testing.T) {
	t.Parallel()
	server, err := localpg.Start(t.Context(), &localpg.Options{Settings: map[string]string{
		"max_locks_per_transaction": "10", "max_connections": "40", "superuser_reserved_connections": "2"}})
	if err != nil {
		t.Skipf("no server of its own: %v", err)
	}
	t.Cleanup(func() { server.Stop(context.Background()) })
	d := openFleetDB(t, server.URL("postgres"), 6)
	d.fleet(module("1_tables.sql", fleetTables), tenants(100), &migrate.FleetOptions{Workers: 4, BatchSize: 100})

	// The first is no measure for the others, which have forty partitions.
	m := module("1_p.sql", `CREATE TABLE {{tables.p}} (id int) PARTITION BY LIST (id);`)
	m.Name = "parts"
	schemas := tenants(24)
	d.fleet(m, schemas, nil)
	for _, s := range schemas[1:] {
		for i := range 40 {
			if _, err := d.pool.Pgx().Exec(t.Context(), fmt.Sprintf(`CREATE TABLE %[1]s.p%[2]d PARTITION OF %[1]s.p FOR VALUES IN (%[2]d)`, s, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.Files = module("1_p.sql", `CREATE TABLE {{tables.p}} (id int) PARTITION BY LIST (id);`,
		"2_c.sql", `ALTER TABLE {{tables.p}} ADD COLUMN n int; CREATE INDEX ON {{tables.p}} (n);`).Files
	if res := d.fleet(m, schemas, &migrate.FleetOptions{Workers: 4, BatchSize: 100}); res.Applied != 24 || len(res.Failed) != 0 {
		t.Errorf("%+v", res)
	}
	d.want(24+23*40, `SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relname ~ '^p[0-9]*$'`)
}

func TestModulesThatAFleetRequires(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 4)
	geo := pgdbm.Module{Name: "geo", Files: files("1_a.sql", `CREATE TABLE {{tables.airports}} (iata text PRIMARY KEY);`)}
	users := pgdbm.Module{Name: "users", Files: files("1_a.sql", `CREATE TABLE {{tables.users}} (id int PRIMARY KEY);`)}
	m := module("1_a.sql", `CREATE TABLE {{tables.flights}} (origin text REFERENCES {{tables.geo.airports}}, pilot int REFERENCES {{tables.users.users}});`)
	m.Requires = []string{"geo", "users"}
	schemas := tenants(30)
	if _, err := migrate.Fleet(t.Context(), d.pool, m, schemas, nil); err == nil || !strings.Contains(err.Error(), "required module geo is recorded in no schema") {
		t.Fatalf("nothing recorded: %v", err)
	}
	if _, err := pgdbm.Attach(t.Context(), d.pool, geo); err != nil {
		t.Fatal(err)
	}
	d.fleet(users, schemas[:29], nil)
	res, err := migrate.Fleet(t.Context(), d.pool, m, schemas, &migrate.FleetOptions{MaxFailures: -1})
	if err == nil || res.Migrated != 29 || len(res.Failed) != 1 || res.Failed[0].Schema != "tenant_029" || !strings.Contains(err.Error(), "required module users is recorded in tenant_000, ") {
		t.Fatalf("%+v, %v", res, err)
	}
	if !strings.Contains(res.Careful, "geo.airports") {
		t.Errorf("careful %q", res.Careful)
	}
	// Each pilot is the schema's own user, each origin the shared table's.
	d.want(29, `SELECT count(*) FROM pg_constraint c JOIN pg_class f ON f.oid = c.confrelid WHERE contype = 'f' AND connamespace = f.relnamespace`)
	d.want(29, `SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND confrelid = 'geo.airports'::regclass`)
	d.want(29, `SELECT count(*) FROM pgdbm.migrations WHERE requires = '{geo,users}'`)

	// A batch records it as well.
	tables := module("1_a.sql", `CREATE TABLE {{tables.airlines}} (id int)`)
	tables.Name, tables.Requires = "airlines", []string{"geo"}
	if res := d.fleet(tables, schemas[:5], nil); res.Careful != "" {
		t.Errorf("not in batches: %s", res.Careful)
	}
	d.want(5, `SELECT count(*) FROM pgdbm.migrations WHERE module = 'airlines' AND requires = '{geo}'`)

	res = d.fleet(m, schemas, &migrate.FleetOptions{Aliases: map[string]string{"users": "tenant_000"}, Mode: migrate.FleetBatched})
	if res.Migrated != 1 || res.Careful != "" {
		t.Errorf("%+v", res)
	}
	d.want(2, `SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND confrelid = 'tenant_000.users'::regclass`)
}

func TestAFleetCreatesTheExtensionsOfItsModuleOnce(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 4)
	m := module("1_a.sql", `CREATE TABLE {{tables.t}} (name public.citext, other citext);`)
	m.Extensions = []string{"citext"}
	res, err := migrate.Fleet(t.Context(), d.pool, m, tenants(20), nil)
	if err != nil && strings.Contains(err.Error(), "not available") {
		t.Skip(err)
	}
	if err != nil || res.Migrated != 20 || res.Careful != "" {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestNamesOfAnyKindAreSchemasOfAFleet(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 4)
	odd := []string{"Tenant A", "größe", "a,b{c}", "日本", "select", "-- x", "/* y", "public", strings.Repeat("z", 63)}
	if res := d.fleet(module("1_tables.sql", fleetTables), odd, nil); res.Migrated != len(odd) || res.Created != len(odd)-1 {
		t.Errorf("%+v", res)
	}
	if res := d.fleet(module("1_tables.sql", fleetTables), odd, nil); res.UpToDate != len(odd) {
		t.Errorf("again: %+v", res)
	}
	for _, bad := range []string{"", "pg_x", `a"b`, strings.Repeat("z", 64)} {
		res, err := migrate.Fleet(t.Context(), d.pool, module("1_tables.sql", fleetTables), []string{"fine", bad}, nil)
		if err == nil || res.Migrated != 0 {
			t.Errorf("%q: %+v, %v", bad, res, err)
		}
	}
	d.want(0, `SELECT count(*) FROM pg_namespace WHERE nspname = 'fine'`)
	if res, err := migrate.Fleet(t.Context(), d.pool, module("1_tables.sql", fleetTables), nil, nil); err != nil || res.Schemas != 0 {
		t.Errorf("no schemas: %+v, %v", res, err)
	}
}

func TestFleetSchemasMatchPatterns(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 2)
	d.exec(`CREATE SCHEMA tenant_b; CREATE SCHEMA tenant_a; CREATE SCHEMA tenantxa; CREATE SCHEMA "Tenant_c"; CREATE SCHEMA other`)
	m := module("1_a.sql", createA)
	match := func(patterns ...string) []string {
		t.Helper()
		got, err := migrate.FleetSchemas(t.Context(), d.pool, m, patterns...)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got, want := match("tenant_*"), []string{"tenant_a", "tenant_b"}; !slices.Equal(got, want) {
		t.Errorf("before there is a ledger: %q", got)
	}
	d.fleet(m, []string{"tenant_d", "gone", "pgdbm_like"}, nil)
	d.exec(`DROP SCHEMA tenant_d CASCADE`)
	for _, test := range []struct {
		patterns []string
		want     []string
	}{
		{[]string{"tenant_*"}, []string{"tenant_a", "tenant_b", "tenant_d"}},
		{[]string{"tenant?a", "other"}, []string{"other", "tenant_a", "tenantxa"}},
		{[]string{"*_c"}, []string{"Tenant_c"}},
		{[]string{"*"}, []string{"Tenant_c", "gone", "other", "pgdbm_like", "public", "tenant_a", "tenant_b", "tenant_d", "tenantxa"}},
		{[]string{"%", `\*`, "[a-z]*"}, nil},
		{nil, nil},
	} {
		if got := match(test.patterns...); !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.patterns, got, test.want)
		}
	}
}

func TestAFleetThatCannotBeginSaysWhy(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 2)
	good := module("1_a.sql", createA)
	for _, c := range []struct {
		name string
		pool *pgdbm.Pool
		m    pgdbm.Module
		o    *migrate.FleetOptions
		want string
	}{
		{"no pool", nil, good, nil, "nil"},
		{"no files", d.pool, pgdbm.Module{Name: "app"}, nil, "Files"},
		{"a bad file", d.pool, module("1_a.sql", "COMMIT"), nil, "COMMIT"},
		{"a file that names an unknown module", d.pool, module("1_a.sql", "SELECT * FROM {{tables.other.x}}"), nil, "other"},
		{"a shard out of range", d.pool, good, &migrate.FleetOptions{Shard: migrate.Shard{Index: 3, Of: 2}}, "shard 3/2"},
		{"a transaction", pgdbmtest.Tx(t, pgdbm.Module{Name: "x", Files: files("1_a.sql", createA)}).Pool(), good, nil, "transaction"},
	} {
		res, err := migrate.Fleet(t.Context(), c.pool, c.m, tenants(5), c.o)
		if res == nil || res.Migrated != 0 || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v", c.name, res, err)
		}
	}
	d.want(0, `SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tenant%'`)
}

func TestARoleWithoutPrivilegesIsToldWhatItLacks(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 2)
	role := fmt.Sprintf("fleet_%d", d.value(`SELECT oid::int FROM pg_database WHERE datname = current_database()`))
	d.exec(`CREATE ROLE ` + role + ` LOGIN`)
	t.Cleanup(func() { d.exec(`DROP OWNED BY ` + role + ` CASCADE; DROP ROLE ` + role) })
	limited := func() *pgdbm.Pool {
		pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: d.url, MaxConns: 2, Settings: map[string]string{"role": role},
			Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return pool
	}()
	m := module("1_a.sql", createA)
	var pe *pgdbm.PrivilegeError
	if _, err := migrate.Fleet(t.Context(), limited, m, tenants(4), nil); !errors.As(err, &pe) || pe.Schema != "pgdbm" || len(pe.Statements) == 0 {
		t.Errorf("no ledger: %v", err)
	}
	d.fleet(m, []string{"tenant_000", "tenant_001"}, nil)
	if _, err := migrate.Fleet(t.Context(), limited, m, tenants(4), nil); !errors.As(err, &pe) || pe.Schema != "pgdbm" {
		t.Errorf("unreadable ledger: %v", err)
	}
	d.exec(`GRANT USAGE ON SCHEMA pgdbm TO ` + role + `; GRANT SELECT, INSERT, UPDATE ON pgdbm.migrations TO ` + role +
		`; CREATE SCHEMA tenant_003; GRANT USAGE, CREATE ON SCHEMA tenant_003 TO ` + role)
	res, err := migrate.Fleet(t.Context(), limited, m, tenants(4), &migrate.FleetOptions{MaxFailures: -1})
	if !errors.As(err, &pe) || pe.Schema != "tenant_002" || res.Migrated != 1 || res.UpToDate != 2 || len(res.Failed) != 1 {
		t.Errorf("one schema missing: %+v, %v", res, err)
	}
}

func TestAFleetOutlivesLosingItsConnections(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 4)
	schemas := tenants(150)
	killer, err := pgx.Connect(t.Context(), d.url)
	if err != nil {
		t.Fatal(err)
	}
	defer killer.Close(context.Background())
	next := 20
	res, err := migrate.Fleet(t.Context(), d.pool, logged(), schemas, &migrate.FleetOptions{Workers: 2, Progress: func(e migrate.FleetEvent) {
		if e.Done < next {
			return
		}
		next += 40
		if _, err := killer.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%pgdbm.migrations%'`); err != nil {
			t.Error(err)
		}
	}})
	if err != nil || res.Migrated != 150 || next < 100 {
		t.Errorf("%+v, %v", res, err)
	}
	d.wantLogged(schemas)
}

func TestASchemaWhoseTablesAreInUseHoldsUpOnlyItself(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 4)
	schemas := tenants(50)
	d.fleet(module("1_a.sql", createA), schemas, nil)
	user, err := pgx.Connect(t.Context(), d.url)
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close(context.Background())
	if _, err := user.Exec(t.Context(), `BEGIN; SELECT * FROM tenant_025.a`); err != nil {
		t.Fatal(err)
	}
	m := module("1_a.sql", createA, "2_b.sql", `ALTER TABLE {{tables.a}} ADD COLUMN n int;`)
	res := d.fleet(m, schemas, &migrate.FleetOptions{Workers: 2, Progress: func(e migrate.FleetEvent) {
		if e.Done == 49 {
			if _, err := user.Exec(t.Context(), `COMMIT`); err != nil {
				t.Error(err)
			}
		}
	}})
	if res.Migrated != 50 || len(res.Failed) != 0 {
		t.Errorf("%+v", res)
	}
}
