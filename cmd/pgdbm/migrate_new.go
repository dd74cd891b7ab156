package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// migrationName is what names of migrations are made of.
var migrationName = regexp.MustCompile(`^[a-z0-9][a-z0-9_]*$`)

type newFileJSON struct {
	File string `json:"file"`
}

func newMigrateNew() *cobra.Command {
	var t target
	var dir, module string
	var down, noTransaction, timestamp, repeatable, asJSON bool
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write the next migration file",
		Long: `new writes a migration that does nothing yet, numbered behind those of the
folder in their style: 004_name.sql, V4__name.sql or 20060102150405_name.sql;
with --repeatable R__name.sql, for a view or a function.`,
		Example: `  pgdbm migrate new add_invoices --module billing
  pgdbm migrate new add_invoices --dir billing/migrations --down`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("new needs one name, such as add_invoices")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name := strings.ToLower(strings.NewReplacer(" ", "_", "-", "_").Replace(args[0]))
			if !migrationName.MatchString(name) {
				return usageError{fmt.Errorf("name %q: not letters, digits and _", args[0])}
			}
			if repeatable && (down || noTransaction || timestamp) {
				return usageError{errors.New("--repeatable excludes --down, --no-transaction and --timestamp")}
			}
			m, err := t.moduleOf(cmd, module)
			if err != nil {
				return err
			}
			if m != nil {
				dir = m.Path()
			}
			head := "R__"
			if !repeatable {
				head, err = nextNumber(dir, timestamp, time.Now().UTC())
			}
			if err != nil {
				return err
			}
			path := filepath.Join(dir, head+name+".sql")
			if err := writeMigration(path, migrationText(down, noTransaction)); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), newFileJSON{path})
			}
			fmt.Fprintln(cmd.OutOrStdout(), path)
			return nil
		},
	}
	t.addFile(cmd)
	cmd.Flags().StringVar(&module, "module", "", "`name` of a module in pgdbm.toml, for its folder")
	completeModules(cmd, &t)
	cmd.Flags().StringVar(&dir, "dir", "migrations", "`folder` of the migrations")
	cmd.Flags().BoolVar(&down, "down", false, "with a part that reverts it")
	cmd.Flags().BoolVar(&noTransaction, "no-transaction", false, "for CREATE INDEX CONCURRENTLY and its like")
	cmd.Flags().BoolVar(&timestamp, "timestamp", false, "number it by the time, in a folder that is empty")
	cmd.Flags().BoolVar(&repeatable, "repeatable", false, "R__name.sql, which runs again whenever it changes")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

var numbered = regexp.MustCompile(`^(V?)([0-9]+)(_+)`)

// nextNumber is the beginning of the next file's name, in the style of the
// highest one.
func nextNumber(dir string, timestamp bool, now time.Time) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("--dir: %w", err)
	}
	const stamp = "20060102150405"
	highest, style := int64(-1), []string{"", "", "", "_"}
	for _, e := range entries {
		m := numbered.FindStringSubmatch(e.Name())
		if m == nil || filepath.Ext(e.Name()) != ".sql" {
			continue
		}
		n, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil {
			return "", fmt.Errorf("%s: its number is too large", filepath.Join(dir, e.Name()))
		}
		if n > highest {
			highest, style = n, m
		}
	}
	switch {
	case highest < 0 && timestamp, len(style[2]) == len(stamp):
		n, err := strconv.ParseInt(now.Format(stamp), 10, 64)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s%d%s", style[1], max(n, highest+1), style[3]), nil
	case highest < 0:
		return "001_", nil
	}
	return fmt.Sprintf("%s%0*d%s", style[1], len(style[2]), highest+1, style[3]), nil
}

// migrationText is a file that can be applied as it is.
func migrationText(down, noTransaction bool) string {
	var b strings.Builder
	if noTransaction {
		b.WriteString("-- pgdbm:no-transaction\n")
	}
	b.WriteString("-- Name tables as {{tables.name}}: the handle puts the schema in.\nSELECT 1; -- what it does\n")
	if down {
		b.WriteString("\n-- pgdbm:down\nSELECT 1; -- what reverts it\n")
	}
	return b.String()
}

// writeMigration makes a file, and never over another.
func writeMigration(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
