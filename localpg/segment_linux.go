package localpg

import (
	"os"
	"strconv"
	"strings"
)

// removeSegment removes the System V shared memory segment that a killed server
// left, if the kernel says that this very process made it and none uses it.
func (a account) removeSegment(postmaster, segment int) {
	if postmaster <= 0 {
		return
	}
	table, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(table)) {
		words := strings.Fields(line) // key shmid perms size cpid lpid nattch ...
		if len(words) < 7 || words[1] != strconv.Itoa(segment) {
			continue
		}
		if words[4] == strconv.Itoa(postmaster) && words[6] == "0" {
			_ = a.run("ipcrm", "-m", words[1]) // best effort: it has 56 bytes
		}
	}
}
