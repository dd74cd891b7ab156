//go:build unix && !linux

package localpg

import "syscall"

// mayChangeUser is true where root has no capabilities to lack.
func mayChangeUser() bool { return true }

func (a account) enterNamespace(*syscall.SysProcAttr) {}
