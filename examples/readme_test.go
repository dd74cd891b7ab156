package examples_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/pgdbmtest"
)

// blocks returns the fenced blocks of a language in the README.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```").FindAllStringSubmatch(string(text), -1) {
		if m[1] == language {
			found = append(found, m[2])
		}
	}
	if len(found) == 0 {
		t.Fatalf("the README has no %s block", language)
	}
	return found
}

const readmeHead = `package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"

	"github.com/pgdbm/pgdbm"
)
`

const readmeTestHead = `package main

import (
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)
`

const readmeMain = `
func main() {
	if err := all(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

func all(ctx context.Context, alone, shared, library string) error {
	if err := standalone(ctx, alone); err != nil {
		return err
	}
	if err := sharedPool(ctx, shared); err != nil {
		return err
	}
	s, err := OpenStore(ctx, pgdbm.URL(library)) // alone
	if err != nil {
		return err
	}
	s.Close()
	pool, err := pgdbm.Open(ctx, pgdbm.Config{URL: alone})
	if err != nil {
		return err
	}
	defer pool.Close()
	if s, err = OpenStore(ctx, pool); err != nil { // in a host
		return err
	}
	defer s.Close()
	return queries(ctx, s.db.DB)
}
`

func TestREADMESnippetsCompileAndRun(t *testing.T) {
	t.Parallel()
	snippets := blocks(t, "go")
	patterns := 0
	for _, s := range snippets {
		for _, name := range []string{"func standalone(", "func sharedPool(", "func OpenStore("} {
			if !strings.Contains(s, name) {
				continue
			}
			patterns++
			if n := strings.Count(s, "\n"); n > 15 {
				t.Errorf("the snippet with %s has %d lines", name, n)
			}
		}
	}
	if patterns != 3 {
		t.Errorf("%d of the three patterns have a snippet", patterns)
	}

	isTest := func(snippet string) bool { return strings.Contains(snippet, "*testing.T") }
	tests := slices.DeleteFunc(slices.Clone(snippets), func(s string) bool { return !isTest(s) })
	snippets = slices.DeleteFunc(snippets, isTest)
	if len(tests) == 0 {
		t.Error("no test")
	}

	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string]string{
		"main.go":      readmeHead + strings.Join(snippets, "\n") + readmeMain,
		"main_test.go": readmeTestHead + strings.Join(tests, "\n"),
		"go.sum":       string(sum),
		"go.mod": fmt.Sprintf("module readme\n\ngo 1.26.0\n\nrequire github.com/pgdbm/pgdbm v0.0.0\n\n"+
			"replace github.com/pgdbm/pgdbm => %s\n", root),
	}
	for i, migration := range blocks(t, "sql") {
		files[fmt.Sprintf("migrations/%03d_readme.sql", i+1)] = migration
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"run", ".", pgdbmtest.URL(t), pgdbmtest.URL(t), pgdbmtest.URL(t)},
		{"test", "-count=1", "."},
	} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), "ok\n") && !strings.HasPrefix(string(out), "ok ") {
			t.Errorf("go %s: %v\n%s", args[0], err, out)
		}
	}
}

func TestREADMECommandsAreRunByCI(t *testing.T) {
	t.Parallel()
	ci, err := os.ReadFile("../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range blocks(t, "sh") {
		for line := range strings.Lines(block) {
			command, _, _ := strings.Cut(line, "#")
			if command = strings.TrimSpace(command); !strings.Contains(string(ci), "\n"+command+"\n") {
				t.Errorf(".ci/run does not run %q", command)
			}
		}
	}
}
