package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm/localpg"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

func newTest() *cobra.Command {
	var url string
	cmd := &cobra.Command{
		Use:   "test",
		Short: "List and drop the databases that tests made",
		Long: `test shows what tests that use pgdbmtest have on their server: templates, the
databases of tests that run, and those that failed tests kept. The server is
that of --url, else of PGDBM_TEST_URL, else each private server that runs.`,
		Args: subcommands,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&url, "url", "", "`URL` of the tests' server")
	cmd.AddCommand(newTestList(&url), newTestDrop(&url), newTestSweep(&url))
	return cmd
}

// eachTestServer calls fn with the URL of each server that tests may use. A private
// one that ends meanwhile, as its last user does, is none.
func eachTestServer(url string, fn func(server string) error) error {
	if url == "" {
		url = os.Getenv("PGDBM_TEST_URL")
	}
	if url != "" {
		return fn(url)
	}
	servers, err := localpg.List()
	if err != nil {
		return err
	}
	for _, s := range servers {
		if !s.Shared {
			continue
		}
		if err := fn(s.URL); err != nil && !hasEnded(s.ID) {
			return err
		}
	}
	return nil
}

// hasEnded reports whether a private server does not run any more.
func hasEnded(id string) bool {
	servers, err := localpg.List()
	return err == nil && !slices.ContainsFunc(servers, func(s localpg.Info) bool { return s.ID == id })
}

type databasesJSON struct {
	Databases []databaseJSON `json:"databases"`
}

type sweptJSON struct {
	Dropped []string `json:"dropped"`
}

type databaseJSON struct {
	Name    string     `json:"name"`
	Kind    string     `json:"kind"`
	Live    bool       `json:"live"`
	Package string     `json:"package,omitempty"`
	Test    string     `json:"test,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	Bytes   int64      `json:"bytes"`
	URL     string     `json:"url,omitempty"`
}

func newTestList(url *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the databases of tests",
		Long:    `ls lists the databases of tests; of those that were kept, with the URL to open.`,
		Example: "  pgdbm test ls\n  pgdbm test ls --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ignoreLibpqEnv()
			var all []pgdbmtest.Database
			err := eachTestServer(*url, func(server string) error {
				list, err := pgdbmtest.Databases(cmd.Context(), server)
				all = append(all, list...)
				return err
			})
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return writeJSON(out, databaseReport(all))
			}
			if len(all) == 0 {
				fmt.Fprintln(out, "no databases of tests")
				return nil
			}
			var rows [][]string
			for _, d := range all {
				use := "-"
				if d.Live {
					use = "in use"
				}
				rows = append(rows, []string{d.Name, string(d.Kind), use, since(d.Since), sizeText(d.Bytes), d.Test})
			}
			if err := writeTable(out, []string{"DATABASE", "KIND", "USE", "AGE", "SIZE", "TEST"}, rows); err != nil {
				return err
			}
			for _, d := range all {
				if d.Kind == pgdbmtest.KindKept {
					fmt.Fprintf(out, "\n%s kept %s:\n  psql %q\n", d.Test, d.Name, d.URL)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func databaseReport(all []pgdbmtest.Database) databasesJSON {
	r := databasesJSON{[]databaseJSON{}}
	for _, d := range all {
		j := databaseJSON{Name: d.Name, Kind: string(d.Kind), Live: d.Live, Package: d.Package, Test: d.Test, Bytes: d.Bytes, URL: d.URL}
		if !d.Since.IsZero() {
			j.Since = &d.Since
		}
		r.Databases = append(r.Databases, j)
	}
	return r
}

func newTestDrop(url *string) *cobra.Command {
	return &cobra.Command{
		Use:     "drop DATABASE...",
		Short:   "Drop databases of tests",
		Long:    `drop drops databases that "pgdbm test ls" lists and no test is using.`,
		Example: "  pgdbm test drop pgdbmt_0123456789ab_1f2e3d4c_1",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("drop needs the name of a database: see pgdbm test ls")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, names []string) error {
			ignoreLibpqEnv()
			for _, name := range names {
				if err := dropTestDatabase(cmd.Context(), *url, name); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "dropped %s\n", name)
			}
			return nil
		},
	}
}

// dropTestDatabase drops a database on the server that has it.
func dropTestDatabase(ctx context.Context, url, name string) error {
	found := false
	err := eachTestServer(url, func(server string) error {
		list, err := pgdbmtest.Databases(ctx, server)
		if err != nil || found || !slices.ContainsFunc(list, func(d pgdbmtest.Database) bool { return d.Name == name }) {
			return err
		}
		found = true
		return pgdbmtest.Drop(ctx, server, name)
	})
	if err == nil && !found {
		err = fmt.Errorf("no database %q of tests", name)
	}
	return err
}

func newTestSweep(url *string) *cobra.Command {
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Drop what killed tests left",
		Long: `sweep drops the databases of test processes that no longer live. Every test
process does it when it starts; databases of living ones are never touched.
With --all it drops templates that nobody uses and what failed tests kept, too.`,
		Example: "  pgdbm test sweep --all",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ignoreLibpqEnv()
			dropped := []string{}
			err := eachTestServer(*url, func(server string) error {
				names, err := pgdbmtest.Sweep(cmd.Context(), server, all)
				dropped = append(dropped, names...)
				return err
			})
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), sweptJSON{dropped})
			}
			for _, name := range dropped {
				fmt.Fprintf(cmd.OutOrStdout(), "dropped %s\n", name)
			}
			if len(dropped) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing to drop")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also idle templates and what failed tests kept")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}
