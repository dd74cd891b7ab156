package statement

import (
	"sync"
	"sync/atomic"
)

// set is a set of small numbers, a bit each. It is safe for concurrent use; the
// zero value is empty.
type set struct {
	words atomic.Pointer[[]atomic.Uint64]
	mu    sync.Mutex // guards the growth of words
}

func (s *set) has(n int) bool {
	words := s.words.Load()
	return words != nil && n/64 < len(*words) && (*words)[n/64].Load()&(1<<(n%64)) != 0
}

func (s *set) add(n int) {
	s.mu.Lock() // so that no bit is lost to a copy
	defer s.mu.Unlock()
	words := s.words.Load()
	if words == nil || n/64 >= len(*words) {
		grown := make([]atomic.Uint64, max(n/64+1, 2*s.len()))
		for i := range s.len() {
			grown[i].Store((*words)[i].Load())
		}
		words = &grown
		s.words.Store(words)
	}
	(*words)[n/64].Or(1 << (n % 64))
}

func (s *set) len() int {
	if words := s.words.Load(); words != nil {
		return len(*words)
	}
	return 0
}
