package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// FleetMode says how many schemas share a transaction.
type FleetMode int

const (
	// FleetAuto is FleetBatched, or FleetCareful when a pending file touches what the schemas share.
	FleetAuto FleetMode = iota
	// FleetCareful migrates one schema after the other, each file in a transaction of its own.
	FleetCareful
	// FleetBatched puts several schemas in a transaction, and several transactions beside each other.
	FleetBatched
)

// A Fleet is one module over many schemas.
type Fleet struct {
	Module  string
	Files   []*File  // as Load returned them
	Schemas []string // all that the module is for, also those that other processes migrate

	// Member picks the schemas of Schemas that this run migrates. Nil: all.
	Member func(schema string) bool

	// Requires are the modules whose tables the files name. Each is in the schema that Aliases says; else in the
	// schema that is migrated, if it is recorded there; else in the only schema that it is recorded in.
	Requires []string
	Aliases  map[string]string

	// Extensions are created before anything is migrated; not when nothing is pending.
	Extensions []string

	Workers     int // transactions beside each other; at least 1
	BatchSize   int // most schemas in one transaction; 0: defaultBatch
	MaxFailures int // how many schemas may fail while others are still begun; negative: any number
	Mode        FleetMode
	Existing    bool // a schema that does not exist is refused, and not created

	// Confined says that all schemas have roles, or are to get them, so that nothing may be committed that reaches
	// beyond them. False: as the list of tenants says.
	Confined bool

	// Progress is called after each file, by one goroutine at a time. May be nil.
	Progress func(FleetEvent)
}

// FleetEvent is a step of a fleet's run.
type FleetEvent struct {
	Schema   string
	Version  string // "" when no file is concerned: somebody else has migrated the schema meanwhile
	File     string
	State    State // Applied or Failed
	Duration time.Duration
	Err      *Error // of State Failed
	Done     int    // schemas that are finished, failed ones included
	Total    int    // schemas that were not up to date
}

// FleetResult is what a fleet's run did.
type FleetResult struct {
	Schemas   int      // that are members
	UpToDate  int      // had nothing pending
	Migrated  int      // have nothing pending any more; by this run or, meanwhile, by another
	Created   int      // schemas that this run created
	Applied   int      // files that this run applied
	Failed    []*Error // one for each schema, in the order in which they failed
	Remaining []string // neither finished nor failed, in the order given
	Careful   string   // why one schema was migrated after the other; "" when they were not
	Warnings  []FleetWarning
}

// FleetWarning is a finding about one version in some schemas.
type FleetWarning struct {
	Warning     // Schema is that of the first of them
	Schemas int // how many
}

// A tenant is a schema that is not up to date.
type tenant struct {
	schema  string
	present bool    // the schema exists
	pending []*File // not empty
}

// alike is equal for tenants that one batch may hold: they have the same to do.
func (t *tenant) alike() string {
	var b strings.Builder
	fmt.Fprint(&b, t.present)
	for _, f := range t.pending {
		b.WriteString(" " + f.Version)
		if f.recordOnly {
			b.WriteString(" recorded")
		}
	}
	return b.String()
}

// Fleet applies what is pending in the schemas of a fleet, creating those that are missing. With nothing pending it is
// one query, which writes nothing. Whatever happens, each schema is left as [Runner.Up] would leave it, and running
// again goes on with what is left; any number of processes may run the same fleet at once.
//
// The result is never nil. What went wrong in one schema is in its Failed; the error is for what concerns all of them,
// the end of ctx included.
func (r *Runner) Fleet(ctx context.Context, f Fleet) (*FleetResult, error) {
	run := &fleetRun{Fleet: f, runner: r.fleetRunner(), result: new(FleetResult)}
	if err := run.validate(); err != nil {
		return run.result, run.wrap(err)
	}
	if len(run.Schemas) == 0 {
		return run.result, nil
	}
	err := run.run(ctx)
	run.finish(ctx)
	return run.result, run.wrap(err)
}

// acquireError marks that no connection was to be had: no schema's fault, so that the run ends.
type acquireError struct{ error }

func (e acquireError) Unwrap() error { return e.error }

// fleetRunner is a copy that marks the errors of Acquire.
func (r *Runner) fleetRunner() *Runner {
	c := *r
	c.Acquire = func(ctx context.Context) (conn *pgx.Conn, release func(discard bool), err error) {
		if conn, release, err = r.Acquire(ctx); err != nil {
			err = acquireError{err}
		}
		return conn, release, err
	}
	return &c
}

func (run *fleetRun) validate() error {
	if err := sqltemplate.ValidateModule(run.Module); err != nil {
		return err
	}
	seen := make(map[string]bool, len(run.Schemas))
	schemas := make([]string, 0, len(run.Schemas))
	for _, s := range run.Schemas {
		if err := sqltemplate.ValidateSchema(s); err != nil {
			return err
		}
		if !seen[s] {
			seen[s] = true
			schemas = append(schemas, s)
		}
	}
	run.Schemas = schemas
	run.Workers = max(1, run.Workers)
	return nil
}

// wrap makes an Error of what concerns all schemas, unless it is one.
func (run *fleetRun) wrap(err error) error {
	t := Target{Module: run.Module}
	return t.wrap(err)
}

func (run *fleetRun) member(schema string) bool { return run.Member == nil || run.Member(schema) }

// members counts the schemas that this run migrates.
func (run *fleetRun) members() int {
	n := 0
	for _, s := range run.Schemas {
		if run.member(s) {
			n++
		}
	}
	return n
}

// run plans, prepares and migrates.
func (run *fleetRun) run(ctx context.Context) error {
	plan, err := run.look(ctx, run.Schemas)
	if err != nil {
		for _, s := range run.Schemas {
			if run.member(s) {
				run.result.Schemas++
				run.result.Remaining = append(run.result.Remaining, s)
			}
		}
		return err
	}
	run.begin(ctx, plan)
	for _, e := range plan.problems {
		run.failed(e.Schema, e)
	}
	if len(plan.todo) == 0 || run.stopped() {
		return nil
	}
	if err := run.prepare(ctx, plan); err != nil {
		return err
	}
	return run.migrate(ctx, plan.todo)
}

// begin counts what the plan found.
func (run *fleetRun) begin(ctx context.Context, plan *fleetPlan) {
	res := run.result
	res.Schemas = run.members()
	run.total = len(plan.todo) + len(plan.problems)
	res.UpToDate = res.Schemas - run.total
	run.open = make(map[string]bool, run.total)
	for _, t := range plan.todo {
		run.open[t.schema] = true
	}
	for _, e := range plan.problems {
		run.open[e.Schema] = true
	}
	res.Warnings = plan.warnings
	for _, w := range plan.warnings {
		run.runner.Logger.LogAttrs(ctx, slog.LevelWarn, "migration: "+w.Text, slog.String("module", w.Module),
			slog.String("schema", w.Schema), slog.Int("schemas", w.Schemas), slog.String("version", w.Version),
			slog.String("file", w.File))
	}
}

// finish lists what is left and logs the sum.
func (run *fleetRun) finish(ctx context.Context) {
	res := run.result
	if run.open == nil {
		return // nothing was planned
	}
	for _, s := range run.Schemas {
		if run.open[s] {
			res.Remaining = append(res.Remaining, s)
		}
	}
	if res.Migrated+len(res.Failed) == 0 {
		return
	}
	run.runner.Logger.LogAttrs(ctx, slog.LevelInfo, "migration: fleet ended", slog.String("module", run.Module),
		slog.Int("schemas", res.Schemas), slog.Int("up_to_date", res.UpToDate), slog.Int("migrated", res.Migrated),
		slog.Int("failed", len(res.Failed)), slog.Int("remaining", len(res.Remaining)),
		slog.String("careful", res.Careful))
}

// prepare does once what each schema's migration takes for granted: the extensions, the names of other modules, the
// ledger. It decides which files may share a transaction.
func (run *fleetRun) prepare(ctx context.Context, plan *fleetPlan) error {
	if run.runner.InTransaction {
		return ErrInTransaction
	}
	if plan.facts.Recovery {
		return ErrReadOnly
	}
	run.serverVersion, run.lockTable = plan.facts.Version, plan.locks
	if err := run.runner.EnsureExtensions(ctx, run.Extensions); err != nil {
		return err
	}
	if err := run.resolve(ctx); err != nil {
		return err
	}
	if missing := plan.facts.lackingForLedger(); len(missing) > 0 {
		return &PrivilegeError{Role: plan.facts.Role, Schema: LedgerSchema, Statements: missing}
	}
	if len(plan.facts.ledgerStatements()) > 0 {
		if err := run.runner.ensureLedger(ctx, plan.facts); err != nil {
			return err
		}
	}
	if err := run.confine(ctx, plan); err != nil {
		return err
	}
	return run.chooseMode(ctx, plan.todo)
}

// confine finds the schemas that are confined.
func (run *fleetRun) confine(ctx context.Context, plan *fleetPlan) (err error) {
	switch {
	case !run.Confined && plan.facts.findsTenants():
		run.roles, err = run.runner.tenantRoles(ctx, "true")
		return err
	case !run.Confined:
		return nil
	}
	run.roles = make(map[string]string, len(plan.todo))
	for _, t := range plan.todo {
		run.roles[t.schema] = ""
	}
	return nil
}

// resolve finds the schemas of the modules that are required.
func (run *fleetRun) resolve(ctx context.Context) error {
	var open []string
	for _, m := range run.Requires {
		if run.Aliases[m] == "" {
			open = append(open, m)
		}
	}
	if len(open) == 0 {
		return nil
	}
	recorded, err := run.runner.Schemas(ctx, open)
	if err != nil {
		return err
	}
	run.required = make(map[string]requirement, len(open))
	for _, m := range open {
		r := requirement{recorded: recorded[m], in: make(map[string]bool, len(recorded[m]))}
		for _, s := range r.recorded {
			r.in[s] = true
		}
		switch {
		case len(r.in) == 0:
			return requiredError(m, nil, fleetAliases)
		case len(r.in) == 1 && !slices.Contains(run.Schemas, r.recorded[0]):
			r.shared = r.recorded[0]
		}
		run.required[m] = r
	}
	return nil
}

// fleetAliases is where the schemas of required modules are named.
const fleetAliases = "FleetOptions.Aliases"

// requirement is where a required module is recorded.
type requirement struct {
	recorded []string // sorted
	in       map[string]bool
	shared   string // the only schema, if it is none of the fleet's
}

// names are what the placeholders mean in a schema.
func (run *fleetRun) names(schema string) (*sqltemplate.Names, error) {
	aliases := map[string]string{run.Module: schema}
	for m, s := range run.Aliases {
		aliases[m] = s
	}
	for m, r := range run.required {
		switch {
		case r.in[schema]:
			aliases[m] = schema
		case r.shared != "":
			aliases[m] = r.shared
		default:
			return nil, requiredError(m, r.recorded, fleetAliases)
		}
	}
	return sqltemplate.NewNames(schema, aliases)
}
