//go:build unix

package main

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/creack/pty"
)

// screen is the person's side of a pseudo-terminal.
type screen struct {
	t    *testing.T
	keys interface{ Write([]byte) (int, error) }

	mu   sync.Mutex // guards text
	text string
	more chan struct{} // of size one: text has grown
}

// start runs a command line on a terminal; its exit code comes on the channel.
func start(t *testing.T, args ...string) (*screen, chan int) {
	t.Helper()
	t.Setenv("CI", "")
	return startHere(t, args...)
}

// startHere is start with the environment as it is.
func startHere(t *testing.T, args ...string) (*screen, chan int) {
	t.Helper()
	t.Setenv("TERM", "xterm-256color")
	person, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 40, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, keys: person, more: make(chan struct{}, 1)}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := person.Read(buf)
			s.mu.Lock()
			s.text += string(buf[:n])
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
			if err != nil { // closed below
				return
			}
		}
	}()
	code := make(chan int, 1)
	go func() {
		root := newRoot()
		root.SetIn(tty)
		code <- execute(context.Background(), root, args, tty, tty)
	}()
	t.Cleanup(func() {
		tty.Close()
		person.Close()
	})
	return s, code
}

// wait returns when the terminal shows text, and forgets all up to it.
func (s *screen) wait(text string) {
	s.t.Helper()
	for {
		s.mu.Lock()
		_, rest, found := strings.Cut(s.text, text)
		all := s.text
		if found {
			s.text = rest
		}
		s.mu.Unlock()
		if found {
			return
		}
		select {
		case <-s.more:
		case <-s.t.Context().Done():
			s.t.Fatalf("no %q in %q", text, all)
		}
	}
}

func (s *screen) press(keys string) {
	s.t.Helper()
	if _, err := s.keys.Write([]byte(keys)); err != nil {
		s.t.Fatal(err)
	}
}

func TestTheChooserAsksOnlyWhatStillMatters(t *testing.T) {
	s, code := start(t, "choose")
	s.wait("What are you building?")
	s.press("j")
	s.press("j")
	s.press("\r")
	s.wait("Who imports it?") // several, unless told otherwise
	s.press("\r")
	s.wait("dual-mode")
	s.wait("pgdbm new library NAME")
	if got := <-code; got != exitOK {
		t.Errorf("exit code %d", got)
	}
}

func TestTheChooserPromptsPlainlyWithoutColour(t *testing.T) {
	t.Setenv("NO_COLOR", "0") // any value
	s, code := start(t, "choose")
	s.wait("3. A package that programs import")
	s.press("7\n")
	s.wait("Invalid")
	s.press("2\n")
	s.wait("2. As goroutines of its program")
	s.press("2\n")
	s.wait("tenants")
	s.press("\n") // as preselected: no
	s.wait("Pattern: shared-pool")
	s.wait("pgdbm new app NAME --module main --module worker")
	if got := <-code; got != exitOK {
		t.Errorf("exit code %d", got)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.Contains(s.text, "\x1b") {
		t.Errorf("escape sequences in %q", s.text)
	}
}

func TestLeavingTheChooserIsAnInterruption(t *testing.T) {
	s, code := start(t, "choose")
	s.wait("What are you building?")
	s.press("\x03")
	s.wait("interrupted")
	if got := <-code; got != exitInterrupted {
		t.Errorf("exit code %d", got)
	}
}

func TestTheEndOfInputEndsTheChooser(t *testing.T) {
	s, code := start(t, "choose", "--color=never")
	s.wait("Enter a number")
	s.press("\x04")
	s.wait("input ended")
	if got := <-code; got != exitFailed {
		t.Errorf("exit code %d", got)
	}
}

func TestNobodyIsAskedUnderCI(t *testing.T) {
	t.Setenv("CI", "true")
	s, code := startHere(t, "choose")
	s.wait("nobody to ask")
	if got := <-code; got != exitUsage {
		t.Errorf("exit code %d", got)
	}
}
