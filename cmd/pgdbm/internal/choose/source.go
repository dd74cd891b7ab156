package choose

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// goPackage is what the decision needs to know of a package.
type goPackage struct {
	path    string // import path
	dir     string // slash-separated, relative to the project's root
	main    bool
	imports map[string]bool
	opens   []poolOpen
	queries bool     // holds SQL
	modules []string // names of pgdbm.Module literals, or their places
	// tenants, searchPath and perRequest are places, as file:line.
	tenants    []string
	searchPath []string
	perRequest []string
}

// poolOpen is a call that opens a pool.
type poolOpen struct {
	place string
	call  string // such as pgxpool.New
	// database tells databases apart: a host and name, or the environment
	// variable that has the URL. Empty: cannot be told. Never a whole URL.
	database string
	perItem  bool // in a loop over something: a pool for each
}

func (p *goPackage) usesDatabase() bool {
	return len(p.opens) > 0 || p.queries || len(p.modules) > 0
}

// openers are the functions that open a pool, with the argument that says where.
var openers = map[string]map[string]int{
	"github.com/jackc/pgx/v5/pgxpool": {"New": 1, "NewWithConfig": 1},
	"github.com/jackc/pgx/v4/pgxpool": {"Connect": 1, "ConnectConfig": 1},
	"database/sql":                    {"Open": 1, "OpenDB": 0},
	"github.com/jmoiron/sqlx":         {"Open": 1, "MustOpen": 1, "Connect": 1, "MustConnect": 1, "ConnectContext": 2},
	"gorm.io/gorm":                    {"Open": 0},
	"github.com/go-pg/pg/v10":         {"Connect": 0},
	pgdbmPath:                         {"Open": 1, "Attach": 1, "AttachAll": 1},
}

const pgdbmPath = "github.com/pgdbm/pgdbm"

// file collects what one source file says.
type file struct {
	pkg     *goPackage
	fset    *token.FileSet
	name    string            // relative to the project's root
	aliases map[string]string // name in this file -> import path
	values  map[string]string // variable -> database, where it is assigned once
	// constants are names with a string literal, sources those with a URL or
	// Config for Attach.
	constants, sources map[string]bool
}

// addFile parses a file and adds what it says to its package. A file that does
// not parse is read as far as it does.
func addFile(p *goPackage, name string, text []byte) {
	f := &file{pkg: p, fset: token.NewFileSet(), name: name, aliases: make(map[string]string), values: make(map[string]string),
		constants: make(map[string]bool), sources: make(map[string]bool)}
	tree, _ := parser.ParseFile(f.fset, name, text, parser.SkipObjectResolution)
	if tree == nil || tree.Name == nil {
		return
	}
	p.main = p.main || tree.Name.Name == "main"
	for _, spec := range tree.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		p.imports[target] = true
		alias := packageName(target)
		if spec.Name != nil {
			alias = spec.Name.Name
		}
		f.aliases[alias] = target
	}
	ast.Inspect(tree, f.assignment)
	for _, decl := range tree.Decls {
		f.walk(decl)
	}
}

// packageName guesses the name of a package from its path.
func packageName(target string) string {
	base := path.Base(target)
	if regexp.MustCompile(`^v[0-9]+$`).MatchString(base) {
		base = path.Base(path.Dir(target))
	}
	return base
}

func (f *file) place(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.name, f.fset.Position(n.Pos()).Line)
}

// assignment notes variables that hold where a database is.
func (f *file) assignment(n ast.Node) bool {
	note := func(left, right ast.Expr) {
		id, ok := left.(*ast.Ident)
		if !ok {
			return
		}
		database := f.database(right)
		if old, seen := f.values[id.Name]; seen && old != database {
			database = ""
		}
		f.values[id.Name] = database
		f.sources[id.Name] = f.sources[id.Name] || f.opensItsOwn(right)
		if lit, ok := right.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			f.constants[id.Name] = true
		}
	}
	switch s := n.(type) {
	case *ast.AssignStmt:
		if len(s.Rhs) == 0 || len(s.Lhs) != len(s.Rhs) && len(s.Rhs) > 1 {
			break
		}
		// In a, err := f(x) the first one is the value.
		for i := range s.Rhs {
			note(s.Lhs[i], s.Rhs[i])
		}
	case *ast.ValueSpec:
		for i := range min(len(s.Names), len(s.Values)) {
			note(s.Names[i], s.Values[i])
		}
	}
	return true
}

// database tells which database an expression names, if it says so.
func (f *file) database(e ast.Expr) string {
	found := make(map[string]bool)
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if target, name := f.selected(n.Fun); target == "os" && (name == "Getenv" || name == "LookupEnv") && len(n.Args) == 1 {
				found["$"+text(f.fset, n.Args[0])] = true
				return false
			}
		case *ast.BasicLit:
			value, err := strconv.Unquote(n.Value)
			if n.Kind != token.STRING || err != nil {
				break
			}
			if u, err := url.Parse(value); err == nil && strings.HasPrefix(u.Scheme, "postgres") {
				found[u.Host+u.Path] = true
			}
		case *ast.Ident:
			if database := f.values[n.Name]; database != "" {
				found[database] = true
			}
		}
		return true
	})
	if len(found) != 1 {
		return ""
	}
	for database := range found {
		return database
	}
	return ""
}

// selected returns the import path and the name of pkg.Name.
func (f *file) selected(e ast.Expr) (target, name string) {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	if id, ok := sel.X.(*ast.Ident); ok {
		return f.aliases[id.Name], sel.Sel.Name
	}
	return "", sel.Sel.Name
}

// walk visits a declaration, knowing in what kind of function and loop it is.
func (f *file) walk(root ast.Node) {
	var stack []ast.Node
	ast.Inspect(root, func(n ast.Node) bool {
		if n == nil {
			stack = stack[:len(stack)-1]
			return true
		}
		stack = append(stack, n)
		switch n := n.(type) {
		case *ast.CallExpr:
			f.call(n, stack)
		case *ast.CompositeLit:
			if target, name := f.selected(n.Type); target == pgdbmPath && name == "Module" {
				f.module(n)
			}
		case *ast.BasicLit:
			if value, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil {
				f.literal(n, value)
			}
		}
		return true
	})
}

func (f *file) call(n *ast.CallExpr, stack []ast.Node) {
	target, name := f.selected(n.Fun)
	// pool.Schema(tenant): a handle whose schema is not known until then.
	if name == "Schema" && target == "" && len(n.Args) == 1 && f.pkg.imports[pgdbmPath] && !f.fixed(n.Args[0]) {
		f.pkg.tenants = append(f.pkg.tenants, f.place(n))
	}
	arg, ok := openers[target][name]
	if !ok || len(n.Args) <= arg || f.otherDatabase(n) {
		return
	}
	if target == pgdbmPath && name != "Open" && !f.opensItsOwn(n.Args[arg]) {
		return
	}
	open := poolOpen{place: f.place(n), call: packageName(target) + "." + name, database: f.database(n.Args[arg])}
	for i := len(stack) - 1; i >= 0; i-- {
		switch outer := stack[i].(type) {
		case *ast.RangeStmt:
			// Loops without a variable are mostly tries of one and the same.
			if id, ok := outer.Value.(*ast.Ident); ok && id.Name != "_" && within(n, outer.Body) {
				open.perItem = true
			}
		case *ast.FuncDecl:
			f.inFunction(outer.Type, open)
		case *ast.FuncLit:
			f.inFunction(outer.Type, open)
		}
	}
	f.pkg.opens = append(f.pkg.opens, open)
}

func within(n, body ast.Node) bool { return n.Pos() >= body.Pos() && n.End() <= body.End() }

// inFunction notes an open in a function that serves requests.
func (f *file) inFunction(t *ast.FuncType, open poolOpen) {
	for _, p := range t.Params.List {
		star, ok := p.Type.(*ast.StarExpr)
		if !ok {
			continue
		}
		if target, name := f.selected(star.X); target == "net/http" && name == "Request" {
			f.pkg.perRequest = append(f.pkg.perRequest, open.place)
		}
	}
}

// otherDatabase reports whether a call opens something other than PostgreSQL.
func (f *file) otherDatabase(n *ast.CallExpr) bool {
	for _, arg := range n.Args {
		s := text(f.fset, arg)
		for _, other := range []string{"sqlite", "mysql", "sqlserver", "duckdb", "clickhouse", "oracle"} {
			if strings.Contains(strings.ToLower(s), other) {
				return true
			}
		}
	}
	return false
}

// opensItsOwn reports whether a source for Attach opens a pool: a URL or Config.
func (f *file) opensItsOwn(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.CallExpr:
		target, name := f.selected(e.Fun)
		return target == pgdbmPath && name == "URL"
	case *ast.CompositeLit:
		target, name := f.selected(e.Type)
		return target == pgdbmPath && name == "Config"
	case *ast.Ident:
		return f.sources[e.Name]
	}
	return false
}

// fixed reports whether a schema's name is the same in every run: a literal, or a
// module's.
func (f *file) fixed(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return true
	case *ast.Ident:
		return f.constants[e.Name]
	case *ast.SelectorExpr:
		return strings.Contains(text(f.fset, e.X), "Module")
	}
	return false
}

func (f *file) module(n *ast.CompositeLit) {
	name := f.place(n)
	for _, e := range n.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		if key, ok := kv.Key.(*ast.Ident); ok && key.Name == "Name" {
			if lit, ok := kv.Value.(*ast.BasicLit); ok {
				if value, err := strconv.Unquote(lit.Value); err == nil {
					name = value
				}
			}
		}
	}
	f.pkg.modules = append(f.pkg.modules, name)
}

var (
	sqlText = regexp.MustCompile(`(?is)^(?:\s|--[^\n]*\n)*(?:` +
		`select\s.*\sfrom\s|insert\s+into\s|update\s+\S+\s+set\s|delete\s+from\s|with\s+\S+\s+as\s|create\s+(?:table|schema)\s)`)
	builtSchema = regexp.MustCompile(`(?is)create\s+schema\b.*(?:%[sqvI]|["\s])$|create\s+schema\b.*%[sqvI]`)
	setsPath    = regexp.MustCompile(`(?is)\bset\s+(?:local\s+|session\s+)?search_path\b|search_path\s*=|set_config\(\s*'search_path'`)
	builtPath   = regexp.MustCompile(`(?is)search_path\b.*%[sqvI]|search_path\s*(?:to|=|,|')?[\s"']*$|set_config\(\s*'search_path'\s*,\s*\$`)
)

// literal looks at a string for SQL.
func (f *file) literal(n ast.Node, s string) {
	if sqlText.MatchString(s) || strings.Contains(s, "{{tables.") {
		f.pkg.queries = true
	}
	if builtSchema.MatchString(s) {
		f.pkg.tenants = append(f.pkg.tenants, f.place(n))
	}
	if setsPath.MatchString(s) {
		f.pkg.searchPath = append(f.pkg.searchPath, f.place(n))
		if builtPath.MatchString(s) {
			f.pkg.tenants = append(f.pkg.tenants, f.place(n))
		}
	}
}

func text(fset *token.FileSet, n ast.Node) string {
	var b bytes.Buffer
	if printer.Fprint(&b, fset, n) != nil {
		return ""
	}
	return b.String()
}
