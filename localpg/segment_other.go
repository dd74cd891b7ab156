//go:build unix && !linux

package localpg

// removeSegment leaves a killed server's System V shared memory segment of 56
// bytes alone: whose it is cannot be told here.
func (a account) removeSegment(postmaster, segment int) {}
