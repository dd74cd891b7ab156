// Package install puts skills where coding agents look for them.
package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// canonical is where skills are; agents that look elsewhere find a link there.
const canonical = ".agents/skills"

var linked = []string{".claude/skills"}

// sumFile holds the hash of what was installed, so that what somebody has
// changed since is not overwritten.
const sumFile = ".pgdbm-sum"

// State is what became of a path.
type State string

const (
	Written State = "written"
	Updated State = "updated"
	Same    State = "unchanged"
	Linked  State = "linked"
)

// Result is a path that was looked after.
type Result struct {
	Path  string `json:"path"`
	State State  `json:"state"`
}

// ChangedError says that a skill was changed by hand, or is not from here.
type ChangedError struct{ Path string }

func (e *ChangedError) Error() string {
	return e.Path + ": was changed by hand, or is not from pgdbm"
}

// Options say how skills are installed.
type Options struct {
	Copy  bool // copies instead of links, for file systems without them
	Force bool // overwrites what was changed by hand
}

// Skill installs a skill of skills below base: in .agents/skills, and as a
// relative link in .claude/skills. Installing again changes nothing, or brings
// a skill that nobody has changed up to date.
func Skill(skills fs.FS, base, name string, o Options) ([]Result, error) {
	text, err := fs.ReadFile(skills, path.Join(name, "SKILL.md"))
	if err != nil {
		return nil, fmt.Errorf("no skill %q", name)
	}
	home := filepath.Join(base, filepath.FromSlash(canonical), name)
	state, err := write(home, text, o)
	if err != nil {
		return nil, err
	}
	results := []Result{{home, state}}
	for _, dir := range linked {
		place := filepath.Join(base, filepath.FromSlash(dir), name)
		if sameFile(place, home) && !o.Copy {
			results = append(results, Result{place, Same})
			continue
		}
		if o.Copy {
			state, err = copyTo(place, home, text, o)
		} else {
			state, err = link(place, home, o)
		}
		if err != nil {
			return results, err
		}
		results = append(results, Result{place, state})
	}
	return results, nil
}

// write puts the skill into a folder of its own.
func write(dir string, text []byte, o Options) (State, error) {
	file := filepath.Join(dir, "SKILL.md")
	state := Written
	switch old, err := os.ReadFile(file); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", err
	case bytes.Equal(old, text):
		return Same, nil
	case !o.Force && !installed(dir, old):
		return "", &ChangedError{file}
	default:
		state = Updated
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	// The hash last: without it a half-written file would pass for a changed one,
	// which is the safe side.
	if err := os.WriteFile(file, text, 0o666); err != nil {
		return "", err
	}
	return state, os.WriteFile(filepath.Join(dir, sumFile), []byte(sum(text)+"\n"), 0o666)
}

// installed reports whether text is what was written into dir.
func installed(dir string, text []byte) bool {
	want, err := os.ReadFile(filepath.Join(dir, sumFile))
	return err == nil && strings.TrimSpace(string(want)) == sum(text)
}

func sum(text []byte) string {
	h := sha256.Sum256(text)
	return hex.EncodeToString(h[:])
}

// copyTo is write to a second place; a link that leads to the first goes.
func copyTo(place, home string, text []byte, o Options) (State, error) {
	if info, err := os.Lstat(place); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if !sameFile(place, home) && !o.Force {
			return "", &ChangedError{place}
		}
		if err := os.Remove(place); err != nil {
			return "", err
		}
	} else if err == nil && sameFile(place, home) {
		return Same, nil // by a link further up
	}
	return write(place, text, o)
}

// link makes place a relative link to home.
func link(place, home string, o Options) (State, error) {
	if _, err := os.Lstat(place); err == nil {
		if err := removeOurs(place, o); err != nil {
			return "", err
		}
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o777); err != nil {
		return "", err
	}
	// Where the folder is a link itself, the way back starts where that leads.
	from, err := filepath.EvalSymlinks(filepath.Dir(place))
	if err != nil {
		return "", err
	}
	to, err := filepath.EvalSymlinks(home)
	if err != nil {
		return "", err
	}
	target, err := filepath.Rel(from, to)
	if err != nil {
		return "", err
	}
	if err := os.Symlink(target, place); err != nil {
		return "", fmt.Errorf("%w (--copy needs no link)", err)
	}
	return Linked, nil
}

// removeOurs makes room for a link: a dead link, or a copy of ours.
func removeOurs(place string, o Options) error {
	if info, err := os.Lstat(place); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if _, err := os.Stat(place); err == nil && !o.Force {
			return &ChangedError{place}
		}
		return os.Remove(place)
	}
	text, err := os.ReadFile(filepath.Join(place, "SKILL.md"))
	if !o.Force && (err != nil || !installed(place, text)) {
		return &ChangedError{place}
	}
	for _, name := range []string{"SKILL.md", sumFile} {
		if err := os.Remove(filepath.Join(place, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// Fails where there are other files, which are not ours to remove.
	return os.Remove(place)
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
