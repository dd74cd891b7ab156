package pgdbm

import (
	"container/heap"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// gate stands in front of a pool and decides who gets a connection next.
// pgxpool serves those who wait in their order, so a schema with many waiting
// would keep all others waiting, too. Here each schema has a queue of its own;
// of those that wait and may have one, the schema that has had the least for its
// weight is next (stride scheduling: Waldspurger and Weihl, 1995).
//
// A token stands for a connection. It is taken before the connection and goes
// back after it.
type gate struct {
	total int // tokens
	// shared is how many one schema may hold while others use the pool, too.
	shared int

	mu       sync.Mutex // guards the fields below
	free     int
	reserved int               // tokens that schemas with a minimum do not hold yet
	shares   map[string]*share // those that hold or wait, have a minimum, or were last to
	waiting  shareHeap         // those with a waiter that may not be at its limit
	pass     float64           // of the share that was served last
	last     string            // the schema served last, and
	since    time.Time         // when another one was served before it
	relief   *time.Timer       // ends the wait of those that are held to their part; mostly nil
}

// share is a schema's part of a gate's tokens.
type share struct {
	schema  string
	held    int
	min     int
	pass    float64 // what it has had, each token counted as 1/weight
	waiters []*waiter
	index   int // in gate.waiting; -1: not there
}

// limits are what a handle sets for its schema; see [HandleConfig].
type limits struct {
	max, waiting int
	weight       float64
	timeout      time.Duration
}

// waiter is a call that waits for a token.
type waiter struct {
	share   *share
	limits  *limits
	granted chan struct{} // closed with a token in hand
}

// crowded is how long a schema is held to its part after another one has used
// the pool.
const crowded = time.Minute

// newGate returns the gate of a pool of n connections. One schema may hold four
// fifths of them; in a small pool all, where a call that needs two connections at
// a time would wait for itself.
func newGate(n int) *gate {
	g := &gate{total: n, free: n, shared: n, shares: make(map[string]*share)}
	if n >= 5 {
		g.shared = n - n/5
	}
	return g
}

// take takes a token for a schema, or returns a waiter for one. Its error is
// ErrSchemaBusy.
func (g *gate) take(schema string, l *limits, now time.Time) (*waiter, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used(schema, now)
	s := g.share(schema)
	// Those in the heap have been here before. Who may not wait need not queue
	// behind those for whom a token is kept.
	impatient := l != nil && l.waiting < 0
	if len(s.waiters) == 0 && (impatient || len(g.waiting) == 0) && g.may(s, l) {
		g.grant(s, l)
		return nil, nil
	}
	if impatient || l != nil && l.waiting > 0 && len(s.waiters) >= l.waiting {
		err := fmt.Errorf("%w: schema %q holds %d of the pool's %d connections, at most %d, and %d calls wait",
			ErrSchemaBusy, schema, s.held, g.total, g.limit(s, l), len(s.waiters))
		g.forget(s)
		return nil, err
	}
	w := &waiter{share: s, limits: l, granted: make(chan struct{})}
	s.waiters = append(s.waiters, w)
	if len(s.waiters) == 1 {
		s.pass = max(s.pass, g.pass) // it has no claim to what it did not want
	}
	g.queue(s) // its limit may be another one than that of those who wait
	g.serve()
	return w, nil
}

// wait waits for the token, or for the context to end, whose error it returns.
func (g *gate) wait(ctx context.Context, w *waiter) error {
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.granted: // in the meantime
		g.put(w.share)
	default:
		g.leave(w)
	}
	return ctx.Err()
}

// give gives a token back.
func (g *gate) give(schema string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.put(g.shares[schema])
}

func (g *gate) put(s *share) {
	if s.held <= s.min {
		g.reserved++
	}
	s.held--
	g.free++
	g.queue(s)
	g.forget(s)
	g.serve()
}

// queue puts a share with waiters in the heap.
func (g *gate) queue(s *share) {
	if len(s.waiters) > 0 && s.index < 0 {
		heap.Push(&g.waiting, s)
	}
}

// serve gives free tokens to those that wait, and takes out of the heap those
// that are at their limit until they give one back.
func (g *gate) serve() {
	var held []*share // back: only the tokens kept for others stand in their way
	for g.free > 0 && len(g.waiting) > 0 {
		s := heap.Pop(&g.waiting).(*share)
		i, limited := g.next(s)
		switch {
		case i >= 0:
			w := s.waiters[i]
			s.waiters = slices.Delete(s.waiters, i, i+1)
			g.grant(s, w.limits)
			close(w.granted)
			g.queue(s)
		case !limited:
			held = append(held, s)
		default:
			g.relieve(s)
		}
	}
	for _, s := range held {
		heap.Push(&g.waiting, s)
	}
}

// next returns the first of a share's waiters that may have a token, or -1, and
// then whether all are at the limit of their handle.
func (g *gate) next(s *share) (i int, limited bool) {
	limited = true
	var refused *limits
	for i, w := range s.waiters {
		if i > 0 && w.limits == refused {
			continue // mostly all have the same
		}
		if g.may(s, w.limits) {
			return i, false
		}
		refused = w.limits
		limited = limited && s.held >= g.limit(s, w.limits)
	}
	return -1, limited
}

// relieve has a share that is held to its part of the pool looked at again when
// nobody else has used the pool for long enough.
func (g *gate) relieve(s *share) {
	left := time.Until(g.since.Add(crowded))
	if g.relief != nil || left <= 0 || s.held < g.shared {
		return
	}
	g.relief = time.AfterFunc(left, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.relief = nil
		for _, s := range g.shares {
			g.queue(s)
		}
		g.serve()
	})
}

func (g *gate) grant(s *share, l *limits) {
	if s.held < s.min {
		g.reserved--
	}
	s.held++
	g.free--
	weight := 1.0
	if l != nil && l.weight > 0 {
		weight = l.weight
	}
	g.pass = max(g.pass, s.pass)
	s.pass = g.pass + 1/weight
}

// may reports whether a schema may have a token now.
func (g *gate) may(s *share, l *limits) bool {
	others := g.reserved - max(0, s.min-s.held)
	return g.free > others && s.held < g.limit(s, l)
}

// limit is how many tokens a schema may hold. What has no schema, as migrations,
// is not held back.
func (g *gate) limit(s *share, l *limits) int {
	switch {
	case s.schema == "":
		return g.total
	case l != nil && l.max > 0:
		return l.max
	case s.held < g.shared, time.Since(g.since) < crowded:
		return max(g.shared, s.min)
	}
	return g.total
}

// used notes that a schema uses the pool, and whether it is not the only one.
func (g *gate) used(schema string, now time.Time) {
	if schema == "" || schema == g.last {
		return
	}
	if g.last != "" {
		g.since = now
	}
	g.last = schema
}

func (g *gate) share(schema string) *share {
	s := g.shares[schema]
	if s == nil {
		s = &share{schema: schema, index: -1}
		g.shares[schema] = s
	}
	return s
}

// keptShares is how many shares stay although their schemas have nothing: most
// come back for the next query.
const keptShares = 256

// forget drops the share of a schema that has nothing and wants nothing, where
// there are many. Its pass goes with it unless it is ahead of the others'.
func (g *gate) forget(s *share) {
	if len(g.shares) > keptShares && s.idle() && s.pass <= g.pass+1 {
		delete(g.shares, s.schema)
	}
}

func (s *share) idle() bool { return s.held == 0 && s.min == 0 && len(s.waiters) == 0 }

// leave takes a waiter out of its queue.
func (g *gate) leave(w *waiter) {
	s := w.share
	for i, o := range s.waiters {
		if o == w {
			s.waiters = append(s.waiters[:i:i], s.waiters[i+1:]...)
			break
		}
	}
	switch {
	case len(s.waiters) == 0 && s.index >= 0:
		heap.Remove(&g.waiting, s.index)
	default:
		g.queue(s) // the next one's limit may be another
	}
	g.forget(s)
	g.serve()
}

// keep reserves n tokens for a schema.
func (g *gate) keep(schema string, n int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.share(schema)
	kept := n
	for _, o := range g.shares {
		if o != s {
			kept += o.min
		}
	}
	if kept >= g.total {
		g.forget(s)
		return fmt.Errorf("%d are kept for schemas then, which leaves none of a pool of %d to others and to migrations", kept, g.total)
	}
	g.reserved += max(0, n-s.held) - max(0, s.min-s.held)
	s.min = n
	g.serve()
	return nil
}

// standing says how many tokens a schema holds and how many it may.
func (g *gate) standing(schema string, l *limits) (held, limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.shares[schema]
	if s == nil {
		s = &share{schema: schema}
	}
	return s.held, g.limit(s, l)
}

// snapshot lists the schemas that hold tokens or wait for one.
func (g *gate) snapshot() []SchemaStat {
	g.mu.Lock()
	defer g.mu.Unlock()
	var stats []SchemaStat
	for _, s := range g.shares {
		if s.schema != "" && s.held+len(s.waiters) > 0 {
			stats = append(stats, SchemaStat{Schema: s.schema, Held: s.held, Waiting: len(s.waiters)})
		}
	}
	slices.SortFunc(stats, func(a, b SchemaStat) int { return strings.Compare(a.Schema, b.Schema) })
	return stats
}

// shareHeap is a heap of shares, the one with the lowest pass first.
type shareHeap []*share

func (h shareHeap) Len() int           { return len(h) }
func (h shareHeap) Less(i, j int) bool { return h[i].pass < h[j].pass }

func (h shareHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *shareHeap) Push(x any) {
	s := x.(*share)
	s.index = len(*h)
	*h = append(*h, s)
}

func (h *shareHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	*h = old[:len(old)-1]
	s.index = -1
	return s
}
