package localpg

import (
	"os"
	"path/filepath"
	"runtime"
)

// rootCache is where root keeps what a server that runs as somebody else must
// reach: nobody else can enter root's own folder.
const rootCache = "/var/cache/pgdbm"

// cacheDir returns the folder for what is worth keeping between runs.
func cacheDir() (string, error) {
	if runtime.GOOS != "windows" && os.Geteuid() == 0 {
		return rootCache, nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "pgdbm"), err
}
