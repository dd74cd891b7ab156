package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/choose"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/pages"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/projectfile"
	"github.com/pgdbm/pgdbm/docs"
)

// nexts are all places that an answer can lead to.
func nexts() []choose.Next {
	tenants := true
	var all []choose.Next
	for _, c := range []choose.Context{
		{}, {Services: 2}, {Tenants: &tenants}, {ImportedBy: choose.Anyone},
		{Building: choose.Worker, Processes: choose.OneProcess},
	} {
		all = append(all, choose.Decide(c).Next)
	}
	return all
}

// The shell blocks of a page run one after the other, in an empty folder that
// has the command and, as $PGDBM, a checkout.
func TestShellOfPagesRuns(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(docs.FS(), "*.md")
	if err != nil || len(names) < 10 {
		t.Fatalf("%d pages, %v", len(names), err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for _, name := range names {
		text, err := fs.ReadFile(docs.FS(), name)
		if err != nil {
			t.Fatal(err)
		}
		script := ""
		for _, b := range pages.Blocks(string(text)) {
			switch b.Language {
			case "sh":
				blocks++
				script += b.Text
			case "toml":
				if _, err := projectfile.Parse(fmt.Sprintf("%s, from line %d", name, b.Line+1), []byte(b.Text)); err != nil {
					t.Error(err)
				}
			case "go", "sql", "text", "console":
			default:
				t.Errorf("%s:%d: a block in %q, which no test runs", name, b.Line, b.Language)
			}
		}
		if script == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runShell(t, root, script)
		})
	}
	if blocks < 5 {
		t.Errorf("%d blocks", blocks)
	}
}

func runShell(t *testing.T, root, script string) {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-euc", script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PGDBM="+root, "GOWORK=off", "GOPROXY=off", "GOFLAGS=-buildvcs=false", "GORACE=exitcode=66")
	if strings.Contains(script, "pgdbm server") {
		// A developer's server stays, and those of other tests.
		mustServer(t)
		folder, end, err := programsFolder()
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := end(); err != nil {
				t.Error(err)
			}
		}()
		cmd.Env = append(cmd.Env, "PGDBM_POSTGRES_BIN="+folder)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestTheConfigurationPageHasEveryField(t *testing.T) {
	t.Parallel()
	text, err := fs.ReadFile(docs.FS(), "configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for f := range reflect.TypeFor[pgdbm.Config]().Fields() {
		if !strings.Contains(string(text), "`"+f.Name+"`") {
			t.Errorf("no field %s", f.Name)
		}
	}
}
