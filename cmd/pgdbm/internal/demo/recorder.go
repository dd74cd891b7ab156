package demo

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// recorder is a slog.Handler that keeps the messages of warnings.
type recorder struct {
	mu       sync.Mutex // guards warnings
	warnings []string
}

func newRecorder() *recorder { return new(recorder) }

func (r *recorder) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (r *recorder) Handle(_ context.Context, rec slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warnings = append(r.warnings, rec.Message)
	return nil
}

func (r *recorder) WithAttrs([]slog.Attr) slog.Handler { return r }

func (r *recorder) WithGroup(string) slog.Handler { return r }

// find returns the first warning that contains text.
func (r *recorder) find(text string) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.warnings, func(w string) bool { return strings.Contains(w, text) })
	if i < 0 {
		return "", false
	}
	return r.warnings[i], true
}
