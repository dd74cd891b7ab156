package choose

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// Each archive is a project; its comment says what must be found:
//
//	subject: the folder to analyse
//	want: the pattern
//	text: a part of the printed answer, which is folded to one line
//	not: what must not be in it
func TestProjectsGetTheirPattern(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no projects: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			ar, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			if err := txtar.Write(ar, root); err != nil {
				t.Fatal(err)
			}
			subject := root
			for line := range strings.Lines(string(ar.Comment)) {
				if dir, ok := strings.CutPrefix(line, "subject: "); ok {
					subject = filepath.Join(root, strings.TrimSpace(dir))
				}
			}
			p, err := Analyze(subject)
			if err != nil {
				t.Fatal(err)
			}
			a := p.Answer()
			var b strings.Builder
			if err := a.WriteText(&b, false); err != nil {
				t.Fatal(err)
			}
			printed := strings.Join(strings.Fields(b.String()), " ")
			wants := 0
			for line := range strings.Lines(string(ar.Comment)) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				switch key {
				case "want":
					wants++
					if string(a.Pattern) != value {
						t.Errorf("%s, want %s", a.Pattern, value)
					}
				case "text":
					if !strings.Contains(printed, value) {
						t.Errorf("no %q", value)
					}
				case "not":
					if strings.Contains(printed, value) {
						t.Errorf("%q is there", value)
					}
				}
			}
			if wants != 1 {
				t.Errorf("%d patterns wanted", wants)
			}
			if t.Failed() {
				t.Log(b.String())
			}
		})
	}
}

func TestFoldersWithoutGoAreErrors(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	file := filepath.Join(empty, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, want string }{
		{empty, "no Go package"},
		{file, "not a folder"},
		{filepath.Join(empty, "nowhere"), "no such file"},
	} {
		if _, err := Analyze(c.dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.dir, err, c.want)
		}
	}
}

// Whatever a source file holds, reading it neither panics nor hangs.
func FuzzAddFile(f *testing.F) {
	f.Add("package p\nimport \"database/sql\"\nfunc f() { for _, x := range y { sql.Open(\"pgx\", x) } }")
	f.Add("package p\nvar x = pgdbm.Module{Name: 1}\nvar a, b = f()")
	f.Add("package p\nfunc ( {")
	f.Fuzz(func(t *testing.T, text string) {
		addFile(&goPackage{imports: make(map[string]bool)}, "f.go", []byte(text))
	})
}
