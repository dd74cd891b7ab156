package main

import (
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/demo"
)

func newDemo() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the three patterns on real data, on a server of its own",
		Long: `demo starts a private PostgreSQL server, loads countries, regions and airports
of the world into it, and shows what pgdbm promises, checking each claim against
the server. It needs PostgreSQL's server binaries and leaves nothing behind. It
exits with 1 if a claim does not hold.`,
		Example: "  pgdbm demo\n  pgdbm demo --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ignoreLibpqEnv()
			report, err := demo.Run(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), report)
			} else {
				err = report.WriteText(cmd.OutOrStdout())
			}
			if err == nil && !report.OK {
				err = errors.New("demo: a claim does not hold")
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as one JSON object")
	return cmd
}

// ignoreLibpqEnv forgets PGHOST, PGSERVICE, PGOPTIONS and the like: they may be
// somebody's production, and the demo's server is its own.
func ignoreLibpqEnv() {
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "PGDBM_") {
			os.Unsetenv(name)
		}
	}
}
