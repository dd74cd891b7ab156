//go:build unix

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/pgdbmtest"
)

// all returns what the terminal has shown, when the command has ended with a code.
func (s *screen) all(code chan int, want int) string {
	s.t.Helper()
	if got := <-code; got != want {
		s.t.Errorf("exit code %d, want %d", got, want)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

// migrationsFolder writes files, given as name and text.
func migrationsFolder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// held is a connection that has the advisory lock 42, for which SQL can wait.
func held(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock(42)"); err != nil {
		t.Fatal(err)
	}
	return conn
}

func release(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_unlock(42)"); err != nil {
		t.Fatal(err)
	}
}

const waits = "SELECT pg_advisory_xact_lock(42);"

func TestLongWorkShowsOnATerminalHowFarItIs(t *testing.T) {
	t.Parallel()
	mustServer(t)
	url := pgdbmtest.URL(t)
	env := []string{"DATABASE_URL=" + url, "CI=true"}
	lock := held(t, url)

	// One file after the other: the name is that of the one that runs.
	dir := migrationsFolder(t, "001_items.sql", "CREATE TABLE {{tables.items}} (id int);", "002_wait.sql", waits, "003_more.sql", "SELECT 1;")
	s, code := start(t, env, "migrate", "up", "--module", "shop", "--dir", dir)
	s.wait("] 1/3 002_wait.sql")
	release(t, lock)
	s.wait("\r\x1b[K")
	s.wait("applied   001_items.sql")
	s.all(code, exitOK)

	// Many schemas, and tenants.
	fleet := migrationsFolder(t, "001_items.sql", "CREATE TABLE {{tables.items}} (id int);")
	s, code = start(t, env, "migrate", "up", "--module", "fleet", "--dir", fleet, "--schemas", "a,b,c")
	s.wait("[##############################] 3/3 ")
	s.wait("\r\x1b[K")
	s.wait("module fleet: 3 schemas")
	s.all(code, exitOK)
	s, code = start(t, env, "tenant", "create", "one", "two", "--module", "fleet", "--dir", fleet)
	s.all(code, exitOK)
	more := migrationsFolder(t, "001_items.sql", "CREATE TABLE {{tables.items}} (id int);", "002_more.sql", "ALTER TABLE {{tables.items}} ADD more int;")
	s, code = start(t, env, "tenant", "migrate", "--module", "fleet", "--dir", more)
	s.wait("] 2/2 ")
	s.wait("module fleet: 2 schemas")
	s.all(code, exitOK)

	// For programs, and where a line cannot be erased, there is none.
	next := migrationsFolder(t, "001_items.sql", "SELECT 1;")
	s, code = start(t, env, "migrate", "up", "--module", "json", "--dir", next, "--json")
	if out := s.all(code, exitOK); strings.Contains(out, "\x1b") || strings.Contains(out, "[#") || strings.Contains(out, "[.") {
		t.Errorf("%q", out)
	}
	s, code = start(t, append(env, "TERM=dumb"), "migrate", "up", "--module", "dumb", "--dir", next)
	if out := s.all(code, exitOK); !strings.HasPrefix(out, "applied   001_items.sql") || strings.Contains(out, "\x1b") {
		t.Errorf("%q", out)
	}
}

func TestACloneShowsOnATerminalHowFarItIs(t *testing.T) {
	t.Parallel()
	if !dumps() {
		t.Skip("no pg_dump")
	}
	url := pgdbmtest.URL(t)
	lock := held(t, url)
	// To fill the view takes the lock.
	for _, sql := range []string{
		"CREATE SCHEMA shop", "CREATE TABLE shop.items AS SELECT generate_series(1, 10) AS id",
		"CREATE FUNCTION shop.slow() RETURNS int LANGUAGE sql AS $$ SELECT 1 FROM (SELECT pg_advisory_xact_lock(42)) x $$",
		"CREATE MATERIALIZED VIEW shop.found AS SELECT shop.slow()",
	} {
		if _, err := lock.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	s, code := start(t, []string{"DATABASE_URL=" + url, "CI=true"}, "schema", "clone", "shop", "copy", "--data")
	s.wait("] 0/5 structure of shop")
	s.wait("] 3/5 rows of found")
	release(t, lock)
	s.wait("\r\x1b[K")
	s.wait("schema copy has the structure and data of shop")
	s.all(code, exitOK)
}

func TestColourIsForTerminalsWithoutNO_COLOR(t *testing.T) {
	t.Parallel()
	mustServer(t)
	url := pgdbmtest.URL(t)
	for _, c := range []struct {
		env    []string
		args   []string
		colour bool
	}{
		{nil, nil, true},
		{[]string{"NO_COLOR=0"}, nil, false}, // any value
		{[]string{"NO_COLOR=0"}, []string{"--color", "always"}, true},
		{[]string{"TERM=dumb"}, nil, false},
		{nil, []string{"--color", "never"}, false},
	} {
		for _, command := range [][]string{{"doctor", "--only", "fsync-off"}, {"choose", "--services", "1"}} {
			s, code := start(t, append([]string{"DATABASE_URL=" + url, "CI=true"}, c.env...), append(command, c.args...)...)
			out := s.all(code, exitOK)
			if got := strings.Contains(out, "\x1b["); got != c.colour || out == "" {
				t.Errorf("%v %v %v: colour %v\n%q", c.env, command, c.args, got, out)
			}
		}
	}
}
