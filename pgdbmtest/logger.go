package pgdbmtest

import (
	"log/slog"
	"sync"
	"testing"
)

// Logger returns a logger whose lines go to the test's log, from level upwards;
// nil is slog.LevelInfo. After the end of the test it drops them, so that a
// goroutine which outlives the test does not bring down the program.
func Logger(tb testing.TB, level slog.Leveler) *slog.Logger {
	return newTestLog(tb).logger(level)
}

// testLog writes to a test as long as that takes it. Its zero value has no test
// yet.
type testLog struct {
	mu sync.Mutex // guards tb; held while writing, so that set waits
	tb testing.TB
}

func newTestLog(tb testing.TB) *testLog {
	l := new(testLog)
	l.set(tb)
	tb.Cleanup(func() { l.set(nil) })
	return l
}

func (l *testLog) logger(level slog.Leveler) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{} // "go test" has times of its own
			}
			return a
		},
	}))
}

func (l *testLog) set(tb testing.TB) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tb = tb
}

func (l *testLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tb == nil {
		return len(line), nil
	}
	return l.tb.Output().Write(line)
}
