package pgdbm

// TextCache is the cache of expanded texts, for its test.
type TextCache struct{ cache *textCache }

// CachedTexts and MaxCachedText are its bounds.
const (
	CachedTexts   = cachedTexts
	MaxCachedText = maxCachedText
)

// NewTextCache returns an empty cache.
func NewTextCache() TextCache { return TextCache{newTextCache()} }

// Expand expands sql for a handle.
func (c TextCache) Expand(db *DB, sql string) (string, error) { return c.cache.expand(db.h.ns, sql) }

// Has reports whether a text is kept.
func (c TextCache) Has(db *DB, sql string) bool {
	_, ok := c.cache.texts.get(textKey{sql, db.h.ns.key})
	return ok
}

// Len counts what is kept.
func (c TextCache) Len() (templates, texts int) {
	return c.cache.templates.len(), c.cache.texts.len()
}

func (g *generations[K, V]) len() int {
	n := 0
	count := func(any, any) bool { n++; return true }
	if m := g.young.Load(); m != nil {
		m.Range(count)
	}
	if m := g.old.Load(); m != nil {
		m.Range(count)
	}
	return n
}

// Identity is what the registry knows about a pool.
type Identity struct {
	Address, Database, User      string // as configured
	System, Started, OID, Really string // as the server says; Really is the user
}

// SameDatabase reports whether the registry takes two pools for pools to one
// database.
func SameDatabase(a, b Identity) bool { return a.entry().sameDatabase(b.entry()) }

// SameUser reports whether it takes their users for one.
func SameUser(a, b Identity) bool { return a.entry().sameUser(b.entry()) }

func (i Identity) entry() *poolEntry {
	return &poolEntry{address: i.Address, database: i.Database, user: i.User,
		id: serverID{system: i.System, started: i.Started, database: i.OID, user: i.Really}}
}

// ParseConfig is what Open does with a Config before it connects.
func ParseConfig(c Config) (target string, err error) {
	pc, err := c.pgxConfig()
	if err != nil {
		return "", err
	}
	return pc.ConnConfig.Host + " " + pc.ConnConfig.Database + " " + pc.ConnConfig.User, nil
}
