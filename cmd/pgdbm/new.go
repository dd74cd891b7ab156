package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"charm.land/huh/v2"
	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/scaffold"
)

func newNew() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Write a service, an application, a library, or tests",
		Long: `new writes programs and libraries that compile, pass their tests and run at
once. Nothing that exists is overwritten.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newProject(scaffold.Service, "Write a service with a pool of its own (standalone)",
			"service writes an HTTP service with migrations, a health endpoint, tests, a\nDockerfile and a compose file. It opens its own pool: the standalone pattern.",
			"  pgdbm new service orders --module-path example.com/orders"),
		newProject(scaffold.App, "Write an application whose modules share one pool",
			"app writes an HTTP application of several modules, each with its migrations in a\nschema of its own, on one pool: the shared pool pattern. With --tenants every\ntenant has a schema with all modules in it. It asks for the modules if none is\nnamed, on a terminal and where CI is not set.",
			"  pgdbm new app shop --module users --module orders\n  pgdbm new app shop --module users,orders --tenants"),
		newProject(scaffold.Lib, "Write a library that runs alone or in a host (dual-mode)",
			"library writes a package that takes its database as a pgdbm.Source, with tests\nthat run it in every mode: the dual-mode pattern.",
			"  pgdbm new library catalog --module-path example.com/catalog"),
		newTests(),
	)
	return cmd
}

func newProject(kind scaffold.Kind, short, long, example string) *cobra.Command {
	o := scaffold.Options{Kind: kind}
	var asJSON bool
	cmd := &cobra.Command{
		Use:     string(kind) + " NAME",
		Short:   short,
		Long:    long,
		Example: example,
		Args:    oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name, o.Dir, o.Version = args[0], args[0], libraryVersion()
			if _, err := scaffold.ParseName(o.Name); err != nil {
				return usageError{err}
			}
			if err := askModules(cmd, &o); err != nil {
				return err
			}
			files, err := scaffold.Project(o)
			switch {
			case errors.Is(err, scaffold.ErrNoVersion):
				return usageError{fmt.Errorf("new %s: %w: give --replace with a checkout of it", kind, err)}
			case err != nil:
				return usageError{fmt.Errorf("new %s: %w", kind, err)}
			}
			var steps []string
			if workspace() {
				steps = append(steps, "go work use ./"+args[0])
			}
			steps = append(steps, "cd "+args[0])
			if o.Replace == "" {
				steps = append(steps, "go mod tidy")
			}
			return writeScaffold(cmd, asJSON, args[0], files, append(steps, "go test ./..."))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.ModulePath, "module-path", "", "path of the Go module (default example.com/NAME)")
	f.StringVar(&o.Replace, "replace", "", "use the checkout of pgdbm in this folder, in go.mod")
	f.BoolVar(&asJSON, "json", false, "print what was written as one JSON object")
	_ = cmd.MarkFlagDirname("replace")
	if kind == scaffold.App {
		f.StringSliceVar(&o.Modules, "module", nil, "a module of the application; may be repeated")
		f.BoolVar(&o.Tenants, "tenants", false, "give each tenant a schema of its own")
	}
	return cmd
}

// askModules asks for an application's modules where none is named.
func askModules(cmd *cobra.Command, o *scaffold.Options) error {
	if o.Kind != scaffold.App || len(o.Modules) > 0 {
		return nil
	}
	if !mayAsk(cmd) {
		return usageError{errors.New("new app: nobody to ask: give its modules as --module, and --tenants if it has some")}
	}
	names := ""
	questions := []question{{field: huh.NewInput().Title("Which modules does it have? Names with spaces between").
		Placeholder("users orders").Value(&names).Validate(func(s string) error {
		if len(split(s)) == 0 {
			return errors.New("at least one")
		}
		for _, name := range split(s) {
			if _, err := scaffold.ParseName(name); err != nil {
				return err
			}
		}
		return nil
	})}}
	if !cmd.Flags().Changed("tenants") {
		questions = append(questions, question{field: huh.NewSelect[bool]().Title("Are there tenants whose data is kept apart?").
			Value(&o.Tenants).Options(huh.NewOption("No", false), huh.NewOption("Yes, a schema for each", true))})
	}
	if err := ask(cmd, questions); err != nil {
		return err
	}
	o.Modules = split(names)
	return nil
}

func split(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' })
}

func newTests() *cobra.Command {
	var requires []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "tests [FOLDER]",
		Short: "Add tests that run a package's module in every mode",
		Long: `tests adds ` + scaffold.TestFile + ` to the package in a folder, this one if none is named.
The test runs the package's pgdbm.Module alone and in a host, through its
function of a context and a pgdbm.Source, or through pgdbm.Attach where there is
none.`,
		Example: "  pgdbm new tests ./catalog\n  pgdbm new tests ./orders --require example.com/shop/catalog.Module",
		Args:    maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			file, err := scaffold.Tests(dir, requires)
			if err != nil {
				return fmt.Errorf("new tests: %w", err)
			}
			return writeScaffold(cmd, asJSON, dir, []scaffold.File{file}, []string{"go test ./" + filepath.ToSlash(filepath.Clean(dir))})
		},
	}
	cmd.Flags().StringSliceVar(&requires, "require", nil, "a module that this one requires, as\nIMPORTPATH.VARIABLE; may be repeated")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was written as one JSON object")
	return cmd
}

type scaffoldJSON struct {
	Dir   string   `json:"dir"`
	Files []string `json:"files"`
	Next  []string `json:"next"` // commands
}

// writeScaffold writes files and says so.
func writeScaffold(cmd *cobra.Command, asJSON bool, dir string, files []scaffold.File, next []string) error {
	if err := scaffold.Write(dir, files); err != nil {
		return fmt.Errorf("new: %w", err)
	}
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = filepath.ToSlash(filepath.Join(dir, f.Path))
	}
	out := cmd.OutOrStdout()
	if asJSON {
		return writeJSON(out, scaffoldJSON{dir, paths, next})
	}
	for _, p := range paths {
		if _, err := fmt.Fprintln(out, "wrote", p); err != nil {
			return err
		}
	}
	_, err := io.WriteString(out, "\nNext:\n  "+strings.Join(next, "\n  ")+"\n")
	return err
}

// workspace reports whether a go.work is in force here: go commands refuse modules
// that it does not name.
func workspace() bool {
	switch file := os.Getenv("GOWORK"); file {
	case "off":
		return false
	case "":
	default:
		return true
	}
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return true
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return false
}

// libraryVersion is the version of the library that this command was built with;
// empty if that is a checkout.
func libraryVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == scaffold.Library && dep.Replace == nil && dep.Version != "v0.0.0" && dep.Version != "(devel)" {
			return dep.Version
		}
	}
	return ""
}

// oneName checks that there is one argument, which names what the command is about.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("%s needs one NAME, and got %d arguments", cmd.Name(), len(args))}
	}
	return nil
}
