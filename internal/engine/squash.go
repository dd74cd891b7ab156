package engine

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A squash file stands for the versions that its directive pgdbm:replaces names: where none of them is recorded it runs
// in their place; where the last of them is, it is recorded without running.

// span is a range of versions, both ends in it.
type span struct{ from, to int64 }

func (s *span) has(n int64) bool { return s.from <= n && n <= s.to }

var spanForm = regexp.MustCompile(`^([0-9]+) ?- ?([0-9]+)$`)

// parseReplaces reads the versions of a directive pgdbm:replaces.
func (f *File) parseReplaces(d sqltemplate.Directive) error {
	m := spanForm.FindStringSubmatch(d.Args)
	if m == nil {
		return at(d.Offset, "directive pgdbm:replaces: %q is no range of versions such as 1-50", d.Args)
	}
	from, fromErr := strconv.ParseInt(m[1], 10, 64)
	to, toErr := strconv.ParseInt(m[2], 10, 64)
	switch {
	case f.Repeatable():
		return at(d.Offset, "directive pgdbm:replaces in a repeatable file")
	case f.replaces != nil:
		return at(d.Offset, "second directive pgdbm:replaces")
	case fromErr != nil || toErr != nil || from > to:
		return at(d.Offset, "directive pgdbm:replaces: %q is no range of versions such as 1-50", d.Args)
	case to >= f.number:
		return at(d.Offset, "directive pgdbm:replaces: version %d is not lower than that of the file, %s", to, f.Version)
	}
	f.replaces = &span{from, to}
	return nil
}

// asRecord is the file with nothing to run: what it would make is there.
func (f *File) asRecord() *File {
	r := &File{Name: f.Name, Path: f.Path, Version: f.Version, number: f.number, RawHash: f.RawHash, SemanticHash: f.SemanticHash,
		Statements: f.Statements, traceless: true, verbatim: true, recordOnly: true}
	r.template = sqltemplate.Verbatim("")
	return r
}

// squashes decides for each squash file what is to become of it and of the versions that it replaces.
func (b *planner) squashes() {
	for i := len(b.files) - 1; i >= 0; i-- { // one may replace another
		f := b.files[i]
		if f.replaces == nil {
			continue
		}
		if e := b.recorded[f.number]; e != nil && e.State != Failed {
			b.replaced = append(b.replaced, f.replaces)
			continue
		}
		if b.skips(f.number) {
			continue
		}
		switch last := b.inEffect(f.replaces); {
		case last < 0:
			b.replaced = append(b.replaced, f.replaces)
		case last == f.replaces.to:
			b.replaced = append(b.replaced, f.replaces)
			b.record[f.number] = true
		case b.hasFile(f.replaces.to):
			b.record[f.number] = true // after those of them that are pending
		default:
			b.broken[f.number] = fmt.Errorf("it replaces versions %d to %d, of which %d is the last recorded, and version %d %w",
				f.replaces.from, f.replaces.to, last, f.replaces.to, ErrMissing)
		}
	}
}

// skips reports whether a version need not run, since another one that will run, or has, stands for it.
func (b *planner) skips(n int64) bool { return has(b.replaced, n) }

func has(spans []*span, n int64) bool {
	return slices.ContainsFunc(spans, func(s *span) bool { return s.has(n) })
}

// inEffect returns the highest version of a range that is recorded and complete, or -1.
func (b *planner) inEffect(s *span) int64 {
	last := int64(-1)
	for n, e := range b.recorded {
		if s.has(n) && e.State != Failed && e.State != Running {
			last = max(last, n)
		}
	}
	return last
}

func (b *planner) hasFile(n int64) bool {
	return slices.ContainsFunc(b.files, func(f *File) bool { return f.number == n })
}

// spans are the ranges that the files replace.
func spans(files []*File) []*span {
	var all []*span
	for _, f := range files {
		if f.replaces != nil {
			all = append(all, f.replaces)
		}
	}
	return all
}
