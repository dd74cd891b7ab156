package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
)

// report is what a command has to say of one module: --json prints it as it is.
type report interface{ write(out io.Writer) error }

// eachModule runs fn for the module that was chosen, or with --all for one after
// the other, and prints what it reports, also beside an error. A nil report has
// nothing to say. With stop nothing begins unless all modules can be planned, and
// the first error ends it; without, all are tried, and what is pending counts less
// than other errors.
func (f *moduleFlags) eachModule(cmd *cobra.Command, stop bool, fn func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) (report, error)) error {
	return f.withPool(cmd, func(ctx context.Context, pool *pgdbm.Pool) error {
		one := func(c *chosen) (report, error) {
			if c.none != nil {
				return c.withoutFiles(ctx, pool)
			}
			db, err := c.handle(pool)
			if err != nil {
				return nil, err
			}
			r, err := fn(ctx, db, c.module)
			return r, c.interrupted(ctx, db, err)
		}
		out := cmd.OutOrStdout()
		if !f.all {
			r, err := one(&f.chosen[0])
			switch {
			case r == nil:
				return err
			case f.asJSON:
				return errors.Join(err, writeJSON(out, r))
			}
			return errors.Join(err, r.write(out))
		}
		a := allJSON{Modules: []any{}}
		var errs []error
		if stop {
			errs = f.refusals(ctx, pool)
		}
		for i := range f.chosen {
			c := &f.chosen[i]
			if stop && len(errs) > 0 || ctx.Err() != nil {
				a.Remaining = append(a.Remaining, c.module.Name)
				continue
			}
			if !f.asJSON {
				fmt.Fprintf(out, "== %s in schema %s\n", c.module.Name, c.schema)
			}
			r, err := one(c)
			if !f.asJSON && r != nil {
				err = errors.Join(err, r.write(out))
			}
			if err != nil {
				errs = append(errs, err)
			}
			if r == nil {
				r = failureJSON{c.module.Name, c.schema, err.Error()}
			}
			a.Modules = append(a.Modules, r)
		}
		err := worst(errs)
		if f.asJSON {
			if err != nil {
				a.Error = err.Error()
			}
			return errors.Join(err, writeJSON(out, a))
		}
		for _, name := range a.Remaining {
			fmt.Fprintf(out, "== %s: not begun\n", name)
		}
		return err
	})
}

// noFilesJSON is a module that has no files yet.
type noFilesJSON struct {
	Module  string `json:"module"`
	Schema  string `json:"schema"`
	NoFiles string `json:"no_files"` // where they are to be
}

func (j noFilesJSON) write(out io.Writer) error {
	_, err := fmt.Fprintf(out, "no files yet in %s\n", j.NoFiles)
	return err
}

// withoutFiles is the report of a module that has no files, which has had none.
func (c *chosen) withoutFiles(ctx context.Context, pool *pgdbm.Pool) (report, error) {
	ledger, err := readLedger(ctx, pool)
	if err != nil {
		return nil, err
	}
	for _, r := range ledger {
		if r.Module == c.module.Name && r.Schema == c.schema && r.InEffect > 0 {
			return nil, codedError{exitDrift, fmt.Errorf("%w, and schema %q has %s of it", c.none, c.schema, plural(r.InEffect, "version"))}
		}
	}
	return noFilesJSON{c.module.Name, c.schema, c.dir}, nil
}

// refusals are why modules would not be migrated.
func (f *moduleFlags) refusals(ctx context.Context, pool *pgdbm.Pool) (errs []error) {
	for i := range f.chosen {
		c := &f.chosen[i]
		if c.none != nil {
			continue
		}
		db, err := c.handle(pool)
		if err == nil {
			_, err = migrate.Plan(ctx, db, c.module, nil)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// allJSON is what --all prints: what the command prints of each module.
type allJSON struct {
	Modules   []any    `json:"modules"`
	Remaining []string `json:"remaining,omitempty"` // not begun
	Error     string   `json:"error,omitempty"`
}

// failureJSON stands for a module of which there is nothing but an error.
type failureJSON struct {
	Module string `json:"module"`
	Schema string `json:"schema"`
	Error  string `json:"error"`
}

func (failureJSON) write(io.Writer) error { return nil }

// worst joins errors, those of what is pending only when there are no others.
func worst(errs []error) error {
	var others []error
	for _, err := range errs {
		if coded, ok := errors.AsType[codedError](err); !ok || coded.code != exitPending {
			others = append(others, err)
		}
	}
	if len(others) == 0 && len(errs) > 0 {
		return errPending
	}
	return errors.Join(others...)
}
