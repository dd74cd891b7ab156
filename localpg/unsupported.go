//go:build !unix

package localpg

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
)

// place cannot be made on this system, so that the rest never runs.
type place struct{ run, store string }

func choosePlace(bool) (place, error) {
	return place{}, fmt.Errorf("private servers on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (p place) withID(string) place { return p }
func (p place) log() string         { return "" }
func (p place) sweep(*slog.Logger)  {}

type supervisor struct {
	started, exited chan struct{}
	serving         atomic.Bool
	exit            string
}

func supervise(place, string, string, []string, *slog.Logger) (*supervisor, error) {
	return nil, errors.ErrUnsupported
}

func (s *supervisor) interrupt() {}
func (s *supervisor) end() error { return nil }
