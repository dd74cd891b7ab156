package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/tenant"
)

func newTenantCreate() *cobra.Command {
	var f tenantFlags
	cmd := &cobra.Command{
		Use:   "create ID...",
		Short: "Create tenants",
		Long: `create makes tenants one after the other: for each its schema, with --isolate
its role, and what the modules' files make, in one transaction. It ends with the
first that fails, and says which were made. The id - stands for those on stdin,
one a line.`,
		Example: `  pgdbm tenant create acme --module shop --isolate
  pgdbm tenant create acme umbrella --module shop=shop/sql --module geo=geo/sql
  pgdbm tenant create - --module shop <ids.txt`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("create needs the ids of tenants, or - to read them")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := newIDs(cmd, args)
			if err != nil {
				return err
			}
			return f.run(cmd, func(ctx context.Context, ts *tenant.Tenants, _ *pgdbm.Pool) error {
				return f.createAll(ctx, cmd, ts, ids)
			})
		},
	}
	f.add(cmd)
	f.addModules(cmd)
	f.addRole(cmd)
	return cmd
}

// newIDs are the ids that arguments and stdin name, before anything is done with
// them.
func newIDs(cmd *cobra.Command, args []string) ([]string, error) {
	var ids []string
	for _, arg := range args {
		if arg != "-" {
			ids = append(ids, arg)
			continue
		}
		text, err := untilInterrupted(cmd.Context(), func() ([]string, error) { return readLines(cmd.InOrStdin()) })
		if err != nil {
			return nil, fmt.Errorf("read ids: %w", err)
		}
		ids = append(ids, text...)
	}
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		err := tenant.ValidateID(id)
		if err == nil && seen[id] {
			err = fmt.Errorf("tenant id %q: given twice", id)
		}
		if err != nil {
			return nil, usageError{err}
		}
		seen[id] = true
	}
	return ids, nil
}

// readLines returns the lines that are not empty.
func readLines(r io.Reader) (lines []string, err error) {
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		if line := strings.TrimSuffix(scanner.Text(), "\r"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, scanner.Err()
}

type createdTenants struct {
	Created    []*tenantJSON `json:"created"`
	NotCreated []string      `json:"not_created"` // ids
	Error      string        `json:"error,omitempty"`
}

func (f *tenantFlags) createAll(ctx context.Context, cmd *cobra.Command, ts *tenant.Tenants, ids []string) error {
	out := cmd.OutOrStdout()
	j := createdTenants{[]*tenantJSON{}, []string{}, ""}
	var failed error
	for i, id := range ids {
		t, err := ts.Create(ctx, id)
		if err != nil {
			failed = err
			j.NotCreated, j.Error = slices.Clone(ids[i:]), err.Error()
			break
		}
		j.Created = append(j.Created, tenantReport(t))
		if !f.asJSON {
			_ = f.reportTenant(cmd, "created", t, nil)
		}
	}
	switch {
	case f.asJSON:
		return errors.Join(failed, writeJSON(out, j))
	case len(ids) == 0:
		fmt.Fprintln(out, "no tenants")
	case failed != nil && len(ids) > 1:
		fmt.Fprintf(out, "%d of %d tenants created, none from %s on\n", len(j.Created), len(ids), showID(j.NotCreated[0]))
	}
	return failed
}

func newTenantClone() *cobra.Command {
	var f tenantFlags
	cmd := &cobra.Command{
		Use:   "clone FROM NEW",
		Short: "Create a tenant with the rows of another one",
		Long: `clone makes the tenant NEW as create does, with the rows that FROM has at one
moment, while it is in use, and with a role where FROM has one. FROM must have
the tables that the files make, at their newest versions.`,
		Example: "  pgdbm tenant clone acme acme-test --module shop",
		Args:    tenantArgs("FROM", "NEW"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, func(ctx context.Context, ts *tenant.Tenants, _ *pgdbm.Pool) error {
				t, err := ts.Clone(ctx, args[0], args[1])
				return f.reportTenant(cmd, "cloned from "+showID(args[0]), t, err)
			})
		},
	}
	f.add(cmd)
	f.addModules(cmd)
	f.addRole(cmd)
	return cmd
}

func newTenantAdopt() *cobra.Command {
	var f tenantFlags
	cmd := &cobra.Command{
		Use:   "adopt ID SCHEMA",
		Short: "Make a tenant of a schema that is there",
		Long: `adopt lists a schema as that of a tenant, brings it up to date, and with
--isolate gives it a role: for schemas from before there was a list of tenants.
It keeps its name until the tenant is renamed. A schema with other modules, or
with one that others require, is refused, and so is public.`,
		Example: "  pgdbm tenant adopt acme customer_7 --module shop",
		Args:    tenantArgs("ID", "SCHEMA"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd, func(ctx context.Context, ts *tenant.Tenants, _ *pgdbm.Pool) error {
				t, err := ts.Adopt(ctx, args[0], args[1])
				return f.reportTenant(cmd, "adopted", t, err)
			})
		},
	}
	f.add(cmd)
	f.addModules(cmd)
	f.addRole(cmd)
	return cmd
}
