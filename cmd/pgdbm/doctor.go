package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	neturl "net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
)

// doctorFlags say what to look at, and from when on it is a finding.
type doctorFlags struct {
	moduleFlags
	o      doctor.Options
	strict bool
}

func newDoctor() *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what is wrong with a server that modules share",
		Long: `doctor looks at the server, the database and the modules in it for what an
operator should know of: connections that run out, transactions that are left
open, grants that are missing, schemas that belong to nobody, and so on. It only
reads. Each finding has a code, and SQL or a command that ends it or shows more.
"pgdbm docs doctor" has the codes.

With --module and --dir it compares that module with what is recorded; without,
all modules of pgdbm.toml, if there is one. With --verify it also compares their
schemas with what the files make, in a transaction that is rolled back.

It exits with 3 when it finds an error, with --strict a warning, and with 1 when
it could not look at something that it was to look at.`,
		Example: `  pgdbm doctor --url postgres://localhost/app
  pgdbm doctor --module billing --dir billing/migrations --login app
  pgdbm doctor --strict --skip foreign-key-index,pooler --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return usageError{err}
			}
			return f.look(cmd)
		},
	}
	f.add(cmd)
	f.addAll(cmd)
	flags := cmd.Flags()
	flags.StringSliceVar(&f.o.Only, "only", nil, "`codes` to look for, and no others")
	flags.StringSliceVar(&f.o.Skip, "skip", nil, "`codes` not to look for")
	flags.BoolVar(&f.strict, "strict", false, "exit with 3 for warnings, too")
	flags.StringVar(&f.o.Login, "login", "", "`user` whose grants count (default: the session's)")
	flags.BoolVar(&f.o.Verify, "verify", false, "compare schemas with what the files make")
	flags.IntVar(&f.o.Connections, "connections", 80, "warn of this `percent` of the sessions")
	flags.IntVar(&f.o.PoolSize, "pool-size", 0, "sessions that one pool has; warn of more")
	flags.IntVar(&f.o.Sequence, "sequences", 80, "warn of this `percent` of the values")
	flags.DurationVar(&f.o.LongTx, "long-tx", doctor.LongTx, "`age` of a transaction to warn of")
	flags.DurationVar(&f.o.IdleTx, "idle-tx", doctor.IdleTx, "`time` idle in one to warn of")
	flags.DurationVar(&f.o.Blocked, "blocked", doctor.Blocked, "`time` of waiting to warn of")
	for _, name := range []string{"only", "skip"} {
		// It fails for a flag that is not there, which the tests of completion notice.
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(doctor.Codes(), cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

func (f *doctorFlags) check(cmd *cobra.Command) error {
	switch {
	case f.o.Connections < 1 || f.o.Connections > 100:
		return fmt.Errorf("--connections: %d is not between 1 and 100", f.o.Connections)
	case f.o.Sequence < 1 || f.o.Sequence > 100:
		return fmt.Errorf("--sequences: %d is not between 1 and 100", f.o.Sequence)
	case f.o.PoolSize < 0:
		return errors.New("--pool-size: is negative")
	case f.o.LongTx <= 0:
		return errors.New("--long-tx: is not positive")
	case f.o.IdleTx <= 0:
		return errors.New("--idle-tx: is not positive")
	case f.o.Blocked <= 0:
		return errors.New("--blocked: is not positive")
	}
	if err := doctor.CheckCodes(f.o.Only); err != nil {
		return fmt.Errorf("--only: %w", err)
	}
	if err := doctor.CheckCodes(f.o.Skip); err != nil {
		return fmt.Errorf("--skip: %w", err)
	}
	if f.name == "" {
		return withoutModule(cmd)
	}
	return nil
}

// resolve takes no module for an answer, or all of the file.
func (f *doctorFlags) resolve(cmd *cobra.Command) error {
	f.ofTenants = true
	if f.name == "" && !f.all {
		p, err := f.find()
		if err != nil {
			return err
		}
		f.place = p
		if f.all = p.file != nil && len(p.file.Modules) > 0; !f.all {
			return f.database(p)
		}
	}
	return f.moduleFlags.resolve(cmd)
}

func (f *doctorFlags) look(cmd *cobra.Command) error {
	if err := f.resolve(cmd); err != nil {
		return err
	}
	f.o.Flags = f.targetFlags()
	for i := range f.chosen {
		f.o.Modules = append(f.o.Modules, f.toLookAt(cmd, &f.chosen[i]))
	}
	return f.withResolved(cmd, func(ctx context.Context, pool *pgdbm.Pool) error {
		r, err := doctor.Look(ctx, pool, f.o)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		j := newDoctorJSON(r)
		if f.asJSON {
			err = writeJSON(out, j)
		} else {
			out, colored := colorOf(cmd).writer(out)
			err = writeDoctor(out, r, j, colored)
		}
		switch {
		case err != nil:
			return err
		case len(j.Skipped) > 0:
			return fmt.Errorf("doctor: could not look at everything: %s", plural(len(j.Skipped), "check"))
		case j.Errors > 0 || f.strict && j.Warnings > 0:
			return codedError{exitDrift, fmt.Errorf("doctor: %s", j.summary())}
		}
		return nil
	})
}

// toLookAt is a module for the doctor. One that no flag and no file gives a schema
// is looked at in all schemas that it is recorded in.
func (f *doctorFlags) toLookAt(cmd *cobra.Command, c *chosen) doctor.Module {
	m := doctor.Module{Module: c.module, Aliases: c.aliases, Flags: "--module " + doctor.Shell(c.module.Name)}
	if !cmd.Flags().Changed("schema") && (c.ofTenants || c.schema == c.module.Name) {
		m.Schema, m.OfTenants, m.Siblings = "", c.ofTenants, c.siblings
		if c.ofTenants {
			m.Prefix = cmp.Or(f.place.file.Tenants.Prefix, "tenant_")
		}
		for _, name := range c.siblings {
			delete(m.Aliases, name)
		}
	}
	if c.none != nil {
		m.NoFiles = c.dir
	}
	for _, flag := range []struct{ name, value string }{
		{"dir", f.dir}, {"requires", strings.Join(f.requires, ",")}, {"extension", strings.Join(f.extensions, ",")},
	} {
		if cmd.Flags().Changed(flag.name) {
			m.Flags += " --" + flag.name + " " + doctor.Shell(flag.value)
		}
	}
	return m
}

// targetFlags are those that lead other commands to the same database. A URL with
// a password in it is left to a variable, which the shell wants to have a value.
func (f *doctorFlags) targetFlags() string {
	var flags []string
	for _, flag := range []struct{ name, value string }{{"config", f.config}, {"env", f.env}} {
		if flag.value != "" {
			flags = append(flags, "--"+flag.name+" "+doctor.Shell(flag.value))
		}
	}
	switch {
	case f.url == "":
	case holdsPassword(f.url):
		flags = append(flags, `--url "${URL:?}"`)
	default:
		flags = append(flags, "--url "+doctor.Shell(f.url))
	}
	return strings.Join(flags, " ")
}

// holdsPassword reports whether a URL or a keyword string has a secret in it, or
// cannot be read, so that it may.
func holdsPassword(url string) bool {
	if strings.Contains(strings.ToLower(url), "password") {
		return true
	}
	if !isURL(url) {
		return false
	}
	u, err := neturl.Parse(url)
	if err != nil || strings.Contains(u.RawQuery, "%") {
		return true
	}
	_, has := u.User.Password()
	return has
}

// doctorJSON is what --json prints.
type doctorJSON struct {
	Database string          `json:"database"`
	Errors   int             `json:"errors"`
	Warnings int             `json:"warnings"`
	Infos    int             `json:"infos"`
	Findings []doctorFinding `json:"findings"`
	Skipped  []doctorSkipped `json:"skipped"`
}

type doctorFinding struct {
	Code     string   `json:"code"`
	Severity string   `json:"severity"` // error, warning or info
	Where    string   `json:"where"`
	What     string   `json:"what"`
	SQL      []string `json:"fix_sql,omitempty"` // each for psql -c
	Command  string   `json:"fix_command,omitempty"`
}

// doctorSkipped are codes that could not be looked for.
type doctorSkipped struct {
	Codes []string `json:"codes"`
	Error string   `json:"error"`
}

func newDoctorJSON(r *doctor.Report) doctorJSON {
	j := doctorJSON{Database: r.Database, Findings: []doctorFinding{}, Skipped: []doctorSkipped{}}
	for _, f := range r.Findings {
		switch f.Severity {
		case doctor.Error:
			j.Errors++
		case doctor.Warning:
			j.Warnings++
		default:
			j.Infos++
		}
		j.Findings = append(j.Findings, doctorFinding{f.Code, string(f.Severity), f.Where, f.What, f.Fix.SQL, f.Fix.Command})
	}
	for _, s := range r.Skipped {
		j.Skipped = append(j.Skipped, doctorSkipped{s.Codes, s.Err.Error()})
	}
	return j
}

func (j *doctorJSON) summary() string {
	var parts []string
	if j.Errors > 0 {
		parts = append(parts, plural(j.Errors, "error"))
	}
	if j.Warnings > 0 {
		parts = append(parts, plural(j.Warnings, "warning"))
	}
	if j.Infos > 0 {
		parts = append(parts, fmt.Sprintf("%d info", j.Infos))
	}
	return cmp.Or(strings.Join(parts, ", "), "nothing found")
}
