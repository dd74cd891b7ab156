//go:build unix && !linux

package localpg

// memoryDir is a file system in memory; no common one is known here.
const memoryDir = ""

func freeMemory() uint64 { return 0 }
