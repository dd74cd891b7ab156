// Package scaffold writes programs, libraries and tests that use pgdbm.
package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

//go:embed templates
var templates embed.FS

// Library is the import path of pgdbm.
const Library = "github.com/pgdbm/pgdbm"

// File is one that a scaffold writes: its slash-separated path and its text.
type File struct {
	Path string
	Text []byte
}

// ExistsError lists files that are in the way of a scaffold.
type ExistsError struct{ Paths []string }

func (e *ExistsError) Error() string {
	return "in the way, and nothing is overwritten: " + strings.Join(e.Paths, ", ")
}

// Write writes all files below dir, or none if one of them exists.
func Write(dir string, files []File) error {
	var there []string
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		if _, err := os.Lstat(name); err == nil {
			there = append(there, name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(there) > 0 {
		return &ExistsError{there}
	}
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			return err
		}
		// O_EXCL: also what came since the look above stays.
		w, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return err
		}
		_, err = w.Write(f.Text)
		if err := errors.Join(err, w.Close()); err != nil {
			return err
		}
	}
	return nil
}

// target is a template and the file that it becomes.
type target struct {
	template, path string
	data           any
}

// render makes the files, sorted by path. Go files come out as gofmt has them.
func render(targets []target) ([]File, error) {
	// The braces of pgdbm's own templates stay as they are.
	set, err := template.New("").Delims("<%", "%>").ParseFS(templates, "templates/common/replace.tmpl")
	if err != nil {
		return nil, err
	}
	var files []File
	for _, t := range targets {
		text, err := templates.ReadFile(path.Join("templates", t.template+".tmpl"))
		if err != nil {
			return nil, err
		}
		one, err := set.Clone()
		if err != nil {
			return nil, err
		}
		if one, err = one.New(t.template).Parse(string(text)); err != nil {
			return nil, err
		}
		var b bytes.Buffer
		if err := one.Execute(&b, t.data); err != nil {
			return nil, err
		}
		out := b.Bytes()
		if strings.HasSuffix(t.path, ".go") {
			if out, err = format.Source(out); err != nil {
				return nil, fmt.Errorf("%s: %w", t.path, err)
			}
		}
		files = append(files, File{t.path, append(bytes.TrimRight(out, "\n"), '\n')})
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files, nil
}
