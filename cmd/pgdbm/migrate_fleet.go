package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
)

// fleetFlags pick many schemas for one module.
type fleetFlags struct {
	schemas     []string
	workers     int
	maxFailures int
	shard       string
}

// addSelection adds the flags that pick.
func (f *fleetFlags) addSelection(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.schemas, "schemas", nil, "names or `patterns`, such as 'tenant_*'")
	flags.StringVar(&f.shard, "shard", "", "a part `i/n` of the schemas, for several machines")
}

func (f *fleetFlags) add(cmd *cobra.Command) {
	f.addSelection(cmd)
	flags := cmd.Flags()
	flags.IntVar(&f.workers, "workers", 0, "transactions beside each other (default 4)")
	flags.IntVar(&f.maxFailures, "max-failures", 0, "schemas that may fail before it stops; -1: any")
}

// check reports what does not go together.
func (f *fleetFlags) check(m *moduleFlags) (shard migrate.Shard, err error) {
	switch {
	case len(f.schemas) > 0 && m.schema != "":
		return shard, usageError{errors.New("--schema and --schemas exclude each other")}
	case len(f.schemas) == 0 && (f.workers != 0 || f.maxFailures != 0 || f.shard != ""):
		return shard, usageError{errors.New("--workers, --max-failures and --shard go with --schemas")}
	case f.workers < 0:
		return shard, usageError{errors.New("--workers: is negative")}
	case f.shard == "":
		return shard, nil
	}
	if shard, err = migrate.ParseShard(f.shard); err != nil {
		return shard, usageError{fmt.Errorf("--shard: %w", err)}
	}
	return shard, nil
}

// resolve returns the schemas that the flags name. A name without * and ? need
// not exist.
func (f *fleetFlags) resolve(ctx context.Context, pool *pgdbm.Pool, m pgdbm.Module) ([]string, error) {
	var names, patterns []string
	for _, s := range f.schemas {
		if strings.ContainsAny(s, "*?") {
			patterns = append(patterns, s)
		} else {
			names = append(names, s)
		}
	}
	if len(patterns) == 0 {
		return names, nil
	}
	found, err := migrate.FleetSchemas(ctx, pool, m, patterns...)
	if err == nil && len(found)+len(names) == 0 {
		err = fmt.Errorf("no schema matches %s", strings.Join(patterns, ", "))
	}
	return append(names, found...), err
}

type fleetFailure struct {
	Schema  string `json:"schema"`
	Version string `json:"file_version,omitempty"`
	File    string `json:"file,omitempty"`
	Error   string `json:"error"`
}

type fleetJSON struct {
	Module    string         `json:"module"`
	Schemas   int            `json:"schemas"`
	UpToDate  int            `json:"up_to_date"`
	Migrated  int            `json:"migrated"`
	Created   int            `json:"created"`
	Applied   int            `json:"applied"`
	Failed    []fleetFailure `json:"failed"`
	Remaining []string       `json:"remaining"`
	Careful   string         `json:"careful,omitempty"`
	Warnings  []string       `json:"warnings,omitempty"`
	MS        float64        `json:"ms,omitempty"` // 0: not known of this module alone
	Error     string         `json:"error,omitempty"`
}

// upFleet is up with --schemas.
func upFleet(cmd *cobra.Command, f *moduleFlags, fleet *fleetFlags, shard migrate.Shard) error {
	return f.withPool(cmd, func(ctx context.Context, pool *pgdbm.Pool) error {
		schemas, err := fleet.resolve(ctx, pool, f.module())
		if err != nil {
			return err
		}
		bar := newProgress(cmd, f.asJSON)
		began := time.Now()
		res, err := migrate.Fleet(ctx, pool, f.module(), schemas, &migrate.FleetOptions{
			Workers: fleet.workers, MaxFailures: fleet.maxFailures, Shard: shard,
			Aliases:  f.chosen[0].aliases,
			Progress: func(e migrate.FleetEvent) { bar.show(e.Done, e.Total, e.Schema) },
		})
		bar.end()
		report := fleetReport(res, time.Since(began))
		if f.asJSON {
			if err != nil {
				report.Error = err.Error()
			}
			return errors.Join(err, writeJSON(cmd.OutOrStdout(), report))
		}
		report.write(cmd.OutOrStdout())
		return err
	})
}

func fleetReport(res *migrate.FleetResult, took time.Duration) fleetJSON {
	return fleetJSON{
		Module: res.Module, Schemas: res.Schemas, UpToDate: res.UpToDate, Migrated: res.Migrated, Created: res.Created,
		Applied: res.Applied, Failed: fleetFailures(res.Failed), Remaining: append([]string{}, res.Remaining...), Careful: res.Careful,
		Warnings: fleetWarnings(res.Warnings), MS: milliseconds(took),
	}
}

func fleetFailures(errs []*pgdbm.MigrationError) []fleetFailure {
	list := []fleetFailure{}
	for _, e := range errs {
		list = append(list, fleetFailure{e.Schema, e.Version, e.File, e.Error()})
	}
	return list
}

func fleetWarnings(ws []migrate.FleetWarning) (texts []string) {
	for _, w := range ws {
		texts = append(texts, fmt.Sprintf("%s: %s (in %d schemas, first in %s)", w.File, w.Text, w.Schemas, w.Schema))
	}
	return texts
}

func (j fleetJSON) write(out io.Writer) {
	for _, e := range j.Failed {
		fmt.Fprintf(out, "failed    %s: %s\n", e.Schema, e.Error)
	}
	for _, w := range j.Warnings {
		fmt.Fprintf(out, "warning   %s\n", w)
	}
	if j.Careful != "" && j.Migrated > 0 {
		fmt.Fprintf(out, "one schema after the other: %s\n", j.Careful)
	}
	took := ""
	if j.MS > 0 {
		took = fmt.Sprintf(", %.1f s", j.MS/1000)
	}
	fmt.Fprintf(out, "module %s: %d schemas, %d up to date before, %d migrated (%d created), %d failed, %d remaining%s\n",
		j.Module, j.Schemas, j.UpToDate, j.Migrated, j.Created, len(j.Failed), len(j.Remaining), took)
}

type fleetPlanJSON struct {
	Module   string         `json:"module"`
	Schemas  int            `json:"schemas"`
	UpToDate int            `json:"up_to_date"`
	Pending  []fleetPending `json:"pending"`
	Refused  []fleetFailure `json:"refused"`
	Warnings []string       `json:"warnings,omitempty"`
}

type fleetPending struct {
	Schema string     `json:"schema"`
	Exists bool       `json:"exists"`
	Files  []fileJSON `json:"files"`
}

// planFleet is plan with --schemas.
func planFleet(cmd *cobra.Command, f *moduleFlags, fleet *fleetFlags, shard migrate.Shard, check bool) error {
	return f.withPool(cmd, func(ctx context.Context, pool *pgdbm.Pool) error {
		schemas, err := fleet.resolve(ctx, pool, f.module())
		if err != nil {
			return err
		}
		plan, err := migrate.FleetPlan(ctx, pool, f.module(), schemas, &migrate.FleetOptions{Shard: shard, Aliases: f.chosen[0].aliases})
		if err != nil {
			return err
		}
		report := fleetPlanReport(plan)
		if f.asJSON {
			err = writeJSON(cmd.OutOrStdout(), report)
		} else {
			report.write(cmd.OutOrStdout())
		}
		switch {
		case err != nil:
		case len(plan.Refused) > 0:
			err = codedError{exitDrift, fmt.Errorf("%d schemas would be refused", len(plan.Refused))}
		case check && len(plan.Pending) > 0:
			err = errPending
		}
		return err
	})
}

func fleetPlanReport(plan *migrate.FleetPlanResult) fleetPlanJSON {
	report := fleetPlanJSON{Module: plan.Module, Schemas: plan.Schemas, UpToDate: plan.UpToDate,
		Pending: []fleetPending{}, Refused: fleetFailures(plan.Refused), Warnings: fleetWarnings(plan.Warnings)}
	for _, p := range plan.Pending {
		report.Pending = append(report.Pending, fleetPending{p.Schema, p.Exists, filesJSON(p.Files)})
	}
	return report
}

func (j fleetPlanJSON) write(out io.Writer) {
	for _, p := range j.Pending {
		verb := "pending "
		if !p.Exists {
			verb = "create  "
		}
		var names []string
		for _, f := range p.Files {
			name := f.File
			if f.OnlyRecorded {
				name += " (to be recorded only)"
			}
			names = append(names, name)
		}
		fmt.Fprintf(out, "%s  %s: %s\n", verb, p.Schema, strings.Join(names, ", "))
	}
	for _, e := range j.Refused {
		fmt.Fprintf(out, "refused   %s: %s\n", e.Schema, e.Error)
	}
	for _, w := range j.Warnings {
		fmt.Fprintf(out, "warning   %s\n", w)
	}
	fmt.Fprintf(out, "module %s: %d schemas, %d up to date, %d pending, %d refused\n",
		j.Module, j.Schemas, j.UpToDate, len(j.Pending), len(j.Refused))
}
