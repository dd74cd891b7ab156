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
	tg := target(t, "app", "app", list...)
	kills := 0
	for applied := false; !applied; {
		p := d.program()
		done := make(chan error, 1)
		go func() {
			_, err := p.Up(t.Context(), tg)
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
	t.Logf("%d kills", kills)
	d.want("20 210", "select count(*) || ' ' || sum(n) from app.log")
	d.want("20", "select count(*) from pgdbm.migrations where state = 'applied'")
	d.want("21", "select count(*) from pg_tables where schemaname = 'app'")
}

// killBackend kills another session's process as kill -9 does.
func (d *database) killBackend() bool {
	c, err := pgx.Connect(d.t.Context(), d.url)
	if err != nil {
		return false
	}
	defer c.Close(context.Background())
	var pid int
	err = c.QueryRow(d.t.Context(), "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() limit 1").Scan(&pid)
	return err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil
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
