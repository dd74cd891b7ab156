package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
)

// changeJSON is what a command that changes a schema did, also before an error.
type changeJSON struct {
	Module   string     `json:"module"`
	Schema   string     `json:"schema"`
	Applied  []fileJSON `json:"applied,omitempty"`
	Reverted []fileJSON `json:"reverted,omitempty"`
	Recorded []fileJSON `json:"recorded,omitempty"`
	Warnings []string   `json:"warnings,omitempty"`
	Error    string     `json:"error,omitempty"`
}

// report writes what was done, and returns err.
func (c changeJSON) report(out io.Writer, asJSON bool, err error) error {
	c.fail(err)
	if asJSON {
		return errors.Join(err, writeJSON(out, c))
	}
	return errors.Join(err, c.write(out))
}

func (c *changeJSON) fail(err error) {
	if err != nil {
		c.Error = err.Error()
	}
}

func (c changeJSON) write(out io.Writer) error {
	for _, part := range []struct {
		verb  string
		files []fileJSON
	}{{"reverted", c.Reverted}, {"applied", c.Applied}, {"recorded", c.Recorded}} {
		for _, f := range part.files {
			if f.OnlyRecorded {
				fmt.Fprintf(out, "recorded  %s\n", f.File)
				continue
			}
			fmt.Fprintf(out, "%-8s  %s  %.0f ms\n", part.verb, f.File, f.MS)
		}
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(out, "warning   %s\n", w)
	}
	if c.Error == "" && len(c.Reverted)+len(c.Applied)+len(c.Recorded) == 0 {
		fmt.Fprintf(out, "module %s in schema %s: nothing to do\n", c.Module, c.Schema)
	}
	return nil
}

func warningTexts(ws []migrate.Warning) (texts []string) {
	for _, w := range ws {
		texts = append(texts, strings.TrimPrefix(w.File+": "+w.Text, ": "))
	}
	return texts
}

func newMigrateUp() *cobra.Command {
	var f moduleFlags
	var lock lockFlags
	var fleet fleetFlags
	var to string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Apply what is pending",
		Long: `up applies the pending migrations in order, each in its own transaction. With
--all it goes from module to module and stops at the first that fails; it does
not begin when one of them would be refused. Interrupted, it says which file was
running, and whether that was rolled back.

With --schemas it brings many schemas up to date, and creates those that are
named and do not exist. It exits with 6 when some of them were not to be had.`,
		Example: `  pgdbm migrate up --module billing --url postgres://localhost/app
  pgdbm migrate up --module billing --to 12
  pgdbm migrate up --all --env test
  pgdbm migrate up --module billing --schemas 'tenant_*' --max-failures 10`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := lock.check(); err != nil {
				return err
			}
			shard, err := fleet.check(&f)
			if err != nil {
				return err
			}
			if len(fleet.schemas) > 0 {
				if to != "" || lock != (lockFlags{}) {
					return usageError{errors.New("--schemas goes without --to and the flags of locks and timeouts")}
				}
				return upFleet(cmd, &f, &fleet, shard)
			}
			return f.eachModule(cmd, true, func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) (report, error) {
				o := migrate.UpOptions{
					To: to, LockTimeout: lock.lockTimeout, LockAttempts: lock.lockAttempts,
					StatementTimeout: lock.statementTimeout, ThroughPooler: lock.throughPooler,
				}
				bar := showUp(ctx, cmd, f.asJSON || f.verbose, db, m, &o)
				res, err := migrate.Up(ctx, db, m, &o)
				bar.end()
				c := changeJSON{Module: m.Name, Schema: db.Schema()}
				if res != nil {
					c.Applied, c.Warnings = filesJSON(res.Applied), warningTexts(res.Warnings)
				}
				c.fail(err)
				return c, err
			})
		},
	}
	f.add(cmd)
	f.addAll(cmd)
	lock.add(cmd)
	fleet.add(cmd)
	cmd.Flags().StringVar(&to, "to", "", "`version` to end with")
	return cmd
}

// showUp shows on a terminal how far Up with these options is.
func showUp(ctx context.Context, cmd *cobra.Command, quiet bool, db *pgdbm.DB, m pgdbm.Module, o *migrate.UpOptions) *progress {
	bar := newProgress(cmd, quiet)
	if bar.out == nil {
		return bar
	}
	plan, err := migrate.Plan(ctx, db, m, nil)
	if err != nil {
		return bar // Up says why
	}
	var files []string
	for _, f := range plan.Pending {
		if files = append(files, f.File); f.Version == o.To {
			break
		}
	}
	done := 0
	show := func() {
		if done < len(files) {
			bar.show(done, len(files), files[done])
		}
	}
	show()
	o.Progress = func(migrate.File) {
		done++
		show()
	}
	return bar
}

func newMigrateDown() *cobra.Command {
	var f moduleFlags
	var lock lockFlags
	var to string
	var steps int
	var agree consent
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Revert the newest versions",
		Long: `down reverts the newest version, or as many as --steps or --to say, by the
.down.sql files or the parts behind "-- pgdbm:down". That may lose data: it
asks, or takes --yes.`,
		Example: "  pgdbm migrate down --module billing --yes\n  pgdbm migrate down --module billing --to 3",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := lock.check(); err != nil {
				return err
			}
			return f.run(cmd, func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) error {
				if err := agree.ask(cmd, f.place, fmt.Sprintf("Revert migrations of %s in schema %s?", f.name, db.Schema())); err != nil {
					return err
				}
				o := migrate.DownOptions{
					Steps: steps, To: to, LockTimeout: lock.lockTimeout, LockAttempts: lock.lockAttempts,
					StatementTimeout: lock.statementTimeout, ThroughPooler: lock.throughPooler,
				}
				res, err := migrate.Down(ctx, db, m, &o)
				c := changeJSON{Module: m.Name, Schema: db.Schema()}
				if res != nil {
					c.Reverted = filesJSON(res.Reverted)
				}
				return c.report(cmd.OutOrStdout(), f.asJSON, err)
			})
		},
	}
	f.add(cmd)
	lock.add(cmd)
	cmd.Flags().StringVar(&to, "to", "", "newest `version` afterwards, 0 for none")
	cmd.Flags().IntVar(&steps, "steps", 0, "how many versions, the newest first (default 1)")
	agree.add(cmd)
	return cmd
}

func newMigrateRedo() *cobra.Command {
	var f moduleFlags
	var lock lockFlags
	var steps int
	var agree consent
	cmd := &cobra.Command{
		Use:     "redo",
		Short:   "Revert the newest versions and apply them again",
		Long:    `redo is down and up again, while you write a migration. It asks, or takes --yes.`,
		Example: "  pgdbm migrate redo --module billing --yes",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := lock.check(); err != nil {
				return err
			}
			return f.run(cmd, func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) error {
				if err := agree.ask(cmd, f.place, fmt.Sprintf("Repeat migrations of %s in schema %s?", f.name, db.Schema())); err != nil {
					return err
				}
				o := migrate.RedoOptions{
					Steps: steps, LockTimeout: lock.lockTimeout, LockAttempts: lock.lockAttempts,
					StatementTimeout: lock.statementTimeout, ThroughPooler: lock.throughPooler,
				}
				res, err := migrate.Redo(ctx, db, m, &o)
				c := changeJSON{Module: m.Name, Schema: db.Schema()}
				if res != nil {
					c.Reverted, c.Applied = filesJSON(res.Reverted), filesJSON(res.Applied)
				}
				return c.report(cmd.OutOrStdout(), f.asJSON, err)
			})
		},
	}
	f.add(cmd)
	lock.add(cmd)
	cmd.Flags().IntVar(&steps, "steps", 0, "how many versions, the newest ones (default 1)")
	agree.add(cmd)
	return cmd
}

func newMigrateBaseline() *cobra.Command {
	var f moduleFlags
	var to string
	cmd := &cobra.Command{
		Use:   "baseline",
		Short: "Record migrations as in effect without running them",
		Long: `baseline records the files up to a version as in effect: for a schema that
another tool, or a hand, has brought there. "verify" tells whether that is so.`,
		Example: "  pgdbm migrate baseline --module billing --to 12",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) error {
				res, err := migrate.Baseline(ctx, db, m, &migrate.BaselineOptions{To: to})
				c := changeJSON{Module: m.Name, Schema: db.Schema()}
				if res != nil {
					c.Recorded = filesJSON(res.Recorded)
				}
				return c.report(cmd.OutOrStdout(), f.asJSON, err)
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&to, "to", "", "`version` to end with (default: the last)")
	return cmd
}

func newMigrateRepair() *cobra.Command {
	var f moduleFlags
	var o migrate.RepairOptions
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Accept that files differ from what was applied",
		Long: `repair records the files as they are now as those that were applied, with who,
when and why. Nothing runs: the schema must already be what the files make.`,
		Example: "  pgdbm migrate repair --module billing --reason 'typo in a comment'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Reason == "" {
				return usageError{errors.New("--reason: required")}
			}
			return f.run(cmd, func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) error {
				res, err := migrate.Repair(ctx, db, m, &o)
				if err != nil {
					return err
				}
				out := cmd.OutOrStdout()
				if f.asJSON {
					return writeJSON(out, repairReport(res))
				}
				for _, r := range res.Repaired {
					fmt.Fprintf(out, "accepted  %s  was %s, in %s\n", r.File, r.Was, strings.Join(r.Schemas, ", "))
				}
				if len(res.Repaired) == 0 {
					fmt.Fprintln(out, "no file differs")
				}
				return nil
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&o.Reason, "reason", "", "`why`; it is recorded")
	cmd.Flags().StringVar(&o.By, "by", "", "`who` accepts it (default: the session's user)")
	cmd.Flags().StringSliceVar(&o.Versions, "only", nil, "`versions` to accept (default: all that differ)")
	return cmd
}

type repairJSON struct {
	Module   string         `json:"module"`
	Schema   string         `json:"schema"`
	Repaired []repairedJSON `json:"repaired"`
}

type repairedJSON struct {
	Version string   `json:"file_version"`
	File    string   `json:"file"`
	Was     string   `json:"was"`
	Schemas []string `json:"schemas"`
}

func repairReport(res *migrate.RepairResult) repairJSON {
	j := repairJSON{res.Module, res.Schema, []repairedJSON{}}
	for _, r := range res.Repaired {
		j.Repaired = append(j.Repaired, repairedJSON{r.Version, r.File, string(r.Was), r.Schemas})
	}
	return j
}

type removeJSON struct {
	Module  string `json:"module"`
	Schema  string `json:"schema"`
	Dropped bool   `json:"dropped"` // the schema
}

func newMigrateRemove() *cobra.Command {
	var f moduleFlags
	var keep bool
	var agree consent
	cmd := &cobra.Command{
		Use:   "remove",
		Short: "End a module: drop its schema and forget its history",
		Long: `remove drops the schema with all its data and forgets what was applied there. It
refuses while another module needs it, and when it is a tenant's, which
"pgdbm tenant drop" is for. It asks, or takes --yes.`,
		Example: "  pgdbm migrate remove --module billing --schema tenant_42 --yes",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) error {
				question := fmt.Sprintf("Drop schema %s with all its data?", db.Schema())
				if !keep {
					if err := refuseTenants(ctx, db.Pool(), "remove module "+f.name+" with", db.Schema()); err != nil {
						return err
					}
				} else {
					question = fmt.Sprintf("Forget the history of %s in schema %s?", f.name, db.Schema())
				}
				if err := agree.ask(cmd, f.place, question); err != nil {
					return err
				}
				res, err := migrate.Remove(ctx, db, m, &migrate.RemoveOptions{KeepObjects: keep})
				if err != nil {
					return err
				}
				if f.asJSON {
					return writeJSON(cmd.OutOrStdout(), removeJSON{res.Module, res.Schema, res.Dropped})
				}
				done := "its history is forgotten"
				if res.Dropped {
					done = "dropped, and its history is forgotten"
				}
				fmt.Fprintf(cmd.OutOrStdout(), "module %s in schema %s: %s\n", res.Module, res.Schema, done)
				return nil
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&keep, "keep-objects", false, "forget the history only")
	agree.add(cmd)
	return cmd
}
