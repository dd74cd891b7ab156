package tenant

import (
	"container/list"
	"sync"
	"time"

	"github.com/pgdbm/pgdbm"
)

// cache keeps the handles of the tenants that were used last.
type cache struct {
	limit int

	mu      sync.Mutex // guards the fields below
	of      map[string]*list.Element
	order   list.List // of entry, the one used last in front
	dropped uint64    // how often something was
}

// entry is a tenant's handle.
type entry struct {
	id   string
	db   *pgdbm.DB
	role string
	seen time.Time // when the tenant was so
}

func (c *cache) get(id string) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.of[id]
	if !ok {
		return entry{}, false
	}
	c.order.MoveToFront(el)
	return el.Value.(entry), true
}

// changes is for put: what was read before a drop is not kept after it.
func (c *cache) changes() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped
}

func (c *cache) put(e entry, changes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped != changes {
		return
	}
	if el, ok := c.of[e.id]; ok {
		el.Value = e
		c.order.MoveToFront(el)
		return
	}
	if c.of == nil {
		c.of = make(map[string]*list.Element)
	}
	c.of[e.id] = c.order.PushFront(e)
	for c.order.Len() > c.limit {
		last := c.order.Back()
		delete(c.of, last.Value.(entry).id)
		c.order.Remove(last)
	}
}

func (c *cache) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped++
	if el, ok := c.of[id]; ok {
		delete(c.of, id)
		c.order.Remove(el)
	}
}
