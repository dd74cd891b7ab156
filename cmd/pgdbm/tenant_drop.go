package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/tenant"
)

func newTenantDrop() *cobra.Command {
	var f tenantFlags
	var agreed consent
	cmd := &cobra.Command{
		Use:   "drop ID",
		Short: "Drop a tenant with all its data",
		Long: `drop drops a tenant's schema with all its data, its role and what is recorded of
it. It refuses while objects of other schemas depend on it. It says what will be
lost and asks, or takes --yes.`,
		Example: "  pgdbm tenant drop acme\n  pgdbm tenant drop acme --yes --json",
		Args:    tenantArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.mayAsk(cmd, &agreed); err != nil {
				return err
			}
			f.existing = args[0]
			return f.run(cmd, func(ctx context.Context, ts *tenant.Tenants, pool *pgdbm.Pool) error {
				return f.drop(ctx, cmd, ts, pool, args[0], &agreed)
			})
		},
	}
	f.add(cmd)
	agreed.add(cmd)
	return cmd
}

// loss is what goes with a tenant.
type loss struct {
	Tables int    `json:"tables"`
	Bytes  int64  `json:"bytes"`
	Size   string `json:"-"` // as people read it
	Ledger int    `json:"ledger_rows"`
}

func (l loss) String() string {
	return fmt.Sprintf("%s, %s, %s of the ledger", plural(l.Tables, "table"), l.Size, plural(l.Ledger, "row"))
}

func lossOf(ctx context.Context, pool *pgdbm.Pool, schema string) (loss, error) {
	ledger, err := pool.Schema("pgdbm")
	if err != nil {
		return loss{}, err
	}
	return pgdbm.One[loss](ctx, ledger, `SELECT tables, bytes, pg_catalog.pg_size_pretty(bytes) AS size,
		(SELECT count(*) FROM {{tables.migrations}} WHERE target_schema = $1::text) AS ledger
		FROM (SELECT count(*) FILTER (WHERE relkind IN ('r', 'p', 'f')) AS tables,
			coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)) FILTER (WHERE relkind IN ('r', 'm', 'S')), 0)::bigint AS bytes
			FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1::text) x`, schema)
}

type tenantDropped struct {
	Tenant *tenantJSON `json:"tenant,omitempty"`
	*loss
	Dropped bool   `json:"dropped"`
	Error   string `json:"error,omitempty"`
}

func (f *tenantFlags) drop(ctx context.Context, cmd *cobra.Command, ts *tenant.Tenants, pool *pgdbm.Pool, id string, agreed *consent) error {
	var j tenantDropped
	err := func() error {
		t, err := ts.Get(ctx, id)
		if err != nil {
			return err
		}
		j.Tenant = tenantReport(t)
		lost, err := lossOf(ctx, pool, t.Schema)
		if err != nil {
			return fmt.Errorf("tenant %q: what it has: %w", id, err)
		}
		j.loss = &lost
		question := fmt.Sprintf("Tenant %s, %s, has schema %s: %v.\nDrop it with all its data?", showID(id), t.State, t.Schema, lost)
		if err := agreed.ask(cmd, f.place, question); err != nil {
			return err
		}
		return ts.Drop(ctx, id)
	}()
	out := cmd.OutOrStdout()
	j.Dropped = err == nil
	if f.asJSON {
		if err != nil {
			j.Error = err.Error()
		}
		return errors.Join(err, writeJSON(out, j))
	}
	if err == nil {
		fmt.Fprintf(out, "tenant %s in schema %s: dropped with %v\n", showID(id), j.Tenant.Schema, j.loss)
	}
	return err
}
