package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/projectfile"
)

// target says which database a command works on: that of --url, else of the
// environment in pgdbm.toml, else of DATABASE_URL.
type target struct {
	url, config, env string
	cmd              *cobra.Command // that has the flags
}

// add adds the flags.
func (t *target) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.url, "url", "", "`URL` of the database; else that of pgdbm.toml")
	t.addFile(cmd)
	cmd.Flags().StringVar(&t.env, "env", "", "`environment` in the file; else PGDBM_ENV")
	complete(cmd, "env", func(f *projectfile.File) (names []string) {
		for _, e := range f.Environments {
			names = append(names, e.Name)
		}
		return names
	}, t)
}

// addFile adds the flag for commands that need no database.
func (t *target) addFile(cmd *cobra.Command) {
	t.cmd = cmd
	cmd.Flags().StringVar(&t.config, "config", "", "`file` to read; else PGDBM_CONFIG or pgdbm.toml")
}

// complete offers names of the file for a flag.
func complete(cmd *cobra.Command, flag string, names func(*projectfile.File) []string, t *target) {
	// It fails for a flag that is not there, which the tests of completion notice.
	_ = cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		f, err := t.file()
		if err != nil || f == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(f), cobra.ShellCompDirectiveNoFileComp
	})
}

func completeModules(cmd *cobra.Command, t *target) {
	complete(cmd, "module", func(f *projectfile.File) (names []string) {
		for _, m := range f.Modules {
			names = append(names, m.Name)
		}
		return names
	}, t)
}

// path is that of the file, and who said so; nobody has to.
func (t *target) path() (path, source string) {
	if t.config != "" {
		return t.config, "--config"
	}
	if path := os.Getenv("PGDBM_CONFIG"); path != "" {
		return path, "PGDBM_CONFIG"
	}
	return projectfile.DefaultPath, ""
}

// file reads pgdbm.toml. It returns nil when there is none and nobody asked for
// one.
func (t *target) file() (*projectfile.File, error) {
	path, source := t.path()
	// It may be a pipe, on which nobody writes.
	ctx := context.Background()
	if t.cmd != nil && t.cmd.Context() != nil { // not so for completion
		ctx = t.cmd.Context()
	}
	f, err := untilInterrupted(ctx, func() (*projectfile.File, error) { return projectfile.Read(path) })
	switch {
	case errors.Is(err, context.Canceled):
		return nil, err
	case source == "" && errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.As(err, new(*fs.PathError)) && source != "":
		return nil, usageError{fmt.Errorf("%s: %w", source, err)}
	case err != nil:
		return nil, usageError{err}
	}
	return f, nil
}

// place is where a command works.
type place struct {
	file *projectfile.File        // nil: there is none
	env  *projectfile.Environment // nil: there is none, and nobody asked for one

	config pgdbm.Config // of the database
	source string       // what said so
}

// production is the name of the environment that whoever destroys data must give;
// "" where there is none: it is the one that was picked, or one of the file's with
// the same database, however that was named.
func (p *place) production() string {
	if p.env != nil && p.env.Production {
		return p.env.Name
	}
	if p.file == nil {
		return ""
	}
	here, err := locate(p.config)
	if err != nil {
		return ""
	}
	for _, e := range p.file.Environments {
		if !e.Production {
			continue
		}
		c, err := e.Config() // fails where a variable is not set
		if err != nil {
			continue
		}
		if there, err := locate(c); err == nil && there == here {
			return e.Name
		}
	}
	return ""
}

// describe says where the command works, for a question.
func (p *place) describe() string {
	l, err := locate(p.config)
	if err != nil {
		return "Database of " + p.source
	}
	return fmt.Sprintf("Database %s on %s, that of %s", l.database, l.server, p.source)
}

// location tells databases apart, as far as their names do.
type location struct{ server, database string }

// locate reads where a Config leads.
func locate(c pgdbm.Config) (location, error) {
	pc, err := pgconn.ParseConfig(libpqText(c))
	if err != nil {
		return location{}, err
	}
	return location{fmt.Sprintf("%s:%d", strings.ToLower(pc.Host), pc.Port), cmp.Or(pc.Database, pc.User)}, nil
}

// find returns where the command works, all but the database. The environment
// counts, with its schema and for what it guards, even where --url replaces its
// database.
func (t *target) find() (*place, error) {
	f, err := t.file()
	if err != nil {
		return nil, err
	}
	p := &place{file: f}
	if p.env, err = t.environment(f); err != nil {
		return nil, usageError{err}
	}
	return p, nil
}

// findDatabase is find and the database.
func (t *target) findDatabase() (*place, error) {
	p, err := t.find()
	if err == nil {
		err = t.database(p)
	}
	if err == nil {
		err = p.check()
	}
	return p, err
}

// longestName is how many bytes a name has at most. The server cuts longer ones, so
// that they become the name of something else.
const longestName = 63

// check refuses what leads to no database, or to another one than it says. It does
// not quote it: there may be a password in it.
func (p *place) check() error {
	if strings.Contains(p.config.URL, "://") && !isURL(p.config.URL) && !strings.Contains(p.config.URL, "=") {
		return usageError{fmt.Errorf("%s: is no URL of PostgreSQL, which begins with postgres:// or postgresql://", p.source)}
	}
	if l, err := locate(p.config); err == nil && len(l.database) > longestName {
		return usageError{fmt.Errorf("%s: the name of the database has %d bytes, and PostgreSQL takes %d", p.source, len(l.database), longestName)}
	}
	return nil
}

// database completes what find has found.
func (t *target) database(p *place) (err error) {
	switch url := os.Getenv("DATABASE_URL"); {
	case t.url != "":
		p.config.URL, p.source = t.url, "--url"
	case p.env != nil:
		if p.config, err = p.env.Config(); err != nil {
			return usageError{err}
		}
		p.source = fmt.Sprintf("%s [environments.%s]", p.file.Path, p.env.Name)
	case url != "":
		p.config.URL, p.source = url, "DATABASE_URL"
	case p.file != nil:
		return usageError{fmt.Errorf("--url: required, as DATABASE_URL is not set and %s has no environments", p.file.Path)}
	default:
		return usageError{fmt.Errorf("--url: required, as DATABASE_URL is not set and there is no %s", projectfile.DefaultPath)}
	}
	return nil
}

// environment picks the environment: --env, else PGDBM_ENV, else the file's
// default_env, else dev. One that is asked for and is not there is an error, so
// that nothing goes to another database than was meant; so is a file of which none
// is picked, unless --url says where.
func (t *target) environment(f *projectfile.File) (*projectfile.Environment, error) {
	name, source := t.env, "--env"
	if name == "" {
		name, source = os.Getenv("PGDBM_ENV"), "PGDBM_ENV"
	}
	if f == nil {
		if name != "" && (source == "--env" || t.url == "") {
			return nil, fmt.Errorf("%s: %s, and there is no %s", source, name, projectfile.DefaultPath)
		}
		return nil, nil
	}
	asked := name != ""
	if !asked {
		name, source = f.DefaultEnv, ""
	}
	if name == "" {
		name, source = "dev", "--env is not set, so it is dev"
	}
	e := f.Environment(name)
	if e != nil || !asked && (t.url != "" || len(f.Environments) == 0 && f.DefaultEnv == "") {
		return e, nil
	}
	return nil, f.ErrNoEnvironment(source, name)
}

// open opens a pool on the place's database. What the command is called shows in
// pg_stat_activity.
func (p *place) open(ctx context.Context, cmd *cobra.Command, verbose bool) (*pgdbm.Pool, error) {
	c := p.config
	words := strings.Fields(cmd.CommandPath())
	c.ApplicationName, c.MaxConns = strings.Join(words[:min(2, len(words))], " "), 8
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelInfo
	}
	c.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	pool, err := pgdbm.Open(ctx, c)
	if err != nil {
		return nil, &connectError{p.source, err}
	}
	return pool, nil
}

// withPool calls fn with a pool on the place's database, within the time if that
// is not 0.
func (p *place) withPool(cmd *cobra.Command, timeout time.Duration, verbose bool, fn func(ctx context.Context, pool *pgdbm.Pool) error) error {
	ctx, cancel := limited(cmd.Context(), timeout)
	defer cancel()
	pool, err := p.open(ctx, cmd, verbose)
	if err != nil {
		return err
	}
	defer pool.Close()
	return fn(ctx, pool)
}

// limited is ctx with what --timeout says.
func limited(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout > 0 {
		return context.WithTimeout(ctx, timeout)
	}
	return context.WithCancel(ctx)
}

// connectError says which setting led to a database that was not to be reached.
type connectError struct {
	source string
	err    error
}

func (e *connectError) Error() string { return fmt.Sprintf("database of %s: %v", e.source, e.err) }
func (e *connectError) Unwrap() error { return e.err }

// hint is what to do about it.
func (e *connectError) hint() string {
	if refused, ok := errors.AsType[*pgconn.PgError](e.err); ok {
		switch refused.Code {
		case noSuchDatabase:
			return "pgdbm db create creates it"
		case wrongPassword, "28000":
			return "check user and password of " + e.source + ", and the server's pg_hba.conf"
		}
		return ""
	}
	if text := e.err.Error(); strings.Contains(text, "TLS") || strings.Contains(text, "tls: ") || strings.Contains(text, "x509: ") {
		return "check TLS: what sslmode (ssl_mode) and the certificates of " + e.source + " want, and what the server has"
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](e.err); ok {
		return "check that the server runs, and host and port of " + e.source
	}
	return ""
}

// moduleOf returns the module of a name in the file, or nil when no name is given
// or --dir is, which says enough.
func (t *target) moduleOf(cmd *cobra.Command, name string) (*projectfile.Module, error) {
	if name == "" || cmd.Flags().Changed("dir") {
		return nil, nil
	}
	f, err := t.file()
	switch {
	case err != nil:
		return nil, err
	case f == nil:
		return nil, usageError{fmt.Errorf("--module: there is no %s", projectfile.DefaultPath)}
	}
	m := f.Module(name)
	if m == nil {
		return nil, usageError{fmt.Errorf("--module: %w", f.ErrNoModule(name))}
	}
	return m, nil
}
