//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/pgdbmtest"
)

func TestATenantIsDroppedOnlyWithConsent(t *testing.T) {
	t.Parallel()
	mustServer(t)
	url := pgdbmtest.URL(t)
	env := []string{"DATABASE_URL=" + url}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var out strings.Builder
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "001_items.sql"), []byte("CREATE TABLE {{tables.items}} (n int)"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code := run(t.Context(), []string{"tenant", "create", "acme", "--module", "shop", "--dir", dir, "--url", url}, &out, &out); code != exitOK {
		t.Fatal(code, out.String())
	}
	if _, err := conn.Exec(t.Context(), "INSERT INTO tenant_acme.items SELECT generate_series(1, 100000)"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		command, keys, says string
		code                int
	}{
		{"suspend", "n\n", "did not agree", exitFailed},
		{"suspend", "y\n", "tenant acme in schema tenant_acme: suspended", exitOK},
		{"drop", "\n", "did not agree", exitFailed},
		{"drop", "\x03", "interrupted", exitInterrupted},
		{"drop", "yes\n", "tenant acme in schema tenant_acme: dropped with 1 table, ", exitOK},
	} {
		s, code := start(t, env, "tenant", c.command, "acme")
		if c.command == "drop" {
			s.wait("Tenant acme, suspended, has schema tenant_acme: 1 table, 35")
			s.wait(" kB, 1 row of the ledger.")
		}
		s.wait("[y/N]")
		s.press(c.keys)
		s.wait(c.says)
		if got := <-code; got != c.code {
			t.Errorf("%s %q: exit code %d, want %d", c.command, c.keys, got, c.code)
		}
	}
}
