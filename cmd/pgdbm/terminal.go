package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// colorFlag is --color: a value that cobra validates when it parses.
type colorFlag string

func (c *colorFlag) String() string { return string(*c) }
func (c *colorFlag) Type() string   { return "WHEN" }

func (c *colorFlag) Set(s string) error {
	switch s {
	case "auto", "always", "never":
		*c = colorFlag(s)
		return nil
	}
	return fmt.Errorf("not auto, always or never")
}

// enabled says whether output to out is coloured: on a terminal that can, unless
// NO_COLOR has any value.
func (c colorFlag) enabled(out any) bool {
	switch c {
	case "always":
		return true
	case "never":
		return false
	}
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(out)
}

// writer is what to write to, and whether in colour: then nothing is escaped.
func (c colorFlag) writer(out io.Writer) (io.Writer, bool) {
	if c.enabled(out) {
		return raw(out), true
	}
	return out, false
}

func isTerminal(file any) bool {
	if p, ok := file.(*safeWriter); ok {
		file = p.Writer
	}
	f, ok := file.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// mayAsk reports whether somebody is there to answer questions.
func mayAsk(cmd *cobra.Command) bool {
	return os.Getenv("CI") == "" && isTerminal(cmd.InOrStdin()) && isTerminal(cmd.OutOrStdout())
}

// colorOf is the value of --color, which all commands have.
func colorOf(cmd *cobra.Command) colorFlag {
	if f := cmd.Flag("color"); f != nil {
		return *f.Value.(*colorFlag)
	}
	return "auto"
}
