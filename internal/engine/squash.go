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
type span struct {
	from, to int64
	offset   int // of the directive
}

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
	f.replaces = &span{from, to, d.Offset}
	return nil
}

// checkBetween refuses a file whose number is between the versions that a squash file replaces and its own: a new schema
// would get it before what it was written after. It may be, where a later squash file stands for both.
func checkBetween(module string, files []*File) error {
	for _, f := range files {
		if f.replaces == nil {
			continue
		}
		for _, g := range files {
			if g.number <= f.replaces.to || g.number >= f.number {
				continue
			}
			if !slices.ContainsFunc(files, func(h *File) bool { return h.replaces != nil && h.replaces.has(f.number) && h.replaces.has(g.number) }) {
				return f.located(module, "", at(f.replaces.offset, "directive pgdbm:replaces: %s is numbered between versions %d to %d, which it replaces,"+
					" and itself, so that a new schema would get it first; replace it too (%[2]d-%[4]d), or give it a number above %[5]d",
					g.Name, f.replaces.from, f.replaces.to, g.number, f.number))
			}
		}
	}
	return nil
}

// RecordOnly reports whether the file is only to be recorded: what it replaces has run.
func (f *File) RecordOnly() bool { return f.recordOnly }

// asRecord is the file with nothing to run: what it would make is there.
func (f *File) asRecord() *File {
	r := &File{Name: f.Name, Path: f.Path, Version: f.Version, number: f.number, RawHash: f.RawHash, SemanticHash: f.SemanticHash,
		Statements: f.Statements, traceless: true, verbatim: true, recordOnly: true}
	r.template = sqltemplate.Verbatim("")
	return r
}

// onlyRecorded reports whether a squash file did not run where it is recorded, since what it replaces had.
func (p *Plan) onlyRecorded(f *File) bool {
	return f.replaces != nil && slices.ContainsFunc(p.inEffect(), func(s *Step) bool { return f.replaces.has(number(s)) })
}

// squashes decides for each squash file what is to become of it and of the versions that it replaces.
func (b *planner) squashes() {
	for i := len(b.files) - 1; i >= 0; i-- { // one may replace another
		f := b.files[i]
		if f.replaces == nil {
			continue
		}
		last, interrupted := b.inEffect(f.replaces)
		if e := b.recorded[f.number]; e != nil && e.State != Failed {
			if last < 0 {
				b.replaced = append(b.replaced, f.replaces) // it has run in their place
			}
			continue
		}
		if b.skips(f.number) {
			continue
		}
		switch {
		case interrupted >= 0 && !b.hasFile(interrupted):
			b.broken[f.number] = fmt.Errorf("it replaces versions %d to %d, of which %d was %w and %w",
				f.replaces.from, f.replaces.to, interrupted, ErrInterrupted, ErrMissing)
		case last < 0 && interrupted < 0:
			if b.to == nil || f.number <= *b.to {
				b.replaced = append(b.replaced, f.replaces)
			}
		case last == f.replaces.to: // one of them that has not run is late, not replaced
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

// inEffect returns the highest version of a range that is recorded and complete, and that which was interrupted; -1 for
// none.
func (b *planner) inEffect(s *span) (last, interrupted int64) {
	last, interrupted = -1, -1
	for n, e := range b.recorded {
		switch {
		case !s.has(n) || e.State == Failed:
		case e.State == Running:
			interrupted = max(interrupted, n)
		default:
			last = max(last, n)
		}
	}
	return last, interrupted
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
