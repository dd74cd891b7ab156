package statement

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unique"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// Namespace is what {{...}} means to one handle. It is immutable.
type Namespace struct {
	Names *sqltemplate.Names
	// Role is the role that statements run as; empty: the connection's user.
	Role string
	// id tells namespaces with different expansions apart. Handles of one schema
	// without aliases and with one role share it, and so what is known about it.
	id    unique.Handle[string]
	cache *Cache
	index int // of id, in cache
	// ownsSession says that nobody gets the session next.
	ownsSession bool
}

// Namespace returns the namespace of a schema, with aliases from module to
// schema, and of a role, which may be empty. Its errors are sqltemplate's.
func (c *Cache) Namespace(schema string, aliases map[string]string, role string) (*Namespace, error) {
	names, err := sqltemplate.NewNames(schema, aliases)
	if err != nil {
		return nil, err
	}
	if role != "" {
		// What is a schema's name can stand in a string, too, as RoleText has it.
		if err := sqltemplate.ValidateSchema(role); err != nil || role == noRole {
			return nil, fmt.Errorf("role %q: not a role of a schema's own", role)
		}
	}
	// The separator is a character that no schema name may hold.
	var id strings.Builder
	id.WriteString(schema)
	for _, m := range slices.Sorted(maps.Keys(aliases)) {
		id.WriteString("\x00" + m + "\x00" + aliases[m])
	}
	if role != "" {
		id.WriteString("\x00\x00" + role)
	}
	ns := &Namespace{Names: names, Role: role, id: unique.Make(id.String()), cache: c}
	ns.index = c.intern(ns.id)
	return ns, nil
}

// OwningSession is the namespace on a connection whose session nobody gets next as
// its statements leave it.
func (ns *Namespace) OwningSession() *Namespace {
	own := *ns
	own.ownsSession = true
	return &own
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
