//go:build unix

package localpg

import (
	"errors"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// account is the user that the server runs as.
type account struct {
	uid, gid uint32
	change   bool // from root to it

	// seen, if not 0, is whom root's server takes itself for, in a user
	// namespace of its own; outside it is root.
	seen uint32
}

// serverAccount is our own, or for root, whom PostgreSQL refuses, postgres or
// nobody: initdb needs a user that has a name.
func serverAccount() (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{uid: uint32(uid), gid: uint32(os.Getegid())}, nil
	}
	a, err := namedAccount()
	if err == nil && !mayChangeUser() {
		return account{seen: a.uid}, nil
	}
	return a, err
}

func namedAccount() (account, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
		if uerr == nil && gerr == nil && uid != 0 {
			return account{uid: uint32(uid), gid: uint32(gid), change: true}, nil
		}
	}
	return account{}, errors.New("root may not run PostgreSQL, and there is no user postgres or nobody")
}

// attributes start a process as the account, in a session of its own.
func (a account) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if a.change {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	if a.seen != 0 {
		a.enterNamespace(attr)
	}
	return attr
}
