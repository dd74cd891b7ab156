package pgdbmtest

import (
	"context"
	"strings"
	"sync"
)

// budget hands out the connections that tests may open, so that parallel tests
// wait instead of meeting "too many clients".
type budget struct {
	total int // of the server, for tests of all runs
	fixed int // that this run has beside its tests

	mu      sync.Mutex // guards the fields below
	limit   int
	used    int
	holders map[string]int // test name -> slots
	waiters []*waiter      // first come, first served
}

type waiter struct {
	test  string
	n     int
	ready chan struct{}
}

func newBudget(total, fixed int) *budget {
	return &budget{total: total, fixed: fixed, holders: map[string]int{}}
}

// share divides the server's connections by this many runs.
func (b *budget) share(runs int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = max(b.total/runs-b.fixed, 1)
	b.grantLocked()
}

// reserve takes a quarter of the budget, at most n, for good.
func (b *budget) reserve(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n = max(min(n, b.limit/4), 1)
	b.fixed += n
	b.limit = max(b.limit-n, 1)
	return n
}

// take waits for n slots, or for all there are if n is more.
func (b *budget) take(ctx context.Context, test string, n int) error {
	w := &waiter{test, n, make(chan struct{})}
	b.mu.Lock()
	b.waiters = append(b.waiters, w)
	b.grantLocked()
	b.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready: // at the same moment
		b.giveLocked(test, n)
	default:
		for i, o := range b.waiters {
			if o == w {
				b.waiters = append(b.waiters[:i], b.waiters[i+1:]...)
				break
			}
		}
		b.grantLocked()
	}
	return ctx.Err()
}

func (b *budget) give(test string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.giveLocked(test, n)
}

func (b *budget) giveLocked(test string, n int) {
	b.used -= n
	if b.holders[test] -= n; b.holders[test] <= 0 {
		delete(b.holders, test)
	}
	b.grantLocked()
}

func (b *budget) grantLocked() {
	for len(b.waiters) > 0 {
		w := b.waiters[0]
		if b.used > 0 && b.used+w.n > b.limit && !b.stuckLocked() {
			return
		}
		b.waiters = b.waiters[1:]
		b.used += w.n
		b.holders[w.test] += w.n
		close(w.ready)
	}
}

// stuckLocked reports whether every test that has slots waits for more, itself
// or in a subtest: then none would ever be given back, so the first goes over
// the limit.
func (b *budget) stuckLocked() bool {
	for test := range b.holders {
		waits := false
		for _, w := range b.waiters {
			waits = waits || w.test == test || strings.HasPrefix(w.test, test+"/")
		}
		if !waits {
			return false
		}
	}
	return true
}
