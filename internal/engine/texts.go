package engine

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A Text is what is to run of a migration's file, as far as it can be told apart without reading the SQL.
type Text struct {
	Path          string
	Name          string
	Version       string
	Source        string // at the same places as in the file, line ends aside
	Foreign       bool   // in another tool's format: no placeholders, and search_path finds the tables
	NoTransaction bool
}

// Texts reads the migrations that Load reads, in order, without the parts that revert, and refuses only what it cannot
// read.
func Texts(fsys fs.FS) ([]Text, error) {
	paths, err := findFiles(fsys)
	if err != nil {
		return nil, &Error{Err: err}
	}
	var files []*File
	for _, p := range paths {
		f := &File{Name: path.Base(p), Path: p}
		if strings.HasSuffix(f.Name, downSuffix) {
			continue
		}
		if f.Version, err = parseVersion(f); err == nil {
			if err = f.read(fsys); err == nil {
				if _, err = f.cut(); err == nil {
					_ = f.unwrap() // what it refuses stays, and is the lint's to find
				}
			}
		}
		if err != nil {
			return nil, f.located("", "", err)
		}
		if f.Repeatable() {
			f.number += int64(len(files)) // any order of their own
		}
		files = append(files, f)
	}
	if files, err = SortFiles("", files); err != nil {
		return nil, err
	}
	texts := make([]Text, len(files))
	for i, f := range files {
		texts[i] = Text{f.Path, f.Name, f.Version, f.Source, f.format != "", f.outside()}
	}
	return texts, nil
}

// outside reports whether the file runs outside a transaction, as its head says.
func (f *File) outside() bool {
	directives, err := sqltemplate.Directives(f.Source)
	return f.NoTransaction || err == nil && slices.ContainsFunc(directives, func(d sqltemplate.Directive) bool { return d.Head && d.Name == "no-transaction" })
}
