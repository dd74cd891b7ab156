package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/projectfile"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/scaffold"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

func newInit() *cobra.Command {
	var modules []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "init [NAME]",
		Short: "Write pgdbm.toml and the folders of migrations",
		Long: `init writes pgdbm.toml of a project into this folder, with the environments dev,
test and prod, and makes the folder of each module's migrations: migrations, for
a module of the project's name, or MODULE/migrations for each --module. Without
a name the project has that of the folder. Nothing that exists is overwritten.`,
		Example: "  pgdbm init\n  pgdbm init shop --module users --module billing",
		Args:    maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := projectName(args)
			if err != nil {
				return usageError{err}
			}
			if most := longestName - len("_test"); len(name) > most {
				return usageError{fmt.Errorf("the project's name has %d bytes, and its databases, NAME_dev and NAME_test, leave %d: give a shorter one", len(name), most)}
			}
			folders := map[string]string{}
			for _, m := range modules {
				if err := sqltemplate.ValidateModule(m); err != nil {
					return usageError{fmt.Errorf("--module: %w", err)}
				}
				if folders[m] != "" {
					return usageError{fmt.Errorf("--module: %s is there twice", m)}
				}
				folders[m] = m + "/migrations"
			}
			if len(modules) == 0 {
				modules, folders[name] = []string{name}, "migrations"
			}
			text := projectText(name, modules, folders)
			// The file comes last: where it is, nothing is made, and init can be run
			// again after a folder could not be made.
			if _, err := os.Lstat(projectfile.DefaultPath); errors.Is(err, fs.ErrNotExist) {
				for _, m := range modules {
					if err := os.MkdirAll(filepath.FromSlash(folders[m]), 0o777); err != nil {
						return fmt.Errorf("init: %w", err)
					}
				}
			}
			if err := scaffold.Write(".", []scaffold.File{{Path: projectfile.DefaultPath, Text: []byte(text)}}); err != nil {
				return fmt.Errorf("init: %w", err)
			}
			return reportInit(cmd, asJSON, modules, folders)
		},
	}
	cmd.Flags().StringSliceVar(&modules, "module", nil, "`name` of a module; may be repeated")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was made as one JSON object")
	return cmd
}

// projectName is the argument, else the folder's name as far as it can be one.
func projectName(args []string) (string, error) {
	if len(args) == 1 {
		return args[0], sqltemplate.ValidateModule(args[0])
	}
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	name := strings.NewReplacer("-", "_", " ", "_", ".", "_").Replace(strings.ToLower(filepath.Base(folder)))
	if sqltemplate.ValidateModule(name) != nil {
		return "", errors.New("the folder's name cannot be that of a module: give a name")
	}
	return name, nil
}

func projectText(name string, modules []string, folders map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Where the databases are, and which modules there are. All keys:
# pgdbm docs configuration

[project]
name = "%[1]s"
default_env = "dev"

[environments.dev]
host = "localhost"
port = 5432
database = "%[1]s_dev"
# user = "postgres"
# password = "${DEV_PASSWORD}"

[environments.test]
host = "localhost"
port = 5432
database = "%[1]s_test"

[environments.prod]
url = "${DATABASE_URL}"
`, name)
	for _, m := range modules {
		fmt.Fprintf(&b, "\n[modules.%s]\nmigrations_path = \"%s\"\nschema = \"%[1]s\"\ndepends_on = []\n", m, folders[m])
	}
	return b.String()
}

type initJSON struct {
	Paths []string `json:"paths"`
	Next  []string `json:"next"` // commands
}

func reportInit(cmd *cobra.Command, asJSON bool, modules []string, folders map[string]string) error {
	paths := []string{projectfile.DefaultPath}
	for _, m := range modules {
		paths = append(paths, folders[m])
	}
	next := []string{"pgdbm db create"}
	for _, m := range modules {
		next = append(next, "pgdbm migrate new create_tables --module "+m)
	}
	next = append(next, "pgdbm migrate up --all")
	out := cmd.OutOrStdout()
	if asJSON {
		return writeJSON(out, initJSON{paths, next})
	}
	for _, p := range paths {
		fmt.Fprintln(out, "made", p)
	}
	_, err := fmt.Fprintf(out, "\nNext:\n  %s\n", strings.Join(next, "\n  "))
	return err
}
