package main

import (
	"context"
	"errors"
	"fmt"
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
  pgdbm migrate plan --module billing --schemas 'tenant_*'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			shard, err := fleet.check(&f)
			if err != nil {
				return err
			}
			if len(fleet.schemas) > 0 {
				return planFleet(cmd, &f, &fleet, shard, check)
			}
			return f.run(cmd, func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) error {
				plan, err := migrate.Plan(ctx, db, m, nil)
				if err != nil {
					return err
				}
				out := cmd.OutOrStdout()
				if f.asJSON {
					err = writeJSON(out, struct {
						Module   string     `json:"module"`
						Schema   string     `json:"schema"`
						Pending  []fileJSON `json:"pending"`
						Warnings []string   `json:"warnings,omitempty"`
					}{plan.Module, plan.Schema, filesJSON(plan.Pending), warningTexts(plan.Warnings)})
				} else {
					for _, p := range plan.Pending {
						fmt.Fprintf(out, "pending   %s\n", p.File)
					}
					for _, w := range warningTexts(plan.Warnings) {
						fmt.Fprintf(out, "warning   %s\n", w)
					}
					if len(plan.Pending) == 0 {
						fmt.Fprintf(out, "module %s in schema %s: nothing to do\n", plan.Module, plan.Schema)
					}
				}
				if err == nil && check && len(plan.Pending) > 0 {
					err = errPending
				}
				return err
			})
		},
	}
	f.add(cmd)
	fleet.addSelection(cmd)
	addCheck(cmd, &check)
	return cmd
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

func versionRows(versions []migrate.Version) (rows [][]string) {
	for _, v := range versionsJSON(versions) {
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
		Example: "  pgdbm migrate status --module billing\n  pgdbm migrate status --module billing --check --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) error {
				status, err := migrate.Status(ctx, db, m, nil)
				if err != nil {
					return err
				}
				out := cmd.OutOrStdout()
				if f.asJSON {
					problem := ""
					if status.Problem != nil {
						problem = status.Problem.Error()
					}
					err = writeJSON(out, struct {
						Module   string        `json:"module"`
						Schema   string        `json:"schema"`
						Versions []versionJSON `json:"versions"`
						Pending  bool          `json:"pending"`
						Problem  string        `json:"problem,omitempty"`
						Warnings []string      `json:"warnings,omitempty"`
					}{status.Module, status.Schema, versionsJSON(status.Versions), status.Pending(), problem, warningTexts(status.Warnings)})
				} else {
					err = writeTable(out, versionHead, versionRows(status.Versions))
					for _, w := range warningTexts(status.Warnings) {
						fmt.Fprintf(out, "warning: %s\n", w)
					}
				}
				switch {
				case err != nil:
					return err
				case status.Problem != nil:
					return status.Problem
				case check && status.Pending():
					return errPending
				}
				return nil
			})
		},
	}
	f.add(cmd)
	addCheck(cmd, &check)
	return cmd
}

func newMigrateHistory() *cobra.Command {
	var f moduleFlags
	var o migrate.HistoryOptions
	cmd := &cobra.Command{
		Use:     "history",
		Short:   "Show what has run, when, and who ran it",
		Long:    `history shows what is recorded of the module, in the order in which it ran.`,
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
				return writeTable(cmd.OutOrStdout(), []string{"AT", "SCHEMA", "FILE", "STATE", "TOOK", "BY"}, rows)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().IntVar(&o.Limit, "limit", 0, "show the newest entries only")
	cmd.Flags().BoolVar(&o.AllSchemas, "all-schemas", false, "show all schemas of the module")
	return cmd
}

func historyReport(module string, entries []migrate.Entry) any {
	type entry struct {
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
		Repaired string    `json:"repair_reason,omitempty"`
	}
	list := []entry{}
	for _, e := range entries {
		list = append(list, entry{e.Schema, e.Version, e.File, string(e.State), e.At, milliseconds(e.Duration),
			e.Actor, e.Tool, e.Attempts, e.SQLState, e.Error, e.RepairReason})
	}
	return struct {
		Module  string  `json:"module"`
		Entries []entry `json:"entries"`
	}{module, list}
}

func newMigrateVerify() *cobra.Command {
	var f moduleFlags
	var check bool
	var against string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare files, history and schema",
		Long: `verify compares the files with what is recorded, and the schema with what the
files make, or with another schema. It exits with 3 when they differ. Nothing
that it does stays.`,
		Example: "  pgdbm migrate verify --module billing\n  pgdbm migrate verify --module billing --schema tenant_7 --against tenant_1",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) error {
				var o migrate.VerifyOptions
				if against != "" {
					var err error
					if o.Against, err = db.Pool().Schema(against); err != nil {
						return usageError{fmt.Errorf("--against: %w", err)}
					}
				}
				res, err := migrate.Verify(ctx, db, m, &o)
				if err != nil {
					return err
				}
				if err := reportVerify(cmd, f.asJSON, res); err != nil {
					return err
				}
				pending := false
				for _, v := range res.Versions {
					pending = pending || v.State == migrate.Pending || v.State == migrate.Failed || v.State == migrate.Running
				}
				switch {
				case !res.OK():
					return codedError{exitDrift, fmt.Errorf("module %s in schema %s is not as it should be", res.Module, res.Schema)}
				case check && pending:
					return errPending
				}
				return nil
			})
		},
	}
	f.add(cmd)
	addCheck(cmd, &check)
	cmd.Flags().StringVar(&against, "against", "", "`schema` to compare with, instead of the files")
	return cmd
}

func reportVerify(cmd *cobra.Command, asJSON bool, res *migrate.VerifyResult) error {
	out := cmd.OutOrStdout()
	notCompared := ""
	if res.NotCompared != nil {
		notCompared = res.NotCompared.Error()
	}
	if asJSON {
		type difference struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
			Want string `json:"want,omitempty"`
			Have string `json:"have,omitempty"`
		}
		list := []difference{}
		for _, d := range res.Differences {
			list = append(list, difference(d))
		}
		return writeJSON(out, struct {
			Module      string        `json:"module"`
			Schema      string        `json:"schema"`
			OK          bool          `json:"ok"`
			Versions    []versionJSON `json:"versions"`
			Problems    []string      `json:"problems"`
			Differences []difference  `json:"differences"`
			NotCompared string        `json:"not_compared,omitempty"`
		}{res.Module, res.Schema, res.OK(), versionsJSON(res.Versions), texts(res.Problems), list, notCompared})
	}
	for _, problem := range res.Problems {
		fmt.Fprintf(out, "history: %v\n", problem)
	}
	for _, d := range res.Differences {
		switch {
		case d.Have == "":
			fmt.Fprintf(out, "missing:    %s %s\n  want  %s\n", d.Kind, d.Name, d.Want)
		case d.Want == "":
			fmt.Fprintf(out, "unexpected: %s %s\n  have  %s\n", d.Kind, d.Name, d.Have)
		default:
			fmt.Fprintf(out, "different:  %s %s\n  want  %s\n  have  %s\n", d.Kind, d.Name, d.Want, d.Have)
		}
	}
	if notCompared != "" {
		fmt.Fprintf(out, "schema not compared: %s\n", notCompared)
	}
	if res.OK() {
		fmt.Fprintf(out, "module %s in schema %s is as its files say\n", res.Module, res.Schema)
	}
	return nil
}
