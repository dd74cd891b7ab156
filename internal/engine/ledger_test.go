package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/internal/engine"
)

func TestReadingBeforeThereIsALedger(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	tg := target(t, "app", "app", "1_a.sql", "create table a ();")
	if err := p.pool.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := p.roundTrips.Load()
	plan, err := p.Plan(t.Context(), tg)
	if err != nil || len(plan.Pending) != 1 {
		t.Errorf("plan %+v, %v", plan, err)
	}
	if status, err := p.Status(t.Context(), tg); err != nil || status.Steps[0].State != engine.Pending {
		t.Errorf("status %+v, %v", status, err)
	}
	if history, err := p.History(t.Context(), engine.Filter{}); err != nil || len(history) != 0 {
		t.Errorf("history %v, %v", history, err)
	}
	if schemas, err := p.Schemas(t.Context(), []string{"app"}); err != nil || len(schemas) != 0 {
		t.Errorf("schemas %v, %v", schemas, err)
	}
	if got := p.roundTrips.Load() - before; got != 4 {
		t.Errorf("%d round trips for 4 calls", got)
	}
	d.want("0", "select count(*) from pg_namespace where nspname in ('pgdbm', 'app')")
}

func TestReadingNeedsNoTransactionThatWrites(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	tg := target(t, "app", "app", "1_a.sql", "create table a ();")
	d.program().up(tg)
	d.exec(`do $$ begin execute format('alter database %I set default_transaction_read_only = on', current_database()); end $$`)
	p := d.program()
	p.up(tg)
	if _, err := p.Status(t.Context(), tg); err != nil {
		t.Error(err)
	}
	if _, err := p.History(t.Context(), engine.Filter{Module: "app", Schema: "app"}); err != nil {
		t.Error(err)
	}
}

func TestStatusShowsEveryVersionAndRefusesNothing(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.up(target(t, "app", "app", "1_a.sql", "select 1", "2_b.sql", "select 2", "4_d.sql", "select 4", "5_e.sql", "select 5"))
	later := target(t, "app", "app", "1_a.sql", "select 1 -- x", "2_b.sql", "select 22", "3_c.sql", "select 3", "4_d.sql", "select 4")
	status, err := p.Status(t.Context(), later)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range status.Steps {
		got = append(got, fmt.Sprintf("%s:%s:%t:%t", s.Version, s.State, s.Entry != nil, s.Err != nil))
	}
	if want := "1:cosmetic:true:false 2:changed:true:true 3:late:false:true 4:applied:true:false 5:ahead:true:false"; strings.Join(got, " ") != want {
		t.Errorf("got %s\nwant %s", strings.Join(got, " "), want)
	}
	if _, err := p.Plan(t.Context(), later); err == nil {
		t.Error("Plan: no error")
	}
}

func TestHistoryIsChronologicalAndFiltered(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	one := []string{"9_a.sql", "select 1", "10_b.sql", "select 1"}
	p.up(target(t, "b", "one", one...))
	p.up(target(t, "a", "two", one...))
	if _, err := p.Up(t.Context(), target(t, "a", "two", append(one, "11_c.sql", "select 1/0")...)); err == nil {
		t.Fatal("no error")
	}
	p.up(target(t, "b", "two", one...))
	d.exec("update pgdbm.migrations set applied_at = '2020-01-01' where module = 'b' and target_schema = 'one'")
	for _, test := range []struct {
		filter engine.Filter
		want   string
	}{
		{engine.Filter{}, "b/one/9 b/one/10 a/two/9 a/two/10 a/two/11:failed b/two/9 b/two/10"},
		{engine.Filter{Module: "b"}, "b/one/9 b/one/10 b/two/9 b/two/10"},
		{engine.Filter{Schema: "two", Limit: 3}, "a/two/11:failed b/two/9 b/two/10"},
		{engine.Filter{Module: "a", Schema: "one"}, ""},
	} {
		entries, err := p.History(t.Context(), test.filter)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			s := e.Module + "/" + e.Schema + "/" + e.Version
			if e.State == engine.Failed {
				s += ":failed"
			}
			got = append(got, s)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%+v: got %s, want %s", test.filter, strings.Join(got, " "), test.want)
		}
	}
}

func TestSchemasOfModules(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	for _, s := range []string{"z", "a", "M x"} {
		p.up(target(t, "tenant", s, "1_a.sql", "select 1", "2_b.sql", "select 1"))
	}
	p.up(target(t, "shared", "shared", "1_a.sql", "select 1"))
	if _, err := p.Up(t.Context(), target(t, "broken", "broken", "1_a.sql", "select 1/0")); err == nil {
		t.Fatal("no error")
	}
	got, err := p.Schemas(t.Context(), []string{"tenant", "shared", "broken", "unknown", "it's"})
	if err != nil || fmt.Sprint(got) != "map[shared:[shared] tenant:[M x a z]]" {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := p.Schemas(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestALedgerOfAnotherFormatServes(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	one := target(t, "app", "app", "1_a.sql", "create table a ();")
	two := target(t, "app", "app", "1_a.sql", "create table a ();", "2_b.sql", "create table b ();")
	p.up(one)
	ours := fmt.Sprint("pgdbm ledger, format ", engine.LedgerFormat)
	d.want(ours, "select obj_description('pgdbm.migrations'::regclass)")

	// A newer program has been here.
	d.exec(`alter table pgdbm.migrations add column region text not null default 'eu', add column run bigint;
		comment on table pgdbm.migrations is 'pgdbm ledger, format 7'`)
	p.up(two)
	d.want("pgdbm ledger, format 7", "select obj_description('pgdbm.migrations'::regclass)")
	if history, err := p.History(t.Context(), engine.Filter{}); err != nil || len(history) != 2 {
		t.Errorf("history %v, %v", history, err)
	}

	// An older program made it, or a restore lost the comment.
	d.exec(`alter table pgdbm.migrations drop column application, drop column attempts,
		drop column stmt_hash, drop column direction; comment on table pgdbm.migrations is null`)
	if status, err := p.Status(t.Context(), two); err != nil || status.Steps[1].State != engine.Applied {
		t.Errorf("status %+v, %v", status, err)
	}
	p.up(target(t, "more", "more", "1_a.sql", "create table a ();"))
	d.want(ours, "select obj_description('pgdbm.migrations'::regclass)")
	d.want("1 1", "select attempts || ' ' || count(*) from pgdbm.migrations where module = 'more' group by attempts")
}

func TestALedgerThatAppearsMeanwhileIsNoError(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	release := d.hold(engine.LedgerKey())
	engine.OnWait(p.Runner, func() {
		d.exec("create schema if not exists pgdbm")
		release()
		release = func() {}
	})
	p.up(target(t, "app", "app", "1_a.sql", "create table a ();"))
}

// With thousands of schemas, what a start with nothing to do asks must not look at them all.
func TestConflictsAreFoundByProbesOfAnIndex(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	var list []string
	for i := 1; i <= 10; i++ {
		list = append(list, fmt.Sprintf("%d_x.sql", i), fmt.Sprint("select ", i))
	}
	tg := target(t, "app", "app", list...)
	p.up(tg)
	d.exec(`insert into pgdbm.migrations (module, target_schema, version, state, file_name, raw_hash, semantic_hash)
		select module, 'tenant_' || i, version, state, file_name, raw_hash, semantic_hash
		from pgdbm.migrations, generate_series(1, 2000) i; analyze pgdbm.migrations`)
	c := d.connect()
	rows, err := c.Query(t.Context(), "explain (analyze, buffers off, timing off) "+engine.ConflictQuery("app", "app", tg.Files))
	if err != nil {
		t.Fatal(err)
	}
	var explained strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		explained.WriteString(line + "\n")
	}
	if s := explained.String(); strings.Contains(s, "Seq Scan on migrations") || !strings.Contains(s, "migrations_content") || strings.Contains(s, "Rows Removed") {
		t.Errorf("plan:\n%s", s)
	}
}
