package localpg

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// cacheDir returns pgdbm's folder for what can be made again. It need not be
// there: see makeDir. Root's is where other users can enter, since root's server
// runs as one of them.
func cacheDir() (string, error) { return cacheDirOf(os.Geteuid()) }

func cacheDirOf(uid int) (string, error) {
	if uid == 0 {
		return "/var/cache/pgdbm", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("user's cache folder: %w", err)
	}
	return filepath.Join(dir, "pgdbm"), nil
}

// programsDir is the cache's folder of fetched programs.
func programsDir() (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "postgresql"), nil
}

// makeDir makes dir and its missing parents, for every user to enter whatever
// the umask says.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		if info, statErr := os.Stat(dir); statErr == nil && info.IsDir() {
			return nil // another process was faster
		}
		return err
	}
	return os.Chmod(dir, 0o755)
}

// manifestName is a file of every fetched folder, written last.
const manifestName = "pgdbm-manifest.json"

// manifest lists what a fetched folder has, by names with slashes.
type manifest struct {
	Files map[string]int64  // their sizes
	Links map[string]string // what they point to, as symlink(2) has it
}

// binDirIn is where a fetched folder has the programs.
func binDirIn(dir string) string { return filepath.Join(dir, "native", "bin") }

// checkWhole reports what is missing of a fetched folder: some systems delete old
// files from caches one by one.
func checkWhole(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return err
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return fmt.Errorf("%s: %w", manifestName, err)
	}
	for _, program := range []string{"initdb", "postgres"} {
		if !executable(filepath.Join(binDirIn(dir), program)) {
			return fmt.Errorf("no %s", program)
		}
	}
	for name, size := range m.Files {
		info, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Size() != size {
			return fmt.Errorf("%s: not the file that was fetched", name)
		}
	}
	for name, target := range m.Links {
		if got, err := os.Readlink(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return err
		} else if got != target {
			return fmt.Errorf("%s: not the link that was made", name)
		}
	}
	return nil
}

// fetched returns the folders that Fetch has made in root for the platform,
// those of newer versions first.
func fetched(root, platform string) (dirs []string) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil
	}
	var versions []string
	for _, e := range entries {
		version, ok := strings.CutSuffix(e.Name(), "-"+platform)
		if ok && e.IsDir() && !strings.HasPrefix(version, ".") {
			versions = append(versions, version)
		}
	}
	slices.SortFunc(versions, newerFirst)
	for _, version := range versions {
		dirs = append(dirs, filepath.Join(root, version+"-"+platform))
	}
	return dirs
}

// cache looks at the programs that Fetch left in root; the empty root is none.
func (s *search) cache(root string) string {
	on, err := platform()
	if err != nil || root == "" {
		return "" // nothing there could run here
	}
	dirs := fetched(root, on)
	if len(dirs) == 0 {
		s.looked = append(s.looked, binDirIn(filepath.Join(root, "*-"+on)))
	}
	for _, dir := range dirs {
		if err := checkWhole(dir); err != nil {
			s.looked = append(s.looked, dir+": incomplete: "+err.Error())
		} else if found := s.try("", binDirIn(dir)); found != "" {
			return found
		}
	}
	return ""
}
