package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// run executes the command line and returns the exit code. Results go to
// stdout, everything else to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil || errors.Is(err, errAborted) {
		fmt.Fprintln(stderr, "pgdbm: interrupted")
		return exitInterrupted
	}
	code := codeOf(err)
	if text := err.Error(); text != "" {
		fmt.Fprintf(stderr, "pgdbm: %s\n", text)
	}
	if text := hint(err); text != "" {
		fmt.Fprintf(stderr, "hint: %s\n", text)
	}
	if code == exitUsage {
		fmt.Fprintln(stderr, "Run 'pgdbm --help' for usage.")
	}
	return code
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "pgdbm",
		Short: "Many modules, one PostgreSQL",
		Long: `pgdbm is the companion of the Go library github.com/pgdbm/pgdbm, with which the
modules of a program share one PostgreSQL connection pool, each in a schema of
its own.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		// Without a command: help. With an unknown one: a usage error.
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	color := colorFlag("auto")
	root.PersistentFlags().Var(&color, "color", "colour the output: auto, always or never")
	root.AddCommand(newChoose(), newDB(), newDemo(), newDev(), newDocs(), newDoctor(), newInit(), newMigrate(), newNew(), newSchema(), newServer(), newSkills(), newTenant(), newTest(), newVersion())
	checkCompletion(root)
	return root
}

// checkCompletion makes a shell that the completion does not know a usage error,
// where cobra would print help, and has cobra's texts fit.
func checkCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args = subcommands
			c.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range c.Commands() {
				var lines []string
				for _, line := range strings.Split(shell.Long, "\n") {
					lines = append(lines, fold(line, columns)...)
				}
				shell.Long = strings.Join(lines, "\n")
			}
		}
	}
}

// maxArgs is cobra.MaximumNArgs with the usage exit code.
func maxArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := cobra.MaximumNArgs(n)(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

// noArgs is cobra.NoArgs with the usage exit code.
func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return usageError{err}
	}
	return nil
}
