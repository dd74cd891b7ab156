package statement

import (
	"maps"
	"slices"
	"strings"
	"unique"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// Namespace is what {{...}} means to one handle. It is immutable.
type Namespace struct {
	Names *sqltemplate.Names
	// id tells namespaces with different expansions apart. Handles of one schema
	// without aliases share it, and so what is cached for it.
	id unique.Handle[string]
}

// NewNamespace returns the namespace of a schema, with aliases from module to
// schema. Its errors are sqltemplate's.
func NewNamespace(schema string, aliases map[string]string) (*Namespace, error) {
	names, err := sqltemplate.NewNames(schema, aliases)
	if err != nil {
		return nil, err
	}
	// The separator is a character that no schema name may hold.
	var id strings.Builder
	id.WriteString(schema)
	for _, m := range slices.Sorted(maps.Keys(aliases)) {
		id.WriteString("\x00" + m + "\x00" + aliases[m])
	}
	return &Namespace{Names: names, id: unique.Make(id.String())}, nil
}
