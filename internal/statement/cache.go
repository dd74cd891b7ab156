package statement

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
	"unique"
)

// DefaultBudget is how many schemas a connection works in before it is closed,
// unless the pool says otherwise. At five tables each they take some 60 MB of
// its server process.
const DefaultBudget = 1000

// ErrDescribeExec refuses the mode pgx.QueryExecModeDescribeExec behind a
// connection pooler: it parses in one message and executes in the next, which
// may reach another server connection, with somebody else's statement.
var ErrDescribeExec = errors.New("pgdbm: QueryExecModeDescribeExec behind a connection pooler could run another client's statement")

// Cache is what the connections of one pool share. It is safe for concurrent
// use. Make one with New.
type Cache struct {
	shapes   recent[string, *Shape]
	literals recent[string, *Shape]
	texts    recent[textKey, string]
	own      recent[pair, *description]

	// epoch counts the changes of schemas that this process has made. What is
	// older may be wrong.
	epoch atomic.Uint64

	mu      sync.Mutex // guards indexes
	indexes map[unique.Handle[string]]int

	renewed atomic.Int64 // when everything was last forgotten, in nanoseconds

	budget int
	pooler func()
	told   atomic.Bool
}

// New returns an empty cache. budget is how many schemas a connection may work
// in: 0 means DefaultBudget, a negative one no bound. pooler is called once, when
// a connection turns out to go through one.
func New(budget int, pooler func()) *Cache {
	if budget == 0 {
		budget = DefaultBudget
	}
	return &Cache{budget: budget, pooler: pooler, indexes: make(map[unique.Handle[string]]int)}
}

// renewAfter is how long descriptions are believed. The server accepts most
// arguments of a type that was right once.
const renewAfter = 30 * time.Minute

// Renew tells the cache what time it is.
func (c *Cache) Renew(now time.Time) {
	last := c.renewed.Load()
	if now.UnixNano()-last > int64(renewAfter) && c.renewed.CompareAndSwap(last, now.UnixNano()) && last != 0 {
		c.Changed()
	}
}

// Changed tells the cache that this process has changed tables.
func (c *Cache) Changed() { c.epoch.Add(1) }

func (c *Cache) sawPooler() {
	if !c.told.Swap(true) && c.pooler != nil {
		c.pooler()
	}
}
