package localpg

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// mayChangeUser reports whether this process may start others as another user,
// which root in a container may lack: capabilities CAP_SETGID and CAP_SETUID of
// capabilities(7). What cannot be read is taken for allowed.
func mayChangeUser() bool {
	const both = 1<<6 | 1<<7
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err != nil || caps&both == both
		}
	}
	return true
}

// enterNamespace starts a process in a user namespace, where it takes itself for
// the user a.seen. Everybody may map the own id, user_namespaces(7) says.
func (a account) enterNamespace(attr *syscall.SysProcAttr) {
	attr.Cloneflags = syscall.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: int(a.seen), HostID: int(a.uid), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: int(a.seen), HostID: int(a.gid), Size: 1}}
}
