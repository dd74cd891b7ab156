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
	w := &testWriter{tb: tb}
	tb.Cleanup(w.close)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{} // "go test" has times of its own
			}
			return a
		},
	}))
}

// testWriter writes to a test as long as that takes it.
type testWriter struct {
	mu sync.Mutex // guards tb; held while writing, so that close waits
	tb testing.TB
}

func (w *testWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tb == nil {
		return len(line), nil
	}
	w.tb.Helper()
	return w.tb.Output().Write(line)
}

func (w *testWriter) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tb = nil
}
