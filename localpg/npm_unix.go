//go:build unix

package localpg

import (
	"os/exec"
	"syscall"
)

// killTogether makes the end of the command's context end its children too.
func killTogether(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
