package statement

import "context"

// heal forgets what an error shows to be wrong and reports whether the call may
// be tried again. The error it returns is the one for the caller otherwise.
func (k *call) heal(ctx context.Context, a *attempt, err error, idle bool) (retry bool, _ error) {
	if k.conn.IsClosed() || ctx.Err() != nil {
		return false, err
	}
	if a.asked != nil && !a.description.takes(k.conn.TypeMap(), a.asked.statement.ParamOIDs) {
		// Whatever has come of it, it was run with the wrong types.
		k.learned(a.asked)
		if !idle && k.conn.PgConn().TxStatus() == 'E' {
			return false, asStale(err)
		}
		return true, err
	}
	named := a.prepared != nil
	verdict := judge(err, named)
	if verdict == fresh {
		return false, err
	}
	if named {
		k.session.named.drop(a.prepared)
	}
	if !idle {
		// The transaction has failed, and only its owner can run it again.
		if !named {
			k.distrust(a.description, verdict)
		}
		if verdict == surely {
			err = asStale(err)
		}
		return false, err
	}
	if named {
		return true, err
	}
	d, describeErr := k.describe(ctx)
	if describeErr != nil || a.description == nil || d.same(k.conn.TypeMap(), a.description) {
		return false, err
	}
	if base := k.shape.base.Load(); base == a.description && !base.healed {
		// The tables have changed, it seems; the other schemas will follow.
		d.healed = true
		d.holds.add(k.cache.indexOf(k.ns))
		k.shape.base.Store(d)
	} else {
		k.keepOwn(d)
	}
	return true, err
}

// distrust has the statement described before its next use in the namespace, or
// in all.
func (k *call) distrust(d *description, verdict stale) {
	if verdict == surely && k.shape.base.CompareAndSwap(d, nil) {
		return
	}
	k.keepOwn(doubtful)
}
