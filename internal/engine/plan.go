package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
)

// State is where a version stands. The first four are also what the ledger holds.
type State string

const (
	Applied   State = "applied"
	Baselined State = "baselined" // in effect before pgdbm came
	Failed    State = "failed"    // tried, and rolled back; pending like any other
	Running   State = "running"   // begun outside a transaction, and not ended; pending when it can be continued

	Pending  State = "pending"
	Cosmetic State = "cosmetic" // applied; the file's space or comments have changed since
	Changed  State = "changed"  // applied; the file's statements have changed since
	Late     State = "late"     // not recorded, while a higher version is
	Missing  State = "missing"  // recorded, no file, while there is a file of a higher version
	Ahead    State = "ahead"    // recorded, no file, above all files: a newer program was here
	Conflict State = "conflict" // another schema has the version with other statements
	Replaced State = "replaced" // a squash file stands for it
	Outdated State = "outdated" // a repeatable file whose text is not in effect; pending unless a version is Ahead
	Gone     State = "gone"     // a repeatable file that is recorded and is no more
)

// A Step is one version of a module in a schema.
type Step struct {
	Version string
	File    string // the file's name, or the recorded one when there is no file
	State   State
	Entry   *Entry // the ledger's row; nil when there is none
	Err     *Error // why a migration is refused on account of this step; nil otherwise
}

// A Plan says how a module's files and the ledger of a database stand to each other.
type Plan struct {
	Module   string
	Schema   string
	Steps    []Step  // in numeric order of their versions
	Pending  []*File // what a migration would run, in order; all the same when Problems refuse it
	Problems []error // why a migration would be refused, each an *Error
	Warnings []Warning
}

// A Warning is a finding that does not keep a migration from running.
type Warning struct {
	Module  string
	Schema  string
	Version string
	File    string
	Text    string
}

// Err returns the first problem.
func (p *Plan) Err() error {
	if len(p.Problems) == 0 {
		return nil
	}
	return p.Problems[0]
}

// snapshot is what the planner knows of the database.
type snapshot struct {
	schemaGone bool // there are entries, and no schema
	entries    []Entry
	conflicts  map[string]conflict // by version
}

// conflict is a row of another schema.
type conflict struct{ schema, file, hash string }

// newPlan compares files with ledger, for a migration that ends at version to if that is not nil. It is a pure function.
func newPlan(module, schema string, files []*File, to *int64, db snapshot) *Plan {
	b := planner{
		plan:     &Plan{Module: module, Schema: schema},
		files:    files,
		to:       to,
		recorded: make(map[int64]*Entry),
		newest:   -1,
		db:       db,
		record:   make(map[int64]bool),
		broken:   make(map[int64]error),
	}
	repeatable := make(map[string]*File)
	for _, f := range files {
		if f.Repeatable() {
			repeatable[f.Version] = f
		}
	}
	var gone []*Entry
	for i := range db.entries {
		e := &db.entries[i]
		if isRepeatable(e.Version) {
			if f := repeatable[e.Version]; f != nil {
				b.recorded[f.number] = e
			} else {
				gone = append(gone, e)
			}
			continue
		}
		n, err := strconv.ParseInt(e.Version, 10, 64)
		if err != nil {
			continue // a kind of entry that a newer program knows
		}
		b.recorded[n] = e
		if e.State != Failed {
			b.newest = max(b.newest, n)
		}
	}
	b.squashes()
	b.compare()
	b.gone(gone)
	return b.plan
}

type planner struct {
	plan     *Plan
	files    []*File
	to       *int64
	recorded map[int64]*Entry
	newest   int64 // highest recorded version that is not a failure, or -1
	db       snapshot
	ahead    bool // a newer program was here

	replaced []*span         // versions that need not run, since squash files stand for them
	record   map[int64]bool  // squash files that are to be recorded only
	broken   map[int64]error // and those that cannot be
}

func (b *planner) compare() {
	numbers := b.versions()
	if b.newest >= 0 && b.db.schemaGone {
		b.plan.Problems = append(b.plan.Problems,
			&Error{Module: b.plan.Module, Schema: b.plan.Schema, Err: fmt.Errorf("schema %q is %w; restore it or rename it back, or forget what was in it (migrate.Remove) to have it made anew",
				b.plan.Schema, ErrSchemaGone)})
	}
	files := make(map[int64]*File, len(b.files))
	highest := int64(-1)
	for _, f := range b.files {
		files[f.number] = f
		if !f.Repeatable() {
			highest = max(highest, f.number)
		}
	}
	for _, n := range numbers {
		if f := files[n]; f != nil && f.Repeatable() {
			b.repeatable(f, b.recorded[n])
		} else if f != nil {
			b.file(f, b.recorded[n])
		} else {
			b.orphan(n, b.recorded[n], n > highest)
		}
	}
}

// versions returns all that have a file or a row, in order.
func (b *planner) versions() []int64 {
	var numbers []int64
	for _, f := range b.files {
		numbers = append(numbers, f.number)
	}
	for n := range b.recorded {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

// file adds the step of a version that has a file.
func (b *planner) file(f *File, e *Entry) {
	step := Step{Version: f.Version, File: f.Name, Entry: e}
	other, conflicting := b.db.conflicts[f.Version]
	switch {
	case e != nil && e.State == Running:
		step.State = Running
		if err := f.continues(e); err != nil {
			step.Err = f.located(b.plan.Module, b.plan.Schema, fmt.Errorf("version %s: %w", f.Version, err))
			break
		}
		b.plan.Pending = append(b.plan.Pending, f)
	case e != nil && e.State != Failed && e.SemanticHash != "" && e.SemanticHash != f.SemanticHash:
		step.State = Changed
		step.Err = f.located(b.plan.Module, b.plan.Schema, fmt.Errorf("version %s: %w: recorded hash %s, file hash %s",
			f.Version, ErrChanged, short(e.SemanticHash), short(f.SemanticHash)))
	case conflicting:
		step.State = Conflict
		step.Err = f.located(b.plan.Module, b.plan.Schema, fmt.Errorf("version %s: %w: %q has %s with hash %s, file hash %s",
			f.Version, ErrConflict, other.schema, other.file, short(other.hash), short(f.SemanticHash)))
	case e != nil && e.State != Failed:
		step.State = e.State
		if e.RawHash != "" && e.RawHash != f.RawHash {
			step.State = Cosmetic
			b.warn(step, "space or comments changed since it was applied")
		}
	case b.skips(f.number):
		step.State = Replaced
	case b.broken[f.number] != nil:
		step.State = Pending
		step.Err = f.located(b.plan.Module, b.plan.Schema, b.broken[f.number])
	case b.record[f.number]:
		step.State = Pending
		b.plan.Pending = append(b.plan.Pending, f.asRecord())
	case f.number < b.newest:
		step.State = Late
		step.Err = f.located(b.plan.Module, b.plan.Schema, fmt.Errorf("version %s: %w: version %d is recorded",
			f.Version, ErrOrder, b.newest))
	default:
		step.State = Pending
		if e != nil {
			step.State = Failed
		}
		b.plan.Pending = append(b.plan.Pending, f)
	}
	b.add(step)
}

// continues reports why the file cannot go on where the entry says that a run ended: what is in effect must be its
// first statements.
func (f *File) continues(e *Entry) error {
	switch {
	case e.Direction != "":
		return fmt.Errorf("%w: it was being reverted, %d of %d statements are done", ErrInterrupted, e.StatementsDone, e.StatementsTotal)
	case !f.NoTransaction:
		return fmt.Errorf("%w: %d of %d statements are in effect, and the file runs in a transaction now",
			ErrInterrupted, e.StatementsDone, e.StatementsTotal)
	case e.StatementsDone > f.Statements || e.StatementsHash != "" && e.StatementsHash != f.prefixHash(e.StatementsDone):
		return fmt.Errorf("%w: of its first %d statements, which are in effect", ErrChanged, e.StatementsDone)
	}
	return nil
}

// orphan adds the step of a version that is recorded and has no file.
func (b *planner) orphan(n int64, e *Entry, above bool) {
	step := Step{Version: e.Version, File: e.File, Entry: e}
	switch {
	case e.State == Failed: // nothing of it is in effect, and the file has been given up
		step.State = Failed
	case has(spans(b.files), n):
		step.State = Replaced
	case above:
		step.State = Ahead
		b.ahead = true
		b.warn(step, "recorded version is newer than the program's files")
	default:
		step.State = Missing
		step.Err = &Error{Module: b.plan.Module, Schema: b.plan.Schema, Version: e.Version, File: e.File,
			Err: fmt.Errorf("recorded version %s %w", e.Version, ErrMissing)}
	}
	b.add(step)
}

func (b *planner) add(step Step) {
	b.plan.Steps = append(b.plan.Steps, step)
	if step.Err != nil {
		b.plan.Problems = append(b.plan.Problems, step.Err)
	}
}

func (b *planner) warn(step Step, text string) {
	b.plan.Warnings = append(b.plan.Warnings, Warning{
		Module: b.plan.Module, Schema: b.plan.Schema, Version: step.Version, File: step.File, Text: text,
	})
}

// step returns the step of a version.
func (p *Plan) step(version string) *Step {
	for i := range p.Steps {
		if p.Steps[i].Version == version {
			return &p.Steps[i]
		}
	}
	return nil
}

// short is enough of a hash to tell two apart.
func short(hash string) string { return hash[:min(12, len(hash))] }

// logWarnings hands the warnings to the log, once for each run.
func (r *Runner) logWarnings(ctx context.Context, p *Plan) {
	for _, w := range p.Warnings {
		r.Logger.LogAttrs(ctx, slog.LevelWarn, "migration: "+w.Text, slog.String("module", w.Module),
			slog.String("schema", w.Schema), slog.String("version", w.Version), slog.String("file", w.File))
	}
}
