//go:build unix

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pgdbm/pgdbm/pgdbmtest"
)

// removal begins "migrate remove" of a module that is recorded nowhere, in an
// environment of this name, on a terminal.
func removal(t *testing.T, environment string) (*screen, chan int) {
	t.Helper()
	mustServer(t)
	folder := t.TempDir()
	file := filepath.Join(folder, "pgdbm.toml")
	text := "[environments." + environment + "]\nurl = \"${T_URL}\"\n[modules.shop]\nmigrations_path = \".\"\n"
	for path, text := range map[string]string{file: text, filepath.Join(folder, "001_x.sql"): "SELECT 1;"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"PGDBM_CONFIG=" + file, "PGDBM_ENV=" + environment, "T_URL=" + pgdbmtest.URL(t)}
	return start(t, env, "migrate", "remove", "--module", "shop")
}

func TestInProductionTheEnvironmentsNameIsTyped(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]int{"y": exitFailed, "PROD": exitFailed, "prod": exitDrift} {
		s, code := removal(t, "prod")
		s.wait("This is production: type prod to go on:")
		s.press(answer + "\n")
		if got := <-code; got != want {
			t.Errorf("%s: exit code %d, want %d", answer, got, want)
		}
	}
}

func TestElsewhereYesIsEnough(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]int{"n": exitFailed, "": exitFailed, "Y": exitDrift} {
		s, code := removal(t, "dev")
		s.wait("[y/N]")
		s.press(answer + "\n")
		if got := <-code; got != want {
			t.Errorf("%q: exit code %d, want %d", answer, got, want)
		}
	}
}
func TestTheQuestionSaysWhichDatabaseIsMeant(t *testing.T) {
	t.Parallel()
	s, code := removal(t, "dev")
	s.wait("Database pgdbmt_")
	s.wait(":5432, that of ")
	s.wait("[environments.dev]")
	s.wait("[y/N]")
	s.press("n\n")
	<-code
}
