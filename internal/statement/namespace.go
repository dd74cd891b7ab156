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
	// without aliases share it, and so what is known about it.
	id    unique.Handle[string]
	cache *Cache
	index int // of id, in cache
}

// Namespace returns the namespace of a schema, with aliases from module to
// schema. Its errors are sqltemplate's.
func (c *Cache) Namespace(schema string, aliases map[string]string) (*Namespace, error) {
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
	ns := &Namespace{Names: names, id: unique.Make(id.String()), cache: c}
	ns.index = c.intern(ns.id)
	return ns, nil
}

// intern numbers namespaces, from 0, so that a set of them takes a bit each.
func (c *Cache) intern(id unique.Handle[string]) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.indexes[id]
	if !ok {
		n = len(c.indexes)
		c.indexes[id] = n
	}
	return n
}

// indexOf returns a namespace's number in this cache: a transaction may be seen
// from a handle of another pool.
func (c *Cache) indexOf(ns *Namespace) int {
	if ns.cache == c {
		return ns.index
	}
	return c.intern(ns.id)
}
