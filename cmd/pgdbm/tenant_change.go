package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/tenant"
)

func newTenantRename() *cobra.Command {
	var f tenantFlags
	cmd := &cobra.Command{
		Use:   "rename OLD NEW",
		Short: "Give a tenant another id",
		Long: `rename gives a tenant another id, and its schema and role the names that go with
it, at once. Programs that use the tenant need its new id from then on. It
refuses where a view, a default or a constraint has the schema's name as a text.`,
		Example: "  pgdbm tenant rename acme umbrella",
		Args:    tenantArgs("OLD", "NEW"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.existing = args[0]
			return f.run(cmd, func(ctx context.Context, ts *tenant.Tenants, _ *pgdbm.Pool) error {
				t, err := ts.Rename(ctx, args[0], args[1])
				return f.reportTenant(cmd, "renamed from "+showID(args[0]), t, err)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func newTenantSuspend() *cobra.Command {
	var f tenantFlags
	var agreed consent
	cmd := &cobra.Command{
		Use:   "suspend ID",
		Short: "Keep a tenant from being used",
		Long: `suspend keeps a tenant from being used until it is resumed: where it has a role,
the server refuses its statements at once; else programs notice within seconds.
Nothing is lost, and it is migrated as before. It asks, or takes --yes.`,
		Example: "  pgdbm tenant suspend acme --yes",
		Args:    tenantArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.mayAsk(cmd, &agreed); err != nil {
				return err
			}
			f.existing = args[0]
			return f.run(cmd, func(ctx context.Context, ts *tenant.Tenants, _ *pgdbm.Pool) error {
				t, err := ts.Get(ctx, args[0])
				if err == nil {
					err = agreed.ask(cmd, f.place, fmt.Sprintf("Keep tenant %s in schema %s from being used?", showID(t.ID), t.Schema))
				}
				if err == nil {
					t, err = ts.Suspend(ctx, args[0])
				}
				return f.reportTenant(cmd, "suspended", t, err)
			})
		},
	}
	f.add(cmd)
	agreed.add(cmd)
	return cmd
}

func newTenantResume() *cobra.Command {
	var f tenantFlags
	cmd := &cobra.Command{
		Use:     "resume ID",
		Short:   "End what suspend began",
		Long:    `resume lets a tenant that is suspended be used again.`,
		Example: "  pgdbm tenant resume acme",
		Args:    tenantArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.existing = args[0]
			return f.run(cmd, func(ctx context.Context, ts *tenant.Tenants, _ *pgdbm.Pool) error {
				t, err := ts.Resume(ctx, args[0])
				return f.reportTenant(cmd, "resumed", t, err)
			})
		},
	}
	f.add(cmd)
	return cmd
}
