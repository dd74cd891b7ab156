package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A Runner reads and migrates one database. It keeps no state and is safe for concurrent use.
type Runner struct {
	Acquire Acquire
	Logger  *slog.Logger // not nil
	Tool    string       // name and version of the program, for the ledger

	// Go calls the functions of Go migrations; nil when there are none.
	Go GoFunc

	// InTransaction says that the connection is in a transaction of somebody else's: what would write is refused.
	InTransaction bool

	// MaxConns is how many connections Acquire can have out at once; 0 when unknown.
	MaxConns int
	// ThroughPooler lets files outside a transaction run on a connection through a pooler. Nothing is set for their
	// session then: names resolve and timeouts count as the role's and the database's settings say.
	ThroughPooler bool

	// LockTimeout is how long a statement waits for a lock before its file is rolled back and tried again; 0: 2 seconds,
	// negative: for ever. A file's head may say otherwise.
	LockTimeout time.Duration
	// LockAttempts is how often a file is tried that others block; 0: 10.
	LockAttempts int
	// StatementTimeout ends a statement that takes longer; 0: none. A file's head may say otherwise.
	StatementTimeout time.Duration
	// StatementByStatement sends the statements of a transactional file one by one, as is done where the extension citus
	// is present: it refuses some messages of several.
	StatementByStatement bool

	// Applied is called after each file that is applied; nil: by nobody.
	Applied func(AppliedFile)

	polling   polling       // zero: defaultPolling
	onWait    func()        // called before each sleep for a lock; for tests
	longBatch time.Duration // zero: the constant; for tests
}

// A Target is a module's files and the schema that they are for.
type Target struct {
	Module string
	Schema string
	Files  []*File            // as Load returned them
	Names  *sqltemplate.Names // of Schema and of the modules that the files name; nil: of Schema alone

	Requires []string // modules that this one requires, for the ledger
	To       string   // the version at which Up ends; "" is the last

	// Confined, unless it is nil, says that nothing may be committed that reaches beyond the schema. Nil: as the list of
	// tenants says.
	Confined *Confinement

	to       *int64 // as a number; nil is the last
	siblings bool   // other schemas have versions of their own: they are compared by the Fleet
	existing bool   // the schema is not created
}

// Result is what a migration did.
type Result struct {
	Module   string
	Schema   string
	Applied  []AppliedFile // by this call, in order; also what was applied before an error
	Reverted []AppliedFile // likewise
	Warnings []Warning     // of the plan
	Again    []Warning     // why repeatable files ran that have not changed
}

// AppliedFile is a file that ran.
type AppliedFile struct {
	Version    string
	File       string
	Duration   time.Duration
	RecordOnly bool // it did not run: what it replaces had
}

// complete validates the target and fills in the names.
func (t *Target) complete() error {
	if err := sqltemplate.ValidateModule(t.Module); err != nil {
		return t.wrap(err)
	}
	if err := sqltemplate.ValidateSchema(t.Schema); err != nil {
		return t.wrap(err)
	}
	if t.Names == nil {
		names, err := sqltemplate.NewNames(t.Schema, nil)
		if err != nil {
			return t.wrap(err)
		}
		t.Names = names
	}
	return t.completeTo()
}

// completeTo resolves the version at which to end, which must be a file's.
func (t *Target) completeTo() error {
	if t.To == "" {
		t.to = nil
		return nil
	}
	n, err := strconv.ParseInt(t.To, 10, 64)
	if err != nil || !slices.ContainsFunc(t.Files, func(f *File) bool { return f.number == n }) {
		return t.wrap(fmt.Errorf("version %s: no file has it", t.To))
	}
	t.to = &n
	return nil
}

// wrap makes an Error of err unless it is one.
func (t *Target) wrap(err error) error {
	if _, ok := err.(*Error); ok || err == nil {
		return err
	}
	return &Error{Module: t.Module, Schema: t.Schema, Err: err}
}

// Status compares the files with the ledger. What would keep a migration from running is in the plan's Problems; the
// error is only for a database that cannot be read. It writes nothing and takes no lock.
func (r *Runner) Status(ctx context.Context, t Target) (*Plan, error) {
	if err := t.complete(); err != nil {
		return nil, err
	}
	plan, _, err := r.look(ctx, t)
	if err != nil {
		return nil, t.wrap(err)
	}
	return plan, nil
}

// Plan is Status with the first of the problems as its error; the plan is returned with it.
func (r *Runner) Plan(ctx context.Context, t Target) (*Plan, error) {
	plan, err := r.Status(ctx, t)
	if err != nil {
		return nil, err
	}
	return plan, plan.Err()
}

// look reads the database and makes a plan, in one round trip.
func (r *Runner) look(ctx context.Context, t Target) (*Plan, *facts, error) {
	f, results, err := r.read(ctx, t.Schema, t.reads()...)
	if err != nil {
		return nil, f, err
	}
	plan, err := t.plan(results)
	return plan, f, err
}

// reads are the queries of the ledger that a plan needs.
func (t *Target) reads() []string {
	reads := []string{recordedRows(t.Module, t.Schema)}
	if len(t.Files) > 0 && !t.siblings {
		reads = append(reads, conflictingRows(t.Module, t.Schema, t.Files))
	}
	return reads
}

// plan makes a plan of what reads returned; results is nil when there is no ledger.
func (t *Target) plan(results []*pgconn.Result) (*Plan, error) {
	var db snapshot
	if len(results) > 0 {
		for _, row := range results[0].Rows {
			db.schemaGone = string(row[1]) == "f"
		}
		var err error
		if db.entries, err = decodeEntries(results[0]); err != nil {
			return nil, err
		}
	}
	if len(results) > 1 {
		db.conflicts = make(map[string]conflict, len(results[1].Rows))
		for _, row := range results[1].Rows {
			db.conflicts[string(row[0])] = conflict{string(row[1]), string(row[2]), string(row[3])}
		}
	}
	plan := newPlan(t.Module, t.Schema, t.Files, t.to, db)
	plan.Pending = slices.DeleteFunc(plan.Pending, func(f *File) bool { return t.to != nil && f.number > *t.to })
	return plan, nil
}

// Up applies what is pending, each file with its ledger row in one transaction. Any number of processes may do so at
// once: each file runs in one of them and none fails on account of the others. With nothing pending it is one round
// trip, which writes nothing. The result is never nil and says what was applied before an error; the error is an
// [*Error].
func (r *Runner) Up(ctx context.Context, t Target) (*Result, error) {
	res := &Result{Module: t.Module, Schema: t.Schema}
	if err := t.complete(); err != nil {
		return res, err
	}
	return res, t.wrap(r.up(ctx, t, res))
}

func (r *Runner) up(ctx context.Context, t Target, res *Result) error {
	plan, f, err := r.look(ctx, t)
	if p, ok := err.(*PrivilegeError); ok {
		_, p.Statements = f.lacking(t.Schema, true) // to write it as well
	}
	if err != nil {
		return err
	}
	res.Warnings = plan.Warnings
	r.logWarnings(ctx, plan)
	if err := plan.Err(); err != nil {
		return err
	}
	if len(plan.Pending) == 0 {
		if f.Schema == nil {
			return r.createSchema(ctx, t.Schema, f)
		}
		return nil
	}
	if err := r.prepare(ctx, t, plan, f); err != nil {
		return err
	}
	if err := r.confine(ctx, &t, f); err != nil {
		return err
	}
	m := &migration{runner: r, target: t, result: res, serverVersion: f.Version}
	return m.run(ctx)
}

// prepare finds all that can be known to fail before anything is written, and makes the ledger.
func (r *Runner) prepare(ctx context.Context, t Target, plan *Plan, f *facts) error {
	for _, file := range plan.Pending {
		if _, err := file.template.Expand(t.Names); err != nil {
			return file.located(t.Module, t.Schema, err)
		}
		if err := r.outsidePossible(file, f); err != nil {
			return file.located(t.Module, t.Schema, err)
		}
	}
	if f.Recovery {
		return ErrReadOnly
	}
	if schema, missing := f.lacking(t.Schema, false); len(missing) > 0 {
		_, missing = f.lacking(t.Schema, true)
		return &PrivilegeError{Role: f.Role, Schema: schema, Statements: missing}
	}
	if len(f.ledgerStatements()) == 0 {
		return nil
	}
	return r.ensureLedger(ctx, f)
}
