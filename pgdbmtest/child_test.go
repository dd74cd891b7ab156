package pgdbmtest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/localpg"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

// The tests below run this test program again, on a server that is not its own:
// TestChild is what the program then does.

const childEnv = "PGDBM_CHILD"

func TestChild(t *testing.T) {
	body := map[string]func(*testing.T){
		"parallel": childParallel, "greedy": childGreedy, "hang": childHang, "building": childBuilding, "build": childBuild,
		"broken": childBroken, "fail": childFail, "shutdown": childShutdown, "snapshot": childSnapshot, "roles": childRoles, "pass": func(t *testing.T) { pgdbmtest.New(t, diary) },
	}[os.Getenv(childEnv)]
	if body == nil {
		t.Skip("run by other tests")
	}
	body(t)
}

func childParallel(t *testing.T) {
	pgdbmtest.New(t, diary)
	for i := range 12 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			mustExec(t, attach(t, pgdbmtest.New(t, diary), diary), `INSERT INTO {{tables.notes}} VALUES (1)`)
		})
	}
}

// childGreedy has many parallel tests that use all their connections at once,
// some of them after one for a transaction.
func childGreedy(t *testing.T) {
	for i := range 25 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			if i%2 == 0 {
				mustExec(t, pgdbmtest.Tx(t, diary), `SELECT pg_sleep(0.02)`)
			}
			pool := pgdbmtest.New(t, diary).Pgx()
			var wg sync.WaitGroup
			for range pool.Config().MaxConns {
				wg.Go(func() {
					if _, err := pool.Exec(t.Context(), `SELECT pg_sleep(0.02)`); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// childHang has a database until it is killed or its standard input ends.
func childHang(t *testing.T) {
	name := pgdbmtest.New(t, diary).Pgx().Config().ConnConfig.Database
	fmt.Printf("ready %s\n", name)
	io.Copy(io.Discard, os.Stdin)
}

func childBuilding(t *testing.T) {
	pgdbmtest.Config{SeedKey: "half", Seed: func(ctx context.Context, pool *pgdbm.Pool) error {
		fmt.Printf("ready %s\n", pool.Pgx().Config().ConnConfig.Database)
		io.Copy(io.Discard, os.Stdin)
		return nil
	}}.New(t, diary)
}

// childBuild wants the template that childBuilding was making.
func childBuild(t *testing.T) {
	pool := pgdbmtest.Config{SeedKey: "half", Seed: func(ctx context.Context, pool *pgdbm.Pool) error {
		_, err := pool.Pgx().Exec(ctx, `INSERT INTO diary.notes VALUES (1)`)
		return err
	}}.New(t, diary)
	if n := count(t, attach(t, pool, diary)); n != 1 {
		t.Errorf("%d notes", n)
	}
}

func childFail(t *testing.T) {
	pgdbmtest.New(t, diary)
	t.Error("something is wrong")
}

// foreign is a server that this process's tests do not use.
type foreign struct {
	url  string
	conn *pgx.Conn
}

func foreignServer(t *testing.T, o *localpg.Options) *foreign {
	t.Helper()
	var opts localpg.Options
	if o != nil {
		opts = *o
	}
	opts.Fetch = true
	server, err := localpg.Start(t.Context(), &opts)
	var missing *localpg.NotFoundError
	if errors.As(err, &missing) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	f := &foreign{url: server.URL("postgres")}
	if opts.TCP {
		if f.url, err = server.TCPURL("postgres"); err != nil {
			t.Fatal(err)
		}
	}
	if f.conn, err = pgx.Connect(t.Context(), f.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.conn.Close(context.Background()) })
	return f
}

// child is the test program, to do what TestChild does under this name.
func (f *foreign) child(t *testing.T, name string, env ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestChild$", "-test.v", "-test.parallel=25")
	cmd.Env = append(os.Environ(), "PGDBM_TEST_URL="+f.url, childEnv+"="+name, "PGDBM_TEST_KEEP=", "PGDBM_TEST_ALLOW_REMOTE=")
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

func (f *foreign) run(t *testing.T, name string, env ...string) (log string, err error) {
	t.Helper()
	out, err := f.child(t, name, env...).CombinedOutput()
	return string(out), err
}

// must is run, of what must pass.
func (f *foreign) must(t *testing.T, name string) {
	t.Helper()
	if log, err := f.run(t, name); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, log)
	}
}

// start starts a child that reports a database and waits for its input to end.
func (f *foreign) start(t *testing.T, name string) (cmd *exec.Cmd, stdin io.Closer, database string) {
	t.Helper()
	cmd = f.child(t, name)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
			go io.Copy(io.Discard, out) // ends with the child
			return cmd, in, name
		}
	}
	t.Fatal("child has ended")
	return nil, nil, ""
}

var (
	template = regexp.MustCompile(`^pgdbmt_[0-9a-f]{12}$`)
	clone    = regexp.MustCompile(`^pgdbmt_[0-9a-f]{12}_[0-9a-f]{8}_[0-9]+$`)
)

// databases are the names that match; the server's own are not asked for.
func (f *foreign) databases(t *testing.T, pattern *regexp.Regexp) (names []string) {
	t.Helper()
	rows, err := f.conn.Query(t.Context(), `SELECT datname FROM pg_database ORDER BY oid`)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if pattern.MatchString(name) {
			names = append(names, name)
		}
	}
	return names
}

func TestARunLeavesNothingButItsTemplateOnAForeignServer(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, nil)
	f.must(t, "parallel")
	if got := f.databases(t, clone); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
	if got := f.databases(t, template); len(got) != 1 {
		t.Errorf("templates: %v", got)
	}
}

func TestWhatAKilledRunLeftIsSweptAndNoLivingRunsDatabase(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, nil)
	killed, _, dead := f.start(t, "hang")
	_, livingIn, living := f.start(t, "hang")
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed.Wait()
	if got := f.databases(t, regexp.MustCompile("^"+dead+"$")); len(got) != 1 {
		t.Fatalf("the killed run's database: %v", got)
	}
	f.must(t, "pass")
	got := f.databases(t, clone)
	if len(got) == 0 {
		t.Error("the living run's database is gone")
	}
	run := living[:strings.LastIndex(living, "_")]
	for _, name := range got {
		if !strings.HasPrefix(name, run) {
			t.Errorf("left: %s", name)
		}
	}
	livingIn.Close()
}

func TestATemplateWhoseBuilderWasKilledIsBuiltAgain(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, nil)
	killed, _, half := f.start(t, "building")
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed.Wait()
	if got := f.databases(t, template); len(got) != 1 || got[0] != half {
		t.Fatalf("templates: %v", got)
	}
	f.must(t, "build")

	// One that nobody asks for again is swept.
	if _, err := f.conn.Exec(t.Context(), `CREATE DATABASE pgdbmt_0123456789ab`); err != nil {
		t.Fatal(err)
	}
	f.must(t, "build") // with the seed of the run before
	if got := f.databases(t, template); len(got) != 1 || got[0] != half {
		t.Errorf("templates: %v", got)
	}
}

func TestProcessesWaitForOneAnothersTemplate(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if log, err := f.run(t, "parallel"); err != nil {
				t.Errorf("%v\n%s", err, log)
			}
		})
	}
	wg.Wait()
	if got := f.databases(t, template); len(got) != 1 {
		t.Errorf("templates: %v", got)
	}
}

func TestParallelRunsDoNotExhaustTheServer(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, &localpg.Options{Settings: map[string]string{"max_connections": "40"}})
	var wg sync.WaitGroup
	for range 5 { // more than find room at the same time
		wg.Go(func() {
			if log, err := f.run(t, "greedy"); err != nil {
				t.Errorf("%v\n%s", err, log)
			}
		})
	}
	wg.Wait()
}

func TestAServerWithTooFewConnectionsIsToldOf(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, &localpg.Options{Settings: map[string]string{"max_connections": "18"}})
	log, err := f.run(t, "pass")
	if want := "pgdbmtest: test server: it has 15 connections for tests, which need 20"; err == nil || !strings.Contains(log, want) {
		t.Errorf("%v\n%s", err, log)
	}
}

func TestTheLastFailureOfATestIsKept(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, &localpg.Options{TCP: true})
	password := regexp.MustCompile(`://[^:]+:([^@]+)@`).FindStringSubmatch(f.url)[1]
	for range 2 {
		log, err := f.run(t, "fail")
		kept := f.databases(t, clone)
		if err == nil || len(kept) != 1 || !strings.Contains(log, kept[0]) {
			t.Fatalf("kept %v, %v\n%s", kept, err, log)
		}
		if !strings.Contains(log, "the password of PGDBM_TEST_URL in PGPASSWORD") {
			t.Errorf("log: %s", log)
		}
		if strings.Contains(log, password) {
			t.Errorf("password in the log: %s", log)
		}
	}
	f.must(t, "pass")
	if kept := f.databases(t, clone); len(kept) != 1 {
		t.Errorf("kept %v", kept)
	}
	if _, err := f.run(t, "fail", "PGDBM_TEST_KEEP=never"); err == nil || len(f.databases(t, clone)) != 1 {
		t.Errorf("never: %v, %v", f.databases(t, clone), err)
	}
	if _, err := f.run(t, "pass", "PGDBM_TEST_KEEP=always"); err != nil || len(f.databases(t, clone)) != 1 {
		t.Errorf("always: %v, %v", f.databases(t, clone), err)
	}
}

func TestAServerOfAnotherMachineIsRefused(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, &localpg.Options{TCP: true})
	f.url = strings.Replace(f.url, "127.0.0.1", "0.0.0.0", 1) // this machine, but not by its name
	if log, err := f.run(t, "pass"); err == nil || !strings.Contains(log, "another machine") {
		t.Errorf("%v\n%s", err, log)
	}
	if log, err := f.run(t, "pass", "PGDBM_TEST_ALLOW_REMOTE=1"); err != nil {
		t.Errorf("%v\n%s", err, log)
	}
	if _, err := f.conn.Exec(t.Context(), `COMMENT ON DATABASE postgres IS 'a pgdbm test server'`); err != nil {
		t.Fatal(err)
	}
	f.must(t, "pass")
}

func TestAServerThatIsNotThereFailsTheTest(t *testing.T) {
	t.Parallel()
	f := &foreign{url: "postgres://nobody:secret@127.0.0.1:1/postgres"}
	began := time.Now()
	log, err := f.run(t, "pass")
	if err == nil || strings.Contains(log, "secret") || time.Since(began) > 20*time.Second {
		t.Errorf("%v after %v\n%s", err, time.Since(began), log)
	}
}

// childRoles makes a role for a schema of its database.
func childRoles(t *testing.T) {
	t.Run("", func(t *testing.T) {
		db, err := pgdbmtest.New(t, diary).Isolate(t.Context(), pgdbm.HandleConfig{Schema: "apart"})
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, attach(t, db, diary), `INSERT INTO {{tables.notes}} VALUES (1)`)
	})
	pgdbmtest.Shutdown()
}

func TestRolesGoWithTheDatabasesThatTheyWereMadeFor(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, nil)
	f.must(t, "roles")
	var left int
	err := f.conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pgdbm%'`).Scan(&left)
	if err != nil || left > 0 {
		t.Errorf("%d roles, %v", left, err)
	}
}

// childShutdown ends all, as a TestMain does that looks for leaks, and goes on.
func childShutdown(t *testing.T) {
	for range 2 {
		t.Run("", func(t *testing.T) {
			pgdbmtest.New(t, diary)
			pgdbmtest.Tx(t, diary)
		})
		pgdbmtest.Shutdown()
		if stacks := poolStacks(); stacks != "" {
			t.Errorf("left:\n%s", stacks)
		}
	}
}

func TestShutdownLeavesNoGoroutinesAndDatabases(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, nil)
	f.must(t, "shutdown")
	if got := f.databases(t, clone); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

// poolStacks returns the goroutines of pools that do not end within a moment.
func poolStacks() (stacks string) {
	for range 500 {
		buf := make([]byte, 1<<20)
		stacks = string(buf[:runtime.Stack(buf, true)])
		if !strings.Contains(stacks, "pgxpool.") && !strings.Contains(stacks, "pgdbmtest.(*dropper)") {
			return ""
		}
		<-time.After(10 * time.Millisecond)
	}
	return stacks
}
