package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
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
It refuses while objects of other schemas depend on it, while modules elsewhere
require its module, and when it is that of several modules. It asks, or takes
--yes, and in production --confirm.`,
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
				if err := mustExist(ctx, pool, "drop", name); err != nil {
					return err
				}
				module, err := droppable(ctx, pool, name)
				if err != nil {
					return err
				}
				if err := agree.ask(cmd, p, fmt.Sprintf("Drop schema %s with all its data?", name)); err != nil {
					return err
				}
				dropped := true
				c := schemaChange{Schema: name, Dropped: &dropped}
				if module != "" {
					c.Modules = []string{module}
				}
				if err := dropSchema(ctx, pool, name, module); err != nil {
					return err
				}
				return f.print(cmd, c)
			})
		},
	}
	f.add(cmd)
	agree.add(cmd)
	return cmd
}

var (
	errNeeded  = errors.New("others need it")
	errSeveral = errors.New("it is that of several modules")
)

// droppable returns the module that is recorded in a schema, or "", when nothing
// speaks against dropping it.
func droppable(ctx context.Context, pool *pgdbm.Pool, schema string) (module string, err error) {
	all, err := readNeeds(ctx, pool)
	if err != nil {
		return "", err
	}
	var why []string
	for _, n := range all {
		if n.Needs == schema && n.Schema != schema {
			why = append(why, n.What)
		}
	}
	if more := len(why) - 5; more > 0 {
		why = append(why[:5], fmt.Sprintf("and %d more", more))
	}
	if len(why) > 0 {
		return "", fmt.Errorf("drop schema %q: %w: %s", schema, errNeeded, strings.Join(why, ", "))
	}
	ledger, err := readLedger(ctx, pool)
	if err != nil {
		return "", err
	}
	var modules []string
	for _, r := range ledger {
		if r.Schema == schema {
			modules = append(modules, r.Module)
		}
	}
	switch len(modules) {
	case 0:
		return "", nil
	case 1:
		return modules[0], nil
	}
	return "", fmt.Errorf("drop schema %q: %w: %s", schema, errSeveral, strings.Join(modules, ", "))
}

// dropSchema lets package migrate drop the schema of a module, which does so
// together with the history, and behind the lock of its migrations.
func dropSchema(ctx context.Context, pool *pgdbm.Pool, schema, module string) error {
	if module != "" {
		db, err := pool.Schema(schema)
		if err != nil {
			return err
		}
		res, err := migrate.Remove(ctx, db, withoutFiles(module), nil)
		if err != nil || res.Dropped {
			return err
		}
		// Nothing of the module was in effect: the schema may be another's.
	}
	if _, err := pool.Pgx().Exec(ctx, "DROP SCHEMA "+pgx.Identifier{schema}.Sanitize()+" CASCADE"); err != nil {
		return fmt.Errorf("drop schema %q: %w", schema, err)
	}
	return nil
}
