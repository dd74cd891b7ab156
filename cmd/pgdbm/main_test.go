package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pgdbm/pgdbm/localpg"
)

// The test binary runs as the command, so that scripts see its exit code.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pgdbm": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			// The race detector's own exit code would hide the command's.
			env.Setenv("GORACE", "exitcode=66")
			env.Setenv("CI", os.Getenv("CI"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"checkjson": checkJSON},
		Condition: func(name string) (bool, error) {
			if name != "postgres" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			_, err := localpg.Find(nil)
			if err != nil && os.Getenv("CI") != "" {
				return false, err
			}
			return err == nil, nil
		},
	})
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
	if _, err := localpg.Find(nil); err != nil {
		t.Skip(err)
	}
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
