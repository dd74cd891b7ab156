package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// RepairOptions say what to accept, and why.
type RepairOptions struct {
	Versions []string // none: all that differ
	Reason   string   // required
	By       string   // who; "" is the session's user
}

// A Repaired version has the hashes of its file now.
type Repaired struct {
	File     *File
	Semantic bool     // its statements had changed, not only space and comments
	Schemas  []string // in which it was recorded as it was here
}

// Repair accepts that files differ from those that were applied: it records their hashes, who did so and why. It does
// so in all schemas of the database where the version is recorded with the same statements as here, since they would
// conflict with this one otherwise.
func (r *Runner) Repair(ctx context.Context, t Target, o RepairOptions) ([]Repaired, error) {
	if err := t.complete(); err != nil {
		return nil, err
	}
	if strings.TrimSpace(o.Reason) == "" {
		return nil, t.wrap(errors.New("repair without a reason"))
	}
	var repaired []Repaired
	results, err := r.change(ctx, t, false, func(m *migration) ([]string, error) {
		var statements []string
		var err error
		repaired, err = t.repairs(m.plan, o.Versions)
		for _, p := range repaired {
			statements = append(statements, r.recordRepair(t, p.File, m.plan.step(p.File.Version).Entry, o))
		}
		return statements, err
	})
	if err != nil {
		return nil, t.wrap(err)
	}
	for i := range repaired {
		for _, row := range results[i].Rows {
			repaired[i].Schemas = append(repaired[i].Schemas, string(row[0]))
		}
	}
	return repaired, nil
}

// repairs picks the versions whose files differ.
func (t *Target) repairs(plan *Plan, versions []string) ([]Repaired, error) {
	wanted := make(map[string]bool)
	for _, v := range versions {
		n, err := strconv.ParseInt(v, 10, 64)
		s := plan.step(strconv.FormatInt(n, 10))
		if err != nil || s == nil || s.Entry == nil {
			return nil, fmt.Errorf("version %s: %w", v, ErrNotRecorded)
		}
		if s.State == Missing || s.State == Ahead {
			return nil, &Error{Module: t.Module, Schema: t.Schema, Version: s.Version, File: s.File,
				Err: fmt.Errorf("recorded version %s %w", s.Version, ErrMissing)}
		}
		wanted[s.Version] = true
	}
	var out []Repaired
	for _, f := range t.Files {
		s := plan.step(f.Version)
		if (s.State == Changed || s.State == Cosmetic) && (len(versions) == 0 || wanted[f.Version]) {
			out = append(out, Repaired{File: f, Semantic: s.State == Changed})
		}
	}
	return out, nil
}

func (r *Runner) recordRepair(t Target, f *File, e *Entry, o RepairOptions) string {
	by := "session_user"
	if o.By != "" {
		by = literal(o.By)
	}
	return fmt.Sprintf(`with repaired as (update %s set file_name = %s, raw_hash = %s, semantic_hash = %s, stmt_done = %[5]d, stmt_total = %[5]d,
repaired_at = pg_catalog.clock_timestamp(), repaired_by = %[6]s, repair_reason = %[7]s
where module = %[8]s and version = %[9]s and %[10]s and (semantic_hash = %[11]s or target_schema = %[12]s)
returning target_schema) select target_schema from repaired order by target_schema`,
		ledgerTable, literal(f.Name), literal(f.RawHash), literal(f.SemanticHash), f.Statements, by, literal(o.Reason),
		literal(t.Module), literal(f.Version), countsAsRecorded, literal(e.SemanticHash), literal(t.Schema))
}
