package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm/pgdbmvet/sqllint"
)

func newMigrateLint() *cobra.Command {
	var t target
	var dir, module, level string
	var o sqllint.Options
	var asJSON, asSARIF bool
	cmd := &cobra.Command{
		Use:   "lint",
		Short: "Find dangerous SQL in migrations, without a server",
		Long: `lint reads the migrations and names the statements that hold up the users of a
table, write it anew or fail half-way, and names that would not follow the
module into another schema. "pgdbm docs lint" has the rules and the safe ways.
With --postgres 14 it names what that version does not know yet.
What is meant as it is says so above the statement: -- pgdbm:allow RULE reason

It exits with 1 when it finds something of the level of --severity or above.`,
		Example: `  pgdbm migrate lint --dir billing/migrations
  pgdbm migrate lint --severity error --sarif >lint.sarif`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			least, ok := sqllint.ParseSeverity(level)
			switch {
			case !ok:
				return usageError{fmt.Errorf("--severity: %q is none of notice, warning, error", level)}
			case o.Postgres != 0 && (o.Postgres < 14 || o.Postgres > 18):
				return usageError{fmt.Errorf("--postgres: %d is none of 14 to 18", o.Postgres)}
			case asJSON && asSARIF:
				return usageError{errors.New("--json and --sarif exclude each other")}
			}
			m, err := t.moduleOf(cmd, module)
			if err != nil {
				return err
			}
			if m != nil {
				if dir, err = m.Dir(); err != nil {
					return usageError{err}
				}
			}
			if info, err := os.Stat(dir); err != nil {
				return usageError{fmt.Errorf("--dir: %w", err)}
			} else if !info.IsDir() {
				return usageError{fmt.Errorf("--dir: %s is not a folder", dir)}
			}
			all, err := sqllint.Run(newFolder(dir), &o)
			if err != nil {
				return err
			}
			found := []sqllint.Finding{}
			for _, f := range all {
				if f.Severity >= least {
					f.File = path.Join(filepath.ToSlash(dir), f.File)
					found = append(found, f)
				}
			}
			out := cmd.OutOrStdout()
			switch {
			case asJSON:
				err = writeJSON(out, lintJSON{findingsJSON(found)})
			case asSARIF:
				err = writeSARIF(out, found)
			default:
				for _, f := range found {
					fmt.Fprintln(out, f)
				}
			}
			if err == nil && len(found) > 0 {
				err = fmt.Errorf("lint: %d findings", len(found))
			}
			return err
		},
	}
	t.addFile(cmd)
	cmd.Flags().StringVar(&module, "module", "", "`name` of a module in pgdbm.toml, for its folder")
	completeModules(cmd, &t)
	cmd.Flags().StringVar(&dir, "dir", "migrations", "`folder` of the migrations")
	cmd.Flags().StringVar(&level, "severity", "warning", "`level`: notice, warning, error")
	cmd.Flags().BoolVar(&o.Tenant, "tenant", false, "the module lives in very many schemas")
	cmd.Flags().IntVar(&o.Postgres, "postgres", 0, "oldest major `version` that the files run on")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&asSARIF, "sarif", false, "print SARIF 2.1.0, for code scanners")
	return cmd
}

type lintJSON struct {
	Findings []findingJSON `json:"findings"`
}

type findingJSON struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Rule     string `json:"rule"`
	Severity string `json:"severity"`
	Text     string `json:"text"`
}

func findingsJSON(found []sqllint.Finding) []findingJSON {
	list := []findingJSON{}
	for _, f := range found {
		list = append(list, findingJSON{f.File, f.Line, f.Column, f.Rule, f.Severity.String(), f.Text})
	}
	return list
}
