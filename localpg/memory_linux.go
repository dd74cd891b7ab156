package localpg

import "syscall"

// memoryDir is a file system in memory.
const memoryDir = "/dev/shm"

// freeMemory returns the bytes free there, 0 when it is missing.
func freeMemory() uint64 {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memoryDir, &fs); err != nil {
		return 0
	}
	return fs.Bavail * uint64(fs.Bsize)
}
