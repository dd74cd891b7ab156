//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

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

// start runs the command, a process of its own, on a terminal of 80 columns,
// with more environment; its exit code comes on the channel.
func start(t *testing.T, env []string, args ...string) (*screen, chan int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "pgdbm", args...) // testscript.Main put it on PATH
	// bubbletea closes the reader of its keyboard while that may still be
	// reading; the race detector's exit code would hide the command's.
	cmd.Env = append(os.Environ(), "CI=", "NO_COLOR=", "TERM=xterm-256color", "GORACE=exitcode=0")
	cmd.Env = append(cmd.Env, env...)
	cmd.Dir = t.TempDir()
	person, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, keys: person, more: make(chan struct{}, 1)}
	code := make(chan int, 1)
	read := make(chan struct{})
	go func() { // ends with the process, the only other user of the terminal
		defer close(read)
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
			if err != nil {
				return
			}
		}
	}()
	go func() {
		<-read
		_ = cmd.Wait()
		code <- cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		<-read
		person.Close()
	})
	return s, code
}

// wait returns when the terminal shows text, and forgets all up to it. Only what
// changes is drawn, so text should be a line that was not there before.
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
		case <-time.After(30 * time.Second):
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
	t.Parallel()
	s, code := start(t, nil, "choose")
	s.wait("What are you building?")
	s.press("j")
	s.press("j")
	s.press("\r")
	s.wait("Several applications, ours") // preselected
	s.press("\r")
	s.wait("dual-mode")
	s.wait("pgdbm new library NAME")
	if got := <-code; got != exitOK {
		t.Errorf("exit code %d", got)
	}
}

func TestTheChooserPromptsPlainlyWithoutColour(t *testing.T) {
	t.Parallel()
	s, code := start(t, []string{"NO_COLOR=0"}, "choose") // any value
	s.wait("3. A package that programs import")
	s.press("7\n")
	s.wait("Invalid")
	s.press("2\n")
	s.wait("2. As goroutines of its program")
	s.press("2\n")
	s.wait("tenants")
	s.press("\n") // as preselected: no
	s.wait("Pattern: shared-pool")
	s.wait("pgdbm new app NAME --module api --module worker")
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
	t.Parallel()
	s, code := start(t, nil, "choose")
	s.wait("What are you building?")
	s.press("\x03")
	s.wait("interrupted")
	if got := <-code; got != exitInterrupted {
		t.Errorf("exit code %d", got)
	}
}

func TestTheEndOfInputEndsTheChooser(t *testing.T) {
	t.Parallel()
	s, code := start(t, nil, "choose", "--color=never")
	s.wait("Enter a number")
	s.press("\x04")
	s.wait("input ended")
	if got := <-code; got != exitFailed {
		t.Errorf("exit code %d", got)
	}
}

func TestNobodyIsAskedUnderCI(t *testing.T) {
	t.Parallel()
	s, code := start(t, []string{"CI=true"}, "choose")
	s.wait("nobody to ask")
	if got := <-code; got != exitUsage {
		t.Errorf("exit code %d", got)
	}
}

func TestAnAppsModulesAreAskedFor(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	s, code := start(t, []string{"NO_COLOR=1"}, "new", "app", "shop", "--replace", root)
	s.wait("Which modules")
	s.press("Users\n")
	s.wait("lower case")
	s.press("users, orders\n")
	s.wait("2. Yes, a schema for each")
	s.press("2\n")
	s.wait("wrote shop/internal/orders/orders.go")
	s.wait("wrote shop/internal/tenants/tenants.go")
	if got := <-code; got != exitOK {
		t.Errorf("exit code %d", got)
	}
}
