//go:build unix

package localpg

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// socketBase is short, whatever TMPDIR says: a socket's path has at most 107
// bytes, on some systems 103.
const socketBase = "/tmp"

// memoryNeeded is the free space below which the data stay off /dev/shm.
const memoryNeeded = 1 << 30

// Bits of access(2), the same on all systems.
const (
	accessEnter = 1
	accessWrite = 2
)

// place is where a run keeps its files, and as which user.
type place struct {
	account account
	run     string // socket, log and what the supervisor needs
	store   string // parent of the data directory; may be equal to run
}

// choosePlace returns a place without the run's own id.
func choosePlace(durable bool) (place, error) {
	a, err := serverAccount()
	if err != nil {
		return place{}, err
	}
	name := "pgdbm-" + strconv.Itoa(int(a.uid))
	p := place{account: a, run: filepath.Join(socketBase, name), store: filepath.Join(storeBase(a, durable), name)}
	for _, dir := range []string{p.run, p.store} {
		if err := a.owns(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return place{}, err
		}
	}
	return p, nil
}

func storeBase(a account, durable bool) string {
	if !durable && freeMemory() >= memoryNeeded && a.writes(memoryDir) {
		return memoryDir
	}
	if dir, err := filepath.Abs(os.TempDir()); err == nil && a.writes(dir) {
		return dir
	}
	return socketBase
}

func (p place) withID(id string) place {
	p.run, p.store = filepath.Join(p.run, id), filepath.Join(p.store, id)
	return p
}

// withStore is for a run whose owner chose another store than we would.
func (p place) withStore(store string) place {
	p.store = store
	return p
}

// runs returns the runs of the same account. The place must have no id.
func (p place) runs() []place {
	if p.account.owns(p.run) != nil {
		return nil
	}
	entries, err := os.ReadDir(p.run)
	if err != nil {
		return nil
	}
	var runs []place
	for _, e := range entries {
		if runID.MatchString(e.Name()) && e.IsDir() {
			runs = append(runs, p.withID(e.Name()))
		}
	}
	return runs
}

// id is the name of the run.
func (p place) id() string { return filepath.Base(p.run) }

func (p place) data() string { return filepath.Join(p.store, "data") }

// log opens the server's log.
func (p place) log() (*os.File, error) { return p.account.open(filepath.Join(p.run, "log")) }

// info is what the run tells others.
func (p place) info() (i runInfo, err error) {
	text, err := p.account.read(filepath.Join(p.run, "info"))
	if err == nil {
		err = json.Unmarshal(text, &i)
	}
	return i, err
}

// owns reports an error unless dir is a directory, no link, of the account.
// Then nobody else can replace it in a directory such as /tmp.
func (a account) owns(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || st.Uid != a.uid {
		return fmt.Errorf("%s: not a directory of user %d", dir, a.uid)
	}
	return nil
}

// writes reports whether the account can make files in dir. For root, who runs
// the server as somebody else, it is a guess from permission bits.
func (a account) writes(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	if !a.change {
		return syscall.Access(dir, accessWrite|accessEnter) == nil
	}
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		if up, err := os.Stat(parent); err != nil || up.Mode().Perm()&0o001 == 0 {
			return false
		}
		if parent == filepath.Dir(parent) {
			return info.Mode().Perm()&0o003 == 0o003
		}
	}
}
