//go:build unix

package pgdbmtest_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fiftyTests is a package of somebody's program, with a module of its own.
const fiftyTests = `package p%[1]d

import (
	"fmt"
	"os"
	"testing"
	"testing/fstest"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

var module = pgdbm.Module{Name: "m%[1]d", Files: fstest.MapFS{
	"001_t.sql": {Data: []byte("CREATE TABLE {{tables.t}} (id int PRIMARY KEY);")},
}}

func TestFifty(t *testing.T) {
	for i := range 50 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			db, err := pgdbm.Attach(t.Context(), pgdbmtest.New(t, module), module)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec(t.Context(), "INSERT INTO {{tables.t}} VALUES (1)"); err != nil {
				t.Fatal(err)
			}
			if i == 25 {
				if f, err := os.OpenFile(os.Getenv("HALFWAY"), os.O_WRONLY, 0); err == nil {
					f.Close()
				}
			}
		})
	}
}
`

// program is a module of eight such packages, and a place for its test binaries.
func program(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile("../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(mod), "module github.com/pgdbm/pgdbm", "module program", 1) +
		"\nrequire github.com/pgdbm/pgdbm v0.0.0\n\nreplace github.com/pgdbm/pgdbm => " + root + "\n"
	files := map[string]string{"go.mod": text, "go.sum": string(sum)}
	for i := range 8 {
		files[fmt.Sprintf("p%d/p_test.go", i)] = fmt.Sprintf(fiftyTests, i)
	}
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// goTest is "go test ./..." of the program.
func goTest(t *testing.T, dir string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-p=8", "-parallel=50", "-mod=mod", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append(env, "GOWORK=off", "GOFLAGS=", "PGDBM_TEST_KEEP=")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func TestEightPackagesOfFiftyParallelTestsLeaveNothingThoughKilledHalfWay(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds eight packages")
	}
	f := foreignServer(t, nil)
	f.must(t, "pass") // somebody else's, beside it
	dir := program(t)

	for name, url := range map[string]string{"private": "", "given": f.url} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			cmd := goTest(t, dir, "PGDBM_TEST_URL="+url)
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			if n := strings.Count(out.String(), "ok  \t"); n != 8 {
				t.Errorf("%d packages\n%s", n, out.String())
			}
		})
	}
	if got := f.databases(t, clone); len(got) > 0 {
		t.Errorf("left: %v", got)
	}

	// The run is killed when one of its packages is half-way.
	halfway := filepath.Join(t.TempDir(), "halfway")
	if err := syscall.Mkfifo(halfway, 0o600); err != nil {
		t.Fatal(err)
	}
	killed := goTest(t, dir, "PGDBM_TEST_URL="+f.url, "HALFWAY="+halfway)
	var out bytes.Buffer
	killed.Stdout, killed.Stderr = &out, &out
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- killed.Wait()
		if f, err := os.OpenFile(halfway, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			f.Close() // lets the open below return if no test did
		}
	}()
	half, err := os.Open(halfway) // when a test has opened it too
	if err != nil {
		t.Fatal(err)
	}
	half.Close()
	if err := syscall.Kill(-killed.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	<-ended
	if got := f.databases(t, clone); len(got) == 0 {
		t.Error("the killed run had no databases")
	}
	f.must(t, "pass")
	if got := f.databases(t, clone); len(got) > 0 {
		t.Errorf("left after the next run: %v", got)
	}
}
