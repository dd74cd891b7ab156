package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/projectfile"
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

Commands that make or migrate tenants take the modules' files. The modules are
those in [tenants] of pgdbm.toml, or those of --module, which may be repeated:
NAME, with its folder in --dir or the file, or NAME=FOLDER. What flags leave
open comes from the file, also --prefix and --isolate. Programs of one prefix
share their tenants, those of another one have their own. The database is that
of --url, else of the file, else of DATABASE_URL.`,
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
	existing             string // the id of a tenant that is there: whose it is need not be said
	isolate              bool
	logins               []string
	throughPooler        bool
}

func (f *tenantFlags) add(cmd *cobra.Command) {
	f.databaseFlags.add(cmd)
	cmd.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "say on stderr what happens")
	cmd.Flags().StringVar(&f.prefix, "prefix", "", "`text` that the schemas of a program's tenants\nbegin with (default tenant_)")
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
	flags.BoolVar(&f.throughPooler, "through-pooler", false, "no-transaction files behind a pooler, too")
	completeModules(cmd, &f.target)
}

// addRole adds the flags of commands that make a tenant's role.
func (f *tenantFlags) addRole(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.isolate, "isolate", false, "give the tenant a role of its own")
	flags.StringSliceVar(&f.logins, "login", nil, "`users` that may work as its role, too")
}

// config is what flags and file say, without a look at the database.
func (f *tenantFlags) config(cmd *cobra.Command) (tenant.Config, error) {
	c := tenant.Config{Prefix: f.prefix, Isolate: f.isolate, Logins: f.logins, Aliases: maps.Clone(f.aliases), ThroughPooler: f.throughPooler}
	file := f.place.file
	if file != nil {
		c.Prefix = cmp.Or(c.Prefix, file.Tenants.Prefix)
		if flag := cmd.Flags().Lookup("isolate"); flag != nil && !flag.Changed {
			c.Isolate = file.Tenants.Isolate
		}
	}
	if len(f.logins) > 0 && !c.Isolate {
		return c, errors.New("--login goes with --isolate")
	}
	if cmd.Flags().Lookup("module") == nil {
		return c, nil
	}
	words, err := f.moduleWords(cmd)
	if err != nil {
		return c, err
	}
	for _, word := range words {
		m, err := f.oneModule(cmd, word, len(words))
		if err != nil {
			return c, err
		}
		if slices.ContainsFunc(c.Modules, func(o pgdbm.Module) bool { return o.Name == m.Name }) {
			return c, fmt.Errorf("--module %s: given twice", m.Name)
		}
		c.Modules = append(c.Modules, m)
	}
	for _, text := range f.requires {
		if !require(c.Modules, text) {
			return c, fmt.Errorf("--requires %s: no such module", text)
		}
	}
	return c, f.addAliases(&c)
}

// moduleWords are what --module says, else the names of the file's modules of
// tenants.
func (f *tenantFlags) moduleWords(cmd *cobra.Command) (words []string, err error) {
	if len(f.modules) > 0 {
		return f.modules, nil
	}
	file := f.place.file
	if file == nil {
		return nil, fmt.Errorf("--module: required, as there is no %s", projectfile.DefaultPath)
	}
	modules, err := file.InOrder()
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		if m.OfTenants {
			words = append(words, m.Name)
		}
	}
	switch {
	case len(words) == 0:
		return nil, fmt.Errorf("--module: required, as %s has no modules in [tenants]", file.Path)
	case cmd.Flags().Changed("dir"):
		return nil, errors.New("--dir: goes with --module")
	}
	return words, nil
}

// oneModule is one of several modules, given as NAME or NAME=FOLDER. What flags
// leave open comes from the file.
func (f *tenantFlags) oneModule(cmd *cobra.Command, word string, several int) (m pgdbm.Module, err error) {
	name, folder, own := strings.Cut(word, "=")
	m = pgdbm.Module{Name: name, Extensions: f.extensions}
	var written *projectfile.Module
	if f.place.file != nil {
		written = f.place.file.Module(name)
	}
	if written != nil {
		if !cmd.Flags().Changed("requires") {
			m.Requires = slices.Clone(written.DependsOn)
		}
		if !cmd.Flags().Changed("extension") {
			m.Extensions = written.Extensions
		}
	}
	flag := "--module " + name
	switch {
	case own:
	case written != nil && !cmd.Flags().Changed("dir"):
		if folder, err = written.Migrations(); err != nil {
			return m, err
		}
	case several > 1:
		err = fmt.Errorf("%s: several modules need a folder each, %s=FOLDER", flag, name)
		if f.place.file != nil && written == nil {
			err = errors.Join(err, f.place.file.ErrNoModule(name)) // which would have said where
		}
		return m, err
	default:
		folder, flag = f.dir, "--dir"
	}
	if err := checkFolder(folder); err != nil {
		return m, fmt.Errorf("%s: %w", flag, err)
	}
	m.Files = newFolder(folder)
	return m, nil
}

// require adds what --requires says, and reports whether there is a module to which
// it does.
func require(modules []pgdbm.Module, text string) (found bool) {
	of, required, one := strings.Cut(text, "=")
	if !one {
		required = text
	}
	for i := range modules {
		m := &modules[i]
		if m.Name == of && one || m.Name != required && !one {
			m.Requires = append(m.Requires, required)
			found = true
		}
	}
	return found
}

// addAliases adds where the file has the modules that tenants share.
func (f *tenantFlags) addAliases(c *tenant.Config) error {
	if f.place.file == nil {
		return nil
	}
	for _, m := range c.Modules {
		for _, name := range m.Requires {
			on := f.place.file.Module(name)
			if on == nil || on.OfTenants || c.Aliases[name] != "" {
				continue
			}
			schema, err := on.SchemaIn(f.place.env)
			if err != nil {
				return err
			}
			if c.Aliases == nil {
				c.Aliases = make(map[string]string)
			}
			c.Aliases[name] = schema
		}
	}
	return nil
}

// run calls fn with the tenants of the database.
func (f *tenantFlags) run(cmd *cobra.Command, fn func(ctx context.Context, ts *tenant.Tenants, pool *pgdbm.Pool) error) error {
	if f.place == nil {
		p, err := f.find()
		if err != nil {
			return err
		}
		f.place = p
	}
	c, err := f.config(cmd)
	if err != nil {
		return usageError{err}
	}
	if err := f.database(f.place); err != nil {
		return err
	}
	return f.place.withPool(cmd, f.timeout, f.verbose, func(ctx context.Context, pool *pgdbm.Pool) error {
		if c.Prefix == "" && f.existing != "" {
			if c.Prefix, err = prefixOf(ctx, pool, f.existing); err != nil {
				return err
			}
		}
		if _, err := tenant.New(pool, tenant.Config{Prefix: c.Prefix}); err != nil {
			if !cmd.Flags().Changed("prefix") {
				err = f.place.file.ErrPrefix(err)
			}
			return usageError{err}
		}
		ts, err := tenant.New(pool, c)
		if err != nil {
			return err
		}
		return fn(ctx, ts, pool)
	})
}

// prefixOf finds whose a tenant is, where nobody has said: "" if there is none.
func prefixOf(ctx context.Context, pool *pgdbm.Pool, id string) (string, error) {
	all, err := tenant.All(ctx, pool)
	if err != nil {
		return "", err
	}
	all = slices.DeleteFunc(all, func(t *tenant.Tenant) bool { return t.ID != id })
	if len(all) < 2 {
		return prefixes(all), nil
	}
	return "", usageError{fmt.Errorf("tenant %s is there more than once, with the prefixes %s: --prefix says which", showID(id), prefixes(all))}
}

// prefixes are those of tenants, each once.
func prefixes(all []*tenant.Tenant) string {
	var found []string
	for _, t := range all {
		if t.Prefix != "" && !slices.Contains(found, t.Prefix) {
			found = append(found, t.Prefix)
		}
	}
	slices.Sort(found)
	return strings.Join(found, ", ")
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
	Prefix    string            `json:"prefix"` // empty: an older program has listed it
	Schema    string            `json:"schema"`
	State     string            `json:"state"`
	Role      string            `json:"role"` // empty: none of its own
	Versions  map[string]string `json:"versions"`
	CreatedAt time.Time         `json:"created_at"`
}

// tenantChange is what a command did to a tenant.
type tenantChange struct {
	Tenant *tenantJSON `json:"tenant,omitempty"`
	Error  string      `json:"error,omitempty"`
}

func tenantReport(t *tenant.Tenant) *tenantJSON {
	versions := t.Versions
	if versions == nil {
		versions = map[string]string{}
	}
	return &tenantJSON{t.ID, t.Prefix, t.Schema, string(t.State), t.Role, versions, t.CreatedAt}
}

// reportTenant prints what was done with a tenant, and returns err.
func (f *tenantFlags) reportTenant(cmd *cobra.Command, done string, t *tenant.Tenant, err error) error {
	out := cmd.OutOrStdout()
	if f.asJSON {
		var j tenantChange
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
