package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing/fstest"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/projectfile"
)

func newSchema() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Look at schemas, compare, clone and drop them",
		Long: `schema works on the schemas of a database: that of --url, else of the
environment in pgdbm.toml, else of DATABASE_URL. Instead of a schema's name,
--module names a module, whose schema the file says.`,
		Args: subcommands,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSchemaList(), newSchemaCreate(), newSchemaDeps(), newSchemaDiff(), newSchemaDrop(), newSchemaClone(), newSchemaClean())
	return cmd
}

// schemaFlags are those of commands on one schema.
type schemaFlags struct {
	databaseFlags
	module string
}

func (f *schemaFlags) add(cmd *cobra.Command) {
	f.databaseFlags.add(cmd)
	cmd.Flags().StringVar(&f.module, "module", "", "`name` of the module whose schema it is")
	completeModules(cmd, &f.target)
}

// name is the schema that the argument or --module names; "" when neither does.
func (f *schemaFlags) name(p *place, args []string) (string, error) {
	switch {
	case f.module == "" && len(args) == 0:
		return "", nil
	case f.module == "":
		return args[0], nil
	case len(args) > 0:
		return "", usageError{errors.New("a schema's name and --module exclude each other")}
	}
	schema := ""
	var err error
	if p.file != nil {
		if m := p.file.Module(f.module); m != nil {
			schema, err = m.SchemaIn(p.env)
		} else {
			err = fmt.Errorf("--module: %w", p.file.ErrNoModule(f.module))
		}
	} else {
		err = fmt.Errorf("--module: there is no %s", projectfile.DefaultPath)
	}
	if err != nil {
		return "", usageError{err}
	}
	return schema, nil
}

// mustName is name where one of them has to.
func (f *schemaFlags) mustName(p *place, args []string) (string, error) {
	name, err := f.name(p, args)
	if err == nil && name == "" {
		err = usageError{errors.New("which schema? Give its name, or --module")}
	}
	return name, err
}

// refuseShared refuses schemas that are no module's alone.
func refuseShared(operation, schema string) error {
	if slices.Contains([]string{"public", "pgdbm"}, schema) {
		return fmt.Errorf("%s schema %q: it is everybody's", operation, schema)
	}
	return nil
}

// schemaExists also refuses names that are none.
func schemaExists(ctx context.Context, pool *pgdbm.Pool, name string) (bool, error) {
	db, err := pool.Schema(name)
	if err != nil {
		return false, usageError{err}
	}
	return pgdbm.Value[bool](ctx, db, "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)", name)
}

func mustExist(ctx context.Context, pool *pgdbm.Pool, operation string, names ...string) error {
	for _, name := range names {
		there, err := schemaExists(ctx, pool, name)
		if err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("%s schema %q: there is none", operation, name)
		}
	}
	return nil
}

// isEmpty reports whether nothing is in a schema: whatever is depends on it.
func isEmpty(ctx context.Context, pool *pgdbm.Pool, name string) (bool, error) {
	db, err := pool.Schema(name)
	if err != nil {
		return false, err
	}
	return pgdbm.Value[bool](ctx, db, `SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_depend JOIN pg_catalog.pg_namespace n ON n.oid = refobjid
		WHERE refclassid = 'pg_catalog.pg_namespace'::regclass AND nspname = $1)`, name)
}

// withoutFiles is a module for what package migrate does without looking at its
// files, of which it wants one.
func withoutFiles(name string) pgdbm.Module {
	return pgdbm.Module{Name: name, Files: fstest.MapFS{"1_none.sql": {Data: []byte("SELECT 1;")}}}
}
