package pgdbm_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/localpg"
)

const duplicate = "Creating another connection pool to "

// said is how many log records hold all of parts.
func (l *logRecorder) said(parts ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, text := range l.texts {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(text, p)
		}
		if all {
			n++
		}
	}
	return n
}

// wayTo is one of the ways to reach a server.
type wayTo struct {
	name string
	cfg  pgdbm.Config
}

func (w wayTo) target(database string) string {
	return fmt.Sprintf("%s:%d/%s", w.cfg.Host, w.cfg.Port, database)
}

// waysTo finds the ways to the server of url that lead there from here. One by
// its own address and one through a proxy there always are.
func waysTo(t *testing.T, url string) []wayTo {
	t.Helper()
	to := realServer(t, url)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var sockets, portText string
	if err := conn.QueryRow(t.Context(), `SELECT current_setting('unix_socket_directories'), current_setting('port')`).
		Scan(&sockets, &portText); err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(n)
	proxy := listen(t, func(_ int, c *client) { c.forward(to) })
	ways := []wayTo{
		{"as configured", pgdbm.Config{URL: url, Host: to.Host, Port: to.Port}},
		{"proxy", proxy.through(t, url)},
	}
	maybe := []wayTo{
		{"localhost", pgdbm.Config{URL: url, Host: "localhost", Port: port}},
		{"127.0.0.1", pgdbm.Config{URL: url, Host: "127.0.0.1", Port: port}},
	}
	for dir := range strings.SplitSeq(sockets, ",") {
		if dir = strings.TrimSpace(dir); filepath.IsAbs(dir) {
			maybe = append(maybe, wayTo{"socket", pgdbm.Config{URL: url, Host: dir, Port: port}})
		}
	}
	for _, w := range maybe {
		if w.cfg.Host == to.Host && w.cfg.Port == to.Port || !reaches(t, w.cfg, conn) {
			continue
		}
		ways = append(ways, w)
	}
	return ways
}

// reaches reports whether cfg leads to the very server of conn.
func reaches(t *testing.T, cfg pgdbm.Config, conn *pgx.Conn) bool {
	cc := poolConfig(t, cfg).ConnConfig
	cc.ConnectTimeout = 2 * time.Second
	other, err := pgx.ConnectConfig(t.Context(), cc)
	if err != nil {
		return false
	}
	defer other.Close(context.Background())
	var seen int
	err = conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND datname = current_database()`,
		other.PgConn().PID()).Scan(&seen)
	return err == nil && seen == 1
}

func TestASecondPoolToADatabaseIsNoticedHoweverItIsReached(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	database := realServer(t, url).Database
	ways := waysTo(t, url)
	for _, first := range ways {
		for _, second := range ways {
			var log1, log2 logRecorder
			first.cfg.Logger, second.cfg.Logger = slog.New(&log1), slog.New(&log2)
			where1 := here(1)
			pool1, err := pgdbm.Open(t.Context(), first.cfg)
			if err != nil {
				t.Fatal(err)
			}
			where2 := here(1)
			pool2, err := pgdbm.Open(t.Context(), second.cfg)
			if err != nil {
				t.Fatal(err)
			}
			for i, log := range []*logRecorder{&log1, &log2} {
				if n := log.said("WARN "+duplicate+second.target(database), "opened_at="+where2, "first_opened_at="+where1); n != 1 {
					t.Errorf("%s, then %s: logger %d was told %d times: %q", first.name, second.name, i+1, n, log.texts)
				}
				if n := log.said(duplicate); n != 1 {
					t.Errorf("%s, then %s: logger %d got %d records", first.name, second.name, i+1, n)
				}
			}
			second.cfg.OnDuplicate = pgdbm.DuplicateFail
			pool3, err := pgdbm.Open(t.Context(), second.cfg)
			if !errors.Is(err, pgdbm.ErrDuplicatePool) || pool3 != nil ||
				!strings.Contains(err.Error(), second.target(database)) || !strings.Contains(err.Error(), where1) {
				t.Errorf("%s, then %s under DuplicateFail: got %v", first.name, second.name, err)
			}
			pool2.Close()
			pool1.Close()
		}
	}
	if len(ways) < 3 {
		t.Logf("the server is reachable in %d ways only", len(ways))
	}
}

func TestASocketAndTCPLeadToTheSameDatabase(t *testing.T) {
	t.Parallel()
	server := testdb.Server(t, &localpg.Options{TCP: true})
	tcp, err := server.TCPURL("postgres")
	if err != nil {
		t.Fatal(err)
	}
	cfg := pgdbm.Config{URL: server.URL("postgres"), OnDuplicate: pgdbm.DuplicateFail}
	pool := openPool(t, cfg)
	for name, again := range map[string]pgdbm.Config{
		"the socket": cfg,
		"127.0.0.1":  {URL: tcp},
		"localhost":  {URL: tcp, Host: "localhost"},
	} {
		again.OnDuplicate = pgdbm.DuplicateFail
		if _, err := pgdbm.Open(t.Context(), again); !errors.Is(err, pgdbm.ErrDuplicatePool) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	pool.Close()
	pool = openPool(t, pgdbm.Config{URL: tcp, OnDuplicate: pgdbm.DuplicateFail})

	// The same name on another server, which may well be a copy of this one.
	theirs := openPool(t, pgdbm.Config{URL: testdb.Server(t, nil).URL("postgres"), OnDuplicate: pgdbm.DuplicateFail})
	err = mustSchema(t, pool, "x").InTx(t.Context(), func(_ context.Context, tx *pgdbm.Tx) error {
		_, err := tx.In(mustSchema(t, theirs, "x"))
		return err
	})
	if !errors.Is(err, pgdbm.ErrOtherDatabase) {
		t.Errorf("a transaction seen from another server: got %v", err)
	}
}

func TestWhatTellsDatabasesApart(t *testing.T) {
	t.Parallel()
	one := pgdbm.Identity{Address: "a:5432", Database: "shop", System: "7", Started: "100.5", OID: "16384"}
	with := func(change func(*pgdbm.Identity)) pgdbm.Identity { i := one; change(&i); return i }
	unasked := pgdbm.Identity{Address: "a:5432", Database: "shop"}
	for _, c := range []struct {
		name string
		two  pgdbm.Identity
		want bool
	}{
		{"itself", one, true},
		{"another address of the server", with(func(i *pgdbm.Identity) { i.Address = "/run:5432" }), true},
		{"an address that nobody knows", with(func(i *pgdbm.Identity) { i.Address = "" }), true},
		{"another name for it, as a pooler has", with(func(i *pgdbm.Identity) { i.Database = "alias" }), true},
		{"another database", with(func(i *pgdbm.Identity) { i.OID = "16385" }), false},
		{"another server with equal numbers", with(func(i *pgdbm.Identity) { i.System = "8" }), false},
		{"a standby or a copy", with(func(i *pgdbm.Identity) { i.Address, i.Started = "b:5432", "200.5" }), false},
		{"a copy whose address nobody knows", with(func(i *pgdbm.Identity) { i.Address, i.Started = "", "200.5" }), false},
		{"after a restart", with(func(i *pgdbm.Identity) { i.Started = "200.5" }), true},
		{"not asked", unasked, true},
		{"not asked, another address", pgdbm.Identity{Address: "b:5432", Database: "shop"}, false},
		{"not asked, another database", pgdbm.Identity{Address: "a:5432", Database: "other"}, false},
		{"not asked, no address", pgdbm.Identity{Database: "shop"}, false},
	} {
		if got := pgdbm.SameDatabase(one, c.two); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if got := pgdbm.SameDatabase(c.two, one); got != c.want {
			t.Errorf("%s, the other way round: %v, want %v", c.name, got, c.want)
		}
	}
	if pgdbm.SameDatabase(pgdbm.Identity{Database: "shop"}, pgdbm.Identity{Database: "shop"}) {
		t.Error("two pools of which nothing is known are the same")
	}
	if !pgdbm.SameUser(pgdbm.Identity{User: "a", Really: "x"}, pgdbm.Identity{User: "b", Really: "x"}) ||
		pgdbm.SameUser(pgdbm.Identity{User: "a"}, pgdbm.Identity{User: "b", Really: "a"}) {
		t.Error("users are not compared by what the server says, else by what is configured")
	}
}

func TestAWrongPasswordIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	private := testdb.Server(t, &localpg.Options{TCP: true})
	tcp, err := private.TCPURL("postgres")
	if err != nil {
		t.Fatal(err)
	}
	to := realServer(t, tcp)
	server := listen(t, func(_ int, c *client) { c.forward(to) })
	cfg := server.through(t, tcp)
	cfg.Retry, cfg.Password = quick(5), "SECRET"
	_, err = pgdbm.Open(t.Context(), cfg)
	wantState(t, err, "28P01")
	if shows(err.Error()) {
		t.Error(err)
	}
	if n := server.attempts(); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
	cfg.Password = ""
	openPool(t, cfg) // the URL has the right one
}

func TestPoolsThatAreNoDuplicates(t *testing.T) {
	t.Parallel()
	one, two := testdb.URL(t), testdb.URL(t)
	_, other := role(t, one)
	var log logRecorder
	for _, url := range []string{one, two, other} {
		openPool(t, pgdbm.Config{URL: url, Logger: slog.New(&log), OnDuplicate: pgdbm.DuplicateFail})
	}
	if n := log.said(duplicate); n != 0 {
		t.Errorf("log %q", log.texts)
	}
}

func TestOneLoggerOfTwoPoolsIsToldOnce(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	var log logRecorder
	for range 3 {
		openPool(t, pgdbm.Config{URL: url, Logger: slog.New(&log)})
	}
	// Loggers are told apart by pointer; these three are one in their handler.
	if n := log.said(duplicate); n != 2+3 {
		t.Errorf("three loggers of one handler got %d records, want 2 for the second pool and 3 for the third", n)
	}
	var shared logRecorder
	logger := slog.New(&shared)
	url = testdb.URL(t)
	for range 3 {
		openPool(t, pgdbm.Config{URL: url, Logger: logger})
	}
	if n := shared.said(duplicate); n != 2 {
		t.Errorf("one logger got %d records, want one for each further pool", n)
	}
}

func TestAPoolThatIsClosedOrNeverOpenedIsNoDuplicate(t *testing.T) {
	t.Parallel()
	cfg := pgdbm.Config{URL: testdb.URL(t), OnDuplicate: pgdbm.DuplicateFail}
	broken := cfg
	broken.InitSQL = "SELECT 1/0"
	for range 3 {
		if _, err := pgdbm.Open(t.Context(), broken); state(err) != "22012" {
			t.Fatalf("got %v", err)
		}
		pool, err := pgdbm.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pgdbm.Open(t.Context(), cfg); !errors.Is(err, pgdbm.ErrDuplicatePool) {
			t.Errorf("got %v", err)
		}
		pool.Close()
		if pool, err = pgdbm.Open(t.Context(), cfg); err != nil {
			t.Fatalf("after Close: %v", err)
		}
		if err := pool.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestADuplicateThatIsRefusedLeavesNoConnection(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 1})
	look := admin(t, pool)
	url := pool.Pgx().Config().ConnString()
	_, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: url, MinConns: 2, OnDuplicate: pgdbm.DuplicateFail})
	if !errors.Is(err, pgdbm.ErrDuplicatePool) {
		t.Fatalf("got %v", err)
	}
	waitUntil(t, func() bool { return sessions(t, look, "%") == 1 })
}

// borrow borrows a pgxpool.Pool; both end with the test.
func borrow(t *testing.T, url string) (*pgxpool.Pool, *pgdbm.Pool) {
	t.Helper()
	theirs, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(theirs.Close)
	pool, err := pgdbm.Borrow(theirs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return theirs, pool
}

func TestBorrowedPoolsCount(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	strict := pgdbm.Config{URL: url, OnDuplicate: pgdbm.DuplicateFail}
	theirs, pool := borrow(t, url)
	if err := pool.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := pgdbm.Open(t.Context(), strict); !errors.Is(err, pgdbm.ErrDuplicatePool) {
		t.Errorf("beside a borrowed pool: got %v", err)
	}
	// Who borrows what is borrowed, or open, makes no second pool.
	again, err := pgdbm.Borrow(theirs)
	if err != nil {
		t.Fatal(err)
	}
	pool.Close()
	if _, err := pgdbm.Open(t.Context(), strict); !errors.Is(err, pgdbm.ErrDuplicatePool) {
		t.Errorf("while it is borrowed by another: got %v", err)
	}
	again.Close()
	own := openPool(t, strict)
	own.Close()
}

func TestAnOpenPoolThatIsBorrowedIsOnePool(t *testing.T) {
	t.Parallel()
	var log logRecorder
	pool := openPool(t, pgdbm.Config{Logger: slog.New(&log)})
	for range 3 {
		p, err := pgdbm.Borrow(pool.Pgx())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
	}
	if n := log.said(duplicate); n != 0 {
		t.Errorf("log %q", log.texts)
	}
}

func TestABorrowedPoolThatItsOwnerClosedIsForgotten(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	theirs, pool := borrow(t, url)
	if err := pool.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	openPool(t, pgdbm.Config{URL: url, OnDuplicate: pgdbm.DuplicateFail})
	runtime.KeepAlive(pool)
}

func TestABorrowedPoolThatNobodyHasAnyMoreIsForgotten(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	var collected atomic.Bool
	func() {
		theirs, err := pgxpool.New(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pgdbm.Borrow(theirs); err != nil {
			t.Fatal(err)
		}
		runtime.AddCleanup(theirs, func(int) { collected.Store(true) }, 0)
		theirs.Close()
	}()
	waitUntil(t, func() bool { runtime.GC(); return collected.Load() })
	openPool(t, pgdbm.Config{URL: url, OnDuplicate: pgdbm.DuplicateFail})
}

// Alone, because a duplicate, or too many connections, would be a reason to look
// whether borrowed pools are open.
func TestOpeningAPoolDoesNotDisturbBorrowedOnes(t *testing.T) {
	theirs, _ := borrow(t, testdb.URL(t))
	openPool(t, pgdbm.Config{})
	if n := theirs.Stat().NewConnsCount(); n != 0 {
		t.Errorf("%d connections were made on a pool that nobody uses", n)
	}
}

func TestOnlyOneOfManyPoolsOpenedAtOnceIsNoDuplicate(t *testing.T) {
	t.Parallel()
	cfg := pgdbm.Config{URL: testdb.URL(t), MaxConns: 1, OnDuplicate: pgdbm.DuplicateFail}
	won := make(chan *pgdbm.Pool, racers)
	all(t, func(int) error {
		pool, err := pgdbm.Open(t.Context(), cfg)
		if err == nil {
			won <- pool
		} else if !errors.Is(err, pgdbm.ErrDuplicatePool) {
			return err
		}
		return nil
	})
	if len(won) != 1 {
		t.Errorf("%d pools are open", len(won))
	}
	for range len(won) {
		(<-won).Close()
	}
}

func TestPoolsMayBeOpenedBorrowedAndClosedAtOnce(t *testing.T) {
	t.Parallel()
	urls := []string{testdb.URL(t), testdb.URL(t)}
	var log logRecorder
	logger := slog.New(&log)
	shared := openPool(t, pgdbm.Config{URL: urls[0], Logger: logger})
	other := openPool(t, pgdbm.Config{URL: urls[1], Logger: logger})
	here, there := mustSchema(t, shared, "a"), mustSchema(t, other, "b")
	all(t, func(i int) error {
		for range 3 {
			pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: urls[i%2], MaxConns: 1, Logger: logger})
			if err != nil {
				return err
			}
			b, err := pgdbm.Borrow(shared.Pgx())
			if err != nil {
				return err
			}
			err = here.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
				if _, err := tx.In(there); !errors.Is(err, pgdbm.ErrOtherDatabase) {
					return fmt.Errorf("In: %w", err)
				}
				return nil
			})
			b.Close()
			pool.Close()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Alone, because it counts the connections that all pools of the process may
// open.
func TestPoolsThatTogetherWantMoreThanTheServerHasAreNoticed(t *testing.T) {
	url, second := testdb.URL(t), testdb.URL(t)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var has int32
	if err := conn.QueryRow(t.Context(), `SELECT current_setting('max_connections')::int`).Scan(&has); err != nil {
		t.Fatal(err)
	}
	const warning = "could exceed the server's connections"
	var log logRecorder
	open := func(url string, most int32) *pgdbm.Pool {
		return openPool(t, pgdbm.Config{URL: url, MaxConns: most, Logger: slog.New(&log)})
	}
	first := open(url, has/2)
	// The same pool, borrowed, has no connections of its own.
	b, err := pgdbm.Borrow(first.Pgx())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	open(second, 2).Close()
	if n := log.said(warning); n != 0 {
		t.Errorf("half of the connections: %q", log.texts)
	}
	open(second, has/2+1)
	if n := log.said("WARN", warning, fmt.Sprintf("max_conns=%d", has/2+has/2+1)); n != 1 {
		t.Errorf("more than all of the connections: %q", log.texts)
	}
}

// A pool whose configuration is changed before each connect may lead anywhere;
// what counts is where it led.
func TestAPoolThatChoosesItsServerLateIsKnownByTheServer(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	to := realServer(t, url)
	openPool(t, pgdbm.Config{URL: url})
	_, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: "postgres://nobody@127.0.0.1:1/none?sslmode=disable", OnDuplicate: pgdbm.DuplicateFail,
		Pgx: func(pc *pgxpool.Config) error {
			pc.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error {
				cc.Host, cc.Port, cc.Database, cc.User, cc.Password, cc.TLSConfig = to.Host, to.Port, to.Database, to.User, to.Password, to.TLSConfig
				cc.Fallbacks = to.Fallbacks
				return nil
			}
			return nil
		}})
	if !errors.Is(err, pgdbm.ErrDuplicatePool) {
		t.Errorf("got %v", err)
	}
}

func TestAPoolWithSeveralHostsIsKnownByTheOneItReached(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	to := realServer(t, url)
	proxy := listen(t, func(_ int, c *client) { c.forward(to) })
	cfg := proxy.through(t, url)
	cfg.Host, cfg.Port, cfg.OnDuplicate = "", 0, pgdbm.DuplicateFail
	cfg.URL += fmt.Sprintf("&host=127.0.0.1,127.0.0.1&port=1,%d", proxy.port())
	if !strings.Contains(url, "?") {
		cfg.URL = strings.Replace(cfg.URL, "&", "?", 1)
	}
	openPool(t, cfg)
	if _, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: url, OnDuplicate: pgdbm.DuplicateFail}); !errors.Is(err, pgdbm.ErrDuplicatePool) {
		t.Errorf("got %v", err)
	}
}

func TestWithoutTheRightToAskTheServerTheAddressCounts(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	name, asRole := role(t, url)
	testdb.Exec(t, url, "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC")
	first := openPool(t, pgdbm.Config{URL: asRole})
	if _, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: asRole, OnDuplicate: pgdbm.DuplicateFail}); !errors.Is(err, pgdbm.ErrDuplicatePool) {
		t.Errorf("role %s: got %v", name, err)
	}
	first.Close()
	openPool(t, pgdbm.Config{URL: asRole, OnDuplicate: pgdbm.DuplicateFail})
}
