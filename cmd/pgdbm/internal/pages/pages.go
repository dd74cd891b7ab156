// Package pages runs what is written in the documentation and in the skills:
// every block of Go, SQL and shell in a Markdown page.
//
// The Go blocks of a page are declarations of one package. Imports need not be
// written. Functions of a context and a URL, which return an error, are called
// with a database of their own each; functions of a testing.T are tests. An SQL
// block that begins with the comment "-- migrations/NAME.sql" is that file of the
// package, any other is migrated in a schema of its own. Shell blocks run in an
// empty folder, one after the other.
package pages

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Block is a fenced block of a page.
type Block struct {
	Language string
	Text     string
	Line     int // of the page, from 1
}

var fence = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

// Blocks returns the fenced blocks of a page.
func Blocks(text string) []Block {
	var all []Block
	for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
		all = append(all, Block{text[m[2]:m[3]], text[m[4]:m[5]], 1 + strings.Count(text[:m[0]], "\n")})
	}
	return all
}

// known are the packages that pages use, by name.
var known = map[string]string{
	"context": "context", "embed": "embed", "errors": "errors", "fmt": "fmt", "http": "net/http",
	"os": "os", "signal": "os/signal", "slices": "slices", "slog": "log/slog", "sync": "sync",
	"syscall": "syscall", "testing": "testing", "time": "time", "fstest": "testing/fstest",
	"strings": "strings", "httptest": "net/http/httptest", "iter": "iter", "tls": "crypto/tls",
	"pgx": "github.com/jackc/pgx/v5", "pgxpool": "github.com/jackc/pgx/v5/pgxpool",
	"pgconn": "github.com/jackc/pgx/v5/pgconn", "pgdbm": "github.com/pgdbm/pgdbm",
	"migrate": "github.com/pgdbm/pgdbm/migrate", "localpg": "github.com/pgdbm/pgdbm/localpg",
	"pgdbmtest": "github.com/pgdbm/pgdbm/pgdbmtest", "sqltemplate": "github.com/pgdbm/pgdbm/sqltemplate",
	"tenant": "github.com/pgdbm/pgdbm/tenant",
}

// Package returns the files of a package made of a page's Go and SQL blocks, by
// name; nil if there are none. Its variable Tests has what is to be run. The
// page's name is for messages.
func Package(name, text string) (map[string]string, error) {
	files := make(map[string]string)
	var code strings.Builder
	var sql []string
	for _, b := range Blocks(text) {
		switch b.Language {
		case "go":
			fmt.Fprintf(&code, "//line %s:%d\n%s\n", name, b.Line+1, b.Text)
		case "sql":
			first, _, _ := strings.Cut(b.Text, "\n")
			if file, ok := strings.CutPrefix(first, "-- "); ok && strings.HasSuffix(file, ".sql") && filepath.IsLocal(file) {
				files[file] = b.Text
			} else {
				sql = append(sql, b.Text)
			}
		}
	}
	if code.Len() == 0 && len(sql) == 0 && len(files) == 0 {
		return nil, nil
	}
	const clause = "package page\n\n"
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, "", clause+code.String(), parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var calls, tests []string
	for _, d := range tree.Decls {
		f, ok := d.(*ast.FuncDecl)
		switch {
		case !ok:
		case runs(f):
			calls = append(calls, f.Name.Name)
		case f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test"):
			tests = append(tests, f.Name.Name)
		}
	}
	var out strings.Builder
	out.WriteString(clause)
	body := code.String() + harness(calls, tests, sql)
	out.WriteString(imports(clause + body))
	out.WriteString(body)
	source := out.String()
	if _, err := format.Source([]byte(source)); err != nil {
		return nil, err
	}
	files["page.go"] = source
	return files, nil
}

// runs reports whether a function is one of a context and a URL.
func runs(f *ast.FuncDecl) bool {
	if f.Recv != nil || f.Type.Params.NumFields() != 2 || f.Type.Results.NumFields() != 1 {
		return false
	}
	last := f.Type.Params.List[len(f.Type.Params.List)-1]
	id, ok := last.Type.(*ast.Ident)
	return ok && id.Name == "string" && len(last.Names) == 1 && last.Names[0].Name == "url"
}

// harness is the variable Tests: it calls functions and migrates SQL.
func harness(calls, tests, sql []string) string {
	var b strings.Builder
	b.WriteString("\n//line harness.go:1\nvar Tests = []testing.InternalTest{\n")
	for _, name := range tests {
		fmt.Fprintf(&b, "\t{Name: %q, F: %s},\n", name, name)
	}
	for _, name := range calls {
		fmt.Fprintf(&b, "\t{Name: %q, F: func(t *testing.T) {\n\t\tt.Parallel()\n"+
			"\t\tif err := %s(t.Context(), pgdbmtest.URL(t)); err != nil {\n\t\t\tt.Error(err)\n\t\t}\n\t}},\n", name, name)
	}
	for i, text := range sql {
		fmt.Fprintf(&b, "\t{Name: \"sql_%d\", F: func(t *testing.T) {\n\t\tt.Parallel()\n"+
			"\t\tm := pgdbm.Module{Name: \"page\", Files: fstest.MapFS{\"1_page.sql\": {Data: []byte(%q)}}}\n"+
			"\t\tif _, err := pgdbm.Attach(t.Context(), pgdbmtest.New(t), m); err != nil {\n\t\t\tt.Error(err)\n\t\t}\n\t}},\n", i, text)
	}
	b.WriteString("}\n")
	return b.String()
}

// imports returns the import block that source needs.
func imports(source string) string {
	tree, err := parser.ParseFile(token.NewFileSet(), "", source, parser.SkipObjectResolution)
	if err != nil {
		return ""
	}
	used := make(map[string]bool)
	ast.Inspect(tree, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && known[id.Name] != "" {
				used[known[id.Name]] = true
			}
		}
		return true
	})
	if strings.Contains(source, "//go:embed") {
		used["embed"] = true
	}
	var paths []string
	for p := range used {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	var b strings.Builder
	b.WriteString("import (\n")
	for _, p := range paths {
		fmt.Fprintf(&b, "\t%q\n", p)
	}
	b.WriteString(")\n\n")
	return b.String()
}
