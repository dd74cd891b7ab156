package main

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strconv"

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
