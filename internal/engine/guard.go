package engine

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// guard looks after the connection that holds the lock until stop is called. The context that it returns ends when that
// connection is lost, since another program may have the lock then.
func (o *outside) guard(ctx context.Context) (guarded context.Context, stop func()) {
	guarded, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	ticker := time.NewTicker(o.runner.times().ping)
	holder := o.session.pg
	go func() { // ends with guarded, which stop cancels
		defer close(ended)
		defer ticker.Stop()
		for {
			select {
			case <-guarded.Done():
				return
			case <-ticker.C:
			}
			// A ping that is cut off would close the connection, and free the lock before the work has ended.
			limited, done := context.WithTimeout(context.WithoutCancel(ctx), 2*cleanupTimeout)
			err := holder.Ping(limited)
			done()
			if err != nil {
				cancel(fmt.Errorf("%w: %w", ErrLockLost, err))
				return
			}
		}
	}()
	return guarded, func() {
		cancel(nil)
		<-ended
	}
}

// lockLost is err, or the loss of the lock when that is what err comes from.
func lockLost(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if !errors.Is(cause, ErrLockLost) || errors.Is(err, ErrLockLost) {
		return err
	}
	if e, ok := errors.AsType[*Error](err); ok {
		e.Err = cause
		return e
	}
	return cause
}
