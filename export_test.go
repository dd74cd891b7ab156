package pgdbm

import (
	"context"
	"fmt"
	"time"
)

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

// Gate is what decides who gets a connection of a pool next, for its test.
type Gate struct{ gate *gate }

// NewGate returns the gate of a pool of n connections.
func NewGate(n int) Gate { return Gate{newGate(n)} }

// Take takes a token for a schema as a handle of this configuration does. ready is
// nil when it has one at once.
func (g Gate) Take(schema string, c HandleConfig) (ready <-chan struct{}, cancel func(), err error) {
	l, err := c.limits(g.gate.total)
	if err != nil {
		return nil, nil, err
	}
	w, err := g.gate.take(schema, l, time.Now())
	if w == nil {
		return nil, nil, err
	}
	return w.granted, func() {
		ctx, stop := context.WithCancel(context.Background())
		stop()
		if g.gate.wait(ctx, w) == nil { // it came first
			g.gate.give(schema)
		}
	}, nil
}

// Give gives a token back.
func (g Gate) Give(schema string) { g.gate.give(schema) }

// Keep reserves n tokens.
func (g Gate) Keep(schema string, n int) error { return g.gate.keep(schema, n) }

// Idle reports what is not as in a new gate.
func (g Gate) Idle() error {
	g.gate.mu.Lock()
	defer g.gate.mu.Unlock()
	busy := 0
	for _, s := range g.gate.shares {
		if !s.idle() {
			busy++
		}
	}
	if g.gate.free != g.gate.total || busy != 0 || len(g.gate.shares) > keptShares+1 || len(g.gate.waiting) != 0 || g.gate.reserved != 0 {
		return fmt.Errorf("%d of %d tokens are free, %d are reserved, %d shares, %d of them waiting",
			g.gate.free, g.gate.total, g.gate.reserved, len(g.gate.shares), len(g.gate.waiting))
	}
	return nil
}
