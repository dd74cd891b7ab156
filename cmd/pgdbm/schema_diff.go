package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
)

type diffJSON struct {
	Want        string           `json:"want,omitempty"`   // a schema
	Module      string           `json:"module,omitempty"` // else that of the files
	Have        string           `json:"have"`
	Same        bool             `json:"same"`
	Differences []differenceJSON `json:"differences"`
}

func (j diffJSON) write(out io.Writer) error {
	for _, d := range j.Differences {
		d.write(out)
	}
	if j.Same {
		fmt.Fprintf(out, "schema %s is as %s\n", j.Have, j.reference())
	}
	return nil
}

func (j diffJSON) reference() string {
	if j.Want == "" {
		return "the files of " + j.Module + " say"
	}
	return "schema " + j.Want
}

func newSchemaDiff() *cobra.Command {
	var f schemaFlags
	var dir string
	cmd := &cobra.Command{
		Use:   "diff [WANT] HAVE",
		Short: "Compare two schemas, or one with its module's files",
		Long: `diff compares the schema HAVE with the schema WANT, object by object; or, with
--module and no WANT, with what those of the module's files make that are
recorded there. HAVE is then the module's schema, unless it is given. Data,
comments, owners, grants and the order of columns do not count.

It exits with 3 when they differ. Nothing that it does stays.`,
		Example: "  pgdbm schema diff tenant_1 tenant_7\n  pgdbm schema diff --module billing",
		Args:    maxArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.module == "" && len(args) != 2 {
				return usageError{errors.New("diff needs two schemas, or --module")}
			}
			if f.module != "" && len(args) > 1 {
				return usageError{errors.New("two schemas and --module exclude each other")}
			}
			return f.withDatabase(cmd, func(ctx context.Context, p *place, pool *pgdbm.Pool) error {
				var j *diffJSON
				var err error
				if f.module == "" {
					j, err = diffSchemas(ctx, pool, args[0], args[1])
				} else {
					j, err = f.diffFiles(ctx, cmd, p, pool, dir, args)
				}
				if err != nil {
					return err
				}
				if !j.Same {
					err = codedError{exitDrift, fmt.Errorf("schema %s is not as %s", j.Have, j.reference())}
				}
				return errors.Join(err, f.print(cmd, j))
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&dir, "dir", "migrations", "`folder` of the migrations")
	return cmd
}

// diffFiles compares a schema with what a module's files make.
func (f *schemaFlags) diffFiles(ctx context.Context, cmd *cobra.Command, p *place, pool *pgdbm.Pool, dir string, args []string) (*diffJSON, error) {
	m := moduleFlags{target: f.target, name: f.module, dir: dir, place: p}
	if len(args) == 1 {
		m.schema = args[0]
	}
	chosen, err := m.choose(cmd)
	if err != nil {
		return nil, usageError{err}
	}
	c := &chosen[0]
	if err := mustExist(ctx, pool, "diff of", c.schema); err != nil {
		return nil, err
	}
	db, err := c.handle(pool)
	if err != nil {
		return nil, err
	}
	res, err := migrate.Verify(ctx, db, c.module, nil)
	if err == nil {
		err = res.NotCompared
	}
	if err != nil {
		return nil, err
	}
	j := &diffJSON{Module: f.module, Have: c.schema, Differences: verifyReport(res).Differences}
	j.Same = len(j.Differences) == 0
	return j, nil
}

// diffSchemas compares two schemas. Verify does not report what a schema that is
// some module's has on top of the reference, so it is asked both ways.
func diffSchemas(ctx context.Context, pool *pgdbm.Pool, want, have string) (*diffJSON, error) {
	if err := mustExist(ctx, pool, "diff of", want, have); err != nil {
		return nil, err
	}
	there, err := verifyAgainst(ctx, pool, have, want)
	if err != nil {
		return nil, err
	}
	back, err := verifyAgainst(ctx, pool, want, have)
	if err != nil {
		return nil, err
	}
	for _, d := range back {
		d.Want, d.Have = d.Have, d.Want
		if !slices.Contains(there, d) {
			there = append(there, d)
		}
	}
	slices.SortFunc(there, func(a, b differenceJSON) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return &diffJSON{Want: want, Have: have, Same: len(there) == 0, Differences: there}, nil
}

// verifyAgainst compares schemas without a module: this one has no files, and is
// recorded nowhere.
func verifyAgainst(ctx context.Context, pool *pgdbm.Pool, have, want string) ([]differenceJSON, error) {
	db, err := pool.Schema(have)
	if err != nil {
		return nil, err
	}
	reference, err := pool.Schema(want)
	if err != nil {
		return nil, err
	}
	res, err := migrate.Verify(ctx, db, withoutFiles("pgdbm_schema_diff"), &migrate.VerifyOptions{Against: reference})
	if e, ok := errors.AsType[*pgdbm.MigrationError](err); ok {
		err = fmt.Errorf("diff of schema %q: %w", have, e.Err) // it names a module that is none
	}
	if err != nil {
		return nil, err
	}
	return verifyReport(res).Differences, nil
}
