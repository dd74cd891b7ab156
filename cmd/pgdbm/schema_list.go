package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
)

type schemaJSON struct {
	Schema  string         `json:"schema" db:"schema"`
	Gone    bool           `json:"gone" db:"-"` // there is but a history of it
	Owner   string         `json:"owner,omitempty" db:"owner"`
	Tables  int            `json:"tables" db:"tables"`
	Bytes   int64          `json:"bytes" db:"bytes"`
	Modules []inSchemaJSON `json:"modules" db:"-"`
}

// inSchemaJSON is a module in one schema.
type inSchemaJSON struct {
	Module   string `json:"module"`
	Versions int    `json:"versions"` // in effect
	Open     int    `json:"open"`     // failed or not ended
}

type schemasJSON struct {
	Schemas   []schemaJSON `json:"schemas"`
	Estimated bool         `json:"estimated,omitempty"` // sizes are as of the last VACUUM or ANALYZE
}

func newSchemaList() *cobra.Command {
	var f databaseFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the schemas and the modules in them",
		Long: `list lists the schemas of the database but PostgreSQL's own, with the modules
that are recorded in them and how many versions of each are in effect. A schema
that is recorded and was dropped is listed as gone. While a table is locked,
sizes are as of the last VACUUM or ANALYZE.`,
		Example: "  pgdbm schema list\n  pgdbm schema list --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.withDatabase(cmd, func(ctx context.Context, _ *place, pool *pgdbm.Pool) error {
				list, estimated, err := readSchemas(ctx, pool)
				if err != nil {
					return err
				}
				return f.print(cmd, schemasJSON{list, estimated})
			})
		},
	}
	f.add(cmd)
	return cmd
}

// readSchemas also reports whether sizes are estimates.
func readSchemas(ctx context.Context, pool *pgdbm.Pool) (list []schemaJSON, estimated bool, err error) {
	list, err = sizedSchemas(ctx, pool, `pg_catalog.pg_total_relation_size(c.oid)`)
	if estimated = isState(err, lockNotAvailable); estimated {
		list, err = sizedSchemas(ctx, pool, `(SELECT sum(r.relpages) * pg_catalog.current_setting('block_size')::bigint FROM pg_catalog.pg_class r
			WHERE r.oid IN (c.oid, c.reltoastrelid) OR r.oid IN (SELECT indexrelid FROM pg_catalog.pg_index WHERE indrelid IN (c.oid, c.reltoastrelid)))`)
	}
	if err != nil {
		return nil, false, err
	}
	index := make(map[string]int)
	for i := range list {
		list[i].Modules = []inSchemaJSON{}
		index[list[i].Schema] = i
	}
	ledger, err := readLedger(ctx, pool)
	for _, r := range ledger {
		i, ok := index[r.Schema]
		if !ok {
			i = len(list)
			index[r.Schema] = i
			list = append(list, schemaJSON{Schema: r.Schema, Gone: true})
		}
		list[i].Modules = append(list[i].Modules, inSchemaJSON{r.Module, r.InEffect, r.Open})
	}
	return list, estimated, err
}

// sizedSchemas takes the size of a table by an expression. It waits for no lock of
// others, as the size of a table does.
func sizedSchemas(ctx context.Context, pool *pgdbm.Pool, size string) (list []schemaJSON, err error) {
	err = pgx.BeginTxFunc(ctx, pool.Pgx(), pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '100ms'"); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT nspname AS schema, pg_catalog.pg_get_userbyid(nspowner) AS owner,
			count(c.oid) FILTER (WHERE relkind IN ('r', 'p'))::int AS tables,
			coalesce(sum(`+size+`) FILTER (WHERE relkind IN ('r', 'm')), 0)::bigint AS bytes
			FROM pg_catalog.pg_namespace n LEFT JOIN pg_catalog.pg_class c ON relnamespace = n.oid AND relkind IN ('r', 'p', 'm')
			WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\_%' GROUP BY n.oid ORDER BY nspname COLLATE "C"`)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, pgx.RowToStructByName[schemaJSON])
		return err
	})
	return list, err
}

func (j schemasJSON) write(out io.Writer) error {
	var rows [][]string
	for _, s := range j.Schemas {
		var modules []string
		for _, m := range s.Modules {
			text := fmt.Sprintf("%s (%d)", m.Module, m.Versions)
			if m.Open > 0 {
				text = fmt.Sprintf("%s (%d, %d open)", m.Module, m.Versions, m.Open)
			}
			modules = append(modules, text)
		}
		row := []string{s.Schema, "-", "gone", "-", strings.Join(modules, ", ")}
		if !s.Gone {
			row[1], row[2], row[3] = s.Owner, fmt.Sprint(s.Tables), sizeText(s.Bytes)
		}
		rows = append(rows, row)
	}
	err := writeTable(out, []string{"SCHEMA", "OWNER", "TABLES", "SIZE", "MODULES"}, rows, 1)
	if j.Estimated {
		fmt.Fprintln(out, "A table is locked: sizes are as of the last VACUUM or ANALYZE.")
	}
	return err
}

// schemaChange is what a command did to a schema.
type schemaChange struct {
	Schema  string   `json:"schema"`
	Created *bool    `json:"created,omitempty"`
	Dropped *bool    `json:"dropped,omitempty"`
	Modules []string `json:"modules,omitempty"` // whose history went with it
}

func (c schemaChange) write(out io.Writer) error {
	text := fmt.Sprintf("schema %s exists already", c.Schema)
	switch {
	case c.Created != nil && *c.Created:
		text = "created schema " + c.Schema
	case c.Dropped != nil && len(c.Modules) > 0:
		text = fmt.Sprintf("dropped schema %s, and the history of %s in it", c.Schema, strings.Join(c.Modules, ", "))
	case c.Dropped != nil:
		text = "dropped schema " + c.Schema
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

func newSchemaCreate() *cobra.Command {
	var f schemaFlags
	cmd := &cobra.Command{
		Use:   "create [SCHEMA]",
		Short: "Create a schema",
		Long: `create creates a schema, empty. One that exists is left as it is, which is no
error. Migrations create the schema that they need; this is for a role that may
not, and to grant something on it before.`,
		Example: "  pgdbm schema create reports\n  pgdbm schema create --module billing",
		Args:    maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withDatabase(cmd, func(ctx context.Context, p *place, pool *pgdbm.Pool) error {
				name, err := f.mustName(p, args)
				if err != nil {
					return err
				}
				if _, err := pool.Schema(name); err != nil {
					return usageError{err}
				}
				created := true
				_, err = pool.Pgx().Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{name}.Sanitize())
				if isState(err, duplicateSchema) {
					created, err = false, nil
				}
				if err != nil {
					return fmt.Errorf("create schema %q: %w", name, err)
				}
				return f.print(cmd, schemaChange{Schema: name, Created: &created})
			})
		},
	}
	f.add(cmd)
	return cmd
}
