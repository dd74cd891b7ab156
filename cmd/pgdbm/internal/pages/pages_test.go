package pages

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/docs"
	_ "github.com/pgdbm/pgdbm/pgdbmtest"
	"github.com/pgdbm/pgdbm/skills"
)

const root = "../../../.."

// all returns the pages of the documentation and the skills, by their path below
// the repository's root. They come from packages, as pgdbmtest does though it is
// not called here: go test caches results and sees no other files change.
func all(t *testing.T) map[string]string {
	t.Helper()
	pages := make(map[string]string)
	for folder, fsys := range map[string]fs.FS{"docs": docs.FS(), "skills": skills.FS()} {
		err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := fs.ReadFile(fsys, name)
			pages[path.Join(folder, name)] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return pages
}

func TestGoAndSQLOfPagesRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	checkout, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	write("go.sum", string(sum))
	write("go.mod", strings.Replace(string(mod), "module github.com/pgdbm/pgdbm", "module pages", 1)+
		fmt.Sprintf("\nrequire github.com/pgdbm/pgdbm v0.0.0\n\nreplace github.com/pgdbm/pgdbm => %s\n", checkout))
	folder := regexp.MustCompile(`[^a-z]+`)
	packages := 0
	// One test program for all pages: twenty take minutes to link.
	imports, runs := "", ""
	for name, text := range all(t) {
		files, err := Package(name, text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		pkg := folder.ReplaceAllString(strings.ToLower(name), "_")
		for file, text := range files {
			write(filepath.Join(pkg, file), text)
		}
		if len(files) > 0 {
			packages++
			imports += fmt.Sprintf("\t%s \"pages/%s\"\n", pkg, pkg)
			runs += fmt.Sprintf("\tfor _, test := range %s.Tests {\n\t\tt.Run(%q+test.Name, test.F)\n\t}\n", pkg, name+":")
		}
	}
	if packages < 8 {
		t.Errorf("%d pages with code", packages)
	}
	write("pages_test.go", "package pages\n\nimport (\n\t\"testing\"\n\n"+imports+")\n\nfunc TestPages(t *testing.T) {\n"+runs+"}\n")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOPROXY=off", "GOFLAGS=-buildvcs=false")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Pages are to be read in a terminal too. Tables, links and generated lists may
// be wider, and so may the code of skills, which people do not read there.
func TestPagesFitEightyColumns(t *testing.T) {
	t.Parallel()
	for name, text := range all(t) {
		text = blank(generated, text)
		if strings.HasPrefix(name, "skills/") {
			text = blank(fence, text)
		}
		for i, line := range strings.Split(text, "\n") {
			if len([]rune(line)) > 80 && !strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "description: ") && !strings.Contains(line, "](") {
				t.Errorf("%s:%d: %d columns", name, i+1, len([]rune(line)))
			}
		}
	}
}

var generated = regexp.MustCompile(`(?s)<!-- api .*?<!-- end -->`)

// blank empties the lines that re matches.
func blank(re *regexp.Regexp, text string) string {
	return re.ReplaceAllStringFunc(text, func(s string) string { return strings.Repeat("\n", strings.Count(s, "\n")) })
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

func TestLinksBetweenPagesLead(t *testing.T) {
	t.Parallel()
	for name, text := range all(t) {
		for _, m := range link.FindAllStringSubmatch(blank(generated, blank(fence, text)), -1) {
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
