package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
)

func newSchemaDrop() *cobra.Command {
	var f schemaFlags
	var agree consent
	cmd := &cobra.Command{
		Use:   "drop [SCHEMA]",
		Short: "Drop a schema with all its data",
		Long: `drop drops a schema with all that is in it, and the history of the module there.
It refuses while it would take along what is not of the schema, such as views
and foreign keys of other schemas, while modules elsewhere require its module,
when it is that of several modules, and when it is a tenant's, which
"pgdbm tenant drop" is for. It waits for locks as migrations do. It asks, or
takes --yes, and in production --confirm.`,
		Example: "  pgdbm schema drop tenant_42 --yes",
		Args:    maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withDatabase(cmd, func(ctx context.Context, p *place, pool *pgdbm.Pool) error {
				name, err := f.mustName(p, args)
				if err != nil {
					return err
				}
				if err := refuseShared("drop", name); err != nil {
					return err
				}
				if err := droppable(ctx, pool, name); err != nil {
					return err
				}
				if err := agree.ask(cmd, p, fmt.Sprintf("Drop schema %s with all its data?", name)); err != nil {
					return err
				}
				modules, err := dropSchema(ctx, pool, name, nil)
				if err != nil {
					return err
				}
				dropped := true
				return f.print(cmd, schemaChange{Schema: name, Dropped: &dropped, Modules: modules})
			})
		},
	}
	f.add(cmd)
	agree.add(cmd)
	return cmd
}

var errSeveral = errors.New("it is that of several modules")

// droppable returns an error when something speaks against dropping a schema.
func droppable(ctx context.Context, pool *pgdbm.Pool, schema string) error {
	if err := refuseTenants(ctx, pool, "drop", schema); err != nil {
		return err
	}
	ledger, err := readLedger(ctx, pool)
	if err != nil {
		return err
	}
	var modules []string
	for _, r := range ledger {
		if r.Schema == schema {
			modules = append(modules, r.Module)
		}
	}
	if len(modules) > 1 {
		return fmt.Errorf("drop schema %q: %w: %s", schema, errSeveral, strings.Join(modules, ", "))
	}
	_, err = dropSchema(ctx, pool, schema, &migrate.DropSchemaOptions{Check: true})
	return err
}

// dropSchema lets package migrate drop a schema, together with the history, behind
// the lock of its migrations, and not from under what needs it.
func dropSchema(ctx context.Context, pool *pgdbm.Pool, schema string, o *migrate.DropSchemaOptions) (modules []string, err error) {
	db, err := pool.Schema(schema)
	if err != nil {
		return nil, usageError{err}
	}
	res, err := migrate.DropSchema(ctx, db, o)
	if err != nil {
		return nil, err
	}
	return res.Modules, nil
}
