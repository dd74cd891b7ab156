package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/projectfile"
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

The database is that of --url, else of the environment in pgdbm.toml, else of
DATABASE_URL. What --dir, --schema and --requires do not say of the module comes
from the file, too, where it has the module. --all leaves modules of tenants to
"pgdbm tenant migrate". "pgdbm docs configuration" tells.`,
		Args: subcommands,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newMigrateUp(), newMigratePlan(), newMigrateStatus(), newMigrateHistory(), newMigrateVerify(),
		newMigrateDown(), newMigrateRedo(), newMigrateBaseline(), newMigrateAdopt(), newMigrateRepair(), newMigrateRemove(), newMigrateLint(), newMigrateDump(), newMigrateSquash(), newMigrateNew())
	return cmd
}

// moduleFlags say which module, where, and how to answer.
type moduleFlags struct {
	target
	dir, name, schema    string
	requires, extensions []string
	timeout              time.Duration
	verbose, asJSON, all bool
	ofTenants            bool // --all has the modules of tenants, too

	place  *place
	chosen []chosen // after resolve: one, or with all those of the file in order
}

// chosen is a module as flags and file have it.
type chosen struct {
	module  pgdbm.Module
	dir     string // of its files
	schema  string
	aliases map[string]string // where the modules that it requires are

	none      error    // with --all: its folder has no files yet; this says so
	ofTenants bool     // in the file it is in the schemas of tenants
	siblings  []string // of those that it requires, those that are so, too
}

func (f *moduleFlags) add(cmd *cobra.Command) {
	f.target.add(cmd)
	f.addModule(cmd)
	cmd.Flags().DurationVar(&f.timeout, "timeout", 0, "give up after this `time`, such as 5m")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print one JSON object")
}

// addModule adds the flags that say which module, and of how much to tell.
func (f *moduleFlags) addModule(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", "migrations", "`folder` of the migrations")
	flags.StringVar(&f.name, "module", "", "the module's `name`")
	flags.StringVar(&f.schema, "schema", "", "`schema` to work on; else the module's name")
	flags.StringSliceVar(&f.requires, "requires", nil, "`modules` that it requires")
	flags.StringSliceVar(&f.extensions, "extension", nil, "`extensions` that it needs")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "say on stderr what happens")
	completeModules(cmd, &f.target)
}

// withoutModule refuses flags that say more of a module, where none is named.
func withoutModule(cmd *cobra.Command) error {
	for _, flag := range []string{"dir", "schema", "requires", "extension"} {
		if cmd.Flags().Changed(flag) {
			return fmt.Errorf("--%s: goes with --module", flag)
		}
	}
	return nil
}

// addAll adds --all, for commands that can do one module after the other. Modules
// that the file has in [tenants] are left to "pgdbm tenant migrate".
func (f *moduleFlags) addAll(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.all, "all", false, "all modules of pgdbm.toml, in their order")
}

// resolve finds out which modules are meant and where the database is, and looks
// at nothing but the file and the folders.
func (f *moduleFlags) resolve(cmd *cobra.Command) error {
	if f.all {
		for _, flag := range []string{"module", "dir", "schema", "requires", "schemas", "to"} {
			if fl := cmd.Flags().Lookup(flag); fl != nil && fl.Changed {
				return usageError{fmt.Errorf("--all and --%s exclude each other", flag)}
			}
		}
	} else if f.name == "" {
		if cmd.Flags().Lookup("all") != nil {
			return usageError{errors.New("--module: required, or --all")}
		}
		return usageError{errors.New("--module: required")}
	}
	var err error
	if f.place == nil {
		if f.place, err = f.find(); err != nil {
			return err
		}
	}
	if f.chosen, err = f.choose(cmd); err != nil {
		return usageError{err}
	}
	return f.database(f.place)
}

func (f *moduleFlags) choose(cmd *cobra.Command) ([]chosen, error) {
	file := f.place.file
	if !f.all {
		var m *projectfile.Module
		if file != nil {
			m = file.Module(f.name)
		}
		c, err := f.chooseOne(cmd, m)
		return []chosen{c}, err
	}
	if file == nil {
		return nil, fmt.Errorf("--all: there is no %s", projectfile.DefaultPath)
	}
	modules, err := file.InOrder()
	if err != nil {
		return nil, err
	}
	if len(modules) == 0 {
		return nil, fmt.Errorf("--all: %s has no modules", file.Path)
	}
	var list []chosen
	for _, m := range modules {
		if m.OfTenants && !f.ofTenants {
			continue
		}
		c, err := f.chooseOne(cmd, m)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("--all: %s has modules of tenants only, which pgdbm tenant migrate is for", file.Path)
	}
	return list, nil
}

// chooseOne takes from m, which is nil for a module that is not in the file, what
// the flags leave open.
func (f *moduleFlags) chooseOne(cmd *cobra.Command, m *projectfile.Module) (chosen, error) {
	c := chosen{schema: f.schema, aliases: make(map[string]string)}
	c.module = pgdbm.Module{Name: f.name, Requires: f.requires, Extensions: f.extensions}
	dir := ""
	if m == nil {
		schema, err := f.place.env.Schema()
		if err != nil {
			return c, err
		}
		c.schema = cmp.Or(c.schema, schema, f.name)
	} else {
		schema, err := m.SchemaIn(f.place.env)
		if err != nil {
			return c, err
		}
		c.module.Name, c.schema = m.Name, cmp.Or(c.schema, schema)
		c.ofTenants = m.OfTenants
		if !cmd.Flags().Changed("requires") {
			c.module.Requires = m.DependsOn
		}
		if !cmd.Flags().Changed("extension") {
			c.module.Extensions = m.Extensions
		}
		if !cmd.Flags().Changed("dir") {
			dir, err = m.Migrations()
			if f.all && errors.Is(err, projectfile.ErrNoFiles) { // the other modules may go on
				c.none, dir, err = err, m.Path(), nil
			}
			if err != nil {
				return c, err
			}
		}
	}
	if dir == "" {
		var err error
		if dir, err = f.folder(cmd); err != nil {
			return c, err
		}
	}
	c.dir, c.module.Schema, c.module.Files = dir, c.schema, newFolder(dir)
	for _, name := range c.module.Requires {
		if f.place.file == nil {
			break
		}
		on := f.place.file.Module(name)
		if on == nil {
			continue
		}
		if on.OfTenants && c.ofTenants {
			c.siblings = append(c.siblings, name)
			if cmd.Flags().Changed("schemas") {
				continue // it is in each of them
			}
			if f.schema != "" {
				c.aliases[name] = f.schema
				continue
			}
		}
		schema, err := on.SchemaIn(f.place.env)
		if err != nil {
			return c, err
		}
		c.aliases[name] = schema
	}
	return c, nil
}

// folder is that of --dir, which must be there.
func (f *moduleFlags) folder(cmd *cobra.Command) (string, error) {
	err := checkFolder(f.dir)
	if err == nil {
		return f.dir, nil
	}
	err = fmt.Errorf("--dir: %w", err)
	if file := f.place.file; file != nil && !cmd.Flags().Changed("dir") {
		err = errors.Join(err, file.ErrNoModule(f.name)) // which would have said where
	}
	return "", err
}

func checkFolder(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a folder", path)
	}
	return err
}

// module is the one that was chosen.
func (f *moduleFlags) module() pgdbm.Module { return f.chosen[0].module }

func (c *chosen) handle(pool *pgdbm.Pool) (*pgdbm.DB, error) {
	return pool.Handle(pgdbm.HandleConfig{Schema: c.schema, Aliases: c.aliases})
}

// run calls fn with the handle of the schema.
func (f *moduleFlags) run(cmd *cobra.Command, fn func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) error) error {
	return f.withPool(cmd, func(ctx context.Context, pool *pgdbm.Pool) error {
		db, err := f.chosen[0].handle(pool)
		if err != nil {
			return err
		}
		return f.chosen[0].interrupted(ctx, db, fn(ctx, db, f.module()))
	})
}

// interruptedError says what was at work when the user ended it.
type interruptedError struct {
	error
	detail string
}

func (e *interruptedError) Unwrap() error { return e.error }

// interrupted adds to an error what has become of the file that was running: of one
// outside a transaction the history has that it is.
func (c *chosen) interrupted(ctx context.Context, db *pgdbm.DB, err error) error {
	failed, ok := errors.AsType[*pgdbm.MigrationError](err)
	if ctx.Err() == nil || !ok || failed.File == "" {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	detail := fmt.Sprintf("%s of module %s was running in schema %s", failed.File, failed.Module, failed.Schema)
	status, statusErr := migrate.Status(ctx, db, c.module, nil)
	switch {
	case statusErr != nil || errors.Is(err, migrate.ErrCommitUnknown):
		detail += ": pgdbm migrate status tells what has become of it"
	case slices.ContainsFunc(status.Versions, func(v migrate.Version) bool {
		return v.Version == failed.Version && v.Entry != nil && v.Entry.State == migrate.Running
	}):
		detail += ", outside a transaction: what it has done stays, and running it again goes on there"
	default:
		detail += ", and was rolled back"
	}
	return &interruptedError{err, detail}
}

func (f *moduleFlags) withPool(cmd *cobra.Command, fn func(ctx context.Context, pool *pgdbm.Pool) error) error {
	if err := f.resolve(cmd); err != nil {
		return err
	}
	return f.withResolved(cmd, fn)
}

// withResolved calls fn with a pool on the database that was found.
func (f *moduleFlags) withResolved(cmd *cobra.Command, fn func(ctx context.Context, pool *pgdbm.Pool) error) error {
	return f.place.withPool(cmd, f.timeout, f.verbose, fn)
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
	// A squash file that does not run, since what it replaces has.
	OnlyRecorded bool `json:"only_recorded,omitempty"`
}

func filesJSON(files []migrate.File) []fileJSON {
	list := []fileJSON{}
	for _, f := range files {
		list = append(list, fileJSON{f.Version, f.File, milliseconds(f.Duration), f.OnlyRecorded})
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
