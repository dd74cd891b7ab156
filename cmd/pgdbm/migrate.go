package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
)

func newMigrate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Apply, inspect and revert a module's migrations",
		Long: `migrate works on the migrations of one module, which are the *.sql files of a
folder, in one schema of a database. Programs run them by themselves when they
attach the module; this is for a step of its own, and to see where a database
stands.

The database is that of --url, else of DATABASE_URL.`,
		Args: subcommands,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newMigrateUp(), newMigratePlan(), newMigrateStatus(), newMigrateHistory(), newMigrateVerify(),
		newMigrateDown(), newMigrateRedo(), newMigrateBaseline(), newMigrateAdopt(), newMigrateRepair(), newMigrateRemove(), newMigrateLint(), newMigrateDump(), newMigrateSquash(), newMigrateNew())
	return cmd
}

// moduleFlags say which module, where, and how to answer.
type moduleFlags struct {
	url, dir, name, schema string
	requires, extensions   []string
	timeout                time.Duration
	verbose, asJSON        bool
}

func (f *moduleFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.url, "url", "", "`URL` of the database; else DATABASE_URL")
	flags.StringVar(&f.dir, "dir", "migrations", "`folder` of the migrations")
	flags.StringVar(&f.name, "module", "", "the module's `name`")
	flags.StringVar(&f.schema, "schema", "", "`schema` to work on; else the module's name")
	flags.StringSliceVar(&f.requires, "requires", nil, "`modules` that it requires")
	flags.StringSliceVar(&f.extensions, "extension", nil, "`extensions` that it needs")
	flags.DurationVar(&f.timeout, "timeout", 0, "give up after this `time`, such as 5m")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "say on stderr what happens")
	flags.BoolVar(&f.asJSON, "json", false, "print one JSON object")
}

func (f *moduleFlags) module() pgdbm.Module {
	return pgdbm.Module{Name: f.name, Schema: f.schema, Files: os.DirFS(f.dir), Requires: f.requires, Extensions: f.extensions}
}

// run calls fn with the handle of the schema.
func (f *moduleFlags) run(cmd *cobra.Command, fn func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) error) error {
	return f.withPool(cmd, func(ctx context.Context, pool *pgdbm.Pool) error {
		schema := f.schema
		if schema == "" {
			schema = f.name
		}
		db, err := pool.Schema(schema)
		if err != nil {
			return err
		}
		return fn(ctx, db, f.module())
	})
}

func (f *moduleFlags) withPool(cmd *cobra.Command, fn func(ctx context.Context, pool *pgdbm.Pool) error) error {
	if f.name == "" {
		return usageError{errors.New("--module: required")}
	}
	if info, err := os.Stat(f.dir); err != nil {
		return usageError{fmt.Errorf("--dir: %w", err)}
	} else if !info.IsDir() {
		return usageError{fmt.Errorf("--dir: %s is not a folder", f.dir)}
	}
	url := f.url
	if url == "" {
		url = os.Getenv("DATABASE_URL")
	}
	if url == "" {
		return usageError{errors.New("--url: required, as DATABASE_URL is not set")}
	}
	ctx := cmd.Context()
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.timeout)
		defer cancel()
	}
	level := slog.LevelWarn
	if f.verbose {
		level = slog.LevelInfo
	}
	pool, err := pgdbm.Open(ctx, pgdbm.Config{
		URL: url, ApplicationName: "pgdbm migrate", MaxConns: 8,
		Logger: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		return err
	}
	defer pool.Close()
	return fn(ctx, pool)
}

// lockFlags are for commands that run files.
type lockFlags struct {
	lockTimeout, statementTimeout time.Duration
	lockAttempts                  int
	throughPooler                 bool
}

func (f *lockFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.DurationVar(&f.lockTimeout, "lock-timeout", 0, "`time` to wait for others' locks (default 2s)")
	flags.IntVar(&f.lockAttempts, "lock-attempts", 0, "attempts where others hold locks (default 10)")
	flags.DurationVar(&f.statementTimeout, "statement-timeout", 0, "`time` that a statement may take (default: any)")
	flags.BoolVar(&f.throughPooler, "through-pooler", false, "no-transaction files behind a pooler, too")
}

func (f *lockFlags) check() error {
	for name, d := range map[string]time.Duration{"lock-timeout": f.lockTimeout, "statement-timeout": f.statementTimeout} {
		if d < 0 {
			return usageError{fmt.Errorf("--%s: is negative", name)}
		}
	}
	if f.lockAttempts < 0 {
		return usageError{errors.New("--lock-attempts: is negative")}
	}
	return nil
}

// fileJSON is a file that ran, or would.
type fileJSON struct {
	Version string  `json:"file_version"`
	File    string  `json:"file"`
	MS      float64 `json:"ms"`
}

func filesJSON(files []migrate.File) []fileJSON {
	list := []fileJSON{}
	for _, f := range files {
		list = append(list, fileJSON{f.Version, f.File, milliseconds(f.Duration)})
	}
	return list
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func texts(errs []error) []string {
	list := []string{}
	for _, err := range errs {
		list = append(list, err.Error())
	}
	return list
}
