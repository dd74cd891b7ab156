//go:build unix

package localpg

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// Root's server runs as another user, who owns its directories and can put there
// what he likes, such as links to files of root. So root changes nothing in them
// and signals nobody on the word of a file there, except by a program that runs
// as that user; and reads from them only the user's own plain files.

// readLimit bounds what is read of a file of the account.
const readLimit = 1 << 20

// output runs a program as the account.
func (a account) output(program string, args ...string) ([]byte, error) {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", cleanEnv(), a.attributes()
	return cmd.CombinedOutput()
}

// run is output for a program that says nothing unless it fails.
func (a account) run(program string, args ...string) error {
	if out, err := a.output(program, args...); err != nil {
		return fmt.Errorf("%s as user %d: %w: %s", program, a.uid, err, lastLines(out))
	}
	return nil
}

// removeAll is [os.RemoveAll].
func (a account) removeAll(dir string) error {
	if !a.change {
		return os.RemoveAll(dir)
	}
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return a.run("rm", "-rf", "--", dir)
}

// removeEmpty removes a directory that has nothing in it.
func (a account) removeEmpty(dir string) {
	if !a.change {
		_ = syscall.Rmdir(dir) // refused while it has something
		return
	}
	_ = a.run("rmdir", "--", dir)
}

// mkdir makes a directory that only the account can enter.
func (a account) mkdir(dir string) error {
	if !a.change {
		return os.Mkdir(dir, 0o700)
	}
	return a.run("mkdir", "-m", "700", "--", dir)
}

// writeNew writes a file that is not there yet.
func (a account) writeNew(file, text string) error {
	if !a.change {
		return os.WriteFile(file, []byte(text), 0o644)
	}
	return a.run("/bin/sh", "-c", `set -C; printf %s "$2" >"$1"`, "write", file, text)
}

// rename is [os.Rename] for a name that is free.
func (a account) rename(from, to string) error {
	if !a.change {
		return os.Rename(from, to)
	}
	return a.run("mv", "--", from, to)
}

// touch sets the time of a file's last change.
func (a account) touch(file string) {
	_ = a.run("touch", "-c", "--", file) // it is missed at worst
}

// quit sends SIGQUIT.
func (a account) quit(pid int) {
	if !a.change {
		_ = syscall.Kill(pid, syscall.SIGQUIT)
		return
	}
	_ = a.run("/bin/sh", "-c", `kill -s QUIT "$1"`, "quit", strconv.Itoa(pid))
}

// open opens a plain file of the account for reading.
func (a account) open(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := a.ownsOpen(f, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (a account) read(file string) ([]byte, error) {
	f, err := a.open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, readLimit))
}

// openFIFO opens a FIFO of the account for writing. ENXIO says that nobody reads
// it.
func (a account) openFIFO(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := a.ownsOpen(f, os.ModeNamedPipe); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ownsOpen reports an error unless the file is of this type and the account's.
func (a account) ownsOpen(f *os.File, kind os.FileMode) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode().Type() != kind || st.Uid != a.uid {
		return fmt.Errorf("%s: not such a file of user %d", f.Name(), a.uid)
	}
	return nil
}

// programs returns a folder of programs that a file of the account names, or ""
// when this process should not run them: they are none of the account's business
// when it is root who runs them.
func (a account) programs(dir string) string {
	if !a.change || onlyRootWrites(dir) {
		return dir
	}
	return ""
}

// onlyRootWrites reports whether nobody but root can change what is at dir.
func onlyRootWrites(dir string) bool {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil || !filepath.IsAbs(dir) {
		return false
	}
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		if err != nil {
			return false
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid != 0 || info.Mode().Perm()&0o022 != 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
