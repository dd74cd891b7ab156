package localpg

import (
	"context"
	"time"
)

// lockSuffix makes a lock file's name of the name of what it guards.
const lockSuffix = ".lock"

// lockPause is how often a waiter looks: the system's call cannot be interrupted.
const lockPause = 5 * time.Millisecond

// lock waits until no other process and no other caller of this one holds the
// lock file, which it makes. The file stays: who removes it could remove the one
// that another just locked.
func lock(ctx context.Context, file string) (unlock func(), err error) {
	tick := time.NewTicker(lockPause)
	defer tick.Stop()
	for {
		if unlock, ok, err := tryLock(file); ok || err != nil {
			return unlock, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
