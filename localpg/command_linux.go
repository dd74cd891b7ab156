package localpg

import (
	"bytes"
	"os"
	"strconv"
)

// runsIn reports whether the process is a postgres of this data directory, and
// not another one that got the same number since.
func runsIn(pid int, data string) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && bytes.Contains(line, []byte(data+"\x00"))
}
