package pgdbmtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// unitPoll is how often a run looks for units that others have given back.
	unitPoll = 10 * time.Millisecond

	// stuckLimit is how long tests that all wait for more than they have are
	// left waiting for other runs.
	stuckLimit = 5 * time.Second

	// surplusLimit is how long a run keeps units for its next tests, although
	// other runs may want them.
	surplusLimit = 100 * time.Millisecond
)

// budget hands out the connections that tests may open, so that parallel tests
// wait instead of meeting "too many clients". Two units of connections stay with
// the run; the others are taken from the server and given back as need be.
//
// A test may take connections more than once. So who has none yet must leave a
// unit free for those who have some: otherwise all could wait for one another.
type budget struct {
	units *units
	lack  chan struct{} // has one when units lack

	mu      sync.Mutex // guards the fields below
	held    []int32    // units
	used    int        // connections
	holders map[string]int
	waiters []*waiter // first come, first served
	working bool      // the goroutine that takes and gives back units runs
	closed  bool
}

type waiter struct {
	test  string
	n     int
	ready chan error
}

// newBudget has the units that stay with the run.
func newBudget(u *units, first []int32) *budget {
	return &budget{units: u, lack: make(chan struct{}, 1), held: first, holders: map[string]int{}}
}

// take waits for n connections.
func (b *budget) take(ctx context.Context, test string, n int) error {
	if most := b.units.mostForTests(); n > most {
		return fmt.Errorf("the server has room for %d", most)
	}
	w := &waiter{test, n, make(chan error, 1)}
	b.mu.Lock()
	b.waiters = append(b.waiters, w)
	b.balanceLocked()
	b.mu.Unlock()
	select {
	case err := <-w.ready:
		return err
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, o := range b.waiters {
		if o == w {
			b.waiters = append(b.waiters[:i], b.waiters[i+1:]...)
			return ctx.Err()
		}
	}
	if err := <-w.ready; err == nil { // at the same moment
		b.giveLocked(test, n)
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
	b.balanceLocked()
}

// balanceLocked gives waiters what there is, and has units taken or given back
// where that is too little or too much.
func (b *budget) balanceLocked() {
	for len(b.waiters) > 0 && b.needLocked() <= len(b.held)*unitSize {
		b.grantLocked()
	}
	short, surplus := b.offLocked()
	switch {
	case b.working && short > 0:
		select {
		case b.lack <- struct{}{}: // no need to wait for the tick
		default:
		}
	case !b.working && !b.closed && short+surplus > 0:
		b.working = true
		go b.work()
	}
}

// nextLocked is the waiter whose turn it is: first those that have connections
// already.
func (b *budget) nextLocked() int {
	for i, w := range b.waiters {
		if b.holders[w.test] > 0 {
			return i
		}
	}
	return 0
}

// needLocked returns how many connections there must be for the next waiter to
// go on; without one, for those that go on.
func (b *budget) needLocked() int {
	if len(b.waiters) == 0 {
		return b.used
	}
	w := b.waiters[b.nextLocked()]
	need := b.used + w.n
	if len(b.holders) > 0 && b.holders[w.test] == 0 && !b.stuckLocked() {
		need += unitSize
	}
	return need
}

// grantLocked lets the next waiter go on.
func (b *budget) grantLocked() {
	i := b.nextLocked()
	w := b.waiters[i]
	b.waiters = slices.Delete(b.waiters, i, i+1)
	b.used += w.n
	b.holders[w.test] += w.n
	w.ready <- nil
}

// offLocked returns how many units the next waiter lacks, or how many nobody
// needs.
func (b *budget) offLocked() (short, surplus int) {
	off := max((b.needLocked()+unitSize-1)/unitSize, testUnits) - len(b.held)
	return max(off, 0), max(-off, 0)
}

// work takes units until tests have what they need, and gives back those that
// nobody has needed for a while.
func (b *budget) work() {
	tick := time.NewTicker(unitPoll)
	defer tick.Stop()
	var short, surplus since
	for {
		b.mu.Lock()
		lacks, spare := b.offLocked()
		if lacks+spare == 0 || b.closed {
			b.working = false
			b.mu.Unlock()
			return
		}
		lacking, resting, wait := short.lasts(lacks > 0), surplus.lasts(spare > 0), true
		switch {
		case lacks > 0:
			if wait = !b.acquireLocked(lacks); wait && lacking > stuckLimit && b.stuckLocked() {
				b.grantLocked()
			}
		case resting > surplusLimit:
			b.releaseLocked(spare)
		}
		b.balanceLocked()
		select {
		case <-b.lack: // which was just seen
		default:
		}
		b.mu.Unlock()
		if wait {
			select {
			case <-tick.C:
			case <-b.lack:
			}
		}
	}
}

// acquireLocked takes n units, if there are as many, and reports whether it has
// come to an end with that. It gives the mutex away meanwhile.
func (b *budget) acquireLocked(n int) bool {
	b.mu.Unlock()
	got, err := b.units.try(n, 1)
	b.mu.Lock()
	b.held = append(b.held, got...)
	if err != nil {
		b.failLocked(err)
	}
	return got != nil || err != nil
}

// releaseLocked gives back n units. It gives the mutex away meanwhile.
func (b *budget) releaseLocked(n int) {
	spare := slices.Clone(b.held[len(b.held)-n:])
	b.held = b.held[:len(b.held)-n]
	b.mu.Unlock()
	_ = b.units.free(spare) // fails with the session, and then they are free
	b.mu.Lock()
}

// since is when something began to be so.
type since struct{ began time.Time }

// lasts returns for how long it has been so, with what is so now.
func (s *since) lasts(now bool) time.Duration {
	switch {
	case !now:
		s.began = time.Time{}
	case s.began.IsZero():
		s.began = time.Now()
	}
	if s.began.IsZero() {
		return 0
	}
	return time.Since(s.began)
}

// close ends the work; nobody may take any more.
func (b *budget) close() {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		b.mu.Lock()
		b.closed = true
		working := b.working
		b.mu.Unlock()
		if !working {
			return
		}
		<-tick.C
	}
}

// failLocked ends the wait of all.
func (b *budget) failLocked(err error) {
	for _, w := range b.waiters {
		w.ready <- err
	}
	b.waiters = nil
}

// stuckLocked reports whether every test that has connections waits for more,
// itself or in a subtest: then none would ever be given back. So one takes what
// is left free, or after some time goes over the limit, which many a test does
// not reach.
func (b *budget) stuckLocked() bool {
	if len(b.holders) == 0 || len(b.waiters) == 0 {
		return false
	}
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
