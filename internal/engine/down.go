package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"
)

// DownOptions say what to revert.
type DownOptions struct {
	Steps int    // how many versions, the newest first; 0 is 1, or with To as many as it takes
	To    string // the version that stays the newest, "0" for none; "" leaves it to Steps
}

// Down reverts the newest versions, each in one transaction with the removal of its ledger row. Before anything runs,
// all of them are known to be revertible. Repeatable files are not reverted, and are applied again by the next Up.
// Several processes that do the same at once revert each version once. The result is never nil and says what was
// reverted before an error; the error is an [*Error].
func (r *Runner) Down(ctx context.Context, t Target, o DownOptions) (*Result, error) {
	res := &Result{Module: t.Module, Schema: t.Schema}
	if err := t.complete(); err != nil {
		return res, err
	}
	_, err := r.down(ctx, t, o, res)
	return res, t.wrap(err)
}

// Redo reverts the newest steps versions, at least one, and applies them again. Before anything runs, all of them are
// known to be revertible and the files to be in order.
func (r *Runner) Redo(ctx context.Context, t Target, steps int) (*Result, error) {
	res := &Result{Module: t.Module, Schema: t.Schema}
	if err := t.complete(); err != nil {
		return res, err
	}
	plan, _, err := r.look(ctx, t)
	if err == nil {
		err = plan.Err()
	}
	if err != nil {
		return res, t.wrap(err)
	}
	reverted, err := r.down(ctx, t, DownOptions{Steps: steps}, res)
	if err != nil || len(reverted) == 0 {
		return res, t.wrap(err)
	}
	last := reverted[0]
	if slices.ContainsFunc(t.Files, func(f *File) bool { return f.number > last && !f.Repeatable() }) {
		t.to = &last
	} // else to the end, where the repeatable files are
	return res, t.wrap(r.up(ctx, t, res))
}

// down returns the numbers of the versions that it was to revert, the newest first.
func (r *Runner) down(ctx context.Context, t Target, o DownOptions, res *Result) ([]int64, error) {
	plan, f, err := r.look(ctx, t)
	if err != nil {
		return nil, err
	}
	reverts, err := t.reverts(plan, o)
	if err != nil || len(reverts) == 0 {
		return nil, err
	}
	if f.Recovery {
		return nil, ErrReadOnly
	}
	if !f.Ledger.Delete {
		return nil, &PrivilegeError{Role: f.Role, Schema: LedgerSchema,
			Statements: []string{f.grantDelete()}}
	}
	if len(f.ledgerStatements()) > 0 {
		if err := r.ensureLedger(ctx, f); err != nil {
			return nil, err
		}
	}
	var numbers []int64
	for _, up := range reverts {
		if _, err := up.down.template.Expand(t.Names); err != nil {
			return nil, up.down.located(t.Module, t.Schema, err)
		}
		if err := r.outsidePossible(up.down, f); err != nil {
			return nil, up.down.located(t.Module, t.Schema, err)
		}
		numbers = append(numbers, up.number)
	}
	if err := r.confine(ctx, &t, f); err != nil {
		return nil, err
	}
	m := &migration{runner: r, target: t, result: res, serverVersion: f.Version}
	return numbers, m.revertAll(ctx, numbers)
}

// inEffect returns the steps of versions that are recorded as more than a failure, the newest first.
func (p *Plan) inEffect() []*Step {
	var steps []*Step
	for i := range p.Steps {
		if e := p.Steps[i].Entry; e != nil && e.State != Failed && !isRepeatable(e.Version) {
			steps = append(steps, &p.Steps[i])
		}
	}
	slices.Reverse(steps)
	return steps
}

// reverts returns the files that are to be reverted, the newest first, or why one of them cannot be.
func (t *Target) reverts(plan *Plan, o DownOptions) ([]*File, error) {
	steps, most := plan.inEffect(), o.Steps
	if most <= 0 {
		most = 1
	}
	if o.To != "" {
		to, err := strconv.ParseInt(o.To, 10, 64)
		if err != nil || to != 0 && !slices.ContainsFunc(steps, func(s *Step) bool { return number(s) == to }) {
			return nil, fmt.Errorf("version %s: not recorded", o.To)
		}
		n := slices.IndexFunc(steps, func(s *Step) bool { return number(s) <= to })
		if n < 0 {
			n = len(steps)
		}
		if most = n; o.Steps > 0 {
			most = min(n, o.Steps)
		}
	}
	var files []*File
	for _, s := range steps[:min(most, len(steps))] {
		f, err := t.revertible(plan, s)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

func number(s *Step) int64 {
	n, _ := strconv.ParseInt(s.Version, 10, 64) // it was read from a number
	return n
}

// revertible returns the file of a step, or why it cannot be reverted. Of a squash file that is only recorded there is
// nothing to revert but that.
func (t *Target) revertible(plan *Plan, s *Step) (*File, error) {
	i := slices.IndexFunc(t.Files, func(f *File) bool { return f.Version == s.Version })
	if i < 0 {
		return nil, &Error{Module: t.Module, Schema: t.Schema, Version: s.Version, File: s.File,
			Err: fmt.Errorf("recorded version %s %w", s.Version, ErrMissing)}
	}
	f := t.Files[i]
	if plan.onlyRecorded(f) {
		recorded := *f
		recorded.down = f.asRecord()
		f = &recorded
	}
	var err error
	switch {
	case f.down == nil:
		err = fmt.Errorf("%w: it has no down", ErrNoDown)
	case s.Entry.State == Baselined:
		err = fmt.Errorf("%w: it was in effect before", ErrNoDown)
	case s.State == Changed:
		return nil, s.Err
	case s.Entry.State == Running && s.Entry.Direction == "":
		err = fmt.Errorf("%w: %d of %d statements are in effect", ErrInterrupted, s.Entry.StatementsDone, s.Entry.StatementsTotal)
	case s.Entry.State == Running && !f.down.NoTransaction:
		err = fmt.Errorf("%w: %d of %d statements that revert it are done, and the rest runs in a transaction now",
			ErrInterrupted, s.Entry.StatementsDone, s.Entry.StatementsTotal)
	case s.Entry.State == Running && (s.Entry.StatementsDone > f.down.Statements || s.Entry.StatementsHash != f.down.prefixHash(s.Entry.StatementsDone)):
		err = fmt.Errorf("%w: of the first %d statements that revert it, which are done", ErrChanged, s.Entry.StatementsDone)
	}
	if err != nil {
		return nil, f.located(t.Module, t.Schema, fmt.Errorf("version %s: %w", f.Version, err))
	}
	return f, nil
}

// revertAll reverts the versions, the newest first, those of them that are still in effect.
func (m *migration) revertAll(ctx context.Context, numbers []int64) error {
	defer m.end()
	for {
		_, err := m.lock(ctx)
		if m.plan == nil {
			m.abandon(ctx)
			return err // what plan.Err refuses concerns going up
		}
		up, err := m.nextRevert(numbers)
		if err != nil || up == nil {
			m.abandon(ctx)
			return err
		}
		if err := m.revert(ctx, up); err != nil && !errors.Is(err, errAgain) {
			return err
		}
		m.plan = nil
	}
}

// nextRevert returns the newest version in effect when it is one of the numbers, nil when none of them is in effect.
func (m *migration) nextRevert(numbers []int64) (*File, error) {
	for i, s := range m.plan.inEffect() {
		n := number(s)
		if !slices.Contains(numbers, n) {
			continue
		}
		if i > 0 {
			return nil, fmt.Errorf("version %s was applied meanwhile: %w", m.plan.inEffect()[0].Version, ErrOrder)
		}
		return m.target.revertible(m.plan, s)
	}
	return nil, nil
}

// revert runs what reverts the file and removes its row, or rolls back.
func (m *migration) revert(ctx context.Context, up *File) error {
	f := up.down
	if f.NoTransaction {
		o := &outside{migration: m, file: f, up: up, began: time.Now()}
		if e := m.plan.step(f.Version).Entry; e.State == Running {
			o.done, o.resumed = e.StatementsDone, true
		}
		err := o.apply(ctx)
		m.abandon(ctx)
		return err
	}
	if err := m.setTimeouts(ctx, f); err != nil {
		m.abandon(ctx)
		return m.located(f, err)
	}
	m.session.dirty = true
	began := time.Now()
	w := m.runner.watchBlockers(ctx, m.facts.PID, m.lockTimeout(f))
	err := m.send(ctx, f)
	if err == nil {
		err = m.commitWith(ctx, f, forget(m.target, f, ""))
	}
	blockers := w.stop()
	if err != nil {
		m.abandon(ctx)
		return m.retryOr(ctx, f, err, blockers)
	}
	if !f.traceless {
		m.end()
	}
	m.noteReverted(ctx, f, time.Since(began))
	return nil
}

// noteReverted tells the caller and the log.
func (m *migration) noteReverted(ctx context.Context, f *File, took time.Duration) {
	m.result.Reverted = append(m.result.Reverted, AppliedFile{f.Version, f.Name, took, f.recordOnly})
	m.runner.Logger.LogAttrs(ctx, slog.LevelInfo, "migration reverted", slog.String("module", m.target.Module),
		slog.String("schema", m.target.Schema), slog.String("version", f.Version), slog.String("file", f.Name),
		slog.Duration("duration", took))
}
