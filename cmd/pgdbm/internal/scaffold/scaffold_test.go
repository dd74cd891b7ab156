package scaffold

import (
	"bytes"
	"context"
	"errors"
	"go/token"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/pgdbm/pgdbm/pgdbmtest"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// checkout is the root of this repository.
func checkout(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../../../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// project writes a project and returns its folder.
func newProject(t *testing.T, o Options) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), o.Name)
	o.Dir, o.Replace = dir, checkout(t)
	files, err := Project(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(dir, files); err != nil {
		t.Fatal(err)
	}
	return dir
}

// goTool runs the go command in dir as somebody without a network would.
func goTool(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOPROXY=off", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// tidy checks go.mod and go.sum. That takes modules which only the tests of
// others need, so it may use the network.
func tidy(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "tidy", "-diff")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("go mod tidy: %v\n%s", err, out)
	}
}

var projects = []struct {
	name string
	o    Options
	// path answers GET with want when the program has just started.
	path, want string
}{
	{"service", Options{Kind: Service, Name: "tea"}, "/items", "[]\n"},
	{"app", Options{Kind: App, Name: "shop", Modules: []string{"users", "line-items"}, ModulePath: "example.org/deep/shop"}, "/line-items/", "[]\n"},
	{"tenants", Options{Kind: App, Name: "saas", Modules: []string{"orders", "order_lines"}, Tenants: true}, "/tenants", "[]\n"},
	{"library", Options{Kind: Lib, Name: "cata-log_2"}, "", ""},
}

// From an empty folder: what is written is as gofmt, vet and tidy want it, its
// tests pass, and it serves a request and ends cleanly on SIGTERM.
func TestProjectsPassTheirTestsAndRun(t *testing.T) {
	t.Parallel()
	for _, p := range projects {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			dir := newProject(t, p.o)
			goTool(t, dir, "vet", "./...")
			goTool(t, dir, "test", "-count=1", "./...")
			tidy(t, dir)
			if p.path != "" {
				goTool(t, dir, "build", "-o", "program", ".")
				serve(t, filepath.Join(dir, "program"), p.path, p.want)
			}
		})
	}
}

var listening = regexp.MustCompile(`msg=listening addr=(\S+)|listening addr=(\S+)`)

// serve runs a program as a container would.
func serve(t *testing.T, program, path, want string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no SIGTERM")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+pgdbmtest.URL(t), "ADDR=127.0.0.1:0")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	var log bytes.Buffer
	address := ""
	for buf := make([]byte, 4096); address == ""; {
		n, err := stderr.Read(buf)
		log.Write(buf[:n])
		if m := listening.FindStringSubmatch(log.String()); m != nil {
			address = m[1] + m[2]
		} else if err != nil {
			t.Fatalf("%v\n%s", err, log.String())
		}
	}
	for _, c := range []struct{ path, want string }{{path, want}, {"/healthz", "ok\n"}} {
		res, err := http.Get("http://" + address + c.path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 200 || string(body) != c.want {
			t.Errorf("GET %s: %s %q, %v", c.path, res.Status, body, err)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(stderr)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s%s", err, log.String(), rest)
	}
}

func TestProgramsSayWhatTheyLack(t *testing.T) {
	t.Parallel()
	dir := newProject(t, Options{Kind: Service, Name: "tea"})
	goTool(t, dir, "build", "-o", "program", ".")
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "program"))
	cmd.Env = []string{"ADDR=127.0.0.1:0"}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "DATABASE_URL is not set") {
		t.Errorf("%v %s", err, out)
	}
}

// The container files cannot be run here, but read.
func TestContainerFilesAreWellFormed(t *testing.T) {
	t.Parallel()
	dir := newProject(t, Options{Kind: App, Name: "shop", Modules: []string{"users"}})
	text, err := os.ReadFile(filepath.Join(dir, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Build, Image string
			Environment  map[string]string
		}
	}
	if err := yaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	if compose.Services["shop"].Build != "." || compose.Services["db"].Image == "" ||
		!strings.Contains(compose.Services["shop"].Environment["DATABASE_URL"], "@db/") {
		t.Errorf("%+v", compose)
	}
	docker, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^RUN CGO_ENABLED=0 go (build .*) -o \S+ \.$`).FindSubmatch(docker)
	if m == nil {
		t.Fatalf("no build in %s", docker)
	}
	goTool(t, dir, append(strings.Fields(string(m[1])), "-o", "program", ".")...)
}

func TestNothingIsOverwritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"b", "d"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	err := Write(dir, []File{{"a", nil}, {"b", nil}, {"c/x", nil}, {"d", nil}})
	exists, ok := errors.AsType[*ExistsError](err)
	if !ok || len(exists.Paths) != 2 || !strings.HasSuffix(exists.Paths[1], "d") {
		t.Errorf("error %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestBadProjectsAreRefused(t *testing.T) {
	t.Parallel()
	good := Options{Kind: App, Name: "shop", Modules: []string{"users"}, Replace: checkout(t)}
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Name = "" }, "name"},
		{func(o *Options) { o.Name = "Shop" }, "lower case"},
		{func(o *Options) { o.Name = "../shop" }, "lower case"},
		{func(o *Options) { o.Name = "a__b" }, "lower case"},
		{func(o *Options) { o.Name = strings.Repeat("a", 41) }, "at most 40"},
		{func(o *Options) { o.Name = "pg_shop" }, "pg_"},
		{func(o *Options) { o.Name = "public" }, "public"},
		{func(o *Options) { o.Name = "func" }, "something else"},
		{func(o *Options) { o.Name = "pgdbm" }, "pgdbm"},
		{func(o *Options) { o.Modules = nil }, "without modules"},
		{func(o *Options) { o.Modules = []string{"users", "Users"} }, "lower case"},
		{func(o *Options) { o.Modules = []string{"a-b", "ab"} }, "another one"},
		{func(o *Options) { o.Modules = []string{"tenants"} }, "something else"},
		{func(o *Options) { o.ModulePath = "no spaces" }, "malformed"},
		{func(o *Options) { o.ModulePath = Library + "/x" }, "the library's own"},
		{func(o *Options) { o.Replace = t.TempDir() }, "go.mod"},
		{func(o *Options) { o.Replace = filepath.Join(checkout(t), "examples") }, "no checkout"},
		{func(o *Options) { o.Replace = "" }, ErrNoVersion.Error()},
	} {
		o := good
		c.change(&o)
		if _, err := Project(o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", o, err, c.want)
		}
	}
}

// What ParseName lets pass is good for Go, for PostgreSQL and for a folder.
func FuzzParseName(f *testing.F) {
	for _, name := range []string{"shop", "line-items", "a_1", "pg_x", "Func", "", "a--b", "../x", "é"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		n, err := ParseName(name)
		if err != nil {
			return
		}
		if !token.IsIdentifier(n.Package) || sqltemplate.ValidateModule(n.Schema) != nil || filepath.Base(n.Name) != n.Name {
			t.Errorf("%q: %+v", name, n)
		}
	})
}

func TestARelativeCheckoutIsSeenFromTheProject(t *testing.T) {
	t.Parallel()
	files, err := Project(Options{Kind: Lib, Name: "catalog", Dir: "sub/catalog", Replace: "../../../.."})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Path == "go.mod" && !strings.Contains(string(f.Text), "=> ../../../../../..\n") {
			t.Errorf("%s", f.Text)
		}
	}
}

func TestAPublishedVersionNeedsNoReplace(t *testing.T) {
	t.Parallel()
	files, err := Project(Options{Kind: Lib, Name: "catalog", Version: "v1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Path == "go.sum" || strings.Contains(string(f.Text), "replace") {
			t.Errorf("%s: %s", f.Path, f.Text)
		}
		if f.Path == "go.mod" && !strings.Contains(string(f.Text), "require github.com/pgdbm/pgdbm v1.2.3\n") {
			t.Errorf("%s", f.Text)
		}
	}
}
