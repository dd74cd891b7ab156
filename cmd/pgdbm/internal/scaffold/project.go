package scaffold

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// Kind is what is written.
type Kind string

const (
	Service Kind = "service" // standalone
	App     Kind = "app"     // shared pool
	Lib     Kind = "library" // dual-mode
)

// Options say what a project is like.
type Options struct {
	Kind Kind
	Name string
	// ModulePath is the path of the Go module; empty: example.com/NAME.
	ModulePath string
	// Modules are the names of an app's modules; at least one.
	Modules []string
	// Tenants gives an app's tenants a schema each.
	Tenants bool
	// Dir is the project's folder. A relative Replace is rewritten so that it
	// holds from there.
	Dir string
	// Replace is a checkout of the library that go.mod points at; empty: none.
	Replace string
	// Version is the library's, such as v1.2.3. It is not needed with Replace.
	Version string
}

// project is what the templates see.
type project struct {
	Names
	Library    string
	ModulePath string
	Modules    []Names
	Tenants    bool
	Go         string
	Version    string
	Indirect   []string
	Replace    string
}

// moduleOf is a module of an app, for its templates.
type moduleOf struct {
	Name    string // of the app
	Package string
	Schema  string

	Library, ModulePath string
}

// ErrNoVersion says that go.mod cannot name a version of the library.
var ErrNoVersion = errors.New("this build of pgdbm knows no published version of the library")

// Project returns the files of a new project.
func Project(o Options) ([]File, error) {
	name, err := ParseName(o.Name)
	if err != nil {
		return nil, err
	}
	p := project{Names: name, Library: Library, ModulePath: cmp.Or(o.ModulePath, "example.com/"+name.Name),
		Tenants: o.Tenants, Version: o.Version, Go: "1.26.0"}
	if err := checkModulePath(p.ModulePath); err != nil {
		return nil, err
	}
	if o.Kind == App && len(o.Modules) == 0 {
		return nil, errors.New("an app without modules")
	}
	for _, m := range o.Modules {
		n, err := ParseName(m)
		if err != nil {
			return nil, fmt.Errorf("module %w", err)
		}
		if slices.ContainsFunc(p.Modules, func(o Names) bool { return o.Package == n.Package }) {
			return nil, fmt.Errorf("module name %q: there is another one", m)
		}
		p.Modules = append(p.Modules, n)
	}
	var sum []byte
	switch {
	case o.Replace != "":
		if sum, err = p.replace(o); err != nil {
			return nil, err
		}
	case o.Version == "":
		return nil, ErrNoVersion
	}
	files, err := render(p.targets(o.Kind))
	if err != nil {
		return nil, err
	}
	if sum != nil {
		files = append(files, File{"go.sum", sum})
	}
	return files, nil
}

// replace points go.mod at a checkout, and takes from there what go.mod and
// go.sum must have so that no command needs the network.
func (p *project) replace(o Options) (sum []byte, err error) {
	text, err := os.ReadFile(filepath.Join(o.Replace, "go.mod"))
	if err != nil {
		return nil, fmt.Errorf("replace: %w", err)
	}
	mod, err := modfile.ParseLax("go.mod", text, nil)
	if err != nil {
		return nil, fmt.Errorf("replace: %w", err)
	}
	if mod.Module == nil || mod.Module.Mod.Path != Library {
		return nil, fmt.Errorf("replace: %s is no checkout of %s", o.Replace, Library)
	}
	if mod.Go != nil {
		p.Go = mod.Go.Version
	}
	for _, r := range mod.Require {
		p.Indirect = append(p.Indirect, r.Mod.String())
	}
	for i, r := range p.Indirect {
		p.Indirect[i] = strings.Replace(r, "@", " ", 1)
	}
	slices.Sort(p.Indirect)
	p.Version = "v0.0.0"
	p.Replace = o.Replace
	if !filepath.IsAbs(o.Replace) {
		if p.Replace, err = relative(o.Dir, o.Replace); err != nil {
			return nil, err
		}
	}
	p.Replace = modfile.AutoQuote(filepath.ToSlash(p.Replace))
	return os.ReadFile(filepath.Join(o.Replace, "go.sum"))
}

// relative returns target as seen from dir, in the form that go.mod wants.
func relative(dir, target string) (string, error) {
	from, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(target)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(from, to)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(rel, "..") {
		rel = "." + string(filepath.Separator) + rel
	}
	return rel, nil
}

func (p *project) targets(kind Kind) []target {
	ts := []target{
		{"common/go.mod", "go.mod", p},
		{"common/gitignore", ".gitignore", p},
		{string(kind) + "/README.md", "README.md", p},
	}
	if kind == Lib {
		return append(ts,
			target{"library/library.go", p.Package + ".go", p},
			target{"library/library_test.go", p.Package + "_test.go", p},
			target{"service/001_items.sql", "migrations/001_items.sql", p})
	}
	ts = append(ts,
		target{"common/Dockerfile", "Dockerfile", p},
		target{"common/dockerignore", ".dockerignore", p},
		target{"common/compose.yaml", "compose.yaml", p},
		target{"common/web.go", "internal/web/web.go", p},
		target{string(kind) + "/main.go", "main.go", p},
		target{string(kind) + "/main_test.go", "main_test.go", p})
	if kind == Service {
		return append(ts,
			target{"service/items.go", "items.go", p},
			target{"service/001_items.sql", "migrations/001_items.sql", p})
	}
	for _, n := range p.Modules {
		m := moduleOf{p.Name, n.Package, n.Schema, p.Library, p.ModulePath}
		dir := "internal/" + n.Package + "/"
		ts = append(ts,
			target{"module/module.go", dir + n.Package + ".go", m},
			target{"module/module_test.go", dir + n.Package + "_test.go", m},
			target{"module/001.sql", dir + "migrations/001_" + n.Schema + ".sql", m})
	}
	if p.Tenants {
		ts = append(ts,
			target{"app/tenants.go", "internal/tenants/tenants.go", p},
			target{"app/pgdbm.toml", "pgdbm.toml", p})
	}
	return ts
}
