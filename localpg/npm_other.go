//go:build !unix

package localpg

import (
	"os/exec"
	"strconv"
)

// killTogether makes the end of the command's context end its children too:
// here npm is a script that starts Node.js.
func killTogether(cmd *exec.Cmd) {
	cmd.Cancel = func() error {
		return exec.Command("taskkill", "/T", "/F", "/PID", strconv.Itoa(cmd.Process.Pid)).Run()
	}
}
