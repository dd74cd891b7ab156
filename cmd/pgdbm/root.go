package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// run executes the command line and returns the exit code. Results go to
// stdout, everything else to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	out, errs := &safeWriter{Writer: stdout}, &safeWriter{Writer: stderr}
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	code, f := codeOf(err), failure{strings.TrimPrefix(err.Error(), "pgdbm: "), detail(err), hint(err)}
	if ctx.Err() != nil || errors.Is(err, errAborted) {
		code, f = exitInterrupted, failure{Error: "interrupted"}
		if at, ok := errors.AsType[*interruptedError](err); ok {
			f.Detail = at.detail
		}
	}
	f.write(errs)
	if code == exitUsage {
		fmt.Fprintf(errs, "Run '%s --help' for usage.\n", cmd.CommandPath())
	}
	if asJSON(cmd, args) && !out.wrote && f.Error != "" {
		if err := f.writeJSON(out, cmd.Name() == "dev"); err != nil {
			return exitFailed
		}
	}
	return code
}

// failure is what is said of an error.
type failure struct {
	Error  string `json:"error"`
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

func (f failure) write(w io.Writer) {
	for _, line := range []struct{ what, text string }{{"pgdbm", f.Error}, {"detail", f.Detail}, {"hint", f.Hint}} {
		if line.text != "" {
			fmt.Fprintf(w, "%s: %s\n", line.what, line.text)
		}
	}
}

// writeJSON writes it as the command does, which may be a line for each object.
func (f failure) writeJSON(w io.Writer, inLine bool) error {
	if !inLine {
		return writeJSON(w, f)
	}
	text, err := json.Marshal(struct {
		Version int `json:"version"`
		failure
	}{jsonVersion, f})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, string(text))
	return err
}

// asJSON reports whether --json is among the flags, also of a command line that
// could not be read to its end.
func asJSON(cmd *cobra.Command, args []string) bool {
	flag := cmd.Flags().Lookup("json")
	return flag != nil && (flag.Value.String() == "true" || !flag.Changed && slices.Contains(args, "--json"))
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
		Args: subcommands,
		RunE: func(cmd *cobra.Command, args []string) error { return cmd.Help() },
		// No command has a hook of its own, which would take the place of this one.
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return checkTimes(cmd) },
	}
	root.SetFlagErrorFunc(flagError)
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
				shell.Args = noArgs
				var lines []string
				for _, line := range strings.Split(shell.Long, "\n") {
					lines = append(lines, fold(line, columns)...)
				}
				shell.Long = strings.Join(lines, "\n")
			}
		}
	}
}

// checkTimes refuses times that are negative.
func checkTimes(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if d, parseErr := time.ParseDuration(flag.Value.String()); flag.Value.Type() == "duration" && parseErr == nil && d < 0 && err == nil {
			err = usageError{fmt.Errorf("--%s: is negative", flag.Name)}
		}
	})
	return err
}

// subcommands refuses what is no subcommand, and names the one that may be meant.
func subcommands(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := usageError{fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())}
	if cmd.SuggestionsMinimumDistance = 2; len(cmd.SuggestionsFor(args[0])) > 0 {
		return hintedError{err, "did you mean " + strings.Join(cmd.SuggestionsFor(args[0]), " or ") + "?"}
	}
	return err
}

// flagError is a usage error, with the flag that may be meant.
func flagError(cmd *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return usageError{err}
	}
	// cobra compares names of commands; so flags become some for a moment.
	names := &cobra.Command{SuggestionsMinimumDistance: 2}
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		names.AddCommand(&cobra.Command{Use: flag.Name, Run: func(*cobra.Command, []string) {}})
	})
	if found := names.SuggestionsFor(unknown.GetSpecifiedName()); len(unknown.GetSpecifiedName()) > 1 && len(found) > 0 {
		return hintedError{usageError{err}, "did you mean --" + strings.Join(found, " or --") + "?"}
	}
	return usageError{err}
}

// maxArgs refuses more arguments.
func maxArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usageError{fmt.Errorf("%s takes at most %s, not %d", cmd.CommandPath(), plural(n, "argument"), len(args))}
		}
		return nil
	}
}

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no arguments, and there is %q", cmd.CommandPath(), args[0])}
	}
	return nil
}
