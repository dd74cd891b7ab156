package scaffold

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
)

// TestFile is what [Tests] writes into a package.
const TestFile = "pgdbm_test.go"

// testData is what the template of a test sees.
type testData struct {
	Library     string
	TestPackage string
	Imports     []string // lines of an import block
	Module      string   // the expression of the pgdbm.Module
	Open        string   // the call that takes src
	Result      string
	Close       string // "", "error" if Close returns one, "none" if there is none
	Requires    []string
}

// found is what a package has of pgdbm.
type found struct {
	name     string // of the package
	module   string // a variable of type pgdbm.Module
	requires []string
	open     string   // a function of a context and a pgdbm.Source
	result   string   // the type that open returns, without the star
	closes   []closer // of all types
}

type closer struct {
	receiver string
	results  int
}

// Tests returns a test of the package in dir, which runs its module alone and in
// a host. requires name the modules that it requires, as IMPORTPATH.VARIABLE.
func Tests(dir string, requires []string) (File, error) {
	p, err := inspect(dir)
	if err != nil {
		return File{}, err
	}
	if len(p.requires) > len(requires) {
		return File{}, fmt.Errorf("module requires %s: a test needs those modules too", strings.Join(p.requires, ", "))
	}
	d := testData{Library: Library, TestPackage: p.name, Result: "lib", Module: p.module}
	prefix := ""
	external := p.name != "main" && ast.IsExported(p.module) && (p.open == "" || ast.IsExported(p.open))
	if external {
		importPath, err := importPathOf(dir)
		if err != nil {
			return File{}, err
		}
		d.TestPackage += "_test"
		d.Imports = append(d.Imports, strconv.Quote(importPath))
		prefix = p.name + "."
		d.Module = prefix + p.module
	}
	if p.open == "" {
		d.Open, d.Result = "pgdbm.Attach(t.Context(), src, "+d.Module+")", "db"
	} else {
		d.Open = prefix + p.open + "(t.Context(), src)"
		d.Close = p.close()
	}
	for i, r := range requires {
		target, variable, ok := splitRequire(r)
		if !ok {
			return File{}, fmt.Errorf("required module %q: want IMPORTPATH.VARIABLE", r)
		}
		alias := fmt.Sprintf("required%d", i+1)
		d.Imports = append(d.Imports, alias+" "+strconv.Quote(target))
		d.Requires = append(d.Requires, alias+"."+variable)
	}
	files, err := render([]target{{"tests/source_test.go", TestFile, d}})
	if err != nil {
		return File{}, err
	}
	return files[0], nil
}

var requireForm = regexp.MustCompile(`^([^\s"]+)\.([A-Za-z_]\w*)$`)

func splitRequire(s string) (target, variable string, ok bool) {
	m := requireForm.FindStringSubmatch(s)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// close says how the result of open is closed.
func (p *found) close() string {
	if p.result == "Attached" {
		return ""
	}
	for _, c := range p.closes {
		if c.receiver == p.result {
			if c.results > 0 {
				return "error"
			}
			return ""
		}
	}
	return "none"
}

// inspect reads the package in dir.
func inspect(dir string) (*found, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	p := &found{}
	fset := token.NewFileSet()
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		p.name = tree.Name.Name
		p.file(tree)
	}
	switch {
	case p.name == "":
		return nil, fmt.Errorf("%s: no Go package", dir)
	case p.module == "":
		return nil, fmt.Errorf("%s: no variable that is a pgdbm.Module", dir)
	}
	return p, nil
}

func (p *found) file(tree *ast.File) {
	alias := ""
	for _, spec := range tree.Imports {
		if target, err := strconv.Unquote(spec.Path.Value); err == nil && target == Library {
			alias = "pgdbm"
			if spec.Name != nil {
				alias = spec.Name.Name
			}
		}
	}
	is := func(e ast.Expr, name string) bool {
		sel, ok := e.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != name {
			return false
		}
		id, ok := sel.X.(*ast.Ident)
		return ok && alias != "" && id.Name == alias
	}
	for _, decl := range tree.Decls {
		switch d := decl.(type) {
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok {
					p.variables(v, is)
				}
			}
		case *ast.FuncDecl:
			p.function(d, is)
		}
	}
}

func (p *found) variables(v *ast.ValueSpec, is func(ast.Expr, string) bool) {
	for i, name := range v.Names {
		var literal *ast.CompositeLit
		if i < len(v.Values) {
			literal, _ = v.Values[i].(*ast.CompositeLit)
		}
		if !is(v.Type, "Module") && (literal == nil || !is(literal.Type, "Module")) {
			continue
		}
		// Of several, an exported one, and the first of those.
		if p.module != "" && (ast.IsExported(p.module) || !name.IsExported()) {
			continue
		}
		p.module, p.requires = name.Name, nil
		if literal == nil {
			continue
		}
		for _, e := range literal.Elts {
			kv, ok := e.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			key, _ := kv.Key.(*ast.Ident)
			list, _ := kv.Value.(*ast.CompositeLit)
			if key == nil || key.Name != "Requires" || list == nil {
				continue
			}
			for _, r := range list.Elts {
				if lit, ok := r.(*ast.BasicLit); ok {
					if s, err := strconv.Unquote(lit.Value); err == nil {
						p.requires = append(p.requires, s)
					}
				}
			}
		}
	}
}

func (p *found) function(d *ast.FuncDecl, is func(ast.Expr, string) bool) {
	results := 0
	if d.Type.Results != nil {
		results = d.Type.Results.NumFields()
	}
	if d.Recv != nil {
		if d.Name.Name == "Close" && d.Type.Params.NumFields() == 0 && results < 2 {
			p.closes = append(p.closes, closer{typeName(d.Recv.List[0].Type), results})
		}
		return
	}
	params := d.Type.Params
	if d.Type.TypeParams != nil || params.NumFields() != 2 || len(params.List) != 2 || !is(params.List[1].Type, "Source") || results != 2 {
		return
	}
	if last, ok := d.Type.Results.List[len(d.Type.Results.List)-1].Type.(*ast.Ident); !ok || last.Name != "error" {
		return
	}
	if p.open == "" || !ast.IsExported(p.open) && d.Name.IsExported() || d.Name.Name == "Open" {
		p.open, p.result = d.Name.Name, typeName(d.Type.Results.List[0].Type)
	}
}

func typeName(e ast.Expr) string {
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr: // *pgdbm.Attached, which has a Close
		return e.Sel.Name
	}
	return ""
}

// importPathOf returns the import path of the package in dir.
func importPathOf(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	var below []string
	for d := abs; ; d = filepath.Dir(d) {
		text, err := os.ReadFile(filepath.Join(d, "go.mod"))
		if err == nil {
			slices.Reverse(below)
			return path.Join(append([]string{modfile.ModulePath(text)}, below...)...), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("%s: no go.mod in it or above", dir)
		}
		below = append(below, filepath.Base(d))
	}
}
