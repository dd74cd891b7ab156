package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// defaultBatch is how many schemas share a transaction. More gain little.
	defaultBatch = 20
	// longBatch is how long a transaction may take, for as long as whoever uses one of its schemas has to wait. One
	// that takes longer holds fewer schemas the next time.
	longBatch = time.Second
)

// A fleetRun is one run of a fleet.
type fleetRun struct {
	Fleet
	runner   *Runner
	required map[string]requirement // modules that Aliases has not
	roles    map[string]string      // of the schemas that are confined; "": the one that is named after the schema

	serverVersion int
	lockTable     int

	mu     sync.Mutex // guards the fields below
	result *FleetResult
	total  int
	done   int
	open   map[string]bool // schemas that are neither finished nor failed
	alone  bool            // a batch failed each of whose schemas succeeded alone: no more batches
	narrow bool            // the server ran out of locks for one schema: no more workers than one
	tries  map[string]int  // of schemas that another session or a lost connection has kept from succeeding
	fatal  error           // ends the run
}

// stopped reports whether no further schema may be begun.
func (run *fleetRun) stopped() bool {
	run.mu.Lock()
	defer run.mu.Unlock()
	return run.stoppedLocked()
}

func (run *fleetRun) stoppedLocked() bool {
	return run.fatal != nil || run.MaxFailures >= 0 && len(run.result.Failed) > run.MaxFailures
}

// stop ends the run with an error.
func (run *fleetRun) stop(err error) {
	run.mu.Lock()
	defer run.mu.Unlock()
	if run.fatal == nil {
		run.fatal = err
	}
}

// finished notes that nothing is pending in a schema any more. Applied is what this run did there.
func (run *fleetRun) finished(schema string, created bool, applied []AppliedFile) {
	run.mu.Lock()
	defer run.mu.Unlock()
	delete(run.open, schema)
	run.done++
	run.result.Migrated++
	if created {
		run.result.Created++
	}
	run.appliedLocked(schema, applied)
	if len(applied) == 0 {
		run.tell(FleetEvent{Schema: schema, State: Applied})
	}
}

// failed notes why a schema could not be migrated, after what was applied there.
func (run *fleetRun) failed(schema string, e *Error, applied ...AppliedFile) {
	run.mu.Lock()
	defer run.mu.Unlock()
	delete(run.open, schema)
	run.done++
	run.appliedLocked(schema, applied)
	run.result.Failed = append(run.result.Failed, e)
	run.tell(FleetEvent{Schema: schema, Version: e.Version, File: e.File, State: Failed, Err: e})
}

func (run *fleetRun) appliedLocked(schema string, applied []AppliedFile) {
	run.result.Applied += len(applied)
	for _, a := range applied {
		run.tell(FleetEvent{Schema: schema, Version: a.Version, File: a.File, State: Applied, Duration: a.Duration})
	}
}

// tell is called with mu held, so that events come one by one and with rising counts.
func (run *fleetRun) tell(e FleetEvent) {
	if run.Progress != nil {
		e.Done, e.Total = run.done, run.total
		run.Progress(e)
	}
}

// migrate passes over the schemas until none is left that another session had locked.
func (run *fleetRun) migrate(ctx context.Context, todo []tenant) error {
	var waiting *wait
	for {
		busy, err := run.pass(ctx, todo)
		if err != nil || len(busy) == 0 || run.stopped() {
			return err
		}
		if waiting == nil || len(busy) < len(todo) {
			waiting = run.runner.newWait(schemaLock(busy[0]))
		}
		if run.runner.onWait != nil {
			run.runner.onWait()
		}
		if err := waiting.sleep(ctx); err != nil {
			return err
		}
		plan, err := run.look(ctx, busy)
		if err != nil {
			return err
		}
		run.settle(busy, plan)
		todo = plan.todo
	}
}

// settle notes those schemas that another run has finished since, and those that turned out to be refused.
func (run *fleetRun) settle(busy []string, plan *fleetPlan) {
	left := make(map[string]bool, len(plan.todo))
	for _, t := range plan.todo {
		left[t.schema] = true
	}
	for _, e := range plan.problems {
		left[e.Schema] = true
		run.failed(e.Schema, e)
	}
	for _, schema := range busy {
		if !left[schema] {
			run.finished(schema, false, nil)
		}
	}
}

// pass migrates the schemas group by group, and returns those that are still to do: another session had their lock, or
// they turned out to have something else pending than planned.
func (run *fleetRun) pass(ctx context.Context, todo []tenant) (busy []string, err error) {
	for _, group := range groups(todo) {
		p := &fleetPass{fleetRun: run, first: group[0], todo: group, workers: run.Workers, size: 1, room: 1}
		if err := p.run(ctx); err != nil {
			return nil, err
		}
		if run.stopped() {
			return nil, nil
		}
		busy = append(busy, p.busy...)
	}
	return busy, nil
}

// groups divides schemas into those that have the same to do, in the order of their first.
func groups(todo []tenant) [][]tenant {
	var out [][]tenant
	index := make(map[string]int)
	for _, t := range todo {
		key := t.alike()
		i, ok := index[key]
		if !ok {
			i = len(out)
			index[key] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], t)
	}
	return out
}

// A fleetPass is one pass over schemas that have the same to do.
type fleetPass struct {
	*fleetRun
	first   tenant // one of them
	workers int

	mu   sync.Mutex // guards the fields below; taken before fleetRun.mu, never after
	todo []tenant
	busy []string
	size int           // of a batch
	room int           // most that size may be
	most int           // locks that one schema needs, as far as known
	took time.Duration // by a schema of the last batch
}

// run migrates the first schema by itself, to see how many locks one takes, and then the others.
func (p *fleetPass) run(ctx context.Context) error {
	batched := p.batched(p.first.pending)
	if p.careful() || p.narrow {
		p.workers = 1
	}
	if batched {
		p.work(ctx, 1, true)
		p.fit()
	}
	var wg sync.WaitGroup
	for range min(p.workers, len(p.todo)) {
		wg.Go(func() { p.work(ctx, -1, batched) })
	}
	wg.Wait()
	p.fleetRun.mu.Lock()
	defer p.fleetRun.mu.Unlock()
	return p.fatal
}

// batched reports whether the files may share a transaction with those of other schemas.
func (p *fleetPass) batched(files []*File) bool {
	return !p.careful() && !slices.ContainsFunc(files, func(f *File) bool { return !f.batchable() })
}

// fit chooses the size of batches and how many run beside each other, so that together they take half of the server's
// table of locks at most: any program that finds it full fails.
func (p *fleetPass) fit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.room = defaultBatch
	if p.BatchSize > 0 {
		p.room = p.BatchSize
	}
	text := 1
	for _, f := range p.first.pending {
		text += len(f.Source)
	}
	p.room = max(1, min(p.room, batchText/text))
	if p.most > 0 {
		free := max(1, p.lockTable/2/p.most)
		p.workers = min(p.workers, free)
		p.room = max(1, min(p.room, free/p.workers))
	}
	p.size = p.batchFor(p.took)
}

// batchFor is how many schemas a batch holds when one takes so long.
func (p *fleetPass) batchFor(each time.Duration) int {
	long := time.Duration(longBatch)
	if p.runner.longBatch > 0 {
		long = p.runner.longBatch
	}
	return int(min(time.Duration(p.room), max(1, long/max(1, each))))
}

// measure notes how long a batch of schemas took. Nobody waits for a schema that has just been created.
func (p *fleetPass) measure(took time.Duration, schemas int) {
	if !p.first.present {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.took = took / time.Duration(schemas)
	p.size = p.batchFor(p.took)
}

// next takes the schemas of the next batch off the list; none when the pass is over.
func (p *fleetPass) next(ctx context.Context, batched bool) []tenant {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		p.stop(ctx.Err())
	}
	if p.stopped() || len(p.todo) == 0 {
		return nil
	}
	n := 1
	if batched && !p.isAlone() {
		n = min(p.size, len(p.todo))
	}
	batch := p.todo[:n]
	p.todo = p.todo[n:]
	return batch
}

func (run *fleetRun) isAlone() bool {
	run.mu.Lock()
	defer run.mu.Unlock()
	return run.alone
}

// work migrates batches until none is left; most bounds their number unless it is negative.
func (p *fleetPass) work(ctx context.Context, most int, batched bool) {
	w := &fleetWorker{fleetPass: p}
	defer w.end()
	for ; most != 0; most-- {
		batch := p.next(ctx, batched)
		if len(batch) == 0 {
			return
		}
		if batched && !p.isAlone() {
			w.batch(ctx, batch)
		} else {
			w.end()
			for _, t := range batch {
				p.single(ctx, t)
			}
		}
	}
}

// later leaves schemas for another pass.
func (p *fleetPass) later(ts ...tenant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range ts {
		p.busy = append(p.busy, t.schema)
	}
}

// shrink puts back a batch for which the server had no locks left: in smaller ones, and in the end by one worker. It
// reports false when one worker with one schema is too much.
func (p *fleetPass) shrink(batch ...tenant) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(batch) > 1:
		p.todo = append(slices.Clone(batch), p.todo...)
		p.room = max(1, min(p.room, len(batch)/2))
		p.size = min(p.size, p.room)
	case p.workers > 1:
		p.busy = append(p.busy, batch[0].schema)
		p.fleetRun.mu.Lock()
		p.narrow = true
		p.fleetRun.mu.Unlock()
	default:
		return false
	}
	return true
}

// single migrates one schema as Up does, file by file.
func (p *fleetPass) single(ctx context.Context, t tenant) bool {
	target := Target{Module: p.Module, Schema: t.schema, Files: p.Files, Requires: p.Requires, siblings: true, existing: p.Existing}
	var err error
	if target.Names, err = p.names(t.schema); err != nil {
		p.failed(t.schema, p.errorIn(t.schema, err))
		return false
	}
	if role, ok := p.roles[t.schema]; ok {
		target.Confined = &Confinement{Role: role}
	}
	res, err := p.runner.Up(ctx, target)
	return p.settleOne(ctx, t, res, err)
}

// settleOne notes how Up ended.
func (p *fleetPass) settleOne(ctx context.Context, t tenant, res *Result, err error) bool {
	p.fleetRun.mu.Lock()
	p.result.Warnings = addWarnings(p.result.Warnings, res.Again)
	p.fleetRun.mu.Unlock()
	if err == nil {
		p.finished(t.schema, !t.present && len(res.Applied) > 0, res.Applied)
		return true
	}
	var cause acquireError
	if ctx.Err() != nil || errors.As(err, &cause) {
		p.fleetRun.mu.Lock()
		p.appliedLocked(t.schema, res.Applied)
		p.fleetRun.mu.Unlock()
		p.stop(err)
		return false
	}
	if outOfLocks(err) && p.shrink(t) || !ofFiles(err) && p.retry(t) {
		return false
	}
	p.failed(t.schema, p.errorIn(t.schema, err), res.Applied...)
	return false
}

// fleetTries is how often a schema is tried that conflicts with other sessions or loses its connection.
const fleetTries = 4

// retry leaves a schema for another pass, unless it has had its tries.
func (p *fleetPass) retry(t tenant) bool {
	p.fleetRun.mu.Lock()
	if p.tries == nil {
		p.tries = make(map[string]int)
	}
	p.tries[t.schema]++
	again := p.tries[t.schema] < fleetTries
	p.fleetRun.mu.Unlock()
	if again {
		p.later(t)
	}
	return again
}

// errorIn makes an Error of what concerns one schema, unless it is one.
func (run *fleetRun) errorIn(schema string, err error) *Error {
	t := Target{Module: run.Module, Schema: schema}
	return t.wrap(err).(*Error)
}

// outOfLocks reports whether the server's table of locks is full.
func outOfLocks(err error) bool { return sqlState(err) == "53200" }

// ofFiles reports whether a schema or batch failed on its own account, not because of another session or a lost
// connection.
func ofFiles(err error) bool {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return !strings.HasPrefix(pgErr.Code, "40") && !strings.HasPrefix(pgErr.Code, "57") && pgErr.Code != "55P03"
	}
	var network net.Error
	return !errors.As(err, &network) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) &&
		!errors.Is(err, net.ErrClosed) && !errors.Is(err, ErrCommitUnknown)
}
