//go:build unix

package localpg_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/localpg"
)

// sharedEnv tells the shared servers of tests apart.
const sharedEnv = "LOCALPG_TEST_SHARED"

func sharedOptions(name string) localpg.Options {
	return localpg.Options{Shared: true, Settings: map[string]string{"localpg.test": name}}
}

// share starts or joins the test's shared server; the test's end lets go of it.
func share(t *testing.T) *localpg.Server {
	t.Helper()
	o := sharedOptions(t.Name())
	return start(t, &o)
}

// info returns what List says of a server.
func info(t *testing.T, s *localpg.Server) (localpg.Info, bool) {
	t.Helper()
	all, err := localpg.List()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(i localpg.Info) bool { return i.URL == s.URL("") })
	if i < 0 {
		return localpg.Info{}, false
	}
	return all[i], true
}

func awaitGone(t *testing.T, dirs []string) {
	t.Helper()
	for _, dir := range dirs {
		eventually(t, dir+" removed", func() bool { return gone(dir) })
	}
}

func TestStartsWithSharedAreOneServer(t *testing.T) {
	t.Parallel()
	a, b := share(t), share(t)
	if a.URL("x") != b.URL("x") || a.Version() != b.Version() || a.BinDir() != b.BinDir() || b.LogTail(1) == "" {
		t.Errorf("%s and %s", a.URL(""), b.URL(""))
	}
	made := dirs(t, a)
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask(t, b.URL(""), "SELECT 'still here'")
	for range 2 {
		if err := b.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	awaitGone(t, made)
}

func TestSharedServersWithOtherOptionsAreOthers(t *testing.T) {
	t.Parallel()
	urls := map[string]bool{}
	for _, change := range []func(*localpg.Options){
		func(o *localpg.Options) {},
		func(o *localpg.Options) { o.Durable = true },
		func(o *localpg.Options) { o.TCP = true },
		func(o *localpg.Options) { o.Settings["max_connections"] = "20" },
		func(o *localpg.Options) { o.Shared = false },
	} {
		o := sharedOptions(t.Name())
		change(&o)
		urls[start(t, &o).URL("")] = true
	}
	if len(urls) != 5 {
		t.Errorf("%d servers: %v", len(urls), urls)
	}
}

// So that "server stop" of a folder ends what "server start" of it has started, and a script can have a server of its own.
func TestSharedServersOfOtherFoldersAreOthers(t *testing.T) {
	t.Parallel()
	first := share(t)
	base, err := os.MkdirTemp("", "localpg-folder-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	if err := os.Chmod(base, 0o755); err != nil { // for the user who runs the server
		t.Fatal(err)
	}
	folder := filepath.Join(base, "bin")
	if err := os.Symlink(first.BinDir(), folder); err != nil {
		t.Fatal(err)
	}
	o := sharedOptions(t.Name())
	o.BinDir = folder
	second := start(t, &o)
	if second.ID() == first.ID() || second.BinDir() != folder {
		t.Errorf("%s in %s, %s in %s", first.ID(), first.BinDir(), second.ID(), second.BinDir())
	}
	if third := start(t, &o); third.ID() != second.ID() {
		t.Errorf("%s, and then %s", second.ID(), third.ID())
	}
}

func TestSharedServerOnTCPHasOnePassword(t *testing.T) {
	t.Parallel()
	o := sharedOptions(t.Name())
	o.TCP = true
	a, aerr := start(t, &o).TCPURL("")
	b, berr := start(t, &o).TCPURL("")
	if err := errors.Join(aerr, berr); err != nil || a != b {
		t.Fatalf("%s and %s, %v", a, b, err)
	}
	ask(t, b, "SELECT 'works'")
}

func TestSharedServerOutlivesAllButItsLastUserThoughEachIsKilled(t *testing.T) {
	t.Parallel()
	env := sharedEnv + "=" + t.Name()
	first, second := startOwner(t, "shared", env), startOwner(t, "shared", env)
	if first.url != second.url {
		t.Fatalf("%s and %s", first.url, second.url)
	}
	first.cmd.Process.Kill()
	first.cmd.Wait()
	third := startOwner(t, "shared", env)
	if third.url != first.url {
		t.Errorf("%s, not %s", third.url, first.url)
	}
	second.cmd.Process.Kill()
	second.cmd.Wait()
	ask(t, third.url, "SELECT 'still here'")
	third.cmd.Process.Kill()
	third.awaitNothingLeft(t)
}

// A child that outlives its parent must not hold the server.
func TestSharedServerEndsThoughAChildOfItsUserLives(t *testing.T) {
	t.Parallel()
	s := share(t)
	made := dirs(t, s)
	child := exec.Command("sleep", "600")
	if err := child.Start(); err != nil {
		t.Skip(err)
	}
	defer child.Wait()
	defer child.Process.Kill()
	s.Stop(t.Context())
	awaitGone(t, made)
}

func TestUsersThatComeAndGoAllGetAServerThatAnswers(t *testing.T) {
	t.Parallel()
	needServer(t)
	o := sharedOptions(t.Name())
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 12 {
				s, err := localpg.Start(t.Context(), &o)
				if err != nil {
					t.Error(err)
					return
				}
				conn, err := pgx.Connect(t.Context(), s.URL(""))
				if err != nil {
					t.Error(err)
				} else {
					conn.Close(t.Context())
				}
				if err := s.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}

func TestKeptServerLivesWithoutUsersUntilItIsEnded(t *testing.T) {
	t.Parallel()
	s := share(t)
	made := dirs(t, s)
	if i, ok := info(t, s); !ok || i.Kept || !i.Shared {
		t.Errorf("%+v, %t", i, ok)
	}
	for range 2 {
		if err := s.Keep(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop(t.Context())
	i, ok := info(t, s)
	if !ok || !i.Kept || i.Version != s.Version() || i.BinDir != s.BinDir() || i.Started.IsZero() {
		t.Errorf("%+v, %t", i, ok)
	}
	again := share(t)
	if again.URL("") != s.URL("") {
		t.Errorf("another server: %s, not %s", again.URL(""), s.URL(""))
	}
	if err := localpg.End(t.Context(), i.ID, false); err != nil {
		t.Error(err)
	}
	ask(t, again.URL(""), "SELECT 'in use'")
	if i, _ := info(t, s); i.Kept {
		t.Errorf("%+v", i)
	}
	again.Stop(t.Context())
	awaitGone(t, made)
	if _, ok := info(t, s); ok {
		t.Error("still listed")
	}
}

func TestServerKeptForATimeEndsAfterIt(t *testing.T) {
	t.Parallel()
	s := share(t)
	made := dirs(t, s)
	for _, d := range []time.Duration{time.Millisecond, time.Hour} {
		if err := s.Keep(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop(t.Context())
	i, ok := info(t, s)
	if !ok || !i.Kept {
		t.Fatalf("%+v, %t", i, ok)
	}
	if err := localpg.End(t.Context(), i.ID, false); err != nil { // the hour
		t.Error(err)
	}
	awaitGone(t, made)
}

func TestOfSeveralTimesToKeepAServerTheLongestCounts(t *testing.T) {
	t.Parallel()
	s := share(t)
	var kept []string
	for _, d := range []time.Duration{time.Minute, time.Hour, time.Second, time.Minute} {
		if err := s.Keep(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dirs(t, s)[0], "kept*"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%v, %v", files, err)
		}
		kept = append(kept, files[0])
	}
	if kept[0] == kept[1] || kept[1] != kept[2] || kept[2] != kept[3] {
		t.Errorf("%v", kept)
	}
	if err := localpg.End(t.Context(), s.ID(), true); err != nil {
		t.Error(err)
	}
}

func TestEndNowEndsASharedServerInUse(t *testing.T) {
	t.Parallel()
	s := share(t)
	made := dirs(t, s)
	i, _ := info(t, s)
	if err := localpg.End(t.Context(), i.ID, true); err != nil {
		t.Fatal(err)
	}
	for _, dir := range made {
		if !gone(dir) {
			t.Errorf("left behind: %s", dir)
		}
	}
	if err := s.Keep(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "server is ending") {
		t.Errorf("Keep: %v", err)
	}
	if share(t).URL("") == s.URL("") {
		t.Error("the ended server is joined")
	}
}

func TestOnlySharedServersAreEndedOrKept(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	i, ok := info(t, s)
	if !ok || i.Shared || i.Kept || i.TCP || i.Durable {
		t.Fatalf("%+v, %t", i, ok)
	}
	for id, want := range map[string]string{
		i.ID:       "localpg: end server " + i.ID + ": it is not shared: it ends with the process that started it",
		"00000000": "localpg: end server 00000000: no such server",
		"../x":     "localpg: end server ../x: no such server",
	} {
		if err := localpg.End(t.Context(), id, true); err == nil || err.Error() != want {
			t.Errorf("End: %v, want %s", err, want)
		}
	}
	if err := s.Keep(t.Context(), 0); err == nil {
		t.Error("kept")
	}
}

func TestServerWhosePostgresWasKilledIsNotJoined(t *testing.T) {
	t.Parallel()
	s := share(t)
	made := dirs(t, s)
	postmaster := firstNumber(t, filepath.Join(made[1], "data", "postmaster.pid"))
	syscall.Kill(postmaster, syscall.SIGKILL)
	eventually(t, "server ended", func() bool { return ended(postmaster) })
	other := share(t)
	if other.URL("") == s.URL("") {
		t.Error("joined")
	}
	ask(t, other.URL(""), "SELECT 'works'")
	s.Stop(t.Context())
	awaitGone(t, made)
}

func TestClusterIsMadeOnceByAllWhoNeedIt(t *testing.T) {
	t.Parallel()
	needServer(t)
	made := localpg.ClustersIn(t, t.Context(), 8)
	if len(made) != 1 {
		t.Errorf("%d clusters or leftovers: %v", len(made), made)
	}
}
