package doctor_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
)

// soon makes a finding of whatever has begun.
const soon = time.Nanosecond

func TestItFindsSessionsThatAreInTheWay(t *testing.T) {
	t.Parallel()
	name, url := create(t, shared(t), "")
	execute(t, url, "CREATE TABLE x (a int)")
	idle := connect(t, url)
	if _, err := idle.Exec(t.Context(), "BEGIN; LOCK x"); err != nil {
		t.Fatal(err)
	}
	waiting := connect(t, url)
	ended := make(chan error, 1)
	go func() {
		_, err := waiting.Exec(t.Context(), "SELECT FROM x")
		ended <- err
	}()
	watch := connect(t, url)
	for blocked := false; !blocked; {
		if err := watch.QueryRow(t.Context(), "SELECT cardinality(pg_blocking_pids($1)) > 0", waiting.PgConn().PID()).Scan(&blocked); err != nil {
			t.Fatal(err)
		}
	}
	place := func(c *pgx.Conn) string { return fmt.Sprintf("session %d of", c.PgConn().PID()) }
	r := look(t, url, doctor.Options{LongTx: soon, IdleTx: soon, Blocked: soon})
	f := one(t, r, "idle-in-transaction", place(idle), doctor.Error)
	one(t, r, "long-transaction", place(waiting), doctor.Error)
	one(t, r, "blocked-session", place(waiting), doctor.Error)
	r = look(t, url, doctor.Options{Only: []string{"idle-in-transaction", "long-transaction", "blocked-session"}})
	if found := append(find(r, "idle-in-transaction", name), append(find(r, "long-transaction", name), find(r, "blocked-session", name)...)...); len(found) > 0 {
		t.Errorf("soon: %+v", found)
	}
	execute(t, url, f.Fix.SQL...)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if found := find(look(t, url, doctor.Options{LongTx: soon, IdleTx: soon, Blocked: soon}), "idle-in-transaction", name); len(found) > 0 {
		t.Errorf("after %s: %+v", f.Fix.SQL, found)
	}
}

func TestItFindsPreparedTransactionsThatAreLeft(t *testing.T) {
	t.Parallel()
	name, url := create(t, shared(t), "")
	execute(t, url, "BEGIN; CREATE TABLE x (); PREPARE TRANSACTION 'it''s left'")
	f := one(t, look(t, url, doctor.Options{LongTx: soon}), "prepared-transaction", name, doctor.Error)
	if found := find(look(t, url, doctor.Options{}), "prepared-transaction", name); len(found) > 0 {
		t.Errorf("a new one: %+v", found)
	}
	execute(t, url, f.Fix.SQL...)
	if found := find(look(t, url, doctor.Options{LongTx: soon}), "prepared-transaction", name); len(found) > 0 {
		t.Errorf("after %s: %+v", f.Fix.SQL, found)
	}
}

func TestASessionThatWaitsForAPreparedTransactionIsToldSo(t *testing.T) {
	t.Parallel()
	name, url := create(t, shared(t), "")
	execute(t, url, "CREATE TABLE x (a int)", "BEGIN; LOCK x; PREPARE TRANSACTION 'first of "+name+"'", "BEGIN; CREATE TABLE y (); PREPARE TRANSACTION 'second of "+name+"'")
	waiting, watch := connect(t, url), connect(t, url)
	ended := make(chan error, 1)
	go func() {
		_, err := waiting.Exec(t.Context(), "SELECT FROM x")
		ended <- err
	}()
	for blocked := false; !blocked; {
		if err := watch.QueryRow(t.Context(), "SELECT cardinality(pg_blocking_pids($1)) > 0", waiting.PgConn().PID()).Scan(&blocked); err != nil {
			t.Fatal(err)
		}
	}
	f := one(t, look(t, url, doctor.Options{Blocked: soon}), "blocked-session", "prepared transaction 'first of "+name+"'", doctor.Error)
	execute(t, url, f.Fix.SQL...)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	execute(t, url, "ROLLBACK PREPARED 'second of "+name+"'")
}

// A connection that is held stands idle, and the pool opens another one.
func TestAConnectionThatIsHeldIsNotAPool(t *testing.T) {
	t.Parallel()
	for _, held := range []string{"LISTEN news", "SELECT pg_advisory_lock(1)"} {
		name, url := create(t, shared(t), "")
		pool := open(t, pgdbm.Config{URL: url, ApplicationName: "booking", MaxConns: 4})
		listener, err := pool.Pgx().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Release()
		if _, err := listener.Exec(t.Context(), held); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			c, err := pool.Pgx().Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Exec(t.Context(), "SELECT 1"); err != nil {
				t.Fatal(err)
			}
			defer c.Release()
		}
		// Of the other two the second is opened while the first stands idle.
		if found := find(look(t, url, doctor.Options{Overlap: time.Hour, PoolSize: 2}), "several-pools", name); len(found) > 0 {
			t.Errorf("%s: %+v", held, found)
		}
	}
}

func TestItFindsSeveralPoolsOfOneProgram(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for _, c := range []struct {
		what   string
		second pgdbm.Config
		o      doctor.Options
		found  bool
	}{
		{"opened while", pgdbm.Config{}, doctor.Options{Overlap: soon}, true},
		{"as 2 users", pgdbm.Config{User: "second"}, doctor.Options{Overlap: time.Hour}, true},
		{"one pool has 1", pgdbm.Config{}, doctor.Options{Overlap: time.Hour, PoolSize: 1}, true},
		{"another program", pgdbm.Config{ApplicationName: "airline"}, doctor.Options{Overlap: soon, PoolSize: 1}, false},
	} {
		name, url := create(t, s, "")
		if c.second.User != "" {
			execute(t, url, "CREATE ROLE second LOGIN")
		}
		c.second.URL = url
		if c.second.ApplicationName == "" {
			c.second.ApplicationName = "booking"
		}
		open(t, pgdbm.Config{URL: url, ApplicationName: "booking"})
		r := look(t, url, c.o)
		if found := find(r, "several-pools", name); len(found) > 0 {
			t.Errorf("%s: one pool: %+v", c.what, found)
		}
		open(t, c.second)
		r = look(t, url, c.o)
		if !c.found {
			if found := find(r, "several-pools", name); len(found) > 0 {
				t.Errorf("%s: %+v", c.what, found)
			}
			continue
		}
		if f := one(t, r, "several-pools", name, doctor.Warning); len(find(r, "several-pools", c.what)) == 0 {
			t.Errorf("%s: %+v", c.what, f)
		}
	}
}

func TestItFindsSessionsWithoutAName(t *testing.T) {
	t.Parallel()
	name, url := create(t, shared(t), "")
	connect(t, url)
	one(t, look(t, url, doctor.Options{}), "unnamed-sessions", name, doctor.Info)
}

func TestItAddsUpSessionsUnderEachLimit(t *testing.T) {
	t.Parallel()
	s := start(t, map[string]string{"max_connections": "12", "superuser_reserved_connections": "2"})
	name, url := create(t, s, "CONNECTION LIMIT 4")
	execute(t, url, "CREATE ROLE app LOGIN CONNECTION LIMIT 3")
	o := doctor.Options{Only: []string{"connection-headroom"}}
	if r := look(t, url, o); len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
	pool := open(t, pgdbm.Config{URL: url, User: "app", ApplicationName: "booking", MinConns: 3, MaxConns: 3})
	for range 3 {
		c, err := pool.Pgx().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Release)
	}
	r := look(t, url, o)
	one(t, r, "connection-headroom", `role "app"`, doctor.Error)
	one(t, r, "connection-headroom", `database "`+name+`"`, doctor.Error)
	for range 5 {
		connect(t, s.URL(""))
	}
	r = look(t, url, o)
	one(t, r, "connection-headroom", "server", doctor.Warning)
	for _, f := range r.Findings {
		execute(t, url, f.Fix.SQL...)
	}
	if r := look(t, url, o); len(r.Findings) != 1 { // max_connections takes a restart
		t.Errorf("%+v", r.Findings)
	}
}
