package choose

import (
	"bytes"
	"errors"
	"fmt"
	"go/build"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/modfile"
)

// Project is what was found in a Go project. Paths are relative to its root.
type Project struct {
	Root    string   `json:"root"`
	Subject string   `json:"subject"` // the folder in question, "." for all
	Modules []string `json:"modules"` // paths of the Go modules
	// Programs are the main packages that reach the database.
	Programs []ProgramFound `json:"programs"`
	// Importable are packages that use the database and that other modules
	// may import; Internal are those that only this project may.
	Importable  []string `json:"importable"`
	Internal    []string `json:"internal"`
	Dockerfiles []string `json:"dockerfiles"`
	Compose     []string `json:"compose"` // FILE: SERVICE, of those that are built here
	Tenants     []string `json:"tenants"` // places where a schema is made or chosen by name
	Readme      []string `json:"readme"`  // places that say to import the code

	packages map[string]*goPackage // by import path
	subject  []*goPackage
}

// ProgramFound is a main package with what it reaches in its project.
type ProgramFound struct {
	Package string `json:"package"` // folder
	// Modules counts the parts that use the database: the pgdbm.Module
	// literals, or where there are none, the packages with SQL.
	Modules int     `json:"modules"`
	Pools   []Open  `json:"pools"`
	Pattern Pattern `json:"pattern"` // of this program alone

	reach []*goPackage
	opens []poolOpen
}

// Open is a call that opens a pool.
type Open struct {
	Call  string `json:"call"`
	Place string `json:"place"` // file:line
}

// asides are folders whose programs are no services.
var asides = []string{"example", "examples", "tools", "tool", "hack", "scripts", "script", "bench", "benchmarks"}

// Analyze reads the Go project that dir is in, without building it. The
// question is about dir: the whole project, or the packages below a folder.
func Analyze(dir string) (*Project, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(abs); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, errors.Unwrap(err))
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s: not a folder", dir)
	}
	root := projectRoot(abs)
	subject, err := filepath.Rel(root, abs)
	if err != nil {
		return nil, err
	}
	p := &Project{Root: root, Subject: filepath.ToSlash(subject), packages: make(map[string]*goPackage),
		Modules: []string{}, Programs: []ProgramFound{}, Importable: []string{}, Internal: []string{},
		Dockerfiles: []string{}, Compose: []string{}, Tenants: []string{}, Readme: []string{}}
	if err := p.read(); err != nil {
		return nil, err
	}
	if len(p.subject) == 0 {
		return nil, fmt.Errorf("%s: no Go package", dir)
	}
	p.collect()
	return p, nil
}

// projectRoot is the folder with the go.work, or else the go.mod, that is
// nearest above dir; dir itself where there is neither.
func projectRoot(dir string) string {
	root := ""
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.work")); err == nil {
			return d
		}
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil && root == "" {
			root = d
		}
		if d == filepath.Dir(d) {
			break
		}
	}
	if root == "" {
		return dir
	}
	return root
}

// read walks the project.
func (p *Project) read() error {
	modules := make(map[string]string) // folder -> module path
	var sources []string
	err := filepath.WalkDir(p.Root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(p.Root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		base := d.Name()
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") ||
				slices.Contains([]string{"testdata", "vendor", "node_modules"}, base)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		switch {
		case base == "go.mod":
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			modules[path.Dir(rel)] = modfile.ModulePath(text)
		case strings.HasSuffix(base, ".go") && !strings.HasSuffix(base, "_test.go"):
			if ok, err := build.Default.MatchFile(filepath.Dir(name), base); ok && err == nil {
				sources = append(sources, rel)
			}
		case strings.HasSuffix(base, ".tmpl"): // of a generator, not of this project
		case base == "Dockerfile" || strings.HasPrefix(base, "Dockerfile.") || strings.HasSuffix(base, ".Dockerfile"):
			p.Dockerfiles = append(p.Dockerfiles, rel)
		case regexp.MustCompile(`^(docker-)?compose[^/]*\.ya?ml$`).MatchString(base):
			return p.readCompose(rel)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, module := range modules {
		if module != "" {
			p.Modules = append(p.Modules, module)
		}
	}
	slices.Sort(p.Modules)
	for _, name := range sources {
		text, err := os.ReadFile(filepath.Join(p.Root, name))
		if err != nil {
			return err
		}
		addFile(p.packageOf(path.Dir(name), modules), name, text)
	}
	return p.readReadmes()
}

// packageOf returns the package of a folder, by its import path.
func (p *Project) packageOf(dir string, modules map[string]string) *goPackage {
	importPath := dir
	for d := dir; ; d = path.Dir(d) {
		if module, ok := modules[d]; ok {
			importPath = path.Join(module, strings.TrimPrefix(strings.TrimPrefix(dir, d), "/"))
			if d == "." {
				importPath = path.Join(module, dir)
			}
			break
		}
		if d == "." {
			break
		}
	}
	pkg := p.packages[importPath]
	if pkg == nil {
		pkg = &goPackage{path: importPath, dir: dir, imports: make(map[string]bool)}
		p.packages[importPath] = pkg
		if p.Subject == "." || dir == p.Subject || strings.HasPrefix(dir, p.Subject+"/") {
			p.subject = append(p.subject, pkg)
		}
	}
	return pkg
}

func (p *Project) readCompose(name string) error {
	text, err := os.ReadFile(filepath.Join(p.Root, name))
	if err != nil {
		return err
	}
	var compose struct {
		Services map[string]struct{ Build any }
	}
	if yaml.Unmarshal(text, &compose) != nil {
		return nil // with templates in it, or broken: no reason to give up
	}
	for service, s := range compose.Services {
		if s.Build != nil {
			p.Compose = append(p.Compose, name+": "+service)
		}
	}
	slices.Sort(p.Compose)
	return nil
}

var readmeName = regexp.MustCompile(`(?i)^readme(\.(md|markdown|rst|adoc|txt))?$`)

// readReadmes looks for invitations to import the code.
func (p *Project) readReadmes() error {
	pattern := `(?i)\bimport (?:me\b|this (?:package|library|module)\b)`
	for _, module := range p.Modules {
		pattern += `|\bgo get (?:-u )?` + regexp.QuoteMeta(module) + `|(?:^|import )\s*(?:\w+ )?"` + regexp.QuoteMeta(module) + `[/"]`
	}
	invites := regexp.MustCompile(pattern)
	dirs := []string{"."}
	if p.Subject != "." {
		dirs = append(dirs, p.Subject)
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(p.Root, dir))
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !readmeName.MatchString(e.Name()) || !e.Type().IsRegular() {
				continue
			}
			text, err := os.ReadFile(filepath.Join(p.Root, dir, e.Name()))
			if err != nil {
				return err
			}
			for i, line := range bytes.Split(text, []byte("\n")) {
				if invites.Match(line) {
					p.Readme = append(p.Readme, fmt.Sprintf("%s:%d", path.Join(dir, e.Name()), i+1))
				}
			}
		}
	}
	return nil
}

// collect finds the programs and the packages in question.
func (p *Project) collect() {
	slices.SortFunc(p.subject, func(a, b *goPackage) int { return strings.Compare(a.dir, b.dir) })
	for _, pkg := range p.subject {
		switch {
		case pkg.main:
			if f := p.program(pkg); f != nil && !p.aside(pkg.dir) {
				p.Programs = append(p.Programs, *f)
			}
		case !pkg.usesDatabase():
		case internal(pkg.dir):
			p.Internal = append(p.Internal, pkg.dir)
		case !p.aside(pkg.dir):
			p.Importable = append(p.Importable, pkg.dir)
		}
		if !p.aside(pkg.dir) {
			p.Tenants = append(p.Tenants, pkg.tenants...)
		}
	}
	for i := range p.Programs {
		f := &p.Programs[i]
		f.Pattern = Decide(p.programContext(f)).Pattern
	}
}

func internal(dir string) bool { return slices.Contains(strings.Split(dir, "/"), "internal") }

// aside reports whether a folder is one of examples or tools, unless that is
// what is asked about.
func (p *Project) aside(dir string) bool {
	dir = strings.TrimPrefix(dir, p.Subject)
	return slices.ContainsFunc(strings.Split(dir, "/"), func(s string) bool { return slices.Contains(asides, s) })
}

// program follows the imports of a main package; nil if it never reaches a
// database.
func (p *Project) program(root *goPackage) *ProgramFound {
	f := &ProgramFound{Package: root.dir, Pools: []Open{}}
	seen := make(map[*goPackage]bool)
	var visit func(pkg *goPackage)
	visit = func(pkg *goPackage) {
		if pkg == nil || seen[pkg] {
			return
		}
		seen[pkg] = true
		f.reach = append(f.reach, pkg)
		for target := range pkg.imports {
			visit(p.packages[target])
		}
	}
	visit(root)
	slices.SortFunc(f.reach, func(a, b *goPackage) int { return strings.Compare(a.dir, b.dir) })
	declared := make(map[string]bool)
	querying := 0
	for _, pkg := range f.reach {
		for _, m := range pkg.modules {
			declared[m] = true
		}
		if pkg.queries {
			querying++
		}
		f.opens = append(f.opens, pkg.opens...)
	}
	for _, o := range f.opens {
		f.Pools = append(f.Pools, Open{o.call, o.place})
	}
	if f.Modules = len(declared); f.Modules == 0 {
		f.Modules = querying
	}
	if f.Modules == 0 && len(f.opens) == 0 {
		return nil
	}
	f.Modules = max(f.Modules, 1)
	return f
}

// crowded reports whether the program opens several pools to one database, as
// far as its text tells.
func (f *ProgramFound) crowded() bool {
	databases := make(map[string]bool)
	for _, o := range f.opens {
		if o.perItem {
			return true
		}
		if len(f.opens) > 1 && (o.database == "" || databases[o.database]) {
			return true
		}
		databases[o.database] = true
	}
	return false
}
