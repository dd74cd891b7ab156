package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
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

// interrupted runs a command, which must wait for a lock, until it does, and
// interrupts it.
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
	for waits := false; !waits; {
		ts.Check(conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))").Scan(&waits))
	}
	ts.Check(cmd.Process.Signal(os.Interrupt))
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.HasSuffix(stderr.String(), "pgdbm: interrupted\n") {
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
