package sqltemplate

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxNameLen is the length in bytes at which PostgreSQL cuts a name.
const maxNameLen = 63

// Names says what placeholders mean: the schema that unqualified ones name, and the schemas of other modules. It is
// immutable and safe for concurrent use. Make one with [NewNames].
type Names struct {
	schema  string
	aliases map[string]string
}

// NewNames returns the names of a schema. The aliases map each module that templates may name to its schema; the map is
// copied. Every name is validated.
func NewNames(schema string, aliases map[string]string) (*Names, error) {
	if err := ValidateSchema(schema); err != nil {
		return nil, err
	}
	for _, module := range slices.Sorted(maps.Keys(aliases)) {
		if err := ValidateModule(module); err != nil {
			return nil, err
		}
		if err := ValidateSchema(aliases[module]); err != nil {
			return nil, fmt.Errorf("module %q: %w", module, err)
		}
	}
	return &Names{schema: schema, aliases: maps.Clone(aliases)}, nil
}

// Schema returns the schema, unquoted.
func (n *Names) Schema() string { return n.schema }

// Aliases returns the modules that templates may name, each with its schema, in no order.
func (n *Names) Aliases() iter.Seq2[string, string] { return maps.All(n.aliases) }

// schemaOf returns the schema of a module; "" is the module whose template it is. The schema is empty if there is none.
func (n *Names) schemaOf(module string) string {
	switch {
	case n == nil:
		return ""
	case module == "":
		return n.schema
	}
	return n.aliases[module]
}

// ValidateSchema reports why a name cannot be that of a schema: it is 1 to 63 bytes of valid UTF-8 without control
// characters and without any of ' " \ $ %, does not begin with pg_ and is not information_schema. So a valid name means
// the same in every kind of quotes, and in a format string.
func ValidateSchema(name string) error {
	err := validateName(name)
	if err == nil && (strings.HasPrefix(name, "pg_") || name == "information_schema") {
		err = errors.New("name is PostgreSQL's own")
	}
	if err != nil {
		return fmt.Errorf("schema %q: %w", name, err)
	}
	return nil
}

// ValidateModule reports why a name cannot be that of a module: it matches [a-z][a-z0-9_]{0,62} to its last byte, does
// not begin with pg_ and is none of information_schema, public and pgdbm.
func ValidateModule(name string) error {
	err := validateName(name)
	if err == nil {
		err = validateModuleWord(name)
	}
	if err != nil {
		return fmt.Errorf("module %q: %w", name, err)
	}
	return nil
}

func validateModuleWord(name string) error {
	for i := range len(name) {
		c := name[i]
		if c >= 'a' && c <= 'z' || i > 0 && (c == '_' || c >= '0' && c <= '9') {
			continue
		}
		return errors.New("name does not match [a-z][a-z0-9_]{0,62}")
	}
	switch name {
	case "information_schema", "public", "pgdbm":
		return errors.New("name is reserved")
	}
	if strings.HasPrefix(name, "pg_") {
		return errors.New("name is reserved")
	}
	return nil
}

// validateName checks the rules that all names share.
func validateName(name string) error {
	switch {
	case name == "":
		return errors.New("name is empty")
	case len(name) > maxNameLen:
		return fmt.Errorf("name is longer than %d bytes", maxNameLen)
	case !utf8.ValidString(name):
		return errors.New("name is not valid UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("name holds a control character")
	case strings.ContainsAny(name, `'"\$%`):
		return errors.New(`name holds one of ' " \ $ %`)
	}
	return nil
}

// Quote returns a name as an identifier in double quotes, those in it doubled.
func Quote(ident string) string {
	return `"` + strings.ReplaceAll(ident, `"`, `""`) + `"`
}
