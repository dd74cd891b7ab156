//go:build unix

package localpg

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

func list() ([]Info, error) {
	where, err := choosePlace(false)
	if err != nil {
		return nil, err
	}
	var all []Info
	for _, run := range where.runs() {
		info, err := run.info()
		if err != nil || run.alive() != living {
			continue
		}
		s := &Server{place: run, port: info.Port}
		all = append(all, Info{
			ID: run.id(), URL: s.URL(""), Version: info.Version, BinDir: run.account.programs(info.BinDir), Started: info.Started,
			Durable: info.Durable, TCP: info.Password != "", Shared: info.Key != "", Kept: run.kept(),
		})
	}
	slices.SortFunc(all, func(a, b Info) int { return a.Started.Compare(b.Started) })
	return all, nil
}

func (p place) kept() bool {
	files, _ := filepath.Glob(filepath.Join(p.run, "kept*")) // errs on a malformed pattern only
	return len(files) > 0
}

func end(ctx context.Context, id string, now bool) error {
	where, err := choosePlace(false)
	if err != nil {
		return err
	}
	run := where.withID(id)
	info, err := run.info()
	if !runID.MatchString(id) || err != nil {
		return errors.New("no such server")
	}
	if info.Key == "" {
		return errors.New("it is not shared: it ends with the process that started it")
	}
	run = run.withStore(info.Store)
	h, err := run.use(ctx)
	if err != nil {
		if errors.Is(err, errEnding) {
			return run.awaitGone(ctx)
		}
		return err
	}
	defer h.leave()
	if !now {
		return h.request(ctx, "free")
	}
	if err := h.say("end"); err != nil && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	return run.awaitGone(ctx)
}

// awaitGone returns when the run's files are removed.
func (p place) awaitGone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !p.gone() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
