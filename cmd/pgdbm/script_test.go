package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"
)

// exitCode runs a command that must end with a given code: exitcode 2 pgdbm x.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N command [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// noConfig runs a command that must say that there is neither a file nor a URL, or no
// module without them, as a usage error.
func noConfig(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, args, exitUsage, `there is no pgdbm\.toml`, `(?m)^Run 'pgdbm .* --help' for usage\.$`)
}

// noServer runs a command where DATABASE_URL leads to no server.
func noServer(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, args, exitFailed, `(?m)^pgdbm: database of DATABASE_URL: .*connect`, `(?m)^hint: check that the server runs, and host and port of DATABASE_URL$`)
	if strings.Contains(ts.ReadFile("stderr"), "s3cret") {
		ts.Fatalf("the password is in stderr")
	}
}

// noConsent runs a command that destroys data where nobody can be asked: in the
// environment that is picked by itself, and in production with --yes.
func noConsent(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, args, exitUsage, `--yes: required where nobody can be asked`)
	must(ts, append(args, "--env", "live", "--yes"), exitUsage, `--confirm live: required, as environment live is production`)
}

// must runs a command that fails with a code, prints no result, and says on stderr
// what the patterns have.
func must(ts *testscript.TestScript, args []string, code int, patterns ...string) {
	exitCode(ts, false, append([]string{strconv.Itoa(code)}, args...))
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("stdout: %s", out)
	}
	stderr := ts.ReadFile("stderr")
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(stderr) {
			ts.Fatalf("no match for `%s` in stderr: %s", p, stderr)
		}
	}
}

// interrupted runs a command, which must wait for a lock, until it does, and
// interrupts it. It must say the detail that DETAIL has.
func interrupted(ts *testscript.TestScript, neg bool, args []string) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, ts.Getenv("DATABASE"))
	ts.Check(err)
	defer conn.Close(ctx)
	cmd := exec.Command(args[0], args[1:]...)
	var stderr strings.Builder
	cmd.Dir, cmd.Stderr = ts.MkAbs("."), &stderr
	cmd.Env = append(os.Environ(), "DATABASE_URL="+ts.Getenv("DATABASE_URL"))
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for waits := false; !waits; {
		select {
		case <-ended:
			ts.Fatalf("it ended before it waited for a lock: %s", stderr.String())
		default:
		}
		ts.Check(conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))").Scan(&waits))
	}
	ts.Check(cmd.Process.Signal(os.Interrupt))
	<-ended
	said := "pgdbm: interrupted\n"
	if detail := ts.Getenv("DETAIL"); detail != "" {
		said += "detail: " + detail + "\n"
	}
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.HasSuffix(stderr.String(), said) {
		ts.Fatalf("exit code %d: %s", code, stderr.String())
	}
}

// chooseJSON checks the documented shape of an answer.
func chooseJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: choosejson FILE")
	}
	var answer struct {
		Pattern  string
		Why      []string
		Not      map[string]string
		RedFlags []struct{ Sign, Do string } `json:"red_flags"`
		Next     struct{ Command, Page, Skill string }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &answer))
	if len(answer.Why) == 0 || len(answer.Not) != 2 || answer.Not[answer.Pattern] != "" || answer.RedFlags == nil ||
		answer.Next.Command == "" || answer.Next.Page == "" || answer.Next.Skill == "" {
		ts.Fatalf("answer %+v", answer)
	}
}
