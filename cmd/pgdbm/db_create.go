package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
)

// databaseChange is what a command did to a database.
type databaseChange struct {
	Database string `json:"database"`
	Dropped  *bool  `json:"dropped,omitempty"`
	Created  *bool  `json:"created,omitempty"`
}

func (c databaseChange) write(out io.Writer) error {
	if c.Dropped != nil && *c.Dropped {
		fmt.Fprintf(out, "dropped database %s\n", c.Database)
	}
	switch {
	case c.Created != nil && *c.Created:
		fmt.Fprintf(out, "created database %s\n", c.Database)
	case c.Created != nil:
		fmt.Fprintf(out, "database %s exists already\n", c.Database)
	}
	return nil
}

func newDBCreate() *cobra.Command {
	var f databaseFlags
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create the database",
		Long: `create creates the database, empty, with the server's defaults. One that exists
is left as it is, which is no error.`,
		Example: "  pgdbm db create\n  pgdbm db create --env test",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withServer(cmd, func(ctx context.Context, _ *place, pool *pgdbm.Pool, name string) error {
				created, err := createDatabase(ctx, pool.Pgx(), name, "")
				if err != nil {
					return err
				}
				return f.print(cmd, databaseChange{Database: name, Created: &created})
			})
		},
	}
	f.add(cmd)
	return cmd
}

// createDatabase reports whether it is the one who created it. Owner "" is the
// session's user.
func createDatabase(ctx context.Context, server *pgxpool.Pool, name, owner string) (bool, error) {
	sql := "CREATE DATABASE " + pgx.Identifier{name}.Sanitize()
	if owner != "" {
		sql += " OWNER " + pgx.Identifier{owner}.Sanitize()
	}
	_, err := server.Exec(ctx, sql)
	if isState(err, duplicateDatabase) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create database %q: %w", name, err)
	}
	return true, nil
}

func newDBDrop() *cobra.Command {
	var f databaseFlags
	var agree consent
	var force bool
	cmd := &cobra.Command{
		Use:   "drop",
		Short: "Drop the database with all its data",
		Long: `drop drops the database with all that is in it. It refuses while others are
connected, unless --force ends their sessions. It asks, or takes --yes, and in
production --confirm.`,
		Example: "  pgdbm db drop --env test --yes",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withServer(cmd, func(ctx context.Context, p *place, pool *pgdbm.Pool, name string) error {
				owner, err := ownerToDrop(ctx, pool.Pgx(), name)
				switch {
				case err != nil:
					return err
				case owner == "":
					return fmt.Errorf("drop database %q: there is none", name)
				}
				if err := agree.ask(cmd, p, fmt.Sprintf("Drop database %s with all its data?", name)); err != nil {
					return err
				}
				if err := dropDatabase(ctx, pool.Pgx(), name, force); err != nil {
					return err
				}
				dropped := true
				return f.print(cmd, databaseChange{Database: name, Dropped: &dropped})
			})
		},
	}
	f.add(cmd)
	agree.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "end the sessions of others")
	return cmd
}

func newDBReset() *cobra.Command {
	var f databaseFlags
	var agree consent
	var force bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Drop the database and create it anew",
		Long: `reset drops the database, if there is one, and creates it, empty, for the same
owner. Grants and settings of the database are gone, too. It refuses and asks as
drop does.`,
		Example: "  pgdbm db reset --yes && pgdbm migrate up --all",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withServer(cmd, func(ctx context.Context, p *place, pool *pgdbm.Pool, name string) error {
				owner, err := ownerToDrop(ctx, pool.Pgx(), name)
				if err != nil {
					return err
				}
				if err := agree.ask(cmd, p, fmt.Sprintf("Drop database %s with all its data, and create it anew?", name)); err != nil {
					return err
				}
				dropped := owner != ""
				if dropped {
					err = dropDatabase(ctx, pool.Pgx(), name, force)
				}
				if err != nil {
					return err
				}
				created, err := createDatabase(ctx, pool.Pgx(), name, owner)
				if err != nil {
					return err
				}
				return f.print(cmd, databaseChange{Database: name, Dropped: &dropped, Created: &created})
			})
		},
	}
	f.add(cmd)
	agree.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "end the sessions of others")
	return cmd
}

// ownerToDrop returns the owner of a database that may be dropped, "" when there
// is no such database.
func ownerToDrop(ctx context.Context, server *pgxpool.Pool, name string) (string, error) {
	if slices.Contains([]string{"postgres", "template0", "template1"}, name) {
		return "", fmt.Errorf("drop database %q: it is the server's own", name)
	}
	var owner string
	err := server.QueryRow(ctx, "SELECT pg_catalog.pg_get_userbyid(datdba) FROM pg_catalog.pg_database WHERE datname = $1", name).Scan(&owner)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return owner, err
}

// dropDatabase refuses while others are connected, and says who: the server would
// wait five seconds for them first, and not name them.
func dropDatabase(ctx context.Context, server *pgxpool.Pool, name string, force bool) error {
	sql := "DROP DATABASE IF EXISTS " + pgx.Identifier{name}.Sanitize()
	if force {
		sql += " WITH (FORCE)"
	} else if who, err := usersOf(ctx, server, name); err != nil {
		return err
	} else if len(who) > 0 {
		return fmt.Errorf("drop database %q: %w: %s", name, errInUse, strings.Join(who, ", "))
	}
	if _, err := server.Exec(ctx, sql); err != nil {
		return fmt.Errorf("drop database %q: %w", name, err)
	}
	return nil
}

// usersOf returns who is connected to a database and stays: a session outlives the
// program that has ended it, for a moment.
func usersOf(ctx context.Context, server *pgxpool.Pool, name string) ([]string, error) {
	const patience, pause = time.Second, 20 * time.Millisecond
	for end := time.Now().Add(patience); ; {
		rows, err := server.Query(ctx, `SELECT pg_catalog.format('%s as %s', coalesce(nullif(application_name, ''), 'a program'), usename)
			|| CASE count(*) WHEN 1 THEN '' ELSE pg_catalog.format(' (%s sessions)', count(*)) END
			FROM pg_catalog.pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'
			GROUP BY application_name, usename ORDER BY 1 LIMIT 10`, name)
		if err != nil {
			return nil, err
		}
		who, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil || len(who) == 0 || time.Now().After(end) {
			return who, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

var errInUse = errors.New("others are connected")
