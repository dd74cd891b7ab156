package engine

import (
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A repeatable file, R__name.sql, makes what can be made anew at any time, such as a view or a function. It is applied
// after all versions, and again whenever its statements have changed. Its version in the ledger is R__name, which
// programs that know numbers alone pass over.
const repeatablePrefix = "R__"

// repeatableFrom is where the numbers of repeatable files begin, behind those of all versions.
const repeatableFrom = math.MaxInt64 - 1<<20

var repeatableName = regexp.MustCompile(`^R__(.+)\.sql$`)

// Repeatable reports whether the file is applied again whenever it changes.
func (f *File) Repeatable() bool { return isRepeatable(f.Version) }

func isRepeatable(version string) bool { return strings.HasPrefix(version, repeatablePrefix) }

// dependency is a name in a directive pgdbm:after.
type dependency struct {
	name   string
	offset int // of the directive
}

// parseAfter reads the names of a directive pgdbm:after.
func (f *File) parseAfter(d sqltemplate.Directive) error {
	if !f.Repeatable() {
		return at(d.Offset, "directive pgdbm:after in a file that is not repeatable")
	}
	for name := range strings.SplitSeq(d.Args, ",") {
		if name = strings.TrimSpace(name); name == "" {
			return at(d.Offset, "directive pgdbm:after names no file, or an empty one")
		}
		f.after = append(f.after, dependency{name, d.Offset})
	}
	return nil
}

// orderRepeatable puts repeatable files in the order of their names, each behind those that it is to come after, and
// numbers them.
func orderRepeatable(module string, files []*File) ([]*File, error) {
	slices.SortFunc(files, func(a, b *File) int { return strings.Compare(a.Name, b.Name) })
	byName := make(map[string]*File, len(files))
	for _, f := range files {
		byName[strings.TrimPrefix(f.Version, repeatablePrefix)] = f
	}
	const visiting, done = 1, 2
	state := make(map[*File]int, len(files))
	var order []*File
	var visit func(f *File) error
	visit = func(f *File) error {
		state[f] = visiting
		for _, d := range f.after {
			before := byName[d.name]
			switch {
			case before == nil:
				return f.located(module, "", at(d.offset, "directive pgdbm:after: no file %s%s.sql", repeatablePrefix, d.name))
			case state[before] == visiting:
				return f.located(module, "", at(d.offset, "directive pgdbm:after: %s and %s come after each other", f.Name, before.Name))
			case state[before] == 0:
				if err := visit(before); err != nil {
					return err
				}
			}
		}
		state[f] = done
		f.number = repeatableFrom + int64(len(order))
		order = append(order, f)
		return nil
	}
	for _, f := range files {
		if state[f] == 0 {
			if err := visit(f); err != nil {
				return nil, err
			}
		}
	}
	return order, nil
}

// versioned leaves out repeatable files.
func versioned(files []*File) []*File {
	if !slices.ContainsFunc(files, (*File).Repeatable) {
		return files
	}
	return slices.DeleteFunc(slices.Clone(files), (*File).Repeatable)
}

// repeatable adds the step of a repeatable file.
func (b *planner) repeatable(f *File, e *Entry) {
	step := Step{Version: f.Version, File: f.Name, Entry: e}
	switch {
	case e == nil:
		step.State = Pending
	case e.State == Failed:
		step.State = Failed
	case e.SemanticHash != "" && e.SemanticHash != f.SemanticHash:
		step.State = Outdated
	case e.RawHash != "" && e.RawHash != f.RawHash:
		step.State = Cosmetic
	default:
		step.State = e.State
	}
	switch pending := step.State == Pending || step.State == Failed || step.State == Outdated; {
	case !pending:
	case !b.ahead:
		b.plan.Pending = append(b.plan.Pending, f)
	case e == nil: // the newer program has done away with it, and maybe with what it is made of
		step.State = Outdated
		b.warn(step, "not applied, since a newer program has been here without it")
	case step.State == Failed:
		b.warn(step, "not applied, since a newer program has been here, which will")
	default: // what is there may be what the newer program cannot do without
		b.warn(step, "not applied, since a newer program has applied another text")
	}
	b.add(step)
}

// gone adds the steps of repeatable files that are recorded and are no more. What they made stays.
func (b *planner) gone(entries []*Entry) {
	slices.SortFunc(entries, func(a, c *Entry) int { return strings.Compare(a.Version, c.Version) })
	for _, e := range entries {
		b.add(Step{Version: e.Version, File: e.File, Entry: e, State: Gone})
	}
}
