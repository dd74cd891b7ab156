package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

type versionReport struct {
	Pgdbm    string `json:"pgdbm"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // since the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersion() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of the command",
		Long: `version prints the version of the command, which is that of the library in it,
and what it was built from. A build of a checkout has no version: (devel).`,
		Example: "  pgdbm version\n  pgdbm version --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := readVersion()
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), r)
			}
			return r.write(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func readVersion() versionReport {
	r := versionReport{Pgdbm: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return r
	}
	if info.Main.Version != "" {
		r.Pgdbm = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			r.Commit = s.Value
		case "vcs.modified":
			r.Modified = s.Value == "true"
		}
	}
	return r
}

func (r versionReport) write(out io.Writer) error {
	commit := ""
	if r.Commit != "" {
		commit = ", commit " + r.Commit[:min(12, len(r.Commit))]
	}
	if r.Modified {
		commit += " with changes"
	}
	_, err := fmt.Fprintf(out, "pgdbm %s%s, %s, %s\n", r.Pgdbm, commit, r.Go, r.Platform)
	return err
}
