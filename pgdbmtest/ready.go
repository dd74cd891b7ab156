package pgdbmtest

import (
	"context"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"
)

// readiness counts connections that are kept open for tests to come, out of
// what the run has for itself.
type readiness struct {
	mu   sync.Mutex // guards the fields below
	most int
	open int
}

// keep reports whether one more may stay open; if so it counts.
func (r *readiness) keep() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open >= r.most {
		return false
	}
	r.open++
	return true
}

// end is for one that is closed, or a test's.
func (r *readiness) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open--
}

// cool closes the connection that a clone has ready.
func (s *server) cool(c *clone) {
	if c.pool != nil {
		c.pool.Close()
		c.pool = nil
		s.warm.end()
	}
}

// rest gives the connection of a test's transaction back to the pool, for the
// next one. It is closed when that is not to be; and when too many are open, the
// one that has been resting for longest.
func (s *server) rest(d *txDatabase, conn *pgxpool.Conn, clean bool) {
	if clean = clean && !d.retired.Load(); clean && !s.rested.keep() {
		clean = s.closeOldest() && s.rested.keep()
	}
	if !clean {
		ctx, cancel := context.WithTimeout(context.Background(), endLimit)
		defer cancel()
		_ = conn.Conn().Close(ctx) // which rolls back as well
	}
	conn.Release()
	if clean {
		s.restedMu.Lock()
		defer s.restedMu.Unlock()
		s.restedIn = append(s.restedIn, d)
	}
}

// wake counts a connection that a test is about to take from the pool as the
// test's, and reports whether one was resting there.
func (s *server) wake(d *txDatabase) bool {
	s.restedMu.Lock()
	defer s.restedMu.Unlock()
	i := slices.Index(s.restedIn, d)
	if i >= 0 {
		s.restedIn = slices.Delete(s.restedIn, i, i+1)
		s.rested.end()
	}
	return i >= 0
}

func (s *server) closeOldest() bool {
	s.restedMu.Lock()
	if len(s.restedIn) == 0 {
		s.restedMu.Unlock()
		return false
	}
	d := s.restedIn[0]
	s.restedMu.Unlock()
	if !s.wake(d) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	for i, conn := range d.pool.Pgx().AcquireAllIdle(ctx) {
		if i == 0 {
			_ = conn.Conn().Close(ctx)
		}
		conn.Release()
	}
	return true
}
