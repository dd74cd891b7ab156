//go:build unix

package localpg

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

//go:embed supervisor.sh
var supervisorScript string

// supervisor is the process between us and the server: see supervisor.sh.
type supervisor struct {
	place place
	cmd   *exec.Cmd
	hold  *os.File // the server lives while this is open

	started chan struct{} // closed when postgres starts
	exited  chan struct{} // closed when the last program ended; exit is set
	ended   chan struct{} // closed when the supervisor itself ended

	exit       string   // how the last program ended
	complaints []string // the supervisor's own; read after exited
}

// supervise starts the supervisor. Its owner calls end.
func supervise(p place, binDir, settings string, initArgs []string) (*supervisor, error) {
	stdin, hold, err := os.Pipe() // both close on exec: nobody else holds the server alive
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	status, stdout, err := os.Pipe()
	if err != nil {
		hold.Close()
		return nil, err
	}
	defer stdout.Close()

	args := append([]string{"-c", supervisorScript, "pgdbm-supervisor", p.run, p.store, binDir, settings, hba}, initArgs...)
	cmd := exec.Command("/bin/sh", args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", supervisorEnv(), p.account.attributes()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stdout
	if err := cmd.Start(); err != nil {
		hold.Close()
		status.Close()
		return nil, fmt.Errorf("as user %d: %w", p.account.uid, err)
	}
	s := &supervisor{
		place: p, cmd: cmd, hold: hold,
		started: make(chan struct{}), exited: make(chan struct{}), ended: make(chan struct{}),
	}
	go s.listen(status) // ends with the supervisor
	return s, nil
}

// supervisorEnv has nothing that changes what PostgreSQL does, and none of our
// secrets, which other processes of the server's user could read.
func supervisorEnv() []string {
	env := []string{"LC_ALL=C", "TZ=UTC"}
	for _, name := range []string{"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// listen turns what the supervisor says into closed channels.
func (s *supervisor) listen(status *os.File) {
	defer close(s.ended)
	defer s.cmd.Wait()
	defer status.Close()
	started, exited := false, false
	for lines := bufio.NewScanner(status); lines.Scan(); {
		program, isExit := strings.CutPrefix(lines.Text(), "exit ")
		switch {
		case lines.Text() == "start" && !started:
			started = true
			close(s.started)
		case isExit && !exited:
			exited = true
			name, code, _ := strings.Cut(program, " ")
			s.exit = name + " ended with status " + code
			close(s.exited)
		case !exited:
			s.complaints = append(s.complaints, lines.Text())
		}
	}
	if !exited {
		s.exit = strings.Join(append([]string{"the server's supervisor ended"}, s.complaints...), ": ")
		close(s.exited)
	}
}

// interrupt asks for a fast shutdown. When the supervisor is gone, end does the
// work.
func (s *supervisor) interrupt() { s.hold.WriteString("INT\n") }

// end makes the supervisor end the server and remove its files, and sees to it
// that they are gone. It may be called more than once.
func (s *supervisor) end() error {
	s.hold.Close()
	limit := time.NewTimer(endLimit)
	defer limit.Stop()
	select {
	case <-s.ended:
		return s.place.discard()
	case <-limit.C:
		return errors.New("its supervisor does not end")
	}
}
