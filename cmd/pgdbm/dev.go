package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// devFlags say which modules, on which server.
type devFlags struct {
	moduleFlags
	server   serverFlags
	database string
	keepData bool
}

func newDev() *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Give modules a database, and migrate it while you write",
		Long: `dev starts a private PostgreSQL server, or joins the one that runs, makes a
database, migrates the modules and prints the URL. Then it watches the files and
pgdbm.toml, and migrates again whenever they change. What fails is told with
file, line and column, and tried again with the next change; what others have
locked, after five seconds.

The module is that of --module and --dir; without, all modules of pgdbm.toml.
When a file that has been applied is changed or gone, the schemas are dropped
and made anew, without their rows; with --keep-data that is as in production.

Ctrl-C drops the database, and ends the server if nobody else uses it. What a
killed dev left there goes when the next one starts.`,
		Example: `  pgdbm dev --module billing --dir billing/migrations
  pgdbm dev --tcp --postgres 17`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// The server is its own, whatever libpq's variables say.
			ignoreLibpqEnv()
			if err := f.resolve(cmd); err != nil {
				return err
			}
			return f.run(cmd)
		},
	}
	f.addFile(cmd)
	flags := cmd.Flags()
	f.addModule(cmd)
	flags.StringVar(&f.database, "database", "", "`name` of the database (default: FOLDER_dev)")
	flags.BoolVar(&f.keepData, "keep-data", false, "make no schema anew")
	flags.BoolVar(&f.asJSON, "json", false, "print a JSON object in a line for each event")
	f.server.add(cmd)
	return cmd
}

// resolve finds the modules. There is no environment: the database is dev's own.
func (f *devFlags) resolve(cmd *cobra.Command) error {
	file, err := f.file()
	if err != nil {
		return err
	}
	f.place = &place{file: file}
	if f.name == "" {
		if err := withoutModule(cmd); err != nil {
			return usageError{err}
		}
		if file == nil {
			return usageError{errors.New("--module: required, as there is no pgdbm.toml")}
		}
		f.all, f.ofTenants = true, true
	}
	list, err := f.choose(cmd)
	if err != nil {
		return usageError{err}
	}
	f.chosen = list
	return nil
}

// folders are those to watch: of the modules, and of those of the file that could
// not be taken, as what they lack may come.
func (f *devFlags) folders() (list []string) {
	for _, c := range f.chosen {
		list = append(list, c.dir)
	}
	if f.all && f.place.file != nil {
		for _, m := range f.place.file.Modules {
			if !slices.Contains(list, m.Path()) {
				list = append(list, m.Path())
			}
		}
	}
	return list
}

func (f *devFlags) run(cmd *cobra.Command) (err error) {
	if len(f.database) > longestName {
		return usageError{fmt.Errorf("--database: has %d bytes, and PostgreSQL takes %d", len(f.database), longestName)}
	}
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	out := &devOutput{out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), asJSON: f.asJSON}
	server, err := f.server.start(ctx)
	if err != nil {
		return err
	}
	defer server.Stop(context.WithoutCancel(ctx))
	db, err := createDevDatabase(ctx, server.URL(""), f.database)
	if err != nil {
		return err
	}
	lost := db.watch(ctx, cancel)
	defer func() {
		cancel(nil)
		<-lost
		// An interrupted command says no more than that, so it is said here.
		if dropErr := db.drop(context.WithoutCancel(ctx)); dropErr != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "pgdbm: %v\n", dropErr)
		}
	}()
	url := server.URL(db.name)
	if f.server.tcp {
		if url, err = server.TCPURL(db.name); err != nil {
			return err
		}
	}
	out.ready(server, db.name, url)
	d := &devWork{url: server.URL(db.name), flags: f, out: out}
	if f.verbose {
		d.level = slog.LevelInfo
	} else {
		d.level = slog.LevelWarn
	}
	config, _ := f.path()
	w := &watch{config: config}
	for {
		w.look()
		// A file that is wrong leaves the modules as they were.
		for _, err := range all(f.resolve(cmd)) {
			out.failed(nil, err)
		}
		w.follow(f.folders())
		var again <-chan time.Time
		if d.migrate(ctx) {
			again = time.After(devPatience)
		}
		out.watching(f.chosen)
		if err := w.wait(ctx, again); err != nil {
			return err
		}
	}
}

// devPatience is the time after which what others have locked is tried again.
const devPatience = 5 * time.Second

// all are the errors that were joined to one.
func all(err error) []error {
	if usage, ok := err.(usageError); ok {
		err = usage.error
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// devWork migrates dev's database.
type devWork struct {
	url     string
	flags   *devFlags
	out     *devOutput
	level   slog.Level
	schemas []string // of all modules so far, also of those that the file has no more
}

// migrate brings all modules up to date, or tells why not, and reports whether a
// lock of others was why. It opens a pool for as long as it takes, so that a schema
// that is made anew is new to it.
func (d *devWork) migrate(ctx context.Context) (blocked bool) {
	failed, err := d.up(ctx)
	if failed != nil && remakes(err) && !d.flags.keepData {
		d.out.anew(failed, err)
		if err = d.clear(ctx); err == nil {
			failed, err = d.up(ctx)
		}
	}
	if err != nil && ctx.Err() == nil {
		d.out.failed(failed, err)
	}
	return isState(err, lockNotAvailable) || errors.Is(err, migrate.ErrBlocked)
}

// remakes reports whether a schema made anew would have the files as they are.
func remakes(err error) bool {
	for _, target := range []error{
		migrate.ErrChanged, migrate.ErrMissing, migrate.ErrOrder, migrate.ErrSchemaGone, migrate.ErrInterrupted,
		migrate.ErrConflict, // with what it was in the schema that it had before
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func (d *devWork) open(ctx context.Context) (*pgdbm.Pool, error) {
	return pgdbm.Open(ctx, pgdbm.Config{URL: d.url, ApplicationName: "pgdbm dev", MaxConns: 4,
		Logger: slog.New(withoutWarnings{slog.NewTextHandler(d.out.errs, &slog.HandlerOptions{Level: d.level})})})
}

// up returns the module that could not be brought up to date.
func (d *devWork) up(ctx context.Context) (failed *chosen, err error) {
	pool, err := d.open(ctx)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	for i := range d.flags.chosen {
		c := &d.flags.chosen[i]
		if !slices.Contains(d.schemas, c.schema) {
			d.schemas = append(d.schemas, c.schema)
		}
		if c.none != nil {
			if _, err := c.withoutFiles(ctx, pool); err != nil {
				return c, errors.Join(err, migrate.ErrMissing)
			}
			d.out.noFiles(c)
			continue
		}
		db, err := c.handle(pool)
		if err != nil {
			return c, err
		}
		if err := d.goneFile(ctx, db, c); err != nil {
			return c, err
		}
		res, err := migrate.Up(ctx, db, c.module, nil)
		if res != nil {
			d.out.migrated(c, res)
		}
		if err != nil {
			return c, err
		}
	}
	return nil, nil
}

// goneFile is an error when a file that was applied is no more. Up takes the newest
// ones for those of a newer program, of which there is none here.
func (d *devWork) goneFile(ctx context.Context, db *pgdbm.DB, c *chosen) error {
	if d.flags.keepData {
		return nil
	}
	status, err := migrate.Status(ctx, db, c.module, nil)
	if err != nil {
		return err
	}
	for _, v := range status.Versions {
		if v.State == migrate.Ahead || v.State == migrate.Gone {
			return &pgdbm.MigrationError{Module: c.module.Name, Schema: c.schema, Version: v.Version, File: v.File, Err: migrate.ErrMissing}
		}
	}
	return nil
}

// clear drops what up has made: the modules' schemas and their history. A program
// that is connected stays so.
func (d *devWork) clear(ctx context.Context) error {
	pool, err := d.open(ctx)
	if err != nil {
		return err
	}
	defer pool.Close()
	db, err := pool.Schema("public") // it is named in no statement here
	if err != nil {
		return err
	}
	schemas := append([]string{"pgdbm"}, d.schemas...)
	err = db.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '5s'"); err != nil {
			return err
		}
		for _, schema := range schemas {
			name := sqltemplate.Quote(schema)
			if _, err := tx.Exec(ctx, "DROP SCHEMA IF EXISTS "+name+" CASCADE"); err != nil {
				return err
			}
			if schema == "public" {
				if _, err := tx.Exec(ctx, "CREATE SCHEMA public"); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if isState(err, lockNotAvailable) {
		return fmt.Errorf("make the schemas anew: a program has them locked: %w", err)
	}
	return err
}

const lockNotAvailable = "55P03"
