package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
)

// leftover is what pgdbm has left and nobody needs.
type leftover struct {
	Schema  string   `json:"schema"`
	What    string   `json:"what"` // "gone" or "empty"
	Modules []string `json:"modules"`
}

type cleanJSON struct {
	DryRun    bool       `json:"dry_run"`
	Leftovers []leftover `json:"leftovers"` // with an error: those that were cleaned
	Error     string     `json:"error,omitempty"`
}

func newSchemaClean() *cobra.Command {
	var f databaseFlags
	var agree consent
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "clean",
		Short: "Drop what migrations have left and nobody needs",
		Long: `clean looks at the schemas that the history knows, and at no others:

  gone   the schema was dropped, and its history is there: it is forgotten
  empty  nothing is in the schema, and of none of its modules any version is in
         effect, as after a first migration that failed: the schema is dropped,
         and what failed is forgotten

A schema with anything in it stays, and so does one that the history does not
know. With --dry-run nothing is done. It asks, or takes --yes, and in production
--confirm.`,
		Example: "  pgdbm schema clean --dry-run\n  pgdbm schema clean --yes",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withDatabase(cmd, func(ctx context.Context, p *place, pool *pgdbm.Pool) error {
				found, err := findLeftovers(ctx, pool)
				if err != nil {
					return err
				}
				j := cleanJSON{DryRun: dryRun, Leftovers: found}
				if !dryRun && len(found) > 0 {
					if err := agree.ask(cmd, p, cleanQuestion(found)); err != nil {
						return err
					}
					j.Leftovers = []leftover{}
					for _, l := range found {
						if one := l.clean(ctx, pool); one != nil {
							err = errors.Join(err, one)
						} else {
							j.Leftovers = append(j.Leftovers, l)
						}
					}
				}
				if err != nil {
					j.Error = err.Error()
				}
				return errors.Join(err, f.print(cmd, j))
			})
		},
	}
	f.add(cmd)
	agree.add(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be cleaned, and do nothing")
	return cmd
}

// cleanQuestion names the schemas.
func cleanQuestion(found []leftover) string {
	const most = 10
	var names []string
	for _, l := range found[:min(most, len(found))] {
		names = append(names, fmt.Sprintf("%s (%s)", l.Schema, l.What))
	}
	if more := len(found) - most; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("Clean up %s?", strings.Join(names, ", "))
}

func (j cleanJSON) write(out io.Writer) error {
	verbs := map[string]string{"gone": "forgotten", "empty": "dropped"}
	if j.DryRun {
		verbs = map[string]string{"gone": "gone", "empty": "empty"}
	}
	var rows [][]string
	for _, l := range j.Leftovers {
		for _, m := range l.Modules {
			rows = append(rows, []string{verbs[l.What], l.Schema, "module " + m})
		}
	}
	if len(rows) == 0 && j.Error == "" {
		_, err := fmt.Fprintln(out, "nothing to clean")
		return err
	}
	return writeTable(out, nil, rows)
}

func findLeftovers(ctx context.Context, pool *pgdbm.Pool) ([]leftover, error) {
	list, _, err := readSchemas(ctx, pool)
	if err != nil {
		return nil, err
	}
	found := []leftover{}
	for _, s := range list {
		l := leftover{Schema: s.Schema, What: "gone"}
		inEffect := 0
		for _, m := range s.Modules {
			l.Modules = append(l.Modules, m.Module)
			inEffect += m.Versions
		}
		if len(l.Modules) == 0 {
			continue
		}
		if !s.Gone {
			if inEffect > 0 || refuseShared("clean", s.Schema) != nil {
				continue
			}
			empty, err := isEmpty(ctx, pool, s.Schema)
			if err != nil {
				return nil, err
			}
			if !empty {
				continue
			}
			l.What = "empty"
		}
		found = append(found, l)
	}
	return found, nil
}

// clean drops what is left, unless somebody has used it since.
func (l leftover) clean(ctx context.Context, pool *pgdbm.Pool) error {
	_, err := dropSchema(ctx, pool, l.Schema, &migrate.DropSchemaOptions{Leftover: true})
	return err
}
