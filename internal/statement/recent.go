package statement

import (
	"sync"
	"sync/atomic"
)

// generation is how many entries each of the two generations of a recent map
// has at the most.
const generation = 2048

// recent is a bounded map for values that can be made anew: when the young
// generation is full it becomes the old one, and what was old is dropped. A
// value that is read in the old one moves to the young one, so what is in use
// stays. Reads take no lock. The zero value is empty; it is safe for concurrent
// use.
type recent[K comparable, V any] struct {
	young, old atomic.Pointer[sync.Map]
	mu         sync.Mutex // guards writes, and n
	n          int        // entries in young
}

func (g *recent[K, V]) get(k K) (V, bool) {
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

func (g *recent[K, V]) put(k K, v V) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.young.Load()
	if m == nil || g.n >= generation {
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

// remove forgets k.
func (g *recent[K, V]) remove(k K) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m := g.young.Load(); m != nil {
		if _, existed := m.LoadAndDelete(k); existed {
			g.n--
		}
	}
	if m := g.old.Load(); m != nil {
		m.Delete(k)
	}
}
