//go:build unix

package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/localpg"
)

// The server is one of the test's own: killing a backend makes it end all others and recover.
func TestAServerKilledAtAnyPointConvergesWhenRunAgain(t *testing.T) {
	t.Parallel()
	// What was committed is with the kernel then, and outlives the server's processes.
	settings := map[string]string{"restart_after_crash": "on", "synchronous_commit": "on"}
	server := testdb.Server(t, &localpg.Options{Settings: settings})
	d := &database{t, server.URL("postgres")}
	var list []string
	for i := 1; i <= 20; i++ {
		list = append(list, fmt.Sprintf("%d_x.sql", i), fmt.Sprintf("create table {{tables.t%[1]d}} as select generate_series(1, 2000);\n"+
			"create table if not exists {{tables.log}} (n int);\ninsert into {{tables.log}} values (%[1]d)", i))
	}
	t.Logf("%d kills", d.upAmongKills(target(t, "app", "app", list...)))
	d.want("20 210", "select count(*) || ' ' || sum(n) from app.log")
	d.want("20", "select count(*) from pgdbm.migrations where state = 'applied'")
	d.want("21", "select count(*) from pg_tables where schemaname = 'app'")
}

func TestAServerKilledAmongRepeatableFilesConvergesWhenRunAgain(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"restart_after_crash": "on", "synchronous_commit": "on"}
	server := testdb.Server(t, &localpg.Options{Settings: settings})
	d := &database{t, server.URL("postgres")}
	files := func(text int) engine.Target {
		list := []string{"1_log.sql", "create table {{tables.log}} (text int, file int)"}
		for i := 10; i < 30; i++ {
			list = append(list, fmt.Sprintf("R__v%d.sql", i), fmt.Sprintf("create or replace view {{tables.v%d}} as select %d as text;\n"+
				"insert into {{tables.log}} select %d, %d from generate_series(1, 1000)", i, text, text, i))
		}
		return target(t, "app", "app", list...)
	}
	for text := 1; text <= 3; text++ {
		t.Logf("%d kills", d.upAmongKills(files(text)))
		// What the ledger says of a file and what the file made were committed together: none ran twice.
		d.want("20 1000 1000", `select count(*) || ' ' || min(n) || ' ' || max(n)
			from (select count(*) as n from app.log where text = $1 group by file) f`, text)
		d.want("20", "select count(*) from pg_views where schemaname = 'app' and definition like '% ' || $1::int || ' AS text%'", text)
		d.want("20", "select count(*) from pgdbm.migrations where version like 'R%' and state = 'applied'")
	}
	if got := versions(d.program().up(files(3))); got != "" {
		t.Errorf("nothing has changed: applied %s", got)
	}
}

// upAmongKills migrates, and kills server processes at any moment of it, until a run succeeds. It returns how many.
func (d *database) upAmongKills(tg engine.Target) int {
	kills := 0
	for applied := false; !applied; {
		p := d.program()
		done := make(chan error, 1)
		go func() {
			_, err := p.Up(d.t.Context(), tg)
			done <- err
		}()
		var err error
		select {
		case err = <-done:
		case <-time.After(rand.N(60 * time.Millisecond)):
			if kills < 12 && d.killBackend() {
				kills++
			}
			err = <-done
		}
		p.pool.Close()
		applied = err == nil
		d.awaitServer()
	}
	return kills
}

// killBackend kills another session's process as kill -9 does, and returns when the server has noticed.
func (d *database) killBackend() bool {
	c, err := pgx.Connect(d.t.Context(), d.url)
	if err != nil {
		return false
	}
	defer c.Close(context.Background())
	var pid int
	err = c.QueryRow(d.t.Context(), "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() limit 1").Scan(&pid)
	if err != nil || syscall.Kill(pid, syscall.SIGKILL) != nil {
		return false
	}
	// The server ends this session too. It does not if the process was about to end by itself.
	ctx, cancel := context.WithTimeout(d.t.Context(), 5*time.Second)
	defer cancel()
	_, err = c.WaitForNotification(ctx)
	return err != nil
}

// awaitServer returns when the server takes connections again.
func (d *database) awaitServer() {
	d.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		c, err := pgx.Connect(d.t.Context(), d.url)
		if err == nil {
			c.Close(context.Background())
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatal(err)
		}
	}
}
