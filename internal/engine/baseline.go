package engine

import (
	"context"
	"fmt"
)

// Baseline records the files up to version to, or all when it is "", as in effect already, without running them. Those
// that are recorded stay as they are. It returns the files that it recorded.
func (r *Runner) Baseline(ctx context.Context, t Target, to string) ([]*File, error) {
	t.To = to
	if err := t.complete(); err != nil {
		return nil, err
	}
	var files []*File
	_, err := r.change(ctx, t, false, func(m *migration) ([]string, error) {
		if m.facts.Schema == nil {
			return nil, fmt.Errorf("schema %q does not exist, so nothing of it can be in effect", t.Schema)
		}
		files = nil
		var statements []string
		for _, f := range t.Files {
			if t.to != nil && f.number > *t.to {
				break
			}
			switch s := m.plan.step(f.Version); s.State {
			case Pending, Failed, Late:
				files = append(files, f)
				statements = append(statements, r.recordBaselined(t, f))
			case Running:
				return nil, f.located(t.Module, t.Schema, fmt.Errorf("version %s: %w", f.Version, ErrInterrupted))
			case Changed, Conflict:
				return nil, s.Err
			}
		}
		return statements, nil
	})
	if err != nil {
		return nil, t.wrap(err)
	}
	return files, nil
}

// recordBaselined records a file as in effect before pgdbm came.
func (r *Runner) recordBaselined(t Target, f *File) string {
	return r.recordOutcome(t, f, outcome{state: Baselined, done: f.Statements}) +
		", attempts = case when m.state = 'failed' then m.attempts end"
}
