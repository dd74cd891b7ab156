package projectfile

import (
	"errors"
	"fmt"
	"strings"
)

// Error is something wrong with a file, and where.
type Error struct {
	Path         string
	Line, Column int // 0: the file as a whole
	Text         string
	Err          error // what callers branch on, or nil
}

// ErrNoFiles: a module's folder is there, and has no migrations.
var ErrNoFiles = errors.New("no migrations")

func (e *Error) Unwrap() error { return e.Err }

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.Path, e.Text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.Path, e.Line, e.Column, e.Text)
}

// errorAt is an error at a key, or at the nearest table around it that is written
// in the file.
func (f *File) errorAt(key []string, format string, args ...any) error {
	e := &Error{Path: f.Path, Text: fmt.Sprintf(format, args...)}
	for ; len(key) > 0; key = key[:len(key)-1] {
		if at, ok := f.places[join(key)]; ok {
			e.Line, e.Column = at.Line, at.Column
			break
		}
	}
	return e
}

// join makes a map's key of a key in TOML, whose parts may hold any character but
// this one.
func join(key []string) string { return strings.Join(key, "\x00") }
