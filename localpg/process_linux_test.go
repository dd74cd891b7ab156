package localpg_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgdbm/pgdbm/localpg"
)

// parent returns a process's parent, from /proc/PID/stat.
func parent(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // after the name: state, parent
	n, err := strconv.Atoi(strings.Fields(rest)[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// children returns the processes whose parent is pid.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
			pids = append(pids, child)
		}
	}
	return pids
}

// hasSegment reports whether a System V segment that the process made exists.
func hasSegment(t *testing.T, pid int) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(table)) {
		if words := strings.Fields(line); len(words) > 4 && words[4] == strconv.Itoa(pid) {
			return true
		}
	}
	return false
}

func TestStopEndsAServerWhoseSupervisorWasKilled(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	made := dirs(t, s)
	postmaster := firstNumber(t, filepath.Join(made[1], "data", "postmaster.pid"))
	syscall.Kill(parent(t, postmaster), syscall.SIGKILL)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, dir := range made {
		if !gone(dir) {
			t.Errorf("left behind: %s", dir)
		}
	}
	eventually(t, "server ended", func() bool { return ended(postmaster) }) // its new parent must reap it
}

func TestKilledServersSharedMemoryIsRemoved(t *testing.T) {
	t.Parallel()
	o := startOwner(t, "return")
	if !hasSegment(t, o.postmaster) {
		t.Skip("this server has no System V segment")
	}
	syscall.Kill(o.postmaster, syscall.SIGKILL)
	o.in.Close()
	o.awaitNothingLeft(t)
	eventually(t, "segment removed", func() bool { return !hasSegment(t, o.postmaster) })
}

func TestStartRemovesWhatIsLeftWhenAllWereKilled(t *testing.T) {
	t.Parallel()
	o := startOwner(t, "return")
	for _, pid := range []int{parent(t, o.postmaster), o.postmaster, o.cmd.Process.Pid} {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	eventually(t, "no process of the run", func() bool {
		f, err := os.OpenFile(filepath.Join(o.dirs[0], "alive"), os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			f.Close()
		}
		return errors.Is(err, syscall.ENXIO) || errors.Is(err, os.ErrNotExist) // or another test's Start was here
	})
	start(t, nil)
	o.awaitNothingLeft(t)
	if hasSegment(t, o.postmaster) {
		t.Error("shared memory left")
	}
}

// lines is a writer that hands on what is written.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default: // one is enough
	}
	return len(p), nil
}

func TestServerThatEndsByItselfIsLogged(t *testing.T) {
	t.Parallel()
	seen := make(lines, 1)
	s := start(t, &localpg.Options{Logger: slog.New(slog.NewTextHandler(seen, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	postmaster := firstNumber(t, filepath.Join(dirs(t, s)[1], "data", "postmaster.pid"))
	syscall.Kill(postmaster, syscall.SIGINT)
	select {
	case got := <-seen:
		if !strings.Contains(got, "postgres ended with status 0") {
			t.Error(got)
		}
	case <-time.After(time.Minute):
		t.Error("nothing logged")
	}
}

func TestSharedServerWhoseSupervisorWasKilledIsReplacedAndRemovedLater(t *testing.T) {
	t.Parallel()
	s := share(t)
	made := dirs(t, s)
	postmaster := firstNumber(t, filepath.Join(made[1], "data", "postmaster.pid"))
	supervisor := parent(t, postmaster)
	for _, pid := range append(children(t, supervisor), supervisor) {
		if pid != postmaster {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	eventually(t, "supervisor ended", func() bool { return ended(supervisor) })
	ask(t, s.URL(""), "SELECT 'users go on'")
	other := share(t)
	if other.URL("") == s.URL("") {
		t.Fatal("joined")
	}
	localpg.MakeOld(t, made[0])
	start(t, nil) // sweeps
	eventually(t, "server ended", func() bool { return ended(postmaster) })
	awaitGone(t, made)
	s.Stop(context.Background())
}

// setprivs starts a program without the privileges to change its user.
var setprivs = []string{"setpriv", "--bounding-set", "-setuid,-setgid", "--inh-caps", "-setuid,-setgid"}

func TestRootThatMayNotChangeItsUserGetsAServerInANamespace(t *testing.T) {
	t.Parallel()
	needServer(t)
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	if out, err := exec.Command("unshare", "--user", "true").CombinedOutput(); err != nil {
		t.Skipf("no user namespaces here: %v: %s", err, out)
	}
	cmd := exec.Command(setprivs[0], append(slices.Clone(setprivs[1:]), os.Args[0])...)
	cmd.Env = append(os.Environ(), childEnv+"=stop")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "host=/tmp/pgdbm-0/") {
		t.Errorf("%v: %s", err, out)
	}
}
