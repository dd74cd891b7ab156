package pgdbm

import (
	"testing"
	"testing/synctest"
	"time"
)

// took reports whether a waiter has its token.
func took(w *waiter) bool {
	select {
	case <-w.granted:
		return true
	default:
		return false
	}
}

func mustTake(t *testing.T, g *gate, schema string, l *limits) *waiter {
	t.Helper()
	w, err := g.take(schema, l, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestAWaiterHeldToItsPartGetsMoreWhenNobodyElseUsesThePool(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate(5)
		mustTake(t, g, "quiet", nil)
		g.give("quiet")
		for range 4 {
			if mustTake(t, g, "busy", nil) != nil {
				t.Fatal("a free one is waited for")
			}
		}
		w := mustTake(t, g, "busy", nil)
		time.Sleep(crowded - time.Second)
		mustTake(t, g, "quiet", nil) // again
		g.give("quiet")
		mustTake(t, g, "busy", &limits{max: 1}) // one that is held back for ever
		time.Sleep(crowded - time.Second)
		synctest.Wait()
		if took(w) {
			t.Fatal("it has more than its part")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !took(w) {
			t.Error("it still waits")
		}
	})
}

func TestAHandleAtItsOwnLimitKeepsNoOtherOfItsSchemaWaiting(t *testing.T) {
	t.Parallel()
	small, big := &limits{max: 1}, (*limits)(nil)
	g := newGate(8)
	if mustTake(t, g, "busy", big) != nil {
		t.Fatal("a free one is waited for")
	}
	first, second := mustTake(t, g, "busy", small), mustTake(t, g, "busy", small)
	for range 3 {
		if w := mustTake(t, g, "busy", big); w != nil && !took(w) {
			t.Fatal("a handle without a limit waits behind one that has")
		}
	}
	if took(first) {
		t.Error("the small one has more than its limit")
	}
	for range 4 {
		g.give("busy")
	}
	if !took(first) || took(second) {
		t.Errorf("the small ones have %v and %v", took(first), took(second))
	}
	g.give("busy")
	if !took(second) {
		t.Error("the second one still waits")
	}
}
