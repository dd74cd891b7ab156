//go:build unix

package localpg_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/localpg"
)

// child is the program that the test binary is with childEnv set: it prints
// its server's URL, waits for a line and ends as mode says, only in the mode
// "stop" with Stop. The mode "shared" shares the server, which the variable sharedEnv tells from others.
func child(mode string) error {
	interrupts := make(chan os.Signal, 1)
	if mode == "survive" {
		signal.Notify(interrupts, os.Interrupt)
	}
	var o localpg.Options
	if mode == "shared" {
		o = sharedOptions(os.Getenv(sharedEnv))
	}
	s, err := localpg.Start(context.Background(), &o)
	if err != nil {
		return err
	}
	fmt.Println(s.URL(""))
	if mode == "stop" {
		return s.Stop(context.Background())
	}
	if mode == "survive" {
		<-interrupts
		conn, err := pgx.Connect(context.Background(), s.URL(""))
		fmt.Println("connect:", err)
		if err == nil {
			conn.Close(context.Background())
		}
	}
	bufio.NewReader(os.Stdin).ReadString('\n') // its end counts too: no child outlives the tests
	switch mode {
	case "panic":
		panic("as asked")
	case "exit":
		os.Exit(3)
	}
	return nil
}

// owner is a running child.
type owner struct {
	cmd        *exec.Cmd
	in         io.WriteCloser
	out        *bufio.Reader
	url        string
	dirs       []string
	postmaster int
}

func startOwner(t *testing.T, mode string, env ...string) *owner {
	t.Helper()
	needServer(t)
	o := &owner{cmd: exec.Command(os.Args[0])}
	o.cmd.Env = append(append(os.Environ(), childEnv+"="+mode), env...)
	o.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, inErr := o.cmd.StdinPipe()
	out, outErr := o.cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, o.cmd.Start()); err != nil {
		t.Fatal(err)
	}
	o.in = in
	t.Cleanup(func() { in.Close(); o.cmd.Wait() })
	o.out = bufio.NewReader(out)
	o.url = o.line(t)
	data := ask(t, o.url, "SHOW data_directory")
	o.dirs = []string{ask(t, o.url, "SHOW unix_socket_directories"), filepath.Dir(data)}
	o.postmaster = firstNumber(t, filepath.Join(data, "postmaster.pid"))
	return o
}

func (o *owner) line(t *testing.T) string {
	t.Helper()
	line, err := o.out.ReadString('\n')
	if err != nil {
		t.Fatalf("child: %v", err)
	}
	return strings.TrimSpace(line)
}

func (o *owner) awaitNothingLeft(t *testing.T) {
	t.Helper()
	eventually(t, "server ended", func() bool { return ended(o.postmaster) })
	for _, dir := range o.dirs {
		eventually(t, dir+" removed", func() bool { return gone(dir) })
	}
}

func firstNumber(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func ended(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestServerEndsWithItsOwner(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, mode string
		signal     syscall.Signal
	}{
		{"killed", "", syscall.SIGKILL},
		{"interrupted", "", syscall.SIGINT},
		{"terminated", "", syscall.SIGTERM},
		{"hung up", "", syscall.SIGHUP},
		{"in a panic", "panic", 0},
		{"by exit", "exit", 0},
		{"by return", "return", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mode := tt.mode
			if mode == "" {
				mode = "return"
			}
			o := startOwner(t, mode)
			if tt.signal != 0 {
				syscall.Kill(-o.cmd.Process.Pid, tt.signal) // the group, as a terminal does
			} else {
				o.in.Close()
			}
			o.cmd.Wait()
			o.awaitNothingLeft(t)
		})
	}
}

func TestServerOutlivesAnInterruptThatItsOwnerHandles(t *testing.T) {
	t.Parallel()
	o := startOwner(t, "survive")
	syscall.Kill(-o.cmd.Process.Pid, syscall.SIGINT)
	if got := o.line(t); got != "connect: <nil>" {
		t.Error(got)
	}
}

func TestKilledServerLeavesNothingAfterItsOwner(t *testing.T) {
	t.Parallel()
	o := startOwner(t, "return")
	syscall.Kill(o.postmaster, syscall.SIGKILL)
	eventually(t, "server ended", func() bool { return ended(o.postmaster) })
	o.in.Close()
	o.awaitNothingLeft(t)
}

func TestRootsServerRunsAsAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	s := start(t, nil)
	for _, dir := range append(dirs(t, s), filepath.Join(dirs(t, s)[1], "data")) {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Sys().(*syscall.Stat_t).Uid == 0 || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, user %d", dir, info.Mode(), info.Sys().(*syscall.Stat_t).Uid)
		}
	}
}

// publicDir makes a directory that every user may use, and TMPDIR of it.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "localpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	return dir
}

func TestDurableDataAreInTheTemporaryDirectory(t *testing.T) {
	dir := publicDir(t)
	s := start(t, &localpg.Options{Durable: true})
	if store := dirs(t, s)[1]; filepath.Dir(filepath.Dir(store)) != dir {
		t.Errorf("data in %s, not %s", store, dir)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestTemporaryDirectoryThatTheServersUserCannotUseIsPassedOver(t *testing.T) {
	dir := publicDir(t)
	mode := os.FileMode(0o700)
	if os.Geteuid() != 0 { // who runs the server too
		mode = 0o500
	}
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	s := start(t, &localpg.Options{Durable: true})
	if got := ask(t, s.URL(""), "SELECT 'works'"); got != "works" {
		t.Error(got)
	}
}

func TestDirectoryThatSomebodyElsePreparedIsRefused(t *testing.T) {
	s := start(t, nil)
	user := filepath.Base(filepath.Dir(dirs(t, s)[0])) // pgdbm-UID
	for name, prepare := range map[string]func(*testing.T, string) error{
		"link": func(_ *testing.T, path string) error { return os.Symlink(filepath.Dir(dirs(t, s)[0]), path) },
		"file": func(_ *testing.T, path string) error { return os.WriteFile(path, nil, 0o666) },
		"directory of another user": func(t *testing.T, path string) error {
			if os.Geteuid() != 0 {
				t.Skip("not root")
			}
			return os.Mkdir(path, 0o777)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := publicDir(t)
			if err := prepare(t, filepath.Join(dir, user)); err != nil {
				t.Fatal(err)
			}
			got, err := localpg.Start(t.Context(), &localpg.Options{Durable: true})
			if err == nil {
				got.Stop(t.Context())
				t.Fatal("started")
			}
			if want := filepath.Join(dir, user) + ": not a directory of user "; !strings.Contains(err.Error(), want) {
				t.Errorf("text lacks %q: %v", want, err)
			}
		})
	}
}
