package pgdbm_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// The core stays at pgx: whoever imports it gets pgx's modules and no others.
func TestCoreRequiresPgxAndGolangOrgXOnly(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace []any
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	if len(mod.Require) == 0 {
		t.Fatal("go.mod requires nothing: not the core's?")
	}
	for _, r := range mod.Require {
		if r.Indirect || r.Path == "github.com/jackc/pgx/v5" || strings.HasPrefix(r.Path, "golang.org/x/") {
			continue
		}
		t.Errorf("the core requires %s", r.Path)
	}
	if len(mod.Replace) > 0 {
		t.Error("the core's go.mod has replace directives")
	}
}

// Packages import downwards only, so that each can be understood, and moved,
// without those above it.
func TestPackagesImportDownwardsOnly(t *testing.T) {
	t.Parallel()
	const module = "github.com/pgdbm/pgdbm"
	allowed := map[string][]string{
		"":                    {"/internal/bridge", "/internal/engine", "/internal/statement", "/sqltemplate"},
		"/migrate":            {"", "/internal/bridge", "/internal/engine", "/sqltemplate"},
		"/docs":               {},
		"/internal/bridge":    {"/internal/engine"},
		"/internal/engine":    {"/sqltemplate"},
		"/internal/statement": {"/sqltemplate"},
		"/internal/testdb":    {"/localpg", "/pgdbmtest"},
		"/internal/testurl":   {},
		"/pgdbmtest":          {"", "/internal/bridge", "/internal/testurl", "/localpg", "/sqltemplate"},
		"/localpg":            {},
		"/skills":             {},
		"/sqltemplate":        {},
		"/tenant":             {"", "/internal/bridge", "/internal/engine", "/migrate", "/sqltemplate"},
	}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], module)
		for _, imp := range words[1:] {
			rel, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			may, known := allowed[pkg]
			if !known {
				t.Errorf("%s imports %s and is not in this test's table", pkg, rel)
				break
			}
			found := false
			for _, a := range may {
				found = found || a == rel
			}
			if !found {
				t.Errorf("%s imports %s", pkg, rel)
			}
			if pkg == "/sqltemplate" && strings.Contains(imp, "pgx") {
				t.Errorf("sqltemplate imports %s", imp)
			}
		}
	}
}
