package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/tenant"
)

type tenantsJSON struct {
	Tenants []*tenantJSON `json:"tenants"`
}

func newTenantList() *cobra.Command {
	var f tenantFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the tenants of a database",
		Long: `list shows the tenants of all programs, with --prefix those of one, with the
newest version of each module. What is too long for 80 columns is cut in the
middle; --json has all of it.`,
		Example: "  pgdbm tenant list\n  pgdbm tenant list --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, func(ctx context.Context, ts *tenant.Tenants, pool *pgdbm.Pool) error {
				read := ts.List
				if !cmd.Flags().Changed("prefix") {
					read = func(ctx context.Context) ([]*tenant.Tenant, error) { return tenant.All(ctx, pool) }
				}
				all, err := read(ctx)
				if err != nil {
					return err
				}
				list := []*tenantJSON{}
				for _, t := range all {
					list = append(list, tenantReport(t))
				}
				out := cmd.OutOrStdout()
				switch {
				case f.asJSON:
					return writeJSON(out, tenantsJSON{list})
				case len(list) == 0:
					_, err = fmt.Fprintln(out, "no tenants")
					return err
				}
				return writeFitting(out, tenantHead, tenantRows(list), tenantsMayCut)
			})
		},
	}
	f.add(cmd)
	return cmd
}

var (
	tenantHead = []string{"ID", "SCHEMA", "STATE", "ROLE", "VERSIONS", "CREATED"}
	// tenantsMayCut are the columns whose texts may have any length.
	tenantsMayCut = []int{0, 1, 4}
)

func tenantRows(list []*tenantJSON) (rows [][]string) {
	for _, t := range list {
		role := "no"
		if t.Role != "" {
			role = "yes"
		}
		rows = append(rows, []string{showID(t.ID), t.Schema, t.State, role, versionsText(t.Versions), t.CreatedAt.Local().Format("2006-01-02")})
	}
	return rows
}

func versionsText(versions map[string]string) string {
	var all []string
	for _, module := range slices.Sorted(maps.Keys(versions)) {
		all = append(all, module+" "+versions[module])
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, ", ")
}
