//go:build unix

package localpg

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var runID = regexp.MustCompile(`^[0-9a-f]{8}$`)

// sweep removes what runs of the same account left whose supervisor and server
// are dead, and ends shared servers whose supervisor is dead: nobody else would.
// The place must have no id.
func (p place) sweep(logger *slog.Logger) {
	for _, left := range p.runs() {
		if info, err := left.info(); err == nil {
			left.store = info.Store
		}
		switch life := left.alive(); {
		case life == living && left.orphaned():
			logger.Warn("localpg: ending a server whose supervisor was killed", slog.String("dir", left.run))
		case life == dead, life == unknown && left.old():
			logger.Info("localpg: removing what a killed server left", slog.String("dir", left.run))
		default:
			continue
		}
		if err := left.discard(); err != nil {
			logger.Warn("localpg: leftover not removed", slog.String("error", err.Error()))
		}
	}
	p.sweepStore(logger)
}

// sweepStore removes data whose run directory somebody else has removed.
func (p place) sweepStore(logger *slog.Logger) {
	if p.store == p.run || p.account.owns(p.store) != nil {
		return
	}
	entries, err := os.ReadDir(p.store)
	if err != nil {
		return
	}
	for _, e := range entries {
		left := p.withID(e.Name())
		if _, err := os.Lstat(left.run); !runID.MatchString(e.Name()) || !errors.Is(err, os.ErrNotExist) || !(place{run: left.store}).old() {
			continue
		}
		if pid, _ := left.postmaster(); pid > 1 && runsIn(pid, left.data()) {
			continue // its files in /tmp were removed while it lives
		}
		logger.Info("localpg: removing what a killed server left", slog.String("dir", left.store))
		if err := left.remove(); err != nil {
			logger.Warn("localpg: leftover not removed", slog.String("error", err.Error()))
		}
	}
}

// orphaned reports whether a shared server has no supervisor.
func (p place) orphaned() bool {
	f, err := p.account.openFIFO(filepath.Join(p.run, "users"))
	if err == nil {
		f.Close()
	}
	return errors.Is(err, syscall.ENXIO) && p.old() // a young one is just ending
}

// old reports whether the run directory has not changed for a minute. What has
// no FIFO yet was made a moment ago, or by one who was killed at that moment.
func (p place) old() bool {
	info, err := os.Lstat(p.run)
	return err == nil && time.Since(info.ModTime()) > time.Minute
}

type life int

const (
	unknown life = iota // the run is just being made or removed
	living
	dead
)

// alive reports whether a process of the run lives. They all hold the read end
// of the FIFO "alive", which the kernel closes with them, so no process id is
// trusted.
func (p place) alive() life {
	f, err := p.account.openFIFO(filepath.Join(p.run, "alive"))
	switch {
	case err == nil:
		f.Close()
		return living
	case errors.Is(err, syscall.ENXIO):
		return dead
	}
	return unknown
}

// discard returns when nothing of the run is left. Usually the supervisor has
// removed all; when it was killed, the server is ended here.
func (p place) discard() error {
	deadline := time.Now().Add(endLimit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !p.gone() && p.alive() == living {
		if time.Now().After(deadline) {
			return fmt.Errorf("server of %s does not end", p.run)
		}
		if pid, _ := p.postmaster(); pid > 1 && runsIn(pid, p.data()) {
			p.account.quit(pid)
		}
		<-tick.C
	}
	return p.remove()
}

func (p place) gone() bool {
	for _, dir := range []string{p.run, p.store} {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			return false
		}
	}
	return true
}

// remove deletes the run's files; no process of it may live. What says that they
// are a dead run's goes last.
func (p place) remove() error {
	p.account.removeSegment(p.postmaster())
	for _, dir := range []string{p.store, p.run} {
		if err := p.account.removeAll(dir); err != nil {
			return err
		}
	}
	for _, dir := range []string{p.store, p.run} {
		p.account.removeEmpty(filepath.Dir(dir))
	}
	return nil
}

// postmaster returns the server's process id and its System V shared memory
// segment, from lines 1 and 7 of postmaster.pid, or zeros: the file is there
// while the server runs and when it was killed with SIGKILL.
func (p place) postmaster() (pid, segment int) {
	text, err := p.account.read(filepath.Join(p.data(), "postmaster.pid"))
	if err != nil {
		return 0, 0
	}
	lines := strings.Split(string(text), "\n")
	pid, _ = strconv.Atoi(strings.TrimSpace(lines[0]))
	if len(lines) > 6 {
		if words := strings.Fields(lines[6]); len(words) == 2 { // key and id
			segment, _ = strconv.Atoi(words[1])
		}
	}
	return pid, segment
}
