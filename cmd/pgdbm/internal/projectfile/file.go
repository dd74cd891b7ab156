package projectfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// DefaultPath is the file that is read unless another one is named.
const DefaultPath = "pgdbm.toml"

// File is a pgdbm.toml that makes sense: its keys are known, its modules depend on
// each other without a cycle.
type File struct {
	Path string // as it was named

	Name            string // of the project
	DefaultEnv      string
	MigrationsTable string // of the Python pgdbm

	Environments []*Environment // as they are written
	Modules      []*Module      // as they are written
	Tenants      Tenants

	places map[string]unstable.Position
}

// Tenants is what [tenants] says of the tenants of all environments. Their modules
// are those with OfTenants.
type Tenants struct {
	Prefix  string // of their schemas; "" when it is not written
	Isolate bool   // each gets a role of its own
}

// document is the file's form.
type document struct {
	Project struct {
		Name       string `toml:"name"`
		DefaultEnv string `toml:"default_env"`
	} `toml:"project"`
	Database struct {
		MigrationsTable string `toml:"migrations_table"`
	} `toml:"database"`
	Environments map[string]*settings `toml:"environments"`
	Modules      map[string]*struct {
		MigrationsPath string   `toml:"migrations_path"`
		Schema         string   `toml:"schema"`
		Mode           string   `toml:"mode"`
		DependsOn      []string `toml:"depends_on"`
		Extensions     []string `toml:"extensions"`
	} `toml:"modules"`
	// SharedPool is for the program that opens the pool.
	SharedPool struct {
		MinConnections *int     `toml:"min_connections"`
		MaxConnections *int     `toml:"max_connections"`
		Modules        []string `toml:"modules"`
	} `toml:"shared_pool"`
	Tenants struct {
		Modules []string `toml:"modules"`
		Prefix  string   `toml:"prefix"`
		Isolate bool     `toml:"isolate"`
	} `toml:"tenants"`
}

// Read reads a file. The error is that of os.ReadFile when it cannot be read.
func Read(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, text)
}

// Parse is Read of a text.
func Parse(path string, text []byte) (*File, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // editors of Windows write one
	var doc document
	if err := decode(path, text, &doc); err != nil {
		return nil, err
	}
	f := &File{Path: path, Name: doc.Project.Name, DefaultEnv: doc.Project.DefaultEnv, MigrationsTable: doc.Database.MigrationsTable,
		Tenants: Tenants{Prefix: doc.Tenants.Prefix, Isolate: doc.Tenants.Isolate}}
	var order [][]string
	f.places, order = findPlaces(text)
	for _, key := range order {
		if len(key) != 2 {
			continue
		}
		switch name := key[1]; key[0] {
		case "environments":
			f.Environments = append(f.Environments, newEnvironment(f, name, doc.Environments[name]))
		case "modules":
			m := doc.Modules[name]
			f.Modules = append(f.Modules, &Module{file: f, Name: name, MigrationsPath: m.MigrationsPath, Schema: m.Schema,
				Mode: m.Mode, DependsOn: m.DependsOn, Extensions: m.Extensions, OfTenants: slices.Contains(doc.Tenants.Modules, name)})
		}
	}
	return f, f.check(&doc)
}

// decode returns the first error of the text, or all keys that are not known.
func decode(path string, text []byte, doc *document) error {
	d := toml.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(doc)
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		var all []error
		places, order := findPlaces(text)
		for i := range strict.Errors {
			line, column := strict.Errors[i].Position()
			key := strict.Errors[i].Key() // of an inline table without the keys around it
			for _, k := range order {
				if at := places[join(k)]; at.Line == line && at.Column == column {
					key = k
				}
			}
			all = append(all, &Error{Path: path, Line: line, Column: column, Text: "unknown key " + strings.Join(key, ".")})
		}
		return errors.Join(all...)
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := e.Position()
		what := strings.TrimPrefix(e.Error(), "toml: ")
		if key := strings.Join(e.Key(), "."); key != "" && strings.HasPrefix(what, "cannot ") {
			what = key + ": not a value of the kind that belongs there"
		}
		if strings.HasSuffix(what, "cannot be stored in uint16") { // the parser names no key for it
			places, order := findPlaces(text)
			for _, k := range order {
				if k[len(k)-1] == "port" && places[join(k)].Line == line {
					what = strings.Join(k, ".") + ": is not between 0 and 65535"
				}
			}
		}
		return &Error{Path: path, Line: line, Column: column, Text: what}
	}
	if err != nil {
		return &Error{Path: path, Text: err.Error()}
	}
	return nil
}

// check returns what does not go together in the file by itself.
func (f *File) check(doc *document) error {
	for _, m := range f.Modules {
		if err := m.check(); err != nil {
			return err
		}
	}
	if _, err := f.InOrder(); err != nil {
		return err
	}
	for i, name := range doc.Tenants.Modules {
		key := []string{"tenants", "modules", strconv.Itoa(i)}
		switch {
		case f.Module(name) == nil:
			return f.errorAt(key, "tenants.modules: no module %s; %s", name, f.known())
		case slices.Contains(doc.Tenants.Modules[:i], name):
			return f.errorAt(key, "tenants.modules: %s is there twice", name)
		}
	}
	pool := doc.SharedPool
	for i, name := range pool.Modules {
		if f.Module(name) == nil {
			return f.errorAt([]string{"shared_pool", "modules", strconv.Itoa(i)}, "shared_pool.modules: no module %s; %s", name, f.known())
		}
	}
	for _, n := range []struct {
		key   string
		value *int
	}{{"min_connections", pool.MinConnections}, {"max_connections", pool.MaxConnections}} {
		if n.value != nil && *n.value < 0 {
			return f.errorAt([]string{"shared_pool", n.key}, "shared_pool.%s: is negative", n.key)
		}
	}
	if pool.MinConnections != nil && pool.MaxConnections != nil && *pool.MinConnections > *pool.MaxConnections {
		return f.errorAt([]string{"shared_pool", "min_connections"}, "shared_pool.min_connections: is above max_connections")
	}
	return nil
}

// beside is a path that begins at the file's folder, unless it begins at the root.
func (f *File) beside(path string) string {
	path = filepath.FromSlash(path)
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(f.Path), path)
}

// Module returns the module of a name, or nil.
func (f *File) Module(name string) *Module {
	for _, m := range f.Modules {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// ErrNoModule says that the file has no module of a name.
func (f *File) ErrNoModule(name string) error {
	return &Error{Path: f.Path, Text: fmt.Sprintf("no [modules.%s]; %s", name, f.known())}
}

// ErrPrefix is what is wrong with tenants.prefix.
func (f *File) ErrPrefix(err error) error {
	return f.errorAt([]string{"tenants", "prefix"}, "tenants.prefix: %v", err)
}

func (f *File) known() string {
	var names []string
	for _, m := range f.Modules {
		names = append(names, m.Name)
	}
	if len(names) == 0 {
		return "there are none"
	}
	return "there are " + strings.Join(names, ", ")
}

// InOrder returns the modules, each behind those that it depends on, otherwise as
// they are written.
func (f *File) InOrder() ([]*Module, error) {
	var order []*Module
	var path []string
	var visit func(m *Module) error
	visit = func(m *Module) error {
		if slices.Contains(order, m) {
			return nil
		}
		path = append(path, m.Name)
		defer func() { path = path[:len(path)-1] }()
		for i, name := range m.DependsOn {
			key := []string{"modules", m.Name, "depends_on", strconv.Itoa(i)}
			on := f.Module(name)
			if on == nil {
				return f.errorAt(key, "modules.%s.depends_on: no module %s; %s", m.Name, name, f.known())
			}
			if begin := slices.Index(path, name); begin >= 0 {
				cycle := append(slices.Clone(path[begin:]), name)
				return f.errorAt(key, "modules depend on each other: %s", strings.Join(cycle, " -> "))
			}
			if slices.Contains(m.DependsOn[:i], name) {
				return f.errorAt(key, "modules.%s.depends_on: %s is there twice", m.Name, name)
			}
			if err := visit(on); err != nil {
				return err
			}
		}
		order = append(order, m)
		return nil
	}
	for _, m := range f.Modules {
		if err := visit(m); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// Module is a [modules.NAME].
type Module struct {
	Name           string
	MigrationsPath string // as it is written
	Schema         string // as it is written; "" when it is not
	Mode           string // standalone, library, dual or ""
	DependsOn      []string
	Extensions     []string
	OfTenants      bool // each tenant has it, in its schema

	file *File
}

func (m *Module) check() error {
	table := []string{"modules", m.Name}
	at := func(key string, format string, args ...any) error {
		return m.file.errorAt(append(table, key), "modules.%s.%s: "+format, append([]any{m.Name, key}, args...)...)
	}
	if err := sqltemplate.ValidateModule(m.Name); err != nil {
		return m.file.errorAt(table, "modules.%s: %v", m.Name, err)
	}
	if m.MigrationsPath == "" {
		return m.file.errorAt(table, "modules.%s: migrations_path is missing", m.Name)
	}
	if m.Schema != "" {
		if err := sqltemplate.ValidateSchema(m.Schema); err != nil {
			return at("schema", "%v", err)
		}
	}
	if !slices.Contains([]string{"", "standalone", "library", "dual"}, m.Mode) {
		return at("mode", "%q is none of standalone, library, dual", m.Mode)
	}
	return nil
}

// Dir returns the folder of the migrations: a relative path begins at that of the
// file. It must be there.
func (m *Module) Dir() (string, error) {
	dir := m.Path()
	key := []string{"modules", m.Name, "migrations_path"}
	switch info, err := os.Stat(dir); {
	case errors.Is(err, os.ErrNotExist):
		return "", m.file.errorAt(key, "modules.%s.migrations_path: no folder %s", m.Name, dir)
	case err != nil:
		return "", m.file.errorAt(key, "modules.%s.migrations_path: %v", m.Name, err)
	case !info.IsDir():
		return "", m.file.errorAt(key, "modules.%s.migrations_path: %s is not a folder", m.Name, dir)
	}
	return dir, nil
}

// Path is Dir of a folder that need not be there.
func (m *Module) Path() string { return m.file.beside(m.MigrationsPath) }

// Migrations is Dir of a folder that has migrations, in itself or in a folder of
// its own. The error is [ErrNoFiles] when it has none.
func (m *Module) Migrations() (string, error) {
	dir, err := m.Dir()
	if err != nil {
		return "", err
	}
	for _, pattern := range []string{"*.sql", "*/*.sql"} {
		if found, err := fs.Glob(os.DirFS(dir), pattern); err == nil && len(found) > 0 {
			return dir, nil
		}
	}
	err = m.file.errorAt([]string{"modules", m.Name, "migrations_path"}, "modules.%s.migrations_path: no *.sql in %s", m.Name, dir)
	err.(*Error).Err = ErrNoFiles
	return "", err
}

// SchemaIn returns the schema of the module in an environment, which may be nil:
// the module's, else the environment's, else its name.
func (m *Module) SchemaIn(e *Environment) (string, error) {
	if m.Schema != "" {
		return m.Schema, nil
	}
	schema, err := e.Schema()
	if err == nil && schema == "" {
		schema = m.Name
	}
	return schema, err
}
