//go:build unix

package localpg_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pgdbm/pgdbm/localpg"
)

// plant makes a run as the server's user could make one, in which info is what it tells others, and returns its folder.
func plant(t *testing.T, id string, info map[string]any) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root has another user's directories to fear")
	}
	s := start(t, nil) // its parent folder is there as long as this runs
	run := filepath.Join(filepath.Dir(dirs(t, s)[0]), id)
	text, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Mkdir(run, 0o700), os.WriteFile(filepath.Join(run, "info"), text, 0o600), syscall.Mkfifo(filepath.Join(run, "alive"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	for _, file := range []string{run, filepath.Join(run, "info"), filepath.Join(run, "alive")} {
		if err := localpg.GiveToAccount(file); err != nil {
			t.Fatal(err)
		}
	}
	return run
}

func TestRootDeletesNothingThatThePlantedInfoNames(t *testing.T) {
	victim := t.TempDir()
	precious := filepath.Join(victim, "data")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(victim, 0o700); err != nil {
		t.Fatal(err)
	}
	plant(t, "dead0001", map[string]any{"store": victim})
	start(t, nil) // which sweeps
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func TestRootRunsNoProgramThatThePlantedInfoNames(t *testing.T) {
	run := plant(t, "dead0002", map[string]any{"store": "/nonexistent", "bin_dir": "/tmp/planted"})
	alive, err := os.OpenFile(filepath.Join(run, "alive"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	all, err := localpg.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.ID == "dead0002" {
			if i.BinDir != "" {
				t.Errorf("programs of %s", i.BinDir)
			}
			return
		}
	}
	t.Error("not listed")
}

func TestAPlantedFIFOOrLinkHoldsNobodyUp(t *testing.T) {
	run := plant(t, "dead0003", nil)
	info, secret := filepath.Join(run, "info"), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(`{"store": "/tmp"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, make := range []func() error{
		func() error { return syscall.Mkfifo(info, 0o600) },
		func() error { return os.Symlink(secret, info) },
		func() error { return os.Link(secret, info) },
	} {
		if err := os.Remove(info); err != nil {
			t.Fatal(err)
		}
		if err := make(); err != nil {
			t.Skip(err)
		}
		if _, err := localpg.ReadAsAccount(info); err == nil {
			t.Error("was read")
		}
		if err := localpg.WriteAsAccount(info, "x"); err == nil {
			t.Error("was written")
		}
	}
	if text, err := os.ReadFile(secret); err != nil || string(text) != `{"store": "/tmp"}` {
		t.Errorf("%q, %v", text, err)
	}
}
