//go:build unix && !linux

package localpg

import (
	"bytes"
	"os/exec"
	"strconv"
)

// runsIn reports whether the process is a postgres of this data directory, and
// not another one that got the same number since.
func runsIn(pid int, data string) bool {
	line, err := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && bytes.Contains(line, []byte(data))
}
