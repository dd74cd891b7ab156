package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
	"github.com/pgdbm/pgdbm/tenant"
)

func newTenantMigrate() *cobra.Command {
	var f tenantFlags
	var o migrate.FleetOptions
	var check bool
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring all tenants up to date",
		Long: `migrate applies what is pending to all tenants of a prefix, suspended ones
included, module after module. It exits with 6 when some of them were not to be
had; running it again goes on. With --check it shows what is pending, and
changes nothing.`,
		Example: `  pgdbm tenant migrate --module shop
  pgdbm tenant migrate --module shop=shop/sql --module bills=bills/sql --check
  pgdbm tenant migrate --module shop --max-failures 10 --workers 8`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.Workers < 0:
				return usageError{errors.New("--workers: is negative")}
			case o.BatchSize < 0:
				return usageError{errors.New("--batch-size: is negative")}
			}
			return f.run(cmd, func(ctx context.Context, ts *tenant.Tenants, pool *pgdbm.Pool) error {
				if check {
					return f.plan(ctx, cmd, ts)
				}
				return f.migrate(ctx, cmd, ts, pool, o)
			})
		},
	}
	f.add(cmd)
	f.addModules(cmd)
	flags := cmd.Flags()
	flags.IntVar(&o.Workers, "workers", 0, "transactions beside each other (default 4)")
	flags.IntVar(&o.BatchSize, "batch-size", 0, "tenants that share a transaction (default 20)")
	flags.IntVar(&o.MaxFailures, "max-failures", 0, "tenants that may fail before it stops; -1: any")
	flags.BoolVar(&check, "check", false, "show what is pending; exit with 4 if anything is")
	return cmd
}

type tenantsMigrated struct {
	Modules []fleetJSON `json:"modules"`
	Skipped []string    `json:"skipped"` // ids
	MS      float64     `json:"ms"`
	Error   string      `json:"error,omitempty"`
}

type tenantsPending struct {
	Modules []fleetPlanJSON `json:"modules"`
}

func (f *tenantFlags) migrate(ctx context.Context, cmd *cobra.Command, ts *tenant.Tenants, pool *pgdbm.Pool, o migrate.FleetOptions) error {
	all, err := ts.List(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 && !f.asJSON {
		others, err := tenant.All(ctx, pool)
		if err != nil {
			return err
		}
		if found := prefixes(others); found != "" {
			fmt.Fprintf(cmd.OutOrStdout(), "no tenants of this prefix; there are of %s: --prefix\n", found)
		}
	}
	bar := newProgress(cmd, f.asJSON)
	o.Progress = func(e migrate.FleetEvent) { bar.show(e.Done, e.Total, e.Schema) }
	began := time.Now()
	results, err := ts.Migrate(ctx, &o)
	bar.end()
	out := cmd.OutOrStdout()
	j := tenantsMigrated{Modules: []fleetJSON{}, Skipped: []string{}, MS: milliseconds(time.Since(began))}
	for _, t := range all {
		if t.State != tenant.Active && t.State != tenant.Suspended {
			j.Skipped = append(j.Skipped, t.ID)
			if !f.asJSON {
				fmt.Fprintf(out, "skipped   tenant %s: %s\n", showID(t.ID), t.State)
			}
		}
	}
	for _, res := range results {
		j.Modules = append(j.Modules, fleetReport(res, 0))
	}
	if f.asJSON {
		if err != nil {
			j.Error = err.Error()
		}
		return errors.Join(err, writeJSON(out, j))
	}
	for _, m := range j.Modules {
		m.write(out)
	}
	return err
}

// plan is migrate with --check.
func (f *tenantFlags) plan(ctx context.Context, cmd *cobra.Command, ts *tenant.Tenants) error {
	plans, err := ts.Plan(ctx, nil)
	if err != nil {
		return err
	}
	reports := []fleetPlanJSON{}
	pending, refused := 0, 0
	for _, p := range plans {
		reports = append(reports, fleetPlanReport(p))
		pending += len(p.Pending)
		refused += len(p.Refused)
	}
	out := cmd.OutOrStdout()
	if f.asJSON {
		err = writeJSON(out, tenantsPending{reports})
	}
	for _, r := range reports {
		if !f.asJSON {
			r.write(out)
		}
	}
	switch {
	case err != nil:
	case refused > 0:
		err = codedError{exitDrift, fmt.Errorf("%d schemas would be refused", refused)}
	case pending > 0:
		err = errPending
	}
	return err
}
