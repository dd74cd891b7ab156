package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
)

func newDB() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "db",
		Short: "Create, drop and look at the database",
		Long: `db works on the whole database: that of --url, else of the environment in
pgdbm.toml, else of DATABASE_URL. "pgdbm docs configuration" tells.`,
		Args: subcommands,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDBCreate(), newDBDrop(), newDBReset(), newDBPing(), newDBInfo())
	return cmd
}

// databaseFlags say which database, and how to answer.
type databaseFlags struct {
	target
	timeout time.Duration
	asJSON  bool
}

func (f *databaseFlags) add(cmd *cobra.Command) {
	f.target.add(cmd)
	cmd.Flags().DurationVar(&f.timeout, "timeout", 0, "give up after this `time`, such as 5m")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print one JSON object")
}

// print prints a report of the command.
func (f *databaseFlags) print(cmd *cobra.Command, r report) error {
	if f.asJSON {
		return writeJSON(cmd.OutOrStdout(), r)
	}
	return r.write(cmd.OutOrStdout())
}

// withDatabase calls fn with a pool on the database.
func (f *databaseFlags) withDatabase(cmd *cobra.Command, fn func(ctx context.Context, p *place, pool *pgdbm.Pool) error) error {
	p, err := f.findDatabase()
	if err != nil {
		return err
	}
	return p.withPool(cmd, f.timeout, false, func(ctx context.Context, pool *pgdbm.Pool) error { return fn(ctx, p, pool) })
}

// withServer calls fn with the name of the database and a pool on another one of
// the same server, since nobody drops the database that he is in.
func (f *databaseFlags) withServer(cmd *cobra.Command, fn func(ctx context.Context, p *place, pool *pgdbm.Pool, name string) error) error {
	p, err := f.findDatabase()
	if err != nil {
		return err
	}
	ctx, cancel := limited(cmd.Context(), f.timeout)
	defer cancel()
	name := ""
	var pool *pgdbm.Pool
	for _, other := range []string{"postgres", "template1"} {
		p.config.Pgx = func(c *pgxpool.Config) error {
			name, c.ConnConfig.Database = c.ConnConfig.Database, other
			if name == "" {
				return errNoDatabase
			}
			return nil
		}
		pool, err = p.open(ctx, cmd, false)
		if !isState(err, noSuchDatabase) {
			break
		}
	}
	if errors.Is(err, errNoDatabase) {
		return usageError{fmt.Errorf("%s: %w", p.source, errNoDatabase)}
	}
	if err != nil {
		return err
	}
	defer pool.Close()
	return fn(ctx, p, pool, name)
}

var errNoDatabase = errors.New("names no database")

// SQLSTATEs.
const (
	noSuchDatabase    = "3D000"
	duplicateDatabase = "42P04"
	duplicateSchema   = "42P06"
	invalidParameter  = "22023"
	wrongPassword     = "28P01"
)

// isState reports whether an error is the server's, with this SQLSTATE.
func isState(err error, code string) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && refused.Code == code
}
