//go:build unix

package doctor_test

import (
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
)

func TestItLooksAtAStandby(t *testing.T) {
	t.Parallel()
	primary := start(t, healthy)
	_, url := create(t, primary, "")
	furnish(t, url)
	execute(t, url, "CREATE TABLE x (a int); INSERT INTO x VALUES (1), (1)", "CREATE SEQUENCE full_one MAXVALUE 10; SELECT setval('full_one', 10)")
	name := databaseOf(t, url)
	standbyURL := standby(t, primary)(name)

	// The primary's changes arrive.
	execute(t, url, "CREATE TABLE late ()")
	watch := connect(t, standbyURL)
	for there := false; !there; {
		if err := watch.QueryRow(t.Context(), "SELECT to_regclass('late') IS NOT NULL").Scan(&there); err != nil {
			t.Fatal(err)
		}
	}
	r := look(t, standbyURL, doctor.Options{Modules: []doctor.Module{{Module: shop}, {Module: module("more", "001_more.sql", "SELECT 1")}}, Skip: []string{"unnamed-sessions"}})
	if f := one(t, r, "standby", "server", doctor.Info); !strings.Contains(f.What, "the sessions of its primary are not to be seen here") {
		t.Errorf("%+v", f)
	}
	one(t, r, "sequence-end", "full_one", doctor.Error)
	one(t, r, "module-pending", "more", doctor.Warning)
	if len(r.Findings) != 3 {
		t.Errorf("%+v", r.Findings)
	}

	// What it would have to write is not looked at, and it says so.
	pool := open(t, pgdbm.Config{URL: standbyURL, MaxConns: 4})
	r, err := doctor.Look(t.Context(), pool, doctor.Options{Modules: []doctor.Module{{Module: shop}}, Verify: true, Only: []string{"module-drift"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Findings) > 0 || len(r.Skipped) != 1 || !strings.Contains(r.Skipped[0].Err.Error(), "server is in recovery and takes no writes") {
		t.Errorf("%+v", r)
	}

	// A standby that does not follow any more.
	execute(t, standbyURL, "SELECT pg_wal_replay_pause()")
	f := one(t, look(t, standbyURL, doctor.Options{Only: []string{"standby"}}), "standby", "paused", doctor.Warning)
	execute(t, standbyURL, f.Fix.SQL...)
	one(t, look(t, standbyURL, doctor.Options{Only: []string{"standby"}}), "standby", "server", doctor.Info)
	execute(t, standbyURL, "SELECT pg_promote()")
	if r := look(t, standbyURL, doctor.Options{Only: []string{"standby"}}); len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
}
