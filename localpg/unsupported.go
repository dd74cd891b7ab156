//go:build !unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
)

// place cannot be made on this system, so that the rest never runs.
type place struct{ run string }

func choosePlace(bool) (place, error) {
	return place{}, fmt.Errorf("private servers on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func (p place) id() string { return "" }

func (p place) log() (*os.File, error) { return nil, errors.ErrUnsupported }

type supervisor struct {
	exited  chan struct{}
	serving atomic.Bool
}

func (s *supervisor) interrupt() {}
func (s *supervisor) end() error { return nil }

type hold struct{}

func (h *hold) request(context.Context, string, ...string) error { return errors.ErrUnsupported }
func (h *hold) leave() error                                     { return nil }

func start(context.Context, Options, place, string) (*Server, error) {
	return nil, errors.ErrUnsupported
}

func list() ([]Info, error) { return nil, nil }

func end(context.Context, string, bool) error { return errors.ErrUnsupported }
