package statement

import (
	"testing"
	"time"
)

func TestNothingIsBelievedForLongerThanHalfAnHour(t *testing.T) {
	t.Parallel()
	cache, start := New(0, nil), time.Now()
	for _, at := range []struct {
		after time.Duration
		epoch uint64
	}{{0, 0}, {time.Minute, 0}, {30 * time.Minute, 0}, {31 * time.Minute, 1}, {time.Hour, 1}, {62 * time.Minute, 2}} {
		cache.Renew(start.Add(at.after))
		if got := cache.epoch.Load(); got != at.epoch {
			t.Errorf("after %v: epoch %d, want %d", at.after, got, at.epoch)
		}
	}
}
