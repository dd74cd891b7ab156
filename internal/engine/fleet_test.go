package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgdbm/pgdbm/internal/engine"
)

func fleetOf(n int, files []*engine.File) engine.Fleet {
	f := engine.Fleet{Module: "app", Files: files}
	for i := range n {
		f.Schemas = append(f.Schemas, fmt.Sprintf("tenant_%02d", i))
	}
	return f
}

func TestAFleetComesBackForSchemasWhoseLockSomebodyElseHas(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	f := fleetOf(40, load(t, "app", "1_a.sql", "create table {{tables.a}} ()"))
	if _, err := p.Fleet(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	// One schema is refused, which must not look like another module's when only a part of the fleet is looked at.
	d.exec("update pgdbm.migrations set semantic_hash = 'other' where target_schema = 'tenant_05'")
	f.Files = load(t, "app", "1_a.sql", "create table {{tables.a}} ()", "2_b.sql", "create table {{tables.b}} ()")
	f.MaxFailures = -1
	holder := d.connect()
	for _, s := range []string{"tenant_03", "tenant_04", "tenant_39"} {
		if _, err := holder.Exec(t.Context(), "select pg_advisory_lock($1)", engine.SchemaKey(s)); err != nil {
			t.Fatal(err)
		}
	}
	engine.Poll(p.Runner, time.Millisecond, time.Millisecond, time.Hour)
	waits := 0
	engine.OnWait(p.Runner, func() {
		switch waits++; waits {
		case 1: // one is done meanwhile
			d.exec("create table tenant_04.b (); insert into pgdbm.migrations (module, target_schema, version, state, file_name) values ('app', 'tenant_04', '2', 'applied', '2_b.sql')")
			fallthrough
		case 2:
			for _, s := range []string{"tenant_03", "tenant_04", "tenant_39"}[waits-1 : 2*waits-1] {
				if _, err := holder.Exec(t.Context(), "select pg_advisory_unlock($1)", engine.SchemaKey(s)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	var late []string
	f.Progress = func(e engine.FleetEvent) {
		if waits > 0 {
			late = append(late, e.Schema+" "+e.Version)
		}
	}
	res, err := p.Fleet(t.Context(), f)
	if err != nil || res.Migrated != 39 || res.Applied != 38 || len(res.Failed) != 1 || res.Failed[0].Schema != "tenant_05" {
		t.Fatalf("%+v, %v", res, err)
	}
	slices.Sort(late)
	if got := strings.Join(late, ", "); got != "tenant_03 2, tenant_04 , tenant_39 2" || waits < 2 {
		t.Errorf("after %d waits: %s", waits, got)
	}
	d.want("40", "select count(*) from pg_tables where tablename = 'a'")
	d.want("39", "select count(*) from pg_tables where tablename = 'b'")
}

func TestABatchIsTwoRoundTrips(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	f := fleetOf(41, load(t, "app", "1_a.sql", "create table {{tables.a}} ()"))
	f.Workers, f.BatchSize = 1, 20
	engine.AllowBatches(p.Runner, time.Hour) // a slow machine makes them smaller
	if _, err := p.Fleet(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	f.Files = load(t, "app", "1_a.sql", "create table {{tables.a}} ()", "2_b.sql", "alter table {{tables.a}} add column n int")
	d.want("41", "select count(*) from pgdbm.migrations")
	before, connects := p.roundTrips.Load(), p.connects.Load()
	if _, err := p.Fleet(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	trips := p.roundTrips.Load() - before
	// The plan, what the files touch, one schema to see what it takes, and two batches of twenty; two connections, each
	// of them closed because files ran on it.
	const connect, closed = 1, 1
	if want := int64(1 + 1 + 2 + 2*2 + 2*closed + connect*(p.connects.Load()-connects)); trips != want {
		t.Errorf("%d round trips with %d connects, want %d", trips, p.connects.Load()-connects, want)
	}
}

func TestABatchThatIsNotInItsTransactionAnyMoreRecordsNothing(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	// Nothing that a file may hold ends a transaction, so a function takes away the mark by which the batch knows it.
	d.exec("create function public.forget() returns int language sql as $$ select set_config('pgdbm.batch', '', true); select 1 $$")
	f := fleetOf(10, load(t, "app", "1_a.sql", "create table {{tables.a}} (n int); insert into {{tables.a}} select public.forget()"))
	f.Mode = engine.FleetBatched
	res, err := p.Fleet(t.Context(), f)
	if err != nil || res.Migrated != 10 {
		t.Fatalf("%+v, %v", res, err)
	}
	contains(t, p.logs.String(), "batch failed", `null value in column "attempts"`) // and then one by one, without the mark
	d.want("10", "select count(*) from pgdbm.migrations where state = 'applied'")
}
