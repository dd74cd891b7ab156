//go:build unix

package testdb

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// PgBouncer starts PgBouncer in transaction mode in front of the server of a
// database's URL, and returns what makes the URL of a way through it of that of
// any database of the server. It ends with the test.
func PgBouncer(tb testing.TB, direct string) func(direct string) string {
	tb.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if os.Getenv("CI") != "" {
			tb.Fatal(err)
		}
		tb.Skip(err)
	}
	server, err := pgx.ParseConfig(direct)
	if err != nil {
		tb.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "pgdbm-bouncer-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	password := ""
	if server.Password != "" { // an empty one is an error to it
		password = " password=" + quote(server.Password)
	}
	config := fmt.Sprintf(`[databases]
* = host=%s port=%d user=%s%s

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 40
server_idle_timeout = 1
max_client_conn = 1000
logfile = %[6]s/log
`, quote(server.Host), server.Port, quote(server.User), password, port, dir)
	if err := os.WriteFile(filepath.Join(dir, "pgbouncer.ini"), []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(program, "-q", filepath.Join(dir, "pgbouncer.ini"))
	cmd.SysProcAttr = notRoot(tb, dir)
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tb.Cleanup(func() {
		select {
		case err := <-ended:
			log, _ := os.ReadFile(filepath.Join(dir, "log")) // it may not be there
			tb.Errorf("pgbouncer ended by itself: %v: %s", err, log[max(0, len(log)-2000):])
		default:
			_ = cmd.Process.Kill()
			<-ended // it was killed
		}
	})
	for range 500 {
		conn, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			conn.Close()
			return func(direct string) string {
				c, err := pgx.ParseConfig(direct)
				if err != nil {
					tb.Fatal(err)
				}
				u := url.URL{Scheme: "postgres", User: url.User(c.User), Host: fmt.Sprintf("127.0.0.1:%d", port), Path: "/" + c.Database, RawQuery: "sslmode=disable"}
				return u.String()
			}
		}
		<-time.After(10 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(dir, "log")) // it may not be there
	tb.Fatalf("pgbouncer does not listen: %s", log)
	return nil
}

// notRoot runs a program of root's as another user, and gives that user the
// folder.
func notRoot(tb testing.TB, dir string) *syscall.SysProcAttr {
	tb.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	// PostgreSQL's socket is in a folder that only its own user can enter.
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			tb.Fatal(err)
		}
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	if uidErr != nil || gidErr != nil {
		tb.Fatalf("user %s: %s and %s", u.Username, u.Uid, u.Gid)
	}
	for _, name := range []string{dir, filepath.Join(dir, "pgbouncer.ini")} {
		if err := os.Chown(name, int(uid), int(gid)); err != nil {
			tb.Fatal(err)
		}
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}
