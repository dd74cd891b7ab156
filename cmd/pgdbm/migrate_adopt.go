package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/projectfile"
	"github.com/pgdbm/pgdbm/migrate"
)

func newMigrateAdopt() *cobra.Command {
	var f moduleFlags
	var o migrate.AdoptOptions
	var from string
	cmd := &cobra.Command{
		Use:   "adopt",
		Short: "Take over a database that another tool has migrated",
		Long: `adopt records as in effect, without running them, the files that another tool
has applied, as its table says: goose, golang-migrate, tern, dbmate or
pgdbm-python. That table is only read; --dry-run writes nothing at all. Files in
the formats of these tools are read as they are. It exits with 3 when the table
and the files do not go together.`,
		Example: `  pgdbm migrate adopt --module billing --dry-run
  pgdbm migrate adopt --module billing --from goose --schema public
  pgdbm migrate adopt --all --from pgdbm-python`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from != "" && !slices.Contains(tools, migrate.Tool(from)) {
				return usageError{fmt.Errorf("--from: %q is none of %s", from, strings.Join(toolNames(), ", "))}
			}
			o.From = migrate.Tool(from)
			return f.eachModule(cmd, true, func(ctx context.Context, db *pgdbm.DB, m pgdbm.Module) (report, error) {
				o := o
				o.Table = cmp.Or(o.Table, pythonTable(f.place.file, o.From))
				j := adoptJSON{Module: m.Name, Schema: db.Schema(), DryRun: o.DryRun, Recorded: []fileJSON{}}
				res, err := migrate.Adopt(ctx, db, m, &o)
				if err != nil {
					j.Error = err.Error()
				} else {
					j.From, j.Table, j.Recorded = string(res.From), res.Table, filesJSON(res.Recorded)
				}
				return j, err
			})
		},
	}
	f.add(cmd)
	f.addAll(cmd)
	cmd.Flags().StringVar(&from, "from", "", "the other `tool` (default: whose table is there)")
	// It fails for a flag that is not there, which the tests of completion notice.
	_ = cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions(toolNames(), cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringVar(&o.Table, "table", "", "its `table`, if it has not the usual name")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "show what would be recorded, and write nothing")
	return cmd
}

// tools are those whose history adopt reads.
var tools = []migrate.Tool{migrate.Goose, migrate.GolangMigrate, migrate.Tern, migrate.Dbmate, migrate.PythonPgdbm}

func toolNames() (names []string) {
	for _, tool := range tools {
		names = append(names, string(tool))
	}
	return names
}

type adoptJSON struct {
	Module   string     `json:"module"`
	Schema   string     `json:"schema"`
	From     string     `json:"from,omitempty"`
	Table    string     `json:"table,omitempty"`
	DryRun   bool       `json:"dry_run"`
	Recorded []fileJSON `json:"recorded"`
	Error    string     `json:"error,omitempty"`
}

func (j adoptJSON) write(out io.Writer) error {
	if j.Error != "" {
		return nil
	}
	verb := "recorded"
	if j.DryRun {
		verb = "found   "
	}
	for _, r := range j.Recorded {
		fmt.Fprintf(out, "%s  %s\n", verb, r.File)
	}
	_, err := fmt.Fprintf(out, "module %s in schema %s: %d files of %s's table %s\n", j.Module, j.Schema, len(j.Recorded), j.From, j.Table)
	return err
}

// pythonTable is the table that the file names, which is that of the Python pgdbm.
// Where no tool is named it counts only when it is not the usual one, which is
// looked for in any case.
func pythonTable(f *projectfile.File, from migrate.Tool) string {
	if f == nil || from != migrate.PythonPgdbm && (from != "" || f.MigrationsTable == "schema_migrations") {
		return ""
	}
	return f.MigrationsTable
}
