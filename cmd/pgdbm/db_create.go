package main

import (
	"context"
	"crypto/rand"
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
	var o databaseOptions
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create the database",
		Long: `create creates the database, empty, with the server's defaults. One that exists
is left as it is, which is no error unless its owner, encoding or locale is not
the one that a flag names.

Another encoding or locale than template1 has takes --template template0.`,
		Example: `  pgdbm db create
  pgdbm db create --env test
  pgdbm db create --owner app --encoding UTF8 --locale C --template template0`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range []string{"owner", "encoding", "locale", "template"} {
				if flag := cmd.Flags().Lookup(name); flag.Changed && flag.Value.String() == "" {
					return usageError{fmt.Errorf("--%s: is empty", name)}
				}
			}
			return f.withServer(cmd, func(ctx context.Context, _ *place, pool *pgdbm.Pool, name string) error {
				created, err := o.create(ctx, pool.Pgx(), name)
				if err != nil {
					return fmt.Errorf("create database %q: %w", name, err)
				}
				return f.print(cmd, databaseChange{Database: name, Created: &created})
			})
		},
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.owner, "owner", "", "`role` that owns it; else the user")
	flags.StringVar(&o.encoding, "encoding", "", "its `encoding`, such as UTF8")
	flags.StringVar(&o.locale, "locale", "", "its `locale`, for order and kinds of characters")
	flags.StringVar(&o.template, "template", "", "`database` to copy; else template1")
	return cmd
}

// databaseOptions are what CREATE DATABASE is told; "" is the server's default.
type databaseOptions struct{ owner, encoding, locale, template string }

// create reports whether it is the one who created the database. One that is there
// must have what the options name.
func (o *databaseOptions) create(ctx context.Context, server *pgxpool.Pool, name string) (bool, error) {
	clauses, err := o.clauses(ctx, server)
	if err != nil {
		return false, err
	}
	if there, err := o.compare(ctx, server, name); there || err != nil {
		return false, err
	}
	if o.template != "" {
		who, err := usersOf(ctx, server, o.template)
		if err != nil {
			return false, err
		}
		if len(who) > 0 {
			return false, hintedError{fmt.Errorf("--template: others are connected to %q: %s", o.template, strings.Join(who, ", ")),
				"end the programs that are connected to it"}
		}
	}
	created, err := createDatabase(ctx, server, name, clauses)
	if err == nil && !created { // somebody else was faster
		_, err = o.compare(ctx, server, name)
	}
	return created, err
}

// clauses are the options in SQL. It writes the encoding as the server has it.
func (o *databaseOptions) clauses(ctx context.Context, server *pgxpool.Pool) (string, error) {
	var ownerThere, templateThere bool
	var encoding, clauses string
	// Encodings from the 35th on are for clients only.
	err := server.QueryRow(ctx, `WITH e AS (SELECT CASE WHEN pg_catalog.pg_char_to_encoding($2) BETWEEN 0 AND 34
			THEN pg_catalog.pg_encoding_to_char(pg_catalog.pg_char_to_encoding($2)) ELSE '' END AS name)
		SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1), e.name,
			EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $4),
			CASE WHEN $1 <> '' THEN pg_catalog.format(' OWNER %I', $1) ELSE '' END
			|| CASE WHEN e.name <> '' THEN pg_catalog.format(' ENCODING %L', e.name) ELSE '' END
			|| CASE WHEN $3 <> '' THEN pg_catalog.format(' LOCALE %L', $3::text) ELSE '' END
			|| CASE WHEN $4 <> '' THEN pg_catalog.format(' TEMPLATE %I', $4) ELSE '' END
		FROM e`, o.owner, o.encoding, o.locale, o.template).Scan(&ownerThere, &encoding, &templateThere, &clauses)
	switch {
	case err != nil:
		return "", err
	case o.owner != "" && !ownerThere:
		return "", fmt.Errorf("--owner: there is no role %q", o.owner)
	case o.encoding != "" && encoding == "":
		return "", fmt.Errorf("--encoding: the server knows no %q", o.encoding)
	case o.template != "" && !templateThere:
		return "", fmt.Errorf("--template: there is no database %q", o.template)
	}
	o.encoding = encoding
	return clauses, nil
}

// compare reports whether the database exists, and an error where it is not as the
// options want it.
func (o *databaseOptions) compare(ctx context.Context, server *pgxpool.Pool, name string) (there bool, err error) {
	var owner, encoding, locale string
	err = server.QueryRow(ctx, `SELECT pg_catalog.pg_get_userbyid(datdba), pg_catalog.pg_encoding_to_char(encoding),
		CASE WHEN datcollate = datctype THEN datcollate ELSE datcollate || ' and ' || datctype END
		FROM pg_catalog.pg_database WHERE datname = $1`, name).Scan(&owner, &encoding, &locale)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, x := range []struct{ what, want, have string }{
		{"owner", o.owner, owner}, {"encoding", o.encoding, encoding}, {"locale", o.locale, locale},
	} {
		if x.want != "" && x.want != x.have {
			return true, hintedError{fmt.Errorf("it exists, with %s %s", x.what, x.have), "leave --" + x.what + " out to take it as it is"}
		}
	}
	return true, nil
}

// createDatabase reports whether it is the one who created it.
func createDatabase(ctx context.Context, server *pgxpool.Pool, name, clauses string) (bool, error) {
	_, err := server.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+clauses)
	switch {
	case isState(err, duplicateDatabase):
		return false, nil
	case isState(err, invalidParameter):
		err = hintedError{err, "--template template0 takes any encoding and locale that go with each other"}
	}
	return err == nil, err
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
				clauses, err := clausesToDrop(ctx, pool.Pgx(), name)
				switch {
				case err != nil:
					return err
				case clauses == "":
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
		Long: `reset drops the database, if there is one, and creates it, empty, with the same
owner, encoding, locale, tablespace and limit of connections. Grants and
settings of the database are gone, too. The new one is made first, under another
name, so that nothing is dropped when that fails. It refuses and asks as drop
does.`,
		Example: "  pgdbm db reset --yes && pgdbm migrate up --all",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withServer(cmd, func(ctx context.Context, p *place, pool *pgdbm.Pool, name string) error {
				clauses, err := clausesToDrop(ctx, pool.Pgx(), name)
				if err != nil {
					return err
				}
				if err := agree.ask(cmd, p, fmt.Sprintf("Drop database %s with all its data, and create it anew?", name)); err != nil {
					return err
				}
				dropped, created := clauses != "", true
				if dropped {
					err = replaceDatabase(ctx, pool.Pgx(), name, clauses, force)
				} else if created, err = createDatabase(ctx, pool.Pgx(), name, ""); err != nil {
					err = fmt.Errorf("create database %q: %w", name, err)
				}
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

// clausesToDrop returns what CREATE DATABASE is to be told to make a database again
// that may be dropped, "" when there is no such database.
func clausesToDrop(ctx context.Context, server *pgxpool.Pool, name string) (string, error) {
	if slices.Contains([]string{"postgres", "template0", "template1"}, name) {
		return "", fmt.Errorf("drop database %q: it is the server's own", name)
	}
	var clauses string
	// Versions name the columns of the locale differently. What is as in template1
	// comes from there, with all else that is in it.
	err := server.QueryRow(ctx, `WITH d AS (SELECT datname, datdba, pg_catalog.pg_encoding_to_char(encoding) AS encoding, datcollate, datctype,
			datconnlimit, spcname, j->>'datlocprovider' AS provider, coalesce(j->>'datlocale', j->>'daticulocale') AS locale, j->>'daticurules' AS rules
			FROM (SELECT *, pg_catalog.to_jsonb(p) AS j FROM pg_catalog.pg_database p) p
			JOIN pg_catalog.pg_tablespace s ON s.oid = dattablespace)
		SELECT pg_catalog.format(' OWNER %I', pg_catalog.pg_get_userbyid(d.datdba)) || CASE
			WHEN EXISTS (SELECT FROM d t WHERE t.datname = 'template1' AND (t.encoding, t.datcollate, t.datctype, t.provider, t.locale, t.rules)
				IS NOT DISTINCT FROM (d.encoding, d.datcollate, d.datctype, d.provider, d.locale, d.rules)) THEN ''
			ELSE pg_catalog.format(' TEMPLATE template0 ENCODING %L LC_COLLATE %L LC_CTYPE %L', d.encoding, d.datcollate, d.datctype)
				|| CASE d.provider WHEN 'c' THEN ' LOCALE_PROVIDER libc'
					WHEN 'i' THEN pg_catalog.format(' LOCALE_PROVIDER icu ICU_LOCALE %L', d.locale)
					WHEN 'b' THEN pg_catalog.format(' LOCALE_PROVIDER builtin BUILTIN_LOCALE %L', d.locale) ELSE '' END
				|| CASE WHEN d.rules <> '' THEN pg_catalog.format(' ICU_RULES %L', d.rules) ELSE '' END END
			|| CASE WHEN d.datconnlimit >= 0 THEN pg_catalog.format(' CONNECTION LIMIT %s', d.datconnlimit) ELSE '' END
			|| CASE WHEN EXISTS (SELECT FROM d t WHERE t.datname = 'template1' AND t.spcname = d.spcname) THEN '' ELSE pg_catalog.format(' TABLESPACE %I', d.spcname) END
		FROM d WHERE d.datname = $1`, name).Scan(&clauses)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return clauses, err
}

// replaceDatabase makes the new database before it drops the old one. From then on
// it is not to be interrupted.
func replaceDatabase(ctx context.Context, server *pgxpool.Pool, name, clauses string, force bool) error {
	if !force {
		if err := refuseUsed(ctx, server, name); err != nil {
			return err
		}
	}
	made := "pgdbm_reset_" + strings.ToLower(rand.Text()[:10])
	if _, err := createDatabase(ctx, server, made, clauses); err != nil {
		return fmt.Errorf("create database %q anew: %w; it is as it was", name, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := dropDatabase(ctx, server, name, force); err != nil {
		_, undo := server.Exec(ctx, "DROP DATABASE "+pgx.Identifier{made}.Sanitize())
		return errors.Join(err, undo)
	}
	rename := fmt.Sprintf("ALTER DATABASE %s RENAME TO %s", pgx.Identifier{made}.Sanitize(), pgx.Identifier{name}.Sanitize())
	if _, err := server.Exec(ctx, rename); err != nil {
		return hintedError{fmt.Errorf("database %q was dropped, and the new one has the name %s still: %w", name, made, err), rename}
	}
	return nil
}

// dropDatabase refuses while others are connected, and says who: the server would
// wait five seconds for them first, and not name them.
func dropDatabase(ctx context.Context, server *pgxpool.Pool, name string, force bool) error {
	sql := "DROP DATABASE IF EXISTS " + pgx.Identifier{name}.Sanitize()
	if force {
		sql += " WITH (FORCE)"
	} else if err := refuseUsed(ctx, server, name); err != nil {
		return err
	}
	if _, err := server.Exec(ctx, sql); err != nil {
		return fmt.Errorf("drop database %q: %w", name, err)
	}
	return nil
}

func refuseUsed(ctx context.Context, server *pgxpool.Pool, name string) error {
	who, err := usersOf(ctx, server, name)
	if err == nil && len(who) > 0 {
		err = fmt.Errorf("drop database %q: %w: %s", name, errInUse, strings.Join(who, ", "))
	}
	return err
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
