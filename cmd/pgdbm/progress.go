package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// progress is a bar on the terminal of stderr; elsewhere it shows nothing.
type progress struct {
	out io.Writer // nil: nowhere

	mu     sync.Mutex // guards the rest
	drawn  time.Time  // the last time; zero: never
	line   string     // to be drawn when the period is over
	waits  *time.Timer
	closed bool
}

// newProgress is quiet where stderr is no terminal that can erase a line, or on
// request.
func newProgress(cmd *cobra.Command, quiet bool) *progress {
	if quiet || os.Getenv("TERM") == "dumb" || !isTerminal(cmd.ErrOrStderr()) {
		return &progress{}
	}
	return &progress{out: raw(cmd.ErrOrStderr())}
}

const (
	barWidth  = 30
	barPeriod = 50 * time.Millisecond
)

// show draws done of total, with what is at hand, not too often: what comes too
// early is drawn a little later, unless something newer has come by then.
func (p *progress) show(done, total int, what string) {
	if p.out == nil || total == 0 {
		return
	}
	full := barWidth * done / total
	if runes := []rune(what); len(runes) > 30 {
		what = string(runes[:29]) + "…"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line = fmt.Sprintf("\r[%s%s] %d/%d %s\x1b[K", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done, total, escaped(what, ""))
	wait := barPeriod - time.Since(p.drawn)
	switch {
	case wait <= 0 || done == total:
		p.draw()
	case p.waits == nil:
		p.waits = time.AfterFunc(wait, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.waits = nil
			p.draw()
		})
	}
}

// draw wants the lock to be held.
func (p *progress) draw() {
	if p.line != "" && !p.closed {
		fmt.Fprint(p.out, p.line)
		p.line, p.drawn = "", time.Now()
	}
}

// end removes the bar.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waits != nil {
		p.waits.Stop()
	}
	p.closed = true
	if !p.drawn.IsZero() {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
