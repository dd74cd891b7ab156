package doctor_test

import (
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
	"github.com/pgdbm/pgdbm/tenant"
)

// furnish gives a database modules and tenants.
func furnish(t *testing.T, url string) (*pgdbm.Pool, *tenant.Tenants) {
	t.Helper()
	pool := attach(t, url, shop)
	ts, err := tenant.New(pool, tenant.Config{Modules: []pgdbm.Module{module("notes", "001_notes.sql", "CREATE TABLE {{tables.notes}} (id serial PRIMARY KEY, text text)")}, Isolate: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"acme", "Bolt & Co"} {
		if _, err := ts.Create(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ts.Suspend(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	return pool, ts
}

func TestNothingIsFoundInAHealthyServer(t *testing.T) {
	t.Parallel()
	s := start(t, healthy)
	_, url := create(t, s, "")
	furnish(t, url)
	r := look(t, url, doctor.Options{Modules: []doctor.Module{{Module: shop}}, Verify: true})
	if len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
	execute(t, url, "CREATE ROLE app LOGIN", "GRANT USAGE ON SCHEMA pgdbm, shop TO app",
		"GRANT SELECT ON ALL TABLES IN SCHEMA pgdbm TO app", "GRANT ALL ON ALL TABLES IN SCHEMA shop TO app", "GRANT ALL ON ALL SEQUENCES IN SCHEMA shop TO app",
		"DO $$ DECLARE r name; BEGIN FOR r IN SELECT role FROM pgdbm.tenants LOOP EXECUTE format('GRANT %I TO app', r); END LOOP; END $$")
	if r := look(t, url, doctor.Options{Login: "app"}); len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
}

// A transaction that writes, or takes a lock that is to be written, takes a number.
func TestItWritesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, healthy)
	_, url := create(t, s, "")
	furnish(t, url)
	conn := connect(t, url)
	next := func() (n string) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), "SELECT pg_snapshot_xmax(pg_current_snapshot())::text").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	pool := open(t, pgdbm.Config{URL: url, MaxConns: 4, Settings: map[string]string{"default_transaction_read_only": "on"}})
	before := next()
	lookThrough(t, pool, doctor.Options{Modules: []doctor.Module{{Module: shop}, {Module: module("more", "001_more.sql", "SELECT 1")}}})
	if after := next(); after != before {
		t.Errorf("transaction %s before and %s after", before, after)
	}
}

func TestOnlyAndSkipChooseFindings(t *testing.T) {
	t.Parallel()
	_, url := create(t, shared(t), "")
	execute(t, url, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (a int REFERENCES a)",
		"ALTER TABLE b ADD CONSTRAINT c CHECK (a > 0) NOT VALID")
	r := look(t, url, doctor.Options{Only: []string{"foreign-key-index", "unvalidated-constraint"}})
	if len(r.Findings) != 2 || r.Findings[0].Severity != doctor.Warning {
		t.Errorf("%+v", r.Findings)
	}
	if r := look(t, url, doctor.Options{Only: []string{"foreign-key-index", "unvalidated-constraint"}, Skip: []string{"foreign-key-index"}}); len(r.Findings) != 1 {
		t.Errorf("%+v", r.Findings)
	}
	if err := doctor.CheckCodes([]string{"pooler", "nonsense"}); err == nil || !strings.Contains(err.Error(), `"nonsense" is none of `) {
		t.Error(err)
	}
	if err := doctor.CheckCodes(doctor.Codes()); err != nil {
		t.Error(err)
	}
}

func TestWhoMayNotReadTheLedgerIsToldSo(t *testing.T) {
	t.Parallel()
	s := start(t, healthy)
	_, url := create(t, s, "")
	furnish(t, url)
	execute(t, url, "CREATE ROLE blind LOGIN")
	pool := open(t, pgdbm.Config{URL: url, User: "blind", MaxConns: 4})
	r, err := doctor.Look(t.Context(), pool, doctor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	one(t, r, "missing-grant", "schema pgdbm", doctor.Error)
	one(t, r, "limited-view", "blind", doctor.Info)
	if len(r.Skipped) == 0 {
		t.Error("nothing is said of what was not looked at")
	}
	for _, skipped := range r.Skipped {
		if !strings.Contains(skipped.Err.Error(), "may not read") {
			t.Errorf("%v: %v", skipped.Codes, skipped.Err)
		}
	}
}
