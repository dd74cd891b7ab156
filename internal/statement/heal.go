package statement

import (
	"context"
	"errors"
)

// heal forgets what an error shows to be wrong and reports whether the call may
// be tried again. The error it returns is the one for the caller otherwise.
func (k *call) heal(ctx context.Context, a *attempt, err error, idle bool) (retry bool, _ error) {
	if k.conn.IsClosed() {
		// Killed at the same moment: it is for the caller to take another one.
		if judge(err, a.prepared != nil || a.holds) == surely {
			err = asStale(err)
		}
		return false, err
	}
	if a.asked != nil && !a.description.takes(k.conn.TypeMap(), a.asked.statement.ParamOIDs) {
		// Whatever has come of it, it was run with the wrong types.
		k.said = k.learned(a.asked)
		return true, err
	}
	if ctx.Err() != nil {
		return false, err
	}
	if errors.Is(err, ErrRole) {
		return mayRetake(err, idle)
	}
	named := a.prepared != nil
	verdict := perhaps
	if !a.unsent {
		verdict = judge(err, named || a.holds)
	}
	if verdict == fresh || k.formats != nil && verdict == surely && !named {
		return false, err // formats of the caller's may be wrong
	}
	if named && verdict == surely {
		k.session.named.drop(a.prepared)
		if noSuchName(err) {
			k.session.forgetNames()
		}
	}
	switch {
	case !idle && !a.unsent:
		// The transaction has failed, and only its owner can run it again.
		k.distrust(verdict)
		if verdict == surely {
			err = asStale(err)
		}
		return false, err
	case named && verdict == surely:
		return true, err
	}
	return k.again(ctx, a, verdict, err)
}

// again asks what the statement is now, and reports whether that is a reason to
// run it again. The error is as heal's.
func (k *call) again(ctx context.Context, a *attempt, verdict stale, err error) (bool, error) {
	d, describeErr := k.describe(ctx)
	m := k.conn.TypeMap()
	switch {
	case describeErr != nil:
		return false, describeErr // this is how things are now
	case a.prepared != nil:
		if d.takes(m, a.prepared.statement.ParamOIDs) {
			return false, err // it is not the types
		}
		k.session.named.drop(a.prepared)
	case a.description == nil || verdict == perhaps && a.description.serves(m, d):
		return false, err // it is not that; surely stale, the tables may have changed back
	}
	if base := k.shape.base.Load(); base != nil && base == a.description && !base.healed {
		// The tables have changed, it seems; the other schemas will follow.
		d.healed = true
		d.holds.add(k.cache.indexOf(k.ns))
		k.shape.base.Store(d)
	} else {
		k.keepOwn(d)
	}
	k.said = d
	return true, err
}

// distrust has the statement described before its next use in the namespace, and
// where its tables have changed for sure, in all of them.
func (k *call) distrust(verdict stale) {
	if verdict == surely {
		k.shape.base.Store(nil)
	}
	k.keepOwn(doubtful)
}
