//go:build unix

package localpg

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"
)

// endLimit bounds the wait for a supervisor that was told to end. It kills the
// server with SIGKILL after some 10 seconds.
const endLimit = 20 * time.Second

//go:embed supervisor.sh
var supervisorScript string

// supervisor is the process between us and the server: see supervisor.sh.
type supervisor struct {
	place  place
	cmd    *exec.Cmd
	hold   *os.File // an owned server lives while this is open
	logger *slog.Logger

	started chan struct{} // closed when postgres starts
	exited  chan struct{} // closed when the last program ended
	ended   chan struct{} // closed when the supervisor itself ended
	serving atomic.Bool   // the server's end would surprise

	// The goroutine in listen sets these; others read exit once exited is
	// closed, made once ended is.
	exit string // how the last program ended
	made bool   // the place's directories are this supervisor's
}

// supervise starts the supervisor. Its owner calls end.
func supervise(p place, c cluster, settings string, info runInfo, logger *slog.Logger) (*supervisor, error) {
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

	// The script is in the environment to keep the lists of processes readable.
	kind := "owned"
	if info.Key != "" {
		kind = "shared"
	}
	cmd := exec.Command("/bin/sh", "-c", `eval "$PGDBM_SUPERVISOR"`, "pgdbm-supervisor", p.run, p.store, info.BinDir, c.data, kind)
	cmd.Dir, cmd.SysProcAttr = "/", p.account.attributes()
	cmd.Env = append(cleanEnv(), "PGDBM_SUPERVISOR="+supervisorScript, "PGDBM_SETTINGS="+settings, "PGDBM_HBA="+hba, "PGDBM_INFO="+info.encode())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stdout
	if err := cmd.Start(); err != nil {
		hold.Close()
		status.Close()
		return nil, fmt.Errorf("as user %d: %w", p.account.uid, err)
	}
	s := &supervisor{
		place: p, cmd: cmd, hold: hold, logger: logger,
		started: make(chan struct{}), exited: make(chan struct{}), ended: make(chan struct{}),
	}
	go s.listen(status) // ends with the supervisor
	return s, nil
}

// cleanEnv has nothing that changes what PostgreSQL does, and none of our
// secrets, which other processes of the server's user could read.
func cleanEnv() []string {
	env := []string{"LC_ALL=C", "TZ=UTC"}
	for _, name := range []string{"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// listen follows what the supervisor says until its end.
func (s *supervisor) listen(status *os.File) {
	defer close(s.ended)
	waited := make(chan struct{})
	go func() { // ends with the process
		defer close(waited)
		s.cmd.Wait()                                        // its status says no more than its words
		status.SetReadDeadline(time.Now().Add(time.Second)) // should another process hold the pipe
	}()
	defer func() { <-waited; status.Close() }()
	exit, complaints := "", []string{}
	for lines := bufio.NewScanner(status); exit == "" && lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "made":
			s.made = true
		case "start":
			close(s.started)
		case "exit":
			exit = strings.Replace(rest, " ", " ended with status ", 1)
		default:
			complaints = append(complaints, lines.Text())
		}
	}
	if exit == "" {
		exit = "the server's supervisor ended"
	}
	s.exit = strings.Join(append([]string{exit}, complaints...), ": ")
	if s.serving.Load() {
		s.logger.Warn("localpg: server ended by itself", slog.String("exit", s.exit), slog.String("log", s.place.tail(10)))
	}
	close(s.exited)
	io.Copy(io.Discard, status) // to the supervisor's end
}

// interrupt asks for a fast shutdown. When the supervisor is gone, end does the
// work.
func (s *supervisor) interrupt() {
	s.serving.Store(false)
	s.hold.WriteString("INT\n")
}

// end makes the supervisor end the server and remove its files, and sees to it
// that they are gone. It may be called more than once.
func (s *supervisor) end() error {
	s.hold.Close()
	limit := time.NewTimer(endLimit)
	defer limit.Stop()
	select {
	case <-s.ended:
	case <-limit.C:
		return fmt.Errorf("supervisor %d does not end", s.cmd.Process.Pid)
	}
	if !s.made {
		return nil
	}
	return s.place.discard()
}
