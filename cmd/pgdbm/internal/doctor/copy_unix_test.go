//go:build unix

package doctor_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/localpg"
)

// copyServer starts a server of its own on a base backup of another one, and
// returns its URL. files are those to write into its data directory; settings win
// over those of the other server.
func copyServer(t *testing.T, s *localpg.Server, files, settings map[string]string) func(database string) string {
	t.Helper()
	conn := connect(t, s.URL(""))
	var source string
	var version int
	if err := conn.QueryRow(t.Context(), "SELECT current_setting('data_directory'), current_setting('server_version_num')::int").Scan(&source, &version); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "pgdbm-copy-") // short, and of the server's user, who may not enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")

	begin, end := "SELECT pg_backup_start('copy', true)", "SELECT labelfile FROM pg_backup_stop(false)"
	if version < 150000 {
		begin, end = "SELECT pg_start_backup('copy', true, false)", "SELECT labelfile FROM pg_stop_backup(false, false)"
	}
	var label string
	if _, err := conn.Exec(t.Context(), begin); err != nil {
		t.Fatal(err)
	}
	copyData(t, source, data)
	if err := conn.QueryRow(t.Context(), end).Scan(&label); err != nil {
		t.Fatal(err)
	}
	copyData(t, filepath.Join(source, "pg_wal"), filepath.Join(data, "pg_wal")) // with the backup's end
	var conf strings.Builder
	for name, value := range settings {
		fmt.Fprintf(&conf, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''"))
	}
	fmt.Fprintf(&conf, "unix_socket_directories = '%s'\n", dir)
	written := map[string]string{"backup_label": label, "postgresql.auto.conf": conf.String()}
	for name, text := range files {
		written[name] = text
	}
	for name, text := range written {
		if err := os.WriteFile(filepath.Join(data, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	info, err := os.Stat(source)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	cmd := exec.Command(filepath.Join(s.BinDir(), "postgres"), "-D", data)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, int(owner.Uid), int(owner.Gid))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its log says it
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT) // it may have ended
		<-ended
		if t.Failed() {
			t.Log(log.String())
		}
	})
	config, err := pgx.ParseConfig(s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	url := func(database string) string {
		return fmt.Sprintf("host=%s port=%d user=%s dbname=%s", dir, config.Port, config.User, database)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		conn, err := pgx.Connect(t.Context(), url("postgres"))
		if err == nil {
			conn.Close(context.Background())
			return url
		}
		select {
		case <-ended:
			t.Fatalf("the copy ended: %s", log.String())
		case <-time.After(10 * time.Millisecond): // it is starting
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// copyData copies a data directory that is in use, but for what belongs to the
// server that uses it.
func copyData(t *testing.T, from, to string) {
	t.Helper()
	emptied := []string{"pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"}
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // a table may be dropped meanwhile
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case slices.Contains(emptied, strings.Split(rel, string(filepath.Separator))[0]), strings.HasPrefix(rel, "postmaster."), !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), text, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// standby starts a server that follows another one, and returns its URL.
func standby(t *testing.T, s *localpg.Server) func(database string) string {
	t.Helper()
	config, err := pgx.ParseConfig(s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	return copyServer(t, s, map[string]string{"standby.signal": ""}, map[string]string{
		"primary_conninfo": "host=" + config.Host + " port=" + strconv.Itoa(int(config.Port)) + " user=" + config.User,
		"hot_standby":      "on",
	})
}
