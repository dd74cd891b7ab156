package pgdbm_test

import (
	"testing"
	"time"
)

// waitUntil polls cond, which something outside this process makes true.
func waitUntil(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("condition not met in 20 s")
		}
	}
}
