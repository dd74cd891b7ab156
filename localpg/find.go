package localpg

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// binEnv names the folder of the server's programs.
const binEnv = "PGDBM_POSTGRES_BIN"

// standardPlaces are where packages install the server's programs outside PATH,
// one folder for each version.
var standardPlaces = []string{
	"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
	"/usr/pgsql-*/bin",          // PostgreSQL's own packages for Red Hat
	"/usr/libexec/postgresql*",  // Alpine
	"/usr/lib/postgresql*/bin",  // SUSE
	"/usr/local/pgsql/bin",      // built from source
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
	"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// NotFoundError says that no folder with PostgreSQL's programs was found.
type NotFoundError struct {
	// Looked are the places that were looked at, in order, each with what was
	// missing there.
	Looked []string
	// Hint is the command that installs PostgreSQL on this system.
	Hint string
}

func (e *NotFoundError) Error() string {
	return "localpg: find PostgreSQL's initdb and postgres: not in\n\t" +
		strings.Join(e.Looked, "\n\t") + "\ninstall: " + e.Hint
}

// Find returns the folder of PostgreSQL's programs initdb and postgres: the
// first that has both of [Options.BinDir], the environment's PGDBM_POSTGRES_BIN,
// the folder that pg_config names, those of PATH, the highest version in the
// places where Debian, Red Hat, Alpine, SUSE, Homebrew and Postgres.app install
// them, and the highest version that [Fetch] left in the cache. When BinDir or PGDBM_POSTGRES_BIN is set, no further place is
// looked at. The error is a [*NotFoundError].
func Find(o *Options) (binDir string, err error) {
	cache, err := programsDir()
	if err != nil {
		cache = "" // no home folder, so nothing was fetched
	}
	return find(o, standardPlaces, cache)
}

func find(o *Options, standard []string, cache string) (binDir string, err error) {
	s := search{}
	switch {
	case o != nil && o.BinDir != "":
		binDir = s.try("Options.BinDir: ", o.BinDir)
	case os.Getenv(binEnv) != "":
		binDir = s.try(binEnv+": ", os.Getenv(binEnv))
	default:
		binDir = s.everywhere(standard, cache)
	}
	if binDir == "" {
		return "", &NotFoundError{Looked: s.looked, Hint: installHint()}
	}
	return binDir, nil
}

// search remembers where it looked.
type search struct{ looked []string }

func (s *search) everywhere(standard []string, cache string) string {
	s.looked = append(s.looked, binEnv+": not set")
	if dir := s.pgConfig(); dir != "" {
		return dir
	}
	if dir := s.path(); dir != "" {
		return dir
	}
	if dir := s.standard(standard); dir != "" {
		return dir
	}
	return s.cache(cache)
}

// try returns dir as an absolute path when it has the programs, else "".
func (s *search) try(label, dir string) string {
	for _, program := range []string{"initdb", "postgres"} {
		if !executable(filepath.Join(dir, program)) {
			s.looked = append(s.looked, label+dir+": no "+program)
			return ""
		}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		s.looked = append(s.looked, label+dir+": "+err.Error())
		return ""
	}
	return abs
}

func (s *search) pgConfig() string {
	const label = "pg_config --bindir: "
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		s.looked = append(s.looked, label+"no pg_config in PATH")
	case err != nil:
		s.looked = append(s.looked, label+err.Error())
	default:
		return s.try(label, strings.TrimSpace(string(out)))
	}
	return ""
}

// path follows links first: a link in PATH may have no initdb beside it, while
// programs find their other files from where they really are.
func (s *search) path() string {
	const label = "PATH: "
	found := false
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		program := filepath.Join(dir, "postgres")
		if !filepath.IsAbs(dir) || !executable(program) {
			continue
		}
		found = true
		if target, err := filepath.EvalSymlinks(program); err == nil && filepath.Dir(target) != dir {
			if real := s.try(label, filepath.Dir(target)); real != "" {
				return real
			}
		}
		if dir := s.try(label, dir); dir != "" {
			return dir
		}
	}
	if !found {
		s.looked = append(s.looked, label+"no postgres")
	}
	return ""
}

func (s *search) standard(patterns []string) string {
	var dirs []string
	for _, pattern := range patterns {
		found, _ := filepath.Glob(pattern) // errs on a malformed pattern only
		if len(found) == 0 {
			s.looked = append(s.looked, pattern)
		}
		dirs = append(dirs, found...)
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return majorVersion(b) - majorVersion(a) })
	for _, dir := range dirs {
		if found := s.try("", dir); found != "" {
			return found
		}
	}
	return ""
}

var numbers = regexp.MustCompile(`[0-9]+`)

// majorVersion returns the first number of a standard place's path, or 0.
func majorVersion(dir string) int {
	n, _ := strconv.Atoi(numbers.FindString(dir))
	return n
}

func executable(file string) bool {
	if runtime.GOOS == "windows" {
		file += ".exe"
	}
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && (runtime.GOOS == "windows" || info.Mode()&0o111 != 0)
}
