package migrate

import (
	"context"
	"fmt"
	"time"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
)

// FleetMode says how many schemas of a [Fleet] share a transaction.
type FleetMode int

const (
	// FleetAuto is FleetBatched, or FleetCareful when a pending file touches
	// what the schemas share. It is the default.
	FleetAuto FleetMode = FleetMode(engine.FleetAuto)
	// FleetCareful migrates one schema after the other, each file in a
	// transaction of its own.
	FleetCareful FleetMode = FleetMode(engine.FleetCareful)
	// FleetBatched puts several schemas in a transaction, and several
	// transactions beside each other, whatever the files touch.
	FleetBatched FleetMode = FleetMode(engine.FleetBatched)
)

// FleetOptions change what [Fleet] does; nil is the same as its zero value.
type FleetOptions struct {
	// Workers is how many transactions run beside each other, each on a
	// connection of the pool. Zero: 4, but at most half of what the pool may
	// open, so that it keeps some for its other users. More than the pool may
	// open counts as that.
	Workers int

	// BatchSize is how many schemas share a transaction at most. Zero: 20.
	// Fewer share one when the server's table of locks is small.
	BatchSize int

	// MaxFailures is how many schemas may fail while others are still begun.
	// Zero: none, so that the first failure ends the run. Negative: any number.
	MaxFailures int

	// Shard picks a part of the schemas, for several machines that migrate one
	// fleet together. Zero: all.
	Shard Shard

	// Aliases says where modules that the module requires are, if that is
	// neither the schema that is migrated nor the only one that they are
	// recorded in.
	Aliases map[string]string

	// Mode overrides the choice between batches and one schema at a time.
	Mode FleetMode

	// Existing refuses a schema that does not exist, with [ErrSchemaGone], where
	// it would be created else.
	Existing bool

	// ThroughPooler lets files outside a transaction run behind a pooler; see
	// [UpOptions].
	ThroughPooler bool

	// Progress is called after each file, and for each schema that failed or
	// that somebody else finished meanwhile: by one goroutine at a time, which
	// waits for it. Nil: not called.
	Progress func(FleetEvent)
}

// FleetEvent is a step of [Fleet]'s work.
type FleetEvent struct {
	Schema   string
	Version  string // empty where no file is concerned, as when another run has done the work
	File     string
	State    State         // Applied or Failed
	Duration time.Duration // of an applied file; in a batch, its share
	Err      error         // a *pgdbm.MigrationError, of State Failed
	Done     int           // schemas that are finished, failed ones included
	Total    int           // schemas that were not up to date when Fleet began
}

// FleetResult is what [Fleet] did.
type FleetResult struct {
	Module    string
	Schemas   int                     // in the list and in the shard, each counted once
	UpToDate  int                     // had nothing pending when Fleet began
	Migrated  int                     // were behind and are no more, through this call or another
	Created   int                     // schemas that did not exist and were created by this call
	Applied   int                     // files that this call applied, over all schemas
	Failed    []*pgdbm.MigrationError // one for each schema that failed, as it happened
	Remaining []string                // schemas that are still behind and have not failed, in the order given
	Careful   string                  // why one schema was migrated after the other; empty if they were not
	Warnings  []FleetWarning
}

// FleetWarning is a finding about one version that keeps no migration from
// running.
type FleetWarning struct {
	Warning
	Schema  string // the first in which it was found
	Schemas int    // in how many
}

// FleetError says that [Fleet] did not bring all schemas up to date. The
// command's exit code for it is 6.
type FleetError struct {
	Module    string
	Schemas   int // of the fleet
	Done      int // that are up to date
	Failed    int
	Remaining int // neither done nor failed
	// Err is why the run ended before all schemas had been tried, such as the
	// context's error. Nil: because too many had failed, or it did not.
	Err error

	failed []*pgdbm.MigrationError
}

func (e *FleetError) Error() string {
	s := fmt.Sprintf("migrate %s: fleet of %d schemas: %d up to date, %d failed, %d remaining",
		e.Module, e.Schemas, e.Done, e.Failed, e.Remaining)
	switch {
	case e.Err != nil:
		s += ": " + e.Err.Error()
	case len(e.failed) > 0:
		s += fmt.Sprintf(": first in schema %q: %v", e.failed[0].Schema, e.failed[0])
	}
	return s
}

// Unwrap returns Err and the errors of the schemas that failed.
func (e *FleetError) Unwrap() []error {
	var errs []error
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	for _, f := range e.failed {
		errs = append(errs, f)
	}
	return errs
}

// Fleet applies the pending migrations of m in all of the schemas, as [Up]
// does in one, and creates those that do not exist. It is for one module with
// very many schemas, such as one for each tenant: with nothing pending it is a
// single query, which writes nothing, and else several schemas share one
// transaction, with their ledger rows. m.Schema does not matter. Of m's
// extensions it makes sure only when something is pending.
//
// Each schema ends as Up would have left it, at a version of the module, never
// between two. One that fails costs the others nothing: a transaction that
// fails is undone and its schemas are migrated one by one. Whether others are
// begun after a failure, o.MaxFailures says. Schemas that another session is
// migrating are left for last, and waited for until ctx ends.
//
// Any number of processes may migrate one fleet at the same time, in shards or
// not; no file is applied twice. However a run ends, with the context's end, an
// error or the death of the process, running again goes on with what is left.
//
// If a pending file touches what the schemas share, they are migrated one
// after the other, which the result tells with the reason. The package
// documentation says what counts as shared.
//
// The result is never nil. When some schemas are not up to date in the end, the
// error is a [*FleetError]; when none could be begun, it says why as that of Up
// does.
func Fleet(ctx context.Context, pool *pgdbm.Pool, m pgdbm.Module, schemas []string, o *FleetOptions) (*FleetResult, error) {
	res := &FleetResult{Module: m.Name}
	r, f, err := o.prepare(pool, m, schemas)
	if err != nil {
		return res, err
	}
	if o != nil && o.Progress != nil {
		f.Progress = func(e engine.FleetEvent) { o.Progress(fleetEvent(e)) }
	}
	done, err := r.Fleet(ctx, f)
	res.fill(done)
	return res, res.err(bridge.PublicError(err))
}

// prepare makes what the engine runs of the arguments of Fleet.
func (o *FleetOptions) prepare(pool *pgdbm.Pool, m pgdbm.Module, schemas []string) (*engine.Runner, engine.Fleet, error) {
	if o == nil {
		o = new(FleetOptions)
	}
	r, files, isolates, err := bridge.PrepareFleet(pool, m)
	if err != nil {
		return nil, engine.Fleet{}, bridge.PublicError(err)
	}
	r.ThroughPooler = o.ThroughPooler
	if err := o.Shard.validate(); err != nil {
		return nil, engine.Fleet{}, &pgdbm.MigrationError{Module: m.Name, Err: err}
	}
	return r, engine.Fleet{
		Module: m.Name, Files: files, Schemas: schemas, Member: o.Shard.Has,
		Requires: m.Requires, Aliases: o.Aliases, Extensions: m.Extensions,
		Workers: o.workers(pool), BatchSize: o.BatchSize, MaxFailures: o.MaxFailures, Mode: engine.FleetMode(o.Mode), Confined: isolates, Existing: o.Existing,
	}, nil
}

// defaultWorkers is where two more gain nothing on most servers.
const defaultWorkers = 4

func (o *FleetOptions) workers(pool *pgdbm.Pool) int {
	most := int(pool.Stat().MaxConns())
	if o.Workers > 0 {
		return min(o.Workers, most)
	}
	return max(1, min(defaultWorkers, most/2))
}

func fleetEvent(e engine.FleetEvent) FleetEvent {
	out := FleetEvent{Schema: e.Schema, Version: e.Version, File: e.File, State: State(e.State), Duration: e.Duration,
		Done: e.Done, Total: e.Total}
	if e.Err != nil {
		out.Err = bridge.PublicError(e.Err)
	}
	return out
}

// fill takes over what the engine did.
func (res *FleetResult) fill(done *engine.FleetResult) {
	res.Schemas, res.UpToDate, res.Migrated, res.Created = done.Schemas, done.UpToDate, done.Migrated, done.Created
	res.Applied, res.Remaining, res.Careful = done.Applied, done.Remaining, done.Careful
	res.Failed, res.Warnings = publicErrors(done.Failed), fleetWarnings(done.Warnings)
}

func publicErrors(errs []*engine.Error) []*pgdbm.MigrationError {
	var out []*pgdbm.MigrationError
	for _, e := range errs {
		out = append(out, bridge.PublicError(e).(*pgdbm.MigrationError))
	}
	return out
}

func fleetWarnings(ws []engine.FleetWarning) []FleetWarning {
	var out []FleetWarning
	for _, w := range ws {
		out = append(out, FleetWarning{Warning: Warning{w.Version, w.File, w.Text}, Schema: w.Schema, Schemas: w.Schemas})
	}
	return out
}

// err is the error of a run that ended with cause.
func (res *FleetResult) err(cause error) error {
	left := len(res.Failed) + len(res.Remaining)
	if left == 0 || len(res.Failed)+res.Migrated == 0 && res.UpToDate == 0 && cause != nil {
		return cause
	}
	return &FleetError{Module: res.Module, Schemas: res.Schemas, Done: res.UpToDate + res.Migrated,
		Failed: len(res.Failed), Remaining: len(res.Remaining), Err: cause, failed: res.Failed}
}
