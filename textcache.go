package pgdbm

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// namespace is what {{...}} means to one handle. It is immutable.
type namespace struct {
	names *sqltemplate.Names
	// key tells namespaces with different expansions apart. Handles of one
	// schema without aliases share a key, so they share cached texts.
	key string
	// aliases maps modules to schemas: what {{tables.module.x}} may name.
	aliases map[string]string
}

const (
	cachedTexts   = 2048     // in each of the two generations
	maxCachedText = 16 << 10 // bytes of a template; a longer one is not kept
)

// textCache keeps parsed templates and their expansions, each parsed once and
// a bounded number of them. It is safe for concurrent use.
type textCache struct {
	templates generations[string, *sqltemplate.Template]
	texts     generations[textKey, string]
}

type textKey struct{ sql, namespace string }

func newTextCache() *textCache { return new(textCache) }

// expand returns sql as it goes to the server. A text without "{{" is returned
// as it is, unparsed.
func (c *textCache) expand(ns *namespace, sql string) (string, error) {
	if !strings.Contains(sql, "{{") {
		return sql, nil
	}
	key := textKey{sql, ns.key}
	if text, ok := c.texts.get(key); ok {
		return text, nil
	}
	t, ok := c.templates.get(sql)
	if !ok {
		var err error
		if t, err = sqltemplate.Parse(sql); err != nil {
			return "", fmt.Errorf("pgdbm: template: %w", err)
		}
	}
	text, err := t.Expand(ns.names)
	if err != nil {
		return "", fmt.Errorf("pgdbm: template: %w", err)
	}
	if len(sql) <= maxCachedText {
		// A text that a caller cut from a large buffer must not keep it alive.
		key.sql = strings.Clone(sql)
		c.templates.put(key.sql, t)
		c.texts.put(key, text)
	}
	return text, nil
}

// generations is a bounded map for values that can be made anew: when the
// young generation is full it becomes the old one, and what was old is
// dropped. A value that is read in the old one moves to the young one, so what
// is in use stays. Reads take no lock. The zero value is empty.
type generations[K comparable, V any] struct {
	young, old atomic.Pointer[sync.Map]
	mu         sync.Mutex // guards writes, and n
	n          int        // entries in young
}

func (g *generations[K, V]) get(k K) (V, bool) {
	if m := g.young.Load(); m != nil {
		if v, ok := m.Load(k); ok {
			return v.(V), true
		}
	}
	if m := g.old.Load(); m != nil {
		if v, ok := m.Load(k); ok {
			g.put(k, v.(V))
			return v.(V), true
		}
	}
	var none V
	return none, false
}

func (g *generations[K, V]) put(k K, v V) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.young.Load()
	if m == nil || g.n >= cachedTexts {
		if m != nil {
			g.old.Store(m)
		}
		m = new(sync.Map)
		g.young.Store(m)
		g.n = 0
	}
	if _, exists := m.Swap(k, v); !exists {
		g.n++
	}
}
