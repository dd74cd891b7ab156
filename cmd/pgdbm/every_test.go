package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// scripted is a run of the command in a script, and what is checked of it.
type scripted struct {
	command        string // its path, such as "pgdbm db create"
	how            string // 0, an exit code, ! for any but 0, or the name of a check: noserver
	stdout, stderr bool   // something is checked to be there
	json           bool
}

// readScripts returns the runs of all scripts.
func readScripts(t *testing.T) (runs []scripted) {
	t.Helper()
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		last := new(scripted)
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "-- ") {
				break // the files behind the script
			}
			words := strings.Fields(line)
			for len(words) > 0 && strings.HasPrefix(words[0], "[") {
				words = words[1:] // conditions
			}
			if len(words) < 2 {
				continue
			}
			not := words[0] == "!"
			if not {
				words = words[1:]
			}
			switch words[0] {
			case "exec", "exitcode", "noconfig", "noconsent", "noserver":
				how, args := words[0], words[1:]
				switch {
				case how == "exitcode":
					how, args = args[0], args[1:]
				case not:
					how = "!"
				case how == "exec":
					how = "0"
				}
				last = &scripted{how: how, json: slices.Contains(args, "--json")}
				if args[0] == "pgdbm" {
					last.command = commandOf(args[1:])
					runs = append(runs, *last)
					last = &runs[len(runs)-1]
				}
			case "stdout", "stderr", "cmp", "cp":
				last.stdout = last.stdout || !not && (words[0] == "stdout" || words[1] == "stdout")
				last.stderr = last.stderr || !not && words[0] == "stderr"
			}
		}
	}
	return runs
}

// commandOf is the path of the command that words of a command line begin with.
func commandOf(words []string) string {
	c, _, err := newRoot().Find(words)
	if err != nil {
		return ""
	}
	return c.CommandPath()
}

// Of every command a script shows what it prints and what it ends with, when all is
// well and when it is not; and what it does without a configuration, a server or
// somebody to ask, as far as it wants one.
func TestEveryCommandHasItsScripts(t *testing.T) {
	t.Parallel()
	runs := readScripts(t)
	for _, c := range commands(newRoot()) {
		path := c.CommandPath()
		if c.Name() == "help" || strings.HasPrefix(path, "pgdbm completion ") {
			continue // cobra's own
		}
		has := func(flag string) bool { return c.Flags().Lookup(flag) != nil }
		for _, want := range []struct {
			what    string
			applies bool
			shows   func(r scripted) bool
		}{
			{"success, and what is on stdout", true, func(r scripted) bool {
				return (r.how == "0" || r.how == "!" && path == "pgdbm dev") && r.stdout // dev goes on until it is interrupted
			}},
			{"misuse: exit code 2, and what is on stderr", true, func(r scripted) bool { return r.how == "2" && r.stderr }},
			{"--json", has("json"), func(r scripted) bool { return r.json && r.stdout }},
			{"noconfig", has("config") && path != "pgdbm migrate squash", func(r scripted) bool { return r.how == "noconfig" }}, // its flags are enough
			{"noserver", has("url"), func(r scripted) bool { return r.how == "noserver" }},
			{"noconsent", has("yes"), func(r scripted) bool { return r.how == "noconsent" }},
		} {
			if want.applies && !slices.ContainsFunc(runs, func(r scripted) bool { return r.command == path && want.shows(r) }) {
				t.Errorf("%s: no script shows: %s", path, want.what)
			}
		}
	}
}
