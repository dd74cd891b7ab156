package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pgdbm/pgdbm/localpg"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

// The test binary runs as the command, so that scripts see its exit code, and checks
// what --json prints.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pgdbm": scriptMain})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			// The race detector's own exit code would hide the command's.
			env.Setenv("GORACE", "exitcode=66")
			for _, name := range []string{"CI", "PGDBM_POSTGRES_BIN"} {
				env.Setenv(name, os.Getenv(name))
			}
			root, err := filepath.Abs("../..")
			env.Setenv("CHECKOUT", root)
			env.Setenv("BINARIES", os.Getenv("PGDBM_POSTGRES_BIN"))
			env.Setenv("ESC", "\x1b")
			env.Setenv("LF", "\n")
			env.Setenv("PID", strconv.Itoa(os.Getpid()))
			if s, serverErr := server(); serverErr == nil {
				env.Setenv("SERVER", s.URL(""))
				config, err := pgx.ParseConfig(s.URL(""))
				if err != nil {
					return err
				}
				env.Setenv("SOCKET", config.Host)
				env.Setenv("DATABASE", pgdbmtest.URL(t))
			}
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"checkjson":      checkJSON,
			"choosejson":     chooseJSON,
			"exitcode":       exitCode,
			"holdlock":       holdLock,
			"interrupted":    interrupted,
			"checkserver":    checkServer,
			"holddatabase":   holdDatabase,
			"leavedatabases": leaveDatabases,
			"noconfig":       noConfig,
			"noconsent":      noConsent,
			"noserver":       noServer,
			"ownprograms":    ownPrograms,
			"query":          querySQL,
			"sql":            execSQL,
			"untildev":       untilDev,
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "postgres":
				_, err := server()
				if err != nil && os.Getenv("CI") != "" {
					return false, err
				}
				return err == nil, nil
			case "psql":
				// Some systems have a wrapper without a client behind it.
				return required(exec.Command(name, "--version").Run() == nil, name)
			case "pg_dump":
				if there, err := required(exec.Command(name, "--version").Run() == nil, name); !there {
					return false, err
				}
				return dumps(), nil
			case "fetched":
				// With its context at an end it does not go beyond the cache.
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				_, err := localpg.Fetch(ctx, "")
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
	})
}

// required reports whether a program is there; where it is not, CI fails.
func required(there bool, name string) (bool, error) {
	if !there && os.Getenv("CI") != "" {
		return false, fmt.Errorf("no %s", name)
	}
	return there, nil
}

// mustServer returns the server of the tests. Without one the test is skipped, and
// in CI it fails.
func mustServer(t *testing.T) *localpg.Server {
	t.Helper()
	s, err := server()
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal(err)
	} else if err != nil {
		t.Skip(err)
	}
	return s
}

// server is one for the tests of this package, which end it with the process.
var server = sync.OnceValues(func() (*localpg.Server, error) {
	return localpg.Start(context.Background(), &localpg.Options{Fetch: true})
})

// dumps reports whether there is a pg_dump that takes the server: one that is not
// older.
func dumps() bool {
	s, err := server()
	out, execErr := exec.Command("pg_dump", "--version").Output()
	if err != nil || execErr != nil {
		return false
	}
	fields := strings.Fields(string(out)) // pg_dump (PostgreSQL) 18.1
	if len(fields) < 3 {
		return false
	}
	major := func(version string) int {
		n, _ := strconv.Atoi(version[:len(version)-len(strings.TrimLeft(version, "0123456789"))])
		return n
	}
	return major(fields[2]) >= major(s.Version())
}

// checkServer reads what "server start --json" printed.
func checkServer(ts *testscript.TestScript, neg bool, args []string) {
	var report struct {
		ID, URL, Postgres string
		Version           int
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &report))
	if neg || report.ID == "" || report.URL == "" || report.Postgres == "" || report.Version != 1 {
		ts.Fatalf("report %+v", report)
	}
	ts.Setenv("OWNSERVER", report.ID)
}

// ownPrograms gives the script a folder of its own with PostgreSQL's programs.
func ownPrograms(ts *testscript.TestScript, neg bool, args []string) {
	folder, end, err := programsFolder()
	ts.Check(err)
	ts.Defer(func() {
		if err := end(); err != nil {
			ts.Logf("%v", err)
		}
	})
	ts.Setenv("PGDBM_POSTGRES_BIN", folder)
}

// programsFolder makes a folder with PostgreSQL's programs, so that the servers that
// are started from it are no other's. end ends them.
func programsFolder() (folder string, end func() error, err error) {
	s, err := server()
	if err != nil {
		return "", nil, err
	}
	base, err := os.MkdirTemp("", "pgdbm-script-")
	if err != nil {
		return "", nil, err
	}
	folder = filepath.Join(base, "bin")
	end = func() error {
		servers, err := localpg.List()
		for _, s := range servers {
			if s.BinDir == folder && s.Kept { // the others end by themselves
				err = errors.Join(err, localpg.End(context.Background(), s.ID, true))
			}
		}
		return errors.Join(err, os.RemoveAll(base))
	}
	// The user who runs the server has to read it.
	return folder, end, errors.Join(os.Chmod(base, 0o755), os.Symlink(s.BinDir(), folder))
}

// execSQL runs SQL on the script's own database.
func execSQL(ts *testscript.TestScript, neg bool, args []string) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, ts.Getenv("DATABASE"))
	ts.Check(err)
	defer conn.Close(ctx)
	_, err = conn.PgConn().Exec(ctx, args[0]).ReadAll()
	ts.Check(err)
}

// querySQL compares the one value of a query with a text: query SQL TEXT.
func querySQL(ts *testscript.TestScript, neg bool, args []string) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, ts.Getenv("DATABASE"))
	ts.Check(err)
	defer conn.Close(ctx)
	var got any
	ts.Check(conn.QueryRow(ctx, args[0]).Scan(&got))
	if neg || fmt.Sprint(got) != args[1] {
		ts.Fatalf("got %v, want %s", got, args[1])
	}
}

// holdDatabase connects to a database of the server until the script ends.
func holdDatabase(ts *testscript.TestScript, neg bool, args []string) {
	config, err := pgx.ParseConfig(ts.Getenv("SERVER"))
	ts.Check(err)
	config.Database = args[0]
	config.RuntimeParams["application_name"] = "holder"
	conn, err := pgx.ConnectConfig(context.Background(), config)
	ts.Check(err)
	ts.Defer(func() { conn.Close(context.Background()) })
}

// holdLock runs SQL in a transaction that stays open until the script ends.
func holdLock(ts *testscript.TestScript, neg bool, args []string) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, ts.Getenv("DATABASE"))
	ts.Check(err)
	ts.Defer(func() { conn.Close(ctx) })
	_, err = conn.PgConn().Exec(ctx, "BEGIN; "+args[0]).ReadAll()
	ts.Check(err)
}

// leaveDatabases makes what tests of a dead process leave behind.
func leaveDatabases(ts *testscript.TestScript, neg bool, args []string) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, ts.Getenv("SERVER"))
	ts.Check(err)
	defer conn.Close(ctx)
	for _, sql := range []string{
		"CREATE DATABASE pgdbmt_0123456789ab",
		"ALTER DATABASE pgdbmt_0123456789ab ALLOW_CONNECTIONS false IS_TEMPLATE true",
		"CREATE DATABASE pgdbmt_0123456789ab_00000001_1",
		`COMMENT ON DATABASE pgdbmt_0123456789ab_00000001_1 IS '{"test":"TestInvoice","kept":"2026-01-02T03:04:05Z"}'`,
		"CREATE DATABASE pgdbmt_0123456789ab_00000001_2",
	} {
		_, err := conn.Exec(ctx, sql)
		ts.Check(err)
	}
}

// checkJSON reads a demo's report and checks its documented shape.
func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: checkjson FILE")
	}
	var report struct {
		OK       *bool
		Postgres string
		Claims   []struct {
			Name   string
			OK     bool
			Detail string
		}
		Rows        struct{ Countries, Regions, Airports int }
		Connections int
		ElapsedMS   int `json:"elapsed_ms"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &report))
	if report.OK == nil || !*report.OK || report.Postgres == "" || report.ElapsedMS <= 0 {
		ts.Fatalf("report %+v", report)
	}
	for _, c := range report.Claims {
		if !c.OK || c.Name == "" || c.Detail == "" {
			ts.Fatalf("claim %+v", c)
		}
	}
	if n := len(report.Claims); n != 11 {
		ts.Fatalf("%d claims", n)
	}
	if r := report.Rows; r.Countries != 248 || r.Regions != 3901 || r.Airports != 5210 {
		ts.Fatalf("rows %+v", r)
	}
	if report.Connections < 1 || report.Connections > 8 {
		ts.Fatalf("connections %d", report.Connections)
	}
}

func TestAnInterruptedDemoLeavesNothing(t *testing.T) {
	t.Parallel()
	mustServer(t)
	tmp := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out, err := os.Create(filepath.Join(tmp, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if code := run(ctx, []string{"demo"}, out, out); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
}
