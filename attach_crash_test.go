//go:build unix

package pgdbm_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// cluster is a server that a test may kill and start again: localpg's own ends
// for good.
type cluster struct {
	t    *testing.T
	dir  string // data directory, and socket directory
	bin  string
	cred *syscall.Credential
	cmd  *exec.Cmd
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	bin := testdb.Server(t, nil).BinDir()            // skips where there is none
	dir, err := os.MkdirTemp("/tmp", "pgdbm-crash-") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, dir: dir, bin: bin}
	t.Cleanup(func() {
		c.stop("immediate")
		os.RemoveAll(dir)
	})
	if os.Geteuid() == 0 { // which PostgreSQL refuses
		u, err := user.Lookup("postgres")
		if err != nil {
			u, err = user.Lookup("nobody")
		}
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		c.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := c.command("initdb", "-D", filepath.Join(dir, "data"), "-U", "postgres", "-A", "trust", "--no-sync").
		CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return c
}

func (c *cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred, Setpgid: true}
	return cmd
}

// start starts the server, and returns its URL once it answers.
func (c *cluster) start(settings ...string) string {
	c.t.Helper()
	// The old socket's lock file names a process that is gone, or, by chance,
	// one that has its number now.
	os.Remove(filepath.Join(c.dir, ".s.PGSQL.5432.lock"))
	args := []string{"-D", filepath.Join(c.dir, "data"), "-k", c.dir, "-c", "listen_addresses=",
		"-c", "dynamic_shared_memory_type=mmap"} // or each kill leaves segments behind
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	c.cmd = c.command("postgres", args...)
	c.cmd.Stderr = io.Discard
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	url := "postgres://postgres@/postgres?host=" + c.dir + "&port=5432&sslmode=disable"
	waitUntil(c.t, func() bool {
		conn, err := pgx.Connect(c.t.Context(), url)
		if err != nil {
			return false
		}
		conn.Close(c.t.Context())
		return true
	})
	return url
}

// stop ends the server as pg_ctl does, which leaves no shared memory behind.
func (c *cluster) stop(mode string) {
	c.t.Helper()
	if c.cmd == nil {
		return
	}
	if out, err := c.command("pg_ctl", "-D", filepath.Join(c.dir, "data"), "-w", "-m", mode, "stop").CombinedOutput(); err != nil {
		c.t.Errorf("%v\n%s", err, out)
		c.kill()
		return
	}
	_ = c.cmd.Wait()
	c.cmd = nil
}

// kill ends the server and all its processes with SIGKILL.
func (c *cluster) kill() {
	if c.cmd == nil {
		return
	}
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	_ = c.cmd.Wait()
	c.cmd = nil
	// Backends have process groups of their own; they end when they see that
	// the postmaster is gone, and only then may a new one start.
	waitUntil(c.t, func() bool { return !c.running() })
}

// running reports whether a process still has the data directory as its own.
func (c *cluster) running() bool {
	dirs, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, d := range dirs {
		if to, err := os.Readlink(d); err == nil && to == filepath.Join(c.dir, "data") {
			if pid, err := strconv.Atoi(strings.Split(d, "/")[2]); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			return true
		}
	}
	return false
}

func TestAServerKilledInTheMiddleOfAMigrationConvergesWhenItIsBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := newCluster(t)
	url := c.start()
	m := pgdbm.Module{Name: "m", Files: files(
		"1_a.sql", `CREATE TABLE {{tables.a}} (id int); INSERT INTO {{tables.a}} SELECT generate_series(1, 1000);`,
		"2_b.sql", `CREATE TABLE {{tables.b}} AS SELECT * FROM {{tables.a}};
			DO $$ BEGIN IF current_setting('pgdbm_test.slow', true) = 'on' THEN PERFORM pg_sleep(600); END IF; END $$;
			INSERT INTO {{tables.b}} VALUES (0);`,
		"3_c.sql", `CREATE TABLE {{tables.c}} AS SELECT * FROM {{tables.b}};`)}
	slow := pgdbm.Config{URL: url, Settings: map[string]string{"pgdbm_test.slow": "on"}}

	done := make(chan error, 1)
	go func() {
		a, err := pgdbm.Attach(ctx, slow, m)
		if err == nil {
			a.Close()
		}
		done <- err
	}()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	waitUntil(t, func() bool { // until the second file is in the middle
		var n int
		err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'`).Scan(&n)
		return err == nil && n == 1
	})
	c.kill()
	conn.Close(context.WithoutCancel(ctx))
	if err := <-done; err == nil {
		t.Fatal("the migration survived its server")
	}

	url = c.start()
	a, err := pgdbm.Attach(ctx, pgdbm.URL(url), m)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	type counts struct{ A, B, C int }
	got, err := pgdbm.One[counts](ctx, a, `SELECT (SELECT count(*) FROM {{tables.a}}) AS a,
		(SELECT count(*) FROM {{tables.b}}) AS b, (SELECT count(*) FROM {{tables.c}}) AS c`)
	if want := (counts{1000, 1001, 1001}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	states, err := pgdbm.All[string](ctx, a, `SELECT version || ' ' || state FROM pgdbm.migrations ORDER BY version`)
	if err != nil || strings.Join(states, ", ") != "1 applied, 2 applied, 3 applied" {
		t.Errorf("ledger: %q, %v", states, err)
	}
}

func TestOnAReadOnlyServerAttachSucceedsWithNothingToDoAndElseSaysWhy(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := newCluster(t)
	a, err := pgdbm.Attach(ctx, pgdbm.URL(c.start()), shop)
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	// A standby without a primary: the server is read-only for good.
	c.stop("fast")
	if err := os.WriteFile(filepath.Join(c.dir, "data", "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	url := c.start()

	standby, err := pgdbm.Attach(ctx, pgdbm.URL(url), shop)
	if err != nil {
		t.Fatalf("nothing to do: %v", err)
	}
	if n, err := pgdbm.Value[int](ctx, standby, `SELECT count(*) FROM {{tables.items}}`); err != nil || n != 2 {
		t.Errorf("got %d, %v", n, err)
	}
	standby.Close()

	for name, m := range map[string]pgdbm.Module{
		"a new file": {Name: "shop", Files: files("001_items.sql", shopFile(t, "001_items.sql"), "002_tea.sql", shopFile(t, "002_tea.sql"),
			"003_x.sql", "CREATE TABLE {{tables.x}} ();")},
		"a new module":            {Name: "other", Files: shop.Files},
		"a module without files":  {Name: "bare"},
		"a module with extension": {Name: "shop", Files: shop.Files, Extensions: []string{"citext"}},
	} {
		a, err := pgdbm.Attach(ctx, pgdbm.URL(url), m)
		if err == nil {
			a.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "server is in recovery") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func shopFile(t *testing.T, name string) string {
	t.Helper()
	f, err := shop.Files.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
