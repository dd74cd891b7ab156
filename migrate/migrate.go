package migrate

import (
	"context"
	"time"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
)

// Conditions to branch on with errors.Is, each inside a [*pgdbm.MigrationError].
var (
	// ErrOrder: a file is not recorded although a higher version is.
	ErrOrder = engine.ErrOrder
	// ErrChanged: the statements of a file differ from those that were applied.
	ErrChanged = engine.ErrChanged
	// ErrMissing: a version is recorded whose file is gone, while files of
	// higher versions are there.
	ErrMissing = engine.ErrMissing
	// ErrConflict: another schema has this version of the module with other
	// statements, so that two different modules may bear one name.
	ErrConflict = engine.ErrConflict
	// ErrSchemaGone: the ledger has migrations of a schema that was dropped, or a
	// fleet is of schemas that exist, and one does not.
	ErrSchemaGone = engine.ErrSchemaGone
	// ErrLocked: the context ended while another session held the schema's lock.
	ErrLocked = engine.ErrLocked
	// ErrReadOnly: there is something to apply and the server is a standby.
	ErrReadOnly = engine.ErrReadOnly
	// ErrInterrupted: a file outside a transaction has not ended, and what
	// the program has now cannot continue it.
	ErrInterrupted = engine.ErrInterrupted
	// ErrNotRecorded: the ledger has nothing of what is to be changed.
	ErrNotRecorded = engine.ErrNotRecorded
	// ErrRequired: something else needs what is to be removed.
	ErrRequired = engine.ErrRequired
	// ErrHistory: another tool's history and the files do not go together.
	ErrHistory = engine.ErrHistory

	// ErrNoDown: nothing reverts a version that is to be reverted.
	ErrNoDown = engine.ErrNoDown
	// ErrBlocked: other sessions held the locks that a file needs, in each of
	// its attempts; the error says who. See [UpOptions].
	ErrBlocked = engine.ErrBlocked
	// ErrLockLost: the connection that held the schema's lock was lost while a
	// file ran outside a transaction. Running again continues it.
	ErrLockLost = engine.ErrLockLost
	// ErrInvalidIndex: CREATE INDEX CONCURRENTLY left an index that is not valid.
	ErrInvalidIndex = engine.ErrInvalidIndex
	// ErrPooled: a file is to run outside a transaction, and the connection
	// goes through a pooler. See [UpOptions].
	ErrPooled = engine.ErrPooled
	// ErrOneConnection: a file is to run outside a transaction, which takes two
	// connections, and the pool has one.
	ErrOneConnection = engine.ErrOneConnection
	// ErrCommitUnknown: the connection was lost while a migration committed.
	// Running again finds out and goes on.
	ErrCommitUnknown = engine.ErrCommitUnknown
)

// State says where a version stands.
type State string

const (
	Pending   State = "pending"   // to be applied
	Failed    State = "failed"    // tried and rolled back; pending like any other
	Running   State = "running"   // begun outside a transaction and not ended; pending unless refused
	Applied   State = "applied"   // recorded
	Baselined State = "baselined" // recorded as in effect before pgdbm came
	Cosmetic  State = "cosmetic"  // applied; space or comments of the file changed since
	Changed   State = "changed"   // applied; statements of the file changed since: refused
	Late      State = "late"      // not recorded while a higher version is: refused
	Missing   State = "missing"   // recorded, the file is gone: refused
	Ahead     State = "ahead"     // recorded, newer than all files: a newer program was here
	Conflict  State = "conflict"  // another schema has it with other statements: refused
	Replaced  State = "replaced"  // a squash file stands for it
	Outdated  State = "outdated"  // a repeatable file whose text is not in effect; pending unless a version is Ahead
	Gone      State = "gone"      // a repeatable file that was applied and is no more; what it made stays
)

// File is a migration file that was applied or would be.
type File struct {
	Version  string        // decimal, without leading zeros; R__name of a repeatable file
	File     string        // base name
	Duration time.Duration // how long it ran; 0 in a plan

	// OnlyRecorded: a squash file that does not run, since what it replaces has.
	OnlyRecorded bool
}

// Warning is a finding that does not keep a migration from running.
type Warning struct {
	Version string
	File    string
	Text    string
}

// UpOptions changes how [Up] runs; nil is the same as its zero value.
type UpOptions struct {
	// To is the version with which to end; a file must have it. Empty: the
	// last.
	To string

	// LockTimeout is how long a statement of a file waits for a lock of
	// another session. Then its transaction is rolled back, and tried again
	// after a pause: as long as a statement waits, all who come after it
	// wait too. Zero: 2 seconds; negative: for ever. The line
	// "-- pgdbm:lock-timeout 500ms" at a file's head overrides it. It never
	// applies to CREATE INDEX CONCURRENTLY and its like, which it would leave
	// half-done.
	LockTimeout time.Duration

	// LockAttempts is how often a file that others block is tried, deadlocks
	// included, before the error is [ErrBlocked]. Zero: 10.
	LockAttempts int

	// StatementTimeout ends each statement that takes longer. Zero: none. The
	// line "-- pgdbm:statement-timeout 5min" at a file's head overrides it.
	// The pool's and the role's timeouts never apply.
	StatementTimeout time.Duration

	// StatementByStatement sends the statements of a file one by one, in the
	// same transaction, instead of the file whole. Where the extension citus
	// is present it is always so.
	StatementByStatement bool

	// ThroughPooler lets files outside a transaction run on connections that
	// go through a pooler, which are refused otherwise. Statements that run
	// without any transaction then get no settings of the session: they must
	// not rely on search_path, and the role's lock_timeout must be off.
	ThroughPooler bool

	// Progress is called after each file, by the goroutine that calls Up, which
	// waits for it. Nil: nobody is told.
	Progress func(File)
}

func (o *UpOptions) apply(r *engine.Runner, t *engine.Target) {
	if o == nil {
		return
	}
	t.To = o.To
	r.LockTimeout, r.LockAttempts, r.StatementTimeout = o.LockTimeout, o.LockAttempts, o.StatementTimeout
	r.StatementByStatement, r.ThroughPooler = o.StatementByStatement, o.ThroughPooler
	if o.Progress != nil {
		r.Applied = func(f engine.AppliedFile) { o.Progress(file(f)) }
	}
}

// UpResult is what [Up] did.
type UpResult struct {
	Module   string
	Schema   string
	Applied  []File // by this call, in order
	Warnings []Warning
}

// Up applies the pending migrations of m in the schema of db. With nothing
// pending it makes one round trip and writes nothing. After an error the
// result says what was applied before it, and Up may be called again.
func Up(ctx context.Context, db *pgdbm.DB, m pgdbm.Module, o *UpOptions) (*UpResult, error) {
	r, t, err := bridge.Prepare(ctx, db, m)
	if err != nil {
		return &UpResult{Module: m.Name}, bridge.PublicError(err)
	}
	o.apply(r, &t)
	res, err := r.Up(ctx, t)
	up := &UpResult{Module: t.Module, Schema: t.Schema, Applied: ran(res.Applied), Warnings: warnings(append(res.Warnings, res.Again...))}
	return up, bridge.PublicError(err)
}

func ran(fs []engine.AppliedFile) []File {
	var out []File
	for _, f := range fs {
		out = append(out, file(f))
	}
	return out
}

func file(f engine.AppliedFile) File { return File{f.Version, f.File, f.Duration, f.RecordOnly} }

// PlanOptions is for options to come; nil is the same as its zero value.
type PlanOptions struct{}

// PlanResult is what [Up] would do.
type PlanResult struct {
	Module   string
	Schema   string
	Pending  []File // in the order in which they would run
	Warnings []Warning
}

// Plan returns what [Up] would apply, or the error with which it would refuse.
// It writes nothing and takes no lock.
func Plan(ctx context.Context, db *pgdbm.DB, m pgdbm.Module, _ *PlanOptions) (*PlanResult, error) {
	r, t, err := bridge.Prepare(ctx, db, m)
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	p, err := r.Plan(ctx, t)
	if p == nil {
		return nil, bridge.PublicError(err)
	}
	plan := &PlanResult{Module: t.Module, Schema: t.Schema, Warnings: warnings(p.Warnings)}
	for _, f := range p.Pending {
		plan.Pending = append(plan.Pending, File{Version: f.Version, File: f.Name, OnlyRecorded: f.RecordOnly()})
	}
	return plan, bridge.PublicError(err)
}

// StatusOptions is for options to come; nil is the same as its zero value.
type StatusOptions struct{}

// StatusResult is where the files of a module and a schema stand to each other.
type StatusResult struct {
	Module   string
	Schema   string
	Versions []Version // in numeric order
	Warnings []Warning
	// Problem is why [Up] would refuse to run, or nil.
	Problem error

	pending bool
}

// Pending reports whether [Up] has something to apply.
func (s *StatusResult) Pending() bool { return s.pending }

// Version is one version of a module in a schema.
type Version struct {
	Version string
	File    string // name of the file, or the recorded one when the file is gone
	State   State
	Err     error // why Up would refuse on account of this version, or nil
	// Entry is what the ledger has; nil when the version was never tried.
	Entry *Entry
}

// Status compares the module's files with the ledger. What would make [Up]
// refuse is in the result; the error is for a database that cannot be read. It
// writes nothing, takes no lock, and works before the first migration.
func Status(ctx context.Context, db *pgdbm.DB, m pgdbm.Module, _ *StatusOptions) (*StatusResult, error) {
	r, t, err := bridge.Prepare(ctx, db, m)
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	p, err := r.Status(ctx, t)
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	status := &StatusResult{Module: t.Module, Schema: t.Schema, Warnings: warnings(p.Warnings),
		Versions: versionsOf(p), Problem: bridge.PublicError(p.Err()), pending: len(p.Pending) > 0}
	return status, nil
}

func versionsOf(p *engine.Plan) []Version {
	var versions []Version
	for _, s := range p.Steps {
		v := Version{Version: s.Version, File: s.File, State: State(s.State)}
		if s.Err != nil {
			v.Err = bridge.PublicError(s.Err)
		}
		if s.Entry != nil {
			e := entry(*s.Entry)
			v.Entry = &e
		}
		versions = append(versions, v)
	}
	return versions
}

func warnings(ws []engine.Warning) []Warning {
	var out []Warning
	for _, w := range ws {
		out = append(out, Warning{w.Version, w.File, w.Text})
	}
	return out
}
