package statement

import (
	"math/rand/v2"
	"sync"
	"testing"
)

func TestASetHasWhatWasAdded(t *testing.T) {
	t.Parallel()
	var s set
	want := make(map[int]bool)
	for range 2000 {
		n := rand.IntN(20000)
		s.add(n)
		want[n] = true
	}
	for n := range 25000 {
		if s.has(n) != want[n] {
			t.Errorf("%d: %v", n, s.has(n))
		}
	}
}

func TestASetGrowsUnderConcurrentUse(t *testing.T) {
	t.Parallel()
	var s set
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := i; n < 8000; n += 8 {
				s.add(n)
				if !s.has(n) {
					t.Errorf("%d is lost", n)
				}
			}
		})
	}
	wg.Wait()
	for n := range 8000 {
		if !s.has(n) {
			t.Errorf("%d is lost", n)
		}
	}
}
