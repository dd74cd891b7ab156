package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

func newMigrateDump() *cobra.Command {
	var f moduleFlags
	var output string
	cmd := &cobra.Command{
		Use:   "dump",
		Short: "Write what the migrations have made as one SQL file",
		Long: `dump writes the schema's objects, without data, owners and grants, as pg_dump
has them, and the versions that made them. The text changes only when these do,
so it can be kept beside the migrations and be reviewed with them. It needs
pg_dump, of the server's version or a newer one, on the PATH.`,
		Example: "  pgdbm migrate dump --module billing --output billing.sql",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd, func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) error {
				text, err := dumpSchema(ctx, libpqText(f.place.config), db, m)
				switch {
				case err != nil:
					return fmt.Errorf("dump schema %s: %w", db.Schema(), err)
				case output != "":
					if err := replaceFile(output, text); err != nil || !f.asJSON {
						return err
					}
					return writeJSON(cmd.OutOrStdout(), dumpJSON{Module: m.Name, Schema: db.Schema(), File: output})
				case f.asJSON:
					return writeJSON(cmd.OutOrStdout(), dumpJSON{Module: m.Name, Schema: db.Schema(), SQL: string(text)})
				}
				_, err = raw(cmd.OutOrStdout()).Write(text) // as it is in the database
				return err
			})
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&output, "output", "", "`file` to write; else stdout")
	return cmd
}

type dumpJSON struct {
	Module string `json:"module"`
	Schema string `json:"schema"`
	File   string `json:"file,omitempty"` // that of --output, which has the SQL
	SQL    string `json:"sql,omitempty"`
}

func dumpSchema(ctx context.Context, url string, db *pgdbm.DB, m pgdbm.Module) ([]byte, error) {
	status, err := migrate.Status(ctx, db, m, nil)
	if err != nil {
		return nil, err
	}
	var versions []string
	for _, v := range status.Versions {
		if v.Entry != nil && v.State != migrate.Failed {
			versions = append(versions, v.Version)
		}
	}
	text, err := pgDump(ctx, url, db.Schema(), "--schema-only", "--no-owner", "--no-privileges")
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf("-- Module %s in schema %s, versions: %s\n\n", m.Name, db.Schema(), strings.Join(versions, ", "))
	body, err := stableDump(text)
	return append([]byte(head), body...), err
}

// pgDump runs pg_dump for one schema.
func pgDump(ctx context.Context, url, schema string, options ...string) (string, error) {
	t, err := newLibpqTarget(url)
	if err != nil {
		return "", fmt.Errorf("pg_dump: %w", err)
	}
	return t.run(ctx, "pg_dump", append([]string{"--schema=" + quotePattern(schema)}, options...)...)
}

// quotePattern makes a pattern of pg_dump that matches this schema only.
func quotePattern(schema string) string { return `"` + strings.ReplaceAll(schema, `"`, `""`) + `"` }

// unstable begins statements that differ from one pg_dump to the next.
var unstable = regexp.MustCompile(`^(SET [a-z_]+ = |SELECT pg_catalog\.set_config\('search_path')`)

// stableDump returns the statements alone, an empty line between two of them.
func stableDump(text string) ([]byte, error) {
	pieces, err := sqltemplate.Split(text)
	if err != nil {
		return nil, err
	}
	var statements []string
	for _, p := range pieces {
		if s := text[p.Code:p.End]; p.Kind == sqltemplate.Statement && !unstable.MatchString(s) {
			statements = append(statements, s)
		}
	}
	return []byte(strings.Join(statements, "\n\n") + "\n"), nil
}

// replaceFile writes a file whole or not at all.
func replaceFile(name string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
