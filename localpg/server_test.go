package localpg_test

import (
	"context"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/localpg"
)

// dirs returns the directories that a server made.
func dirs(t *testing.T, s *localpg.Server) []string {
	t.Helper()
	u, err := url.Parse(s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	return []string{u.Query().Get("host"), filepath.Dir(ask(t, s.URL(""), "SHOW data_directory"))}
}

// starts collects the directories of servers that were started with it as the
// logger's handler.
type starts struct {
	mu   sync.Mutex // guards dirs
	dirs []string
}

func (h *starts) Enabled(context.Context, slog.Level) bool { return true }
func (h *starts) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *starts) WithGroup(string) slog.Handler            { return h }
func (h *starts) Handle(_ context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "run" || a.Key == "store" {
			h.dirs = append(h.dirs, a.Value.String())
		}
		return true
	})
	return nil
}

func (h *starts) checkNothingLeft(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, dir := range h.dirs {
		if !gone(dir) {
			t.Errorf("left behind: %s", dir)
		}
	}
}

func TestStartReturnsAServerThatAnswers(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	if got := ask(t, s.URL(""), "SELECT current_database() || ' ' || current_user"); got != "postgres postgres" {
		t.Errorf("database and user: %s", got)
	}
	if got := ask(t, s.URL("template1"), "SHOW server_version"); !strings.HasPrefix(got, s.Version()) || s.Version() == "" {
		t.Errorf("Version = %q, the server says %q", s.Version(), got)
	}
	if _, err := os.Stat(filepath.Join(s.BinDir(), "initdb")); err != nil {
		t.Errorf("BinDir: %v", err)
	}
	if log := s.LogTail(1000); !strings.Contains(log, "ready to accept connections") {
		t.Errorf("LogTail: %q", log)
	}
	if log := s.LogTail(1); strings.Contains(log, "\n") || log == "" {
		t.Errorf("LogTail(1): %q", log)
	}
}

func TestServerPrefersSpeedUnlessDurable(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{false, true} {
		s := start(t, &localpg.Options{Durable: durable})
		want := map[bool]string{false: "off", true: "on"}[durable]
		for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes", "autovacuum"} {
			if got := ask(t, s.URL(""), "SHOW "+name); got != want {
				t.Errorf("Durable %t: %s is %s", durable, name, got)
			}
		}
		if store := dirs(t, s)[1]; durable && strings.HasPrefix(store, "/dev/shm") {
			t.Errorf("durable data in memory: %s", store)
		}
	}
}

func TestSettingsWin(t *testing.T) {
	t.Parallel()
	want := map[string]string{"max_connections": "17", "fsync": "on", "search_path": `"it's", 'b\\c'`, "my.setting": "line\nline"}
	s := start(t, &localpg.Options{Settings: want})
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got := ask(t, s.URL(""), "SHOW "+name); got != want[name] {
			t.Errorf("%s is %q, want %q", name, got, want[name])
		}
	}
}

func TestDatabaseNamesAreEscapedInURLs(t *testing.T) {
	t.Parallel()
	s := start(t, &localpg.Options{TCP: true})
	const name = `a b/c?d%20#é"`
	conn, err := pgx.Connect(t.Context(), s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		t.Fatal(err)
	}
	tcp, err := s.TCPURL(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{s.URL(name), tcp} {
		if got := ask(t, url, "SELECT current_database()"); got != name {
			t.Errorf("%s leads to database %q", url, got)
		}
	}
}

func TestURLLeavesNoSayToTheEnvironment(t *testing.T) {
	for _, name := range []string{"PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLROOTCERT", "PGOPTIONS"} {
		t.Setenv(name, "/1")
	}
	t.Setenv("PGSSLMODE", "verify-full")
	s := start(t, nil) // its own connection too
	t.Setenv("PGOPTIONS", "")
	if got := ask(t, s.URL(""), "SELECT current_database() || ' ' || current_user"); got != "postgres postgres" {
		t.Errorf("database and user: %s", got)
	}
}

func TestStopEndsItsGoroutines(t *testing.T) {
	s := start(t, nil)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no goroutine of a server", func() bool {
		var stacks strings.Builder
		pprof.Lookup("goroutine").WriteTo(&stacks, 2)
		return !strings.Contains(stacks.String(), "localpg.(*supervisor)") && !strings.Contains(stacks.String(), "localpg.supervise")
	})
}

func TestTCPNeedsThePassword(t *testing.T) {
	t.Parallel()
	s := start(t, &localpg.Options{TCP: true})
	tcp, err := s.TCPURL("")
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, tcp, "SELECT host(inet_server_addr())"); got != "127.0.0.1" {
		t.Errorf("server's address: %s", got)
	}
	u, err := url.Parse(tcp)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("postgres", "wrong")
	if conn, err := pgx.Connect(t.Context(), u.String()); err == nil {
		conn.Close(t.Context())
		t.Error("a wrong password is let in over TCP")
	}
}

func TestTCPURLIsAnErrorWithoutTCP(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	if got, err := s.TCPURL(""); err == nil {
		t.Errorf("TCPURL = %q", got)
	}
	if got := ask(t, s.URL(""), "SHOW listen_addresses"); got != "" {
		t.Errorf("listens on %q", got)
	}
}

func TestServersOfOneProcessAreApart(t *testing.T) {
	t.Parallel()
	var servers [2]*localpg.Server
	t.Run("start", func(t *testing.T) { // both at the same time
		for i := range servers {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				needServer(t)
				var err error
				if servers[i], err = localpg.Start(context.Background(), nil); err != nil {
					t.Error(err)
				}
			})
		}
	})
	if servers[0] == nil || servers[1] == nil {
		t.Skip("not started")
	}
	a, b := servers[0], servers[1]
	if ask(t, a.URL(""), "SHOW data_directory") ==
		ask(t, b.URL(""), "SHOW data_directory") {
		t.Error("two Starts, one server")
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	ask(t, b.URL(""), "SELECT 'still here'")
	if err := b.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStopRemovesEverythingAndMayBeRepeated(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	conn, err := pgx.Connect(t.Context(), s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	made := dirs(t, s)
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			if err := s.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	for _, dir := range made {
		if !gone(dir) {
			t.Errorf("left behind: %s", dir)
		}
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a session outlives the server")
	}
	if log := s.LogTail(10); log != "" {
		t.Errorf("LogTail after Stop: %q", log)
	}
}

func TestStopWithAnEndedContextStillStops(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	made := dirs(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
	for _, dir := range made {
		if !gone(dir) {
			t.Errorf("left behind: %s", dir)
		}
	}
}

func TestBadSettingIsAnErrorWithTheServersWords(t *testing.T) {
	t.Parallel()
	needServer(t)
	var made starts
	_, err := localpg.Start(t.Context(), &localpg.Options{
		Settings: map[string]string{"shared_buffers": "plenty"}, Logger: slog.New(&made),
	})
	if err == nil {
		t.Fatal("started")
	}
	for _, want := range []string{"localpg: start server: postgres ended with status 1", `invalid value for parameter "shared_buffers": "plenty"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("text lacks %q: %v", want, err)
		}
	}
	if len(made.dirs) == 0 {
		t.Error("nothing was started")
	}
	made.checkNothingLeft(t)
}

func TestSettingsThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"port":                    `localpg: setting "port": fixed by this package`,
		"Unix_Socket_Directories": `localpg: setting "Unix_Socket_Directories": fixed by this package`,
		"a = 'b'\nfsync":          `localpg: setting "a = 'b'\nfsync": not a parameter's name`,
	} {
		_, err := localpg.Start(t.Context(), &localpg.Options{Settings: map[string]string{name: "1"}})
		if err == nil || err.Error() != want {
			t.Errorf("Start: %v, want %s", err, want)
		}
	}
}

func TestCancelledStartLeavesNothing(t *testing.T) {
	t.Parallel()
	needServer(t)
	for _, after := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			var made starts
			s, err := localpg.Start(ctx, &localpg.Options{Logger: slog.New(&made)})
			if err == nil { // a fast machine
				err = s.Stop(t.Context())
			} else if ctx.Err() != nil && strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
				err = nil
			}
			if err != nil {
				t.Error(err)
			}
			made.checkNothingLeft(t)
		})
	}
}
