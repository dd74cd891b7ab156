package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/sqltemplate"
	"github.com/pgdbm/pgdbm/tenant"
)

func newTenant() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tenant",
		Short: "Create, list, clone, migrate and drop tenants",
		Long: `tenant works on the tenants of a database, those of the library's package
tenant: each is a schema with all modules in it, and has an id, which may be
nearly any text.

Commands that make or migrate tenants take the modules' files: --module NAME has
them in --dir, --module NAME=FOLDER in a folder of its own, and may be repeated.
The database is that of --url, else of pgdbm.toml, else of DATABASE_URL.`,
		Args: subcommands,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTenantList(), newTenantCreate(), newTenantClone(), newTenantAdopt(), newTenantRename(),
		newTenantSuspend(), newTenantResume(), newTenantDrop(), newTenantMigrate())
	return cmd
}

// tenantFlags say which database, and what its tenants are made of.
type tenantFlags struct {
	databaseFlags
	place                *place
	verbose              bool
	modules              []string // NAME or NAME=FOLDER
	dir                  string
	requires, extensions []string
	aliases              map[string]string
	prefix               string
	isolate              bool
	logins               []string
}

func (f *tenantFlags) add(cmd *cobra.Command) {
	f.databaseFlags.add(cmd)
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "say on stderr what happens")
}

// mayAsk returns an error where the user can neither be asked nor has agreed, before
// anything connects.
func (f *tenantFlags) mayAsk(cmd *cobra.Command, agreed *consent) (err error) {
	if f.place, err = f.findDatabase(); err == nil {
		_, err = agreed.given(cmd, f.place)
	}
	return err
}

// addModules adds the flags of commands that need the modules' files.
func (f *tenantFlags) addModules(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.modules, "module", nil, "`NAME` of a module, or NAME=FOLDER; may be repeated")
	flags.StringVar(&f.dir, "dir", "migrations", "`folder` of --module NAME")
	flags.StringSliceVar(&f.requires, "requires", nil, "`modules` that all of them require, or\nMODULE=REQUIRED for one")
	flags.StringSliceVar(&f.extensions, "extension", nil, "`extensions` that they need")
	flags.StringToStringVar(&f.aliases, "alias", nil, "`MODULE=SCHEMA`: where a shared module is, if\nit is in several")
	flags.Lookup("alias").DefValue = ""
}

func (f *tenantFlags) addPrefix(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.prefix, "prefix", "tenant_", "`text` that schemas begin with")
}

// addRole adds the flags of commands that make a tenant's role.
func (f *tenantFlags) addRole(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.isolate, "isolate", false, "give the tenant a role of its own")
	flags.StringSliceVar(&f.logins, "login", nil, "`users` that may work as its role, too")
}

// config is what the flags say, without a look at the database.
func (f *tenantFlags) config(cmd *cobra.Command) (tenant.Config, error) {
	if len(f.logins) > 0 && !f.isolate {
		return tenant.Config{}, errors.New("--login goes with --isolate")
	}
	c := tenant.Config{Prefix: f.prefix, Isolate: f.isolate, Logins: f.logins, Aliases: f.aliases}
	if cmd.Flags().Lookup("module") == nil {
		return c, nil
	}
	if len(f.modules) == 0 {
		return c, errors.New("--module: required")
	}
	for _, text := range f.modules {
		name, folder, own := strings.Cut(text, "=")
		flag := "--module " + name
		switch {
		case slices.ContainsFunc(c.Modules, func(m pgdbm.Module) bool { return m.Name == name }):
			return c, fmt.Errorf("%s: given twice", flag)
		case !own && len(f.modules) > 1:
			return c, fmt.Errorf("%s: several modules need a folder each, %s=FOLDER", flag, name)
		case !own:
			folder, flag = f.dir, "--dir"
		}
		if err := checkFolder(folder); err != nil {
			return c, fmt.Errorf("%s: %w", flag, err)
		}
		c.Modules = append(c.Modules, pgdbm.Module{Name: name, Files: os.DirFS(folder), Extensions: f.extensions})
	}
	for _, text := range f.requires {
		of, required, one := strings.Cut(text, "=")
		if !one {
			required = text
		}
		found := false
		for i := range c.Modules {
			m := &c.Modules[i]
			if m.Name == of && one || m.Name != required && !one {
				m.Requires = append(m.Requires, required)
				found = true
			}
		}
		if !found {
			return c, fmt.Errorf("--requires %s: no such module", text)
		}
	}
	return c, nil
}

// run calls fn with the tenants of the database.
func (f *tenantFlags) run(cmd *cobra.Command, fn func(ctx context.Context, ts *tenant.Tenants, pool *pgdbm.Pool) error) error {
	c, err := f.config(cmd)
	if err != nil {
		return usageError{err}
	}
	if f.place == nil {
		if f.place, err = f.findDatabase(); err != nil {
			return err
		}
	}
	return f.place.withPool(cmd, f.timeout, f.verbose, func(ctx context.Context, pool *pgdbm.Pool) error {
		if _, err := tenant.New(pool, tenant.Config{Prefix: f.prefix}); err != nil {
			return usageError{err}
		}
		ts, err := tenant.New(pool, c)
		if err != nil {
			return err
		}
		return fn(ctx, ts, pool)
	})
}

// tenantArgs checks arguments that are ids of tenants, as many as names says.
func tenantArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usageError{fmt.Errorf("%s needs %s, and got %d arguments", cmd.Name(), strings.Join(names, " and "), len(args))}
		}
		for i, arg := range args {
			err := error(nil)
			if names[i] == "SCHEMA" {
				err = sqltemplate.ValidateSchema(arg)
			} else {
				err = tenant.ValidateID(arg)
			}
			if err != nil {
				return usageError{err}
			}
		}
		return nil
	}
}

// tenantJSON is a tenant, in all that commands print.
type tenantJSON struct {
	ID        string            `json:"id"`
	Schema    string            `json:"schema"`
	State     string            `json:"state"`
	Role      string            `json:"role"` // empty: none of its own
	Versions  map[string]string `json:"versions"`
	CreatedAt time.Time         `json:"created_at"`
}

func tenantReport(t *tenant.Tenant) *tenantJSON {
	versions := t.Versions
	if versions == nil {
		versions = map[string]string{}
	}
	return &tenantJSON{t.ID, t.Schema, string(t.State), t.Role, versions, t.CreatedAt}
}

// reportTenant prints what was done with a tenant, and returns err.
func (f *tenantFlags) reportTenant(cmd *cobra.Command, done string, t *tenant.Tenant, err error) error {
	out := cmd.OutOrStdout()
	if f.asJSON {
		var j struct {
			Tenant *tenantJSON `json:"tenant,omitempty"`
			Error  string      `json:"error,omitempty"`
		}
		if err != nil {
			j.Error = err.Error()
		} else {
			j.Tenant = tenantReport(t)
		}
		return errors.Join(err, writeJSON(out, j))
	}
	if err == nil {
		fmt.Fprintf(out, "tenant %s in schema %s: %s\n", showID(t.ID), t.Schema, done)
	}
	return err
}

// showID is an id as people may read it: in quotes where it has what a terminal
// does not show, or shows elsewhere.
func showID(id string) string {
	if strings.TrimSpace(id) != id || strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(id)
	}
	return id
}
