package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// progress is a bar on the terminal of stderr; elsewhere it shows nothing.
type progress struct {
	out  io.Writer // nil: nowhere
	last time.Time
}

// newProgress is quiet where stderr is no terminal, or on request.
func newProgress(cmd *cobra.Command, quiet bool) *progress {
	if quiet || !isTerminal(cmd.ErrOrStderr()) {
		return &progress{}
	}
	return &progress{out: cmd.ErrOrStderr()}
}

const (
	barWidth  = 30
	barPeriod = 50 * time.Millisecond
)

// show draws done of total, with what is at hand, not too often.
func (p *progress) show(done, total int, what string) {
	if p.out == nil || total == 0 || done < total && time.Since(p.last) < barPeriod {
		return
	}
	p.last = time.Now()
	full := barWidth * done / total
	if runes := []rune(what); len(runes) > 30 {
		what = string(runes[:29]) + "…"
	}
	fmt.Fprintf(p.out, "\r[%s%s] %d/%d %s\x1b[K", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), done, total, what)
}

// end removes the bar.
func (p *progress) end() {
	if p.out != nil && !p.last.IsZero() {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
