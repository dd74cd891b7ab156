package main

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm/docs"
)

func newDocs() *cobra.Command {
	return &cobra.Command{
		Use:   "docs [PAGE]",
		Short: "Print a page of the documentation",
		Long: `docs prints a page of the documentation of this version, in Markdown; without a
name the list of pages.`,
		Example: "  pgdbm docs\n  pgdbm docs shared-pool",
		Args:    maxArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return pageNames(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			page := "README"
			if len(args) == 1 {
				page = strings.TrimSuffix(strings.TrimPrefix(args[0], "docs/"), ".md")
			}
			text, err := fs.ReadFile(docs.FS(), page+".md")
			if err != nil {
				return usageError{fmt.Errorf("docs: no page %q; there are %s", page, strings.Join(pageNames(), ", "))}
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}

func pageNames() []string {
	names, _ := fs.Glob(docs.FS(), "*.md") // the pattern is good
	for i, name := range names {
		names[i] = strings.TrimSuffix(name, ".md")
	}
	return names
}
