package localpg_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/localpg"
)

// programs makes a folder with empty programs of the given names.
func programs(t *testing.T, dir string, names ...string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if runtime.GOOS == "windows" {
			name += ".exe"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func lookedIn(t *testing.T, err error) []string {
	t.Helper()
	var missing *localpg.NotFoundError
	if !errors.As(err, &missing) {
		t.Fatalf("error is no NotFoundError: %v", err)
	}
	for _, place := range missing.Looked {
		if !strings.Contains(err.Error(), "\n\t"+place) {
			t.Errorf("text lacks the place %q:\n%v", place, err)
		}
	}
	if missing.Hint == "" || !strings.HasSuffix(err.Error(), "\ninstall: "+missing.Hint) {
		t.Errorf("text does not end with the hint %q:\n%v", missing.Hint, err)
	}
	return missing.Looked
}

func TestFindTakesBinDirBeforeTheEnvironment(t *testing.T) {
	option := programs(t, t.TempDir(), "initdb", "postgres")
	t.Setenv("PGDBM_POSTGRES_BIN", programs(t, t.TempDir(), "initdb", "postgres"))
	if got, err := localpg.Find(&localpg.Options{BinDir: option}); err != nil || got != option {
		t.Errorf("Find = %q, %v; want %q", got, err, option)
	}
}

func TestFindTakesTheEnvironmentBeforePath(t *testing.T) {
	env := programs(t, t.TempDir(), "initdb", "postgres")
	t.Setenv("PGDBM_POSTGRES_BIN", env)
	t.Setenv("PATH", programs(t, t.TempDir(), "initdb", "postgres"))
	if got, err := localpg.Find(nil); err != nil || got != env {
		t.Errorf("Find = %q, %v; want %q", got, err, env)
	}
}

func TestFindTakesPathBeforeStandardPlaces(t *testing.T) {
	path := programs(t, t.TempDir(), "initdb", "postgres")
	t.Setenv("PGDBM_POSTGRES_BIN", "")
	t.Setenv("PATH", strings.Join([]string{programs(t, t.TempDir(), "postgres"), path}, string(filepath.ListSeparator)))
	places := []string{programs(t, t.TempDir(), "initdb", "postgres")}
	if got, err := localpg.FindIn(nil, places); err != nil || got != path {
		t.Errorf("find = %q, %v; want %q", got, err, path)
	}
}

func TestFindFollowsLinksOfPath(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege")
	}
	real, err := filepath.EvalSymlinks(programs(t, t.TempDir(), "initdb", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	links := t.TempDir()
	if err := os.Symlink(filepath.Join(real, "postgres"), filepath.Join(links, "postgres")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGDBM_POSTGRES_BIN", "")
	t.Setenv("PATH", links)
	if got, err := localpg.FindIn(nil, nil); err != nil || got != real {
		t.Errorf("find = %q, %v; want %q", got, err, real)
	}
}

func TestFindTakesTheHighestVersionOfStandardPlacesThatIsWhole(t *testing.T) {
	root := t.TempDir()
	programs(t, filepath.Join(root, "9", "bin"), "initdb", "postgres")
	want := programs(t, filepath.Join(root, "17", "bin"), "initdb", "postgres")
	programs(t, filepath.Join(root, "18", "bin"), "pg_config")
	t.Setenv("PGDBM_POSTGRES_BIN", "")
	t.Setenv("PATH", "")
	if got, err := localpg.FindIn(nil, []string{filepath.Join(root, "*", "bin")}); err != nil || got != want {
		t.Errorf("find = %q, %v; want %q", got, err, want)
	}
}

func TestNotFoundErrorListsEveryPlaceAndHowToInstall(t *testing.T) {
	empty := t.TempDir()
	t.Setenv("PGDBM_POSTGRES_BIN", "")
	t.Setenv("PATH", "")
	_, err := localpg.FindIn(nil, []string{"/no/such/*/bin", empty})
	want := []string{
		"PGDBM_POSTGRES_BIN: not set",
		"pg_config --bindir: no pg_config in PATH",
		"PATH: no postgres",
		"/no/such/*/bin",
		empty + ": no initdb",
	}
	if got := lookedIn(t, err); !slices.Equal(got, want) {
		t.Errorf("looked in %q, want %q", got, want)
	}
}

func TestBinDirWithoutProgramsIsNotReplacedByAnotherPlace(t *testing.T) {
	t.Parallel()
	dir := programs(t, t.TempDir(), "initdb")
	o := &localpg.Options{BinDir: dir}
	want := []string{"Options.BinDir: " + dir + ": no postgres"}
	if _, err := localpg.Find(o); !slices.Equal(lookedIn(t, err), want) {
		t.Errorf("Find: %v, want %q", err, want)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if _, err := localpg.Start(t.Context(), o); !slices.Equal(lookedIn(t, err), want) {
		t.Errorf("Start: %v, want %q", err, want)
	}
}

func TestEnvironmentThatPointsNowhereIsNotReplacedByAnotherPlace(t *testing.T) {
	t.Setenv("PGDBM_POSTGRES_BIN", filepath.Join("no", "such", "folder"))
	_, err := localpg.Find(nil)
	want := []string{"PGDBM_POSTGRES_BIN: " + filepath.Join("no", "such", "folder") + ": no initdb"}
	if got := lookedIn(t, err); !slices.Equal(got, want) {
		t.Errorf("looked in %q, want %q", got, want)
	}
}

func TestInstallHintFitsTheSystem(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, goos, release, want string }{
		{"Debian", "linux", "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n", "apt-get install postgresql"},
		{"Mint, by what it derives from", "linux", "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "apt-get install postgresql"},
		{"Rocky", "linux", "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "dnf install postgresql-server"},
		{"Alpine", "linux", "ID=alpine\n", "apk add postgresql"},
		{"macOS", "darwin", "", "brew install postgresql@18"},
		{"unknown", "linux", "", "install PostgreSQL 14 or newer and set PGDBM_POSTGRES_BIN to the folder of initdb and postgres"},
	} {
		if got := localpg.InstallHintFor(tt.goos, tt.release); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
