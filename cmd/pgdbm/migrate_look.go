package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
)

// errPending ends a --check that found something to apply.
var errPending = codedError{exitPending, errors.New("migrations are pending")}

func addCheck(cmd *cobra.Command, check *bool) {
	cmd.Flags().BoolVar(check, "check", false, "exit with 4 when something is pending")
}

func newMigratePlan() *cobra.Command {
	var f moduleFlags
	var fleet fleetFlags
	var check bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what up would apply",
		Long:  `plan shows what up would apply, or why it would refuse. It changes nothing.`,
		Example: `  pgdbm migrate plan --module billing --check
  pgdbm migrate plan --module billing --schemas 'tenant_*'
  pgdbm migrate plan --all`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			shard, err := fleet.check(&f)
			if err != nil {
				return err
			}
			if len(fleet.schemas) > 0 {
				return planFleet(cmd, &f, &fleet, shard, check)
			}
			return f.eachModule(cmd, false, func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) (report, error) {
				plan, err := migrate.Plan(ctx, db, m, nil)
				if err != nil {
					return nil, err
				}
				if check && len(plan.Pending) > 0 {
					err = errPending
				}
				return planJSON{plan.Module, plan.Schema, filesJSON(plan.Pending), warningTexts(plan.Warnings)}, err
			})
		},
	}
	f.add(cmd)
	f.addAll(cmd)
	fleet.addSelection(cmd)
	addCheck(cmd, &check)
	return cmd
}

type planJSON struct {
	Module   string     `json:"module"`
	Schema   string     `json:"schema"`
	Pending  []fileJSON `json:"pending"`
	Warnings []string   `json:"warnings,omitempty"`
}

func (j planJSON) write(out io.Writer) error {
	for _, p := range j.Pending {
		note := ""
		if p.OnlyRecorded {
			note = ", to be recorded only: what it replaces has run"
		}
		fmt.Fprintf(out, "pending   %s%s\n", p.File, note)
	}
	for _, w := range j.Warnings {
		fmt.Fprintf(out, "warning   %s\n", w)
	}
	if len(j.Pending) == 0 {
		fmt.Fprintf(out, "module %s in schema %s: nothing to do\n", j.Module, j.Schema)
	}
	return nil
}

type versionJSON struct {
	Version string     `json:"file_version"`
	File    string     `json:"file"`
	State   string     `json:"state"`
	At      *time.Time `json:"at,omitempty"`
	Error   string     `json:"error,omitempty"`
}

func versionsJSON(versions []migrate.Version) []versionJSON {
	list := []versionJSON{}
	for _, v := range versions {
		j := versionJSON{Version: v.Version, File: v.File, State: string(v.State)}
		if v.Entry != nil && !v.Entry.At.IsZero() {
			j.At = &v.Entry.At
		}
		if v.Err != nil {
			j.Error = v.Err.Error()
		} else if v.Entry != nil {
			j.Error = v.Entry.Error
		}
		list = append(list, j)
	}
	return list
}

func versionRows(versions []versionJSON) (rows [][]string) {
	for _, v := range versions {
		at := "-"
		if v.At != nil {
			at = v.At.Local().Format("2006-01-02 15:04:05")
		}
		rows = append(rows, []string{v.Version, v.State, at, v.File})
	}
	return rows
}

var versionHead = []string{"VERSION", "STATE", "AT", "FILE"}

func newMigrateStatus() *cobra.Command {
	var f moduleFlags
	var check bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show where each version stands",
		Long: `status compares the files with what is recorded. It changes nothing. It exits
with 3 when up would refuse, and with --check with 4 when something is pending.`,
		Example: "  pgdbm migrate status --module billing --check --json\n  pgdbm migrate status --all",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.eachModule(cmd, false, func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) (report, error) {
				status, err := migrate.Status(ctx, db, m, nil)
				if err != nil {
					return nil, err
				}
				j := statusJSON{status.Module, status.Schema, versionsJSON(status.Versions), status.Pending(), "", warningTexts(status.Warnings)}
				switch {
				case status.Problem != nil:
					j.Problem, err = status.Problem.Error(), status.Problem
				case check && status.Pending():
					err = errPending
				}
				return j, err
			})
		},
	}
	f.add(cmd)
	f.addAll(cmd)
	addCheck(cmd, &check)
	return cmd
}

type statusJSON struct {
	Module   string        `json:"module"`
	Schema   string        `json:"schema"`
	Versions []versionJSON `json:"versions"`
	Pending  bool          `json:"pending"`
	Problem  string        `json:"problem,omitempty"`
	Warnings []string      `json:"warnings,omitempty"`
}

func (j statusJSON) write(out io.Writer) error {
	err := writeTable(out, versionHead, versionRows(j.Versions))
	for _, w := range j.Warnings {
		fmt.Fprintf(out, "warning: %s\n", w)
	}
	return err
}

func newMigrateHistory() *cobra.Command {
	var f moduleFlags
	var o migrate.HistoryOptions
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Show what has run, when, and who ran it",
		Long: `history shows what is recorded of the module, in the order in which it ran, and
which changes of files "migrate repair" has accepted, for whom, when and why.`,
		Example: "  pgdbm migrate history --module billing --limit 5",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) error {
				entries, err := migrate.History(ctx, db, m, &o)
				if err != nil {
					return err
				}
				if f.asJSON {
					return writeJSON(cmd.OutOrStdout(), historyReport(f.name, entries))
				}
				var rows [][]string
				for _, e := range entries {
					rows = append(rows, []string{
						e.At.Local().Format("2006-01-02 15:04:05"), e.Schema, e.File, string(e.State),
						fmt.Sprintf("%.0f ms", milliseconds(e.Duration)), e.Actor,
					})
				}
				if len(rows) == 0 {
					fmt.Fprintf(cmd.OutOrStdout(), "module %s: nothing is recorded\n", f.name)
					return nil
				}
				if err := writeTable(cmd.OutOrStdout(), []string{"AT", "SCHEMA", "FILE", "STATE", "TOOK", "BY"}, rows); err != nil {
					return err
				}
				for _, e := range entries {
					if e.RepairReason != "" {
						fmt.Fprintf(cmd.OutOrStdout(), "accepted: %s in schema %s was changed, by %s at %s: %s\n", escaped(e.File, ""), e.Schema,
							escaped(e.RepairedBy, ""), e.RepairedAt.Local().Format("2006-01-02 15:04:05"), escaped(e.RepairReason, ""))
					}
				}
				return nil
			})
		},
	}
	f.add(cmd)
	cmd.Flags().IntVar(&o.Limit, "limit", 0, "show the newest entries only")
	cmd.Flags().BoolVar(&o.AllSchemas, "all-schemas", false, "show all schemas of the module")
	return cmd
}

type historyJSON struct {
	Module  string      `json:"module"`
	Entries []entryJSON `json:"entries"`
}

type entryJSON struct {
	Schema   string    `json:"schema"`
	Version  string    `json:"file_version"`
	File     string    `json:"file"`
	State    string    `json:"state"`
	At       time.Time `json:"at"`
	MS       float64   `json:"ms"`
	Actor    string    `json:"actor"`
	Tool     string    `json:"tool"`
	Attempts int       `json:"attempts"`
	SQLState string    `json:"sqlstate,omitempty"`
	Error    string    `json:"error,omitempty"`
	// Of a file whose change was accepted.
	RepairedAt   *time.Time `json:"repaired_at,omitempty"`
	RepairedBy   string     `json:"repaired_by,omitempty"`
	RepairReason string     `json:"repair_reason,omitempty"`
}

func historyReport(module string, entries []migrate.Entry) historyJSON {
	j := historyJSON{module, []entryJSON{}}
	for _, e := range entries {
		one := entryJSON{e.Schema, e.Version, e.File, string(e.State), e.At, milliseconds(e.Duration),
			e.Actor, e.Tool, e.Attempts, e.SQLState, e.Error, nil, e.RepairedBy, e.RepairReason}
		if !e.RepairedAt.IsZero() {
			one.RepairedAt = &e.RepairedAt
		}
		j.Entries = append(j.Entries, one)
	}
	return j
}

func newMigrateVerify() *cobra.Command {
	var f moduleFlags
	var check bool
	var against string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare files, history and schema",
		Long: `verify compares the files with what is recorded, and the schema with what the
files make, or with another schema. It exits with 3 when they differ, with 5
when others were in the way, and with 1 when it cannot tell. Nothing that it
does stays; "pgdbm docs doctor" says whom it may keep waiting.`,
		Example: "  pgdbm migrate verify --module billing\n  pgdbm migrate verify --module billing --schema tenant_7 --against tenant_1",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if against != "" && f.all {
				return usageError{errors.New("--all and --against exclude each other")}
			}
			return f.eachModule(cmd, false, func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) (report, error) {
				var o migrate.VerifyOptions
				if against != "" {
					var err error
					if o.Against, err = db.Pool().Schema(against); err != nil {
						return nil, usageError{fmt.Errorf("--against: %w", err)}
					}
				}
				res, err := migrate.Verify(ctx, db, m, &o)
				if err != nil {
					return nil, err
				}
				pending := false
				for _, v := range res.Versions {
					pending = pending || v.State == migrate.Pending || v.State == migrate.Failed || v.State == migrate.Running
				}
				switch {
				case len(res.Problems) == 0 && len(res.Differences) == 0 && res.NotCompared != nil:
					err = fmt.Errorf("module %s in schema %s could not be compared: %w", res.Module, res.Schema, res.NotCompared)
					if errors.Is(err, migrate.ErrBlocked) { // whose hint is about flags of up
						err = codedError{exitBusy, errors.New(err.Error())}
					}
				case !res.OK():
					err = codedError{exitDrift, fmt.Errorf("module %s in schema %s is not as it should be", res.Module, res.Schema)}
				case check && pending:
					err = errPending
				}
				return verifyReport(res), err
			})
		},
	}
	f.add(cmd)
	f.addAll(cmd)
	addCheck(cmd, &check)
	cmd.Flags().StringVar(&against, "against", "", "`schema` to compare with, instead of the files")
	return cmd
}

type differenceJSON struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Want string `json:"want,omitempty"`
	Have string `json:"have,omitempty"`
}

type verifyJSON struct {
	Module      string           `json:"module"`
	Schema      string           `json:"schema"`
	OK          bool             `json:"ok"`
	Versions    []versionJSON    `json:"versions"`
	Problems    []string         `json:"problems"`
	Differences []differenceJSON `json:"differences"`
	NotCompared string           `json:"not_compared,omitempty"`
}

func verifyReport(res *migrate.VerifyResult) verifyJSON {
	j := verifyJSON{Module: res.Module, Schema: res.Schema, OK: res.OK(), Versions: versionsJSON(res.Versions),
		Problems: texts(res.Problems), Differences: []differenceJSON{}}
	for _, d := range res.Differences {
		j.Differences = append(j.Differences, differenceJSON(d))
	}
	if res.NotCompared != nil {
		j.NotCompared = res.NotCompared.Error()
	}
	return j
}

func (j verifyJSON) write(out io.Writer) error {
	for _, problem := range j.Problems {
		fmt.Fprintf(out, "history: %s\n", problem)
	}
	for _, d := range j.Differences {
		d.write(out)
	}
	if j.NotCompared != "" {
		fmt.Fprintf(out, "schema not compared: %s\n", j.NotCompared)
	}
	if j.OK {
		fmt.Fprintf(out, "module %s in schema %s is as its files say\n", j.Module, j.Schema)
	}
	return nil
}

func (d differenceJSON) write(out io.Writer) {
	switch {
	case d.Have == "":
		fmt.Fprintf(out, "missing:    %s %s\n  want  %s\n", d.Kind, d.Name, d.Want)
	case d.Want == "":
		fmt.Fprintf(out, "unexpected: %s %s\n  have  %s\n", d.Kind, d.Name, d.Have)
	default:
		fmt.Fprintf(out, "different:  %s %s\n  want  %s\n  have  %s\n", d.Kind, d.Name, d.Want, d.Have)
	}
}
