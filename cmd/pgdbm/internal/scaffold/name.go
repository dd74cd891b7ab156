package scaffold

import (
	"fmt"
	"go/token"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/module"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// Names are a name in the forms in which it is needed.
type Names struct {
	Name    string // as given: a folder, a part of a URL
	Package string // of Go
	Schema  string // the module's name and schema in the database
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9]*([_-][a-z0-9]+)*$`)

// taken are identifiers and folders of the scaffolds.
var taken = []string{
	"context", "embed", "errors", "fmt", "http", "json", "main", "migrations", "net", "os", "pgdbm",
	"pgdbmtest", "pool", "regexp", "signal", "slog", "sync", "syscall", "testing", "web",
	"cmp", "internal", "vendor", "testdata", "init", "mux", "db", "err", "ctx", "t", "tenants",
	"tenant", "module", "schema", "store", "handler", "items",
	"any", "error", "string", "bool", "int", "nil", "true", "false", "len", "make", "new", "append",
}

// ParseName checks a name and returns its forms.
func ParseName(name string) (Names, error) {
	if !nameForm.MatchString(name) || len(name) > 40 {
		return Names{}, fmt.Errorf("name %q: want at most 40 lower case letters and digits, with single - or _ between them", name)
	}
	n := Names{Name: name, Schema: strings.ReplaceAll(name, "-", "_"),
		Package: strings.NewReplacer("-", "", "_", "").Replace(name)}
	if err := sqltemplate.ValidateModule(n.Schema); err != nil {
		return Names{}, fmt.Errorf("name %q: %w", name, err)
	}
	if token.IsKeyword(n.Package) || slices.Contains(taken, n.Package) {
		return Names{}, fmt.Errorf("name %q: %s means something else in Go or in the scaffold", name, n.Package)
	}
	return n, nil
}

// checkModulePath says what is wrong with the path of a Go module.
func checkModulePath(p string) error {
	if err := module.CheckImportPath(p); err != nil {
		return err
	}
	if p == Library || strings.HasPrefix(p, Library+"/") {
		return fmt.Errorf("module path %q: is the library's own", p)
	}
	return nil
}
