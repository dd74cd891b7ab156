package pgdbm

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
