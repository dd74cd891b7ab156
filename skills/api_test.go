package skills

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the lists of exported names anew")

// generated finds <!-- api FOLDER --> ... <!-- end -->.
var generated = regexp.MustCompile(`(?s)(<!-- api (\S+) -->\n).*?(<!-- end -->)`)

// Lists of exported names are those of the doc comments.
func TestListsOfNamesFollowTheDocComments(t *testing.T) {
	t.Parallel()
	lists := 0
	names, err := filepath.Glob("*/SKILL.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want := generated.ReplaceAllStringFunc(string(text), func(block string) string {
			lists++
			m := generated.FindStringSubmatch(block)
			list, err := api(filepath.Join("..", m[2]))
			if err != nil {
				t.Fatal(err)
			}
			return m[1] + list + m[3]
		})
		if want == string(text) {
			continue
		}
		if !*update {
			t.Errorf("%s: names differ from the doc comments: run go test ./skills -update", name)
			continue
		}
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if lists < 3 {
		t.Errorf("%d lists", lists)
	}
}

// api lists the exported names of a package, each with its first sentence.
func api(dir string) (string, error) {
	fset := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			return "", err
		}
		files = append(files, file)
	}
	pkg, err := doc.NewFromFiles(fset, files, "github.com/pgdbm/pgdbm")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	item := func(code, comment string) {
		fmt.Fprintf(&b, "- `%s`: %s\n", code, strings.ReplaceAll(pkg.Synopsis(comment), "\n", " "))
	}
	funcs := func(fs []*doc.Func) {
		for _, f := range fs {
			// What every error or value of its kind has.
			if f.Recv != "" && slices.Contains([]string{"Error", "Unwrap", "String", "GoString", "LogValue"}, f.Name) {
				continue
			}
			item(signature(fset, f.Decl), f.Doc)
		}
	}
	group := func(vs []*doc.Value) {
		for _, v := range vs {
			for _, spec := range v.Decl.Specs {
				s := spec.(*ast.ValueSpec)
				if !s.Names[0].IsExported() {
					continue
				}
				comment := s.Doc.Text()
				if comment == "" {
					comment = s.Comment.Text()
				}
				if comment == "" {
					comment = v.Doc
				}
				item(s.Names[0].Name, comment)
			}
		}
	}
	funcs(pkg.Funcs)
	group(pkg.Vars)
	for _, t := range pkg.Types {
		item("type "+t.Name+fields(t), t.Doc)
		group(t.Consts)
		funcs(t.Funcs)
		funcs(t.Methods)
	}
	return b.String(), nil
}

// signature prints a function without its body and names of the receiver.
func signature(fset *token.FileSet, d *ast.FuncDecl) string {
	var b bytes.Buffer
	if err := printer.Fprint(&b, fset, &ast.FuncDecl{Recv: d.Recv, Name: d.Name, Type: d.Type}); err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// fields lists the exported fields of a struct.
func fields(t *doc.Type) string {
	s, ok := t.Decl.Specs[0].(*ast.TypeSpec).Type.(*ast.StructType)
	if !ok {
		return ""
	}
	var names []string
	for _, f := range s.Fields.List {
		if len(f.Names) == 0 {
			if sel, ok := f.Type.(*ast.SelectorExpr); ok && sel.Sel.IsExported() {
				names = append(names, sel.X.(*ast.Ident).Name+"."+sel.Sel.Name)
			}
		}
		for _, n := range f.Names {
			if n.IsExported() {
				names = append(names, n.Name)
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " {" + strings.Join(names, ", ") + "}"
}
