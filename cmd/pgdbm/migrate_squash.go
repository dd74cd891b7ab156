package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing/fstest"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/localpg"
	"github.com/pgdbm/pgdbm/migrate"
)

type squashJSON struct {
	File     string `json:"file"`
	Replaces string `json:"replaces"` // versions
}

func newMigrateSquash() *cobra.Command {
	var t target
	var dir, module, name string
	var requires, extensions []string
	var data, asJSON bool
	cmd := &cobra.Command{
		Use:   "squash",
		Short: "Write one migration that stands for all so far",
		Long: `squash applies the migrations of a folder to a private server, writes what they
have made as one migration that replaces them (-- pgdbm:replaces), and checks
that it makes the same. New schemas get that file alone; where the others have
run, it is recorded and does not run. Delete them once every database has them.

Repeatable files, R__x.sql, stay as they are. Rows that migrations insert are
refused unless --data puts them into the file. Modules that it requires are made
beside it, from the files that pgdbm.toml or --requires NAME=FOLDER has. It
needs pg_dump on the PATH, of the server's version or a newer one.`,
		Example: `  pgdbm migrate squash --module billing
  pgdbm migrate squash --module billing --name start --data
  pgdbm migrate squash --module billing --requires users=users/migrations`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if module == "" {
				return usageError{errors.New("--module: required")}
			}
			if !migrationName.MatchString(name) {
				return usageError{fmt.Errorf("--name: %q is not letters, digits and _", name)}
			}
			file, err := t.file()
			if err != nil {
				return err
			}
			if file != nil && file.Module(module) != nil {
				m := file.Module(module)
				if !cmd.Flags().Changed("dir") {
					if dir, err = m.Dir(); err != nil {
						return usageError{err}
					}
				}
				if !cmd.Flags().Changed("requires") {
					requires = m.DependsOn
				}
				if !cmd.Flags().Changed("extension") {
					extensions = m.Extensions
				}
			}
			needs, err := neededModules(file, requires)
			if err != nil {
				return usageError{fmt.Errorf("--requires: %w", err)}
			}
			old, err := readVersions(dir)
			if err != nil {
				return usageError{fmt.Errorf("--dir: %w", err)}
			}
			s := squash{module: pgdbm.Module{Name: module, Files: old.files, Extensions: extensions}, data: data, needs: needs, aliases: make(map[string]string)}
			for _, n := range needs {
				s.module.Requires = append(s.module.Requires, n.module.Name)
			}
			text, err := s.write(cmd.Context(), old)
			if err != nil {
				return fmt.Errorf("squash module %s: %w", module, err)
			}
			head, err := nextNumber(dir, false, time.Now().UTC())
			if err != nil {
				return err
			}
			path := filepath.Join(dir, head+name+".sql")
			if err := writeMigration(path, text); err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), squashJSON{path, old.span()})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s replaces %s\n", path, old.span())
			return nil
		},
	}
	t.addFile(cmd)
	cmd.Flags().StringVar(&dir, "dir", "migrations", "`folder` of the migrations")
	cmd.Flags().StringVar(&module, "module", "", "the module's `name`")
	completeModules(cmd, &t)
	cmd.Flags().StringVar(&name, "name", "squash", "its `name`, without number")
	cmd.Flags().StringSliceVar(&requires, "requires", nil, "`modules` that it requires, as NAME or\nNAME=FOLDER")
	cmd.Flags().StringSliceVar(&extensions, "extension", nil, "`extensions` that the module needs")
	cmd.Flags().BoolVar(&data, "data", false, "put the rows that migrations insert into the file")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// versions are the files of a folder that are not repeatable.
type versions struct {
	files         fstest.MapFS
	lowest, above int64 // the highest version is one less than above
}

func (v versions) span() string { return fmt.Sprintf("%d-%d", v.lowest, v.above-1) }

func readVersions(dir string) (versions, error) {
	v := versions{files: make(fstest.MapFS), lowest: -1}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return v, err
	}
	for _, e := range entries {
		m := numbered.FindStringSubmatch(e.Name())
		if m == nil || filepath.Ext(e.Name()) != ".sql" || !e.Type().IsRegular() {
			continue
		}
		n, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil {
			return v, fmt.Errorf("%s: its number is too large", e.Name())
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return v, err
		}
		v.files[e.Name()] = &fstest.MapFile{Data: text}
		if v.lowest < 0 || n < v.lowest {
			v.lowest = n
		}
		v.above = max(v.above, n+1)
	}
	if len(v.files) == 0 {
		return v, fmt.Errorf("no migrations in %s", dir)
	}
	return v, nil
}

// squash makes one migration of many on a server of its own.
type squash struct {
	module pgdbm.Module
	data   bool
	pool   *pgdbm.Pool
	url    string

	needs   []squashNeed
	aliases map[string]string // where they are
}

// The schemas in which the two are compared. No text of anybody's holds these
// names, so they can be found in what pg_dump writes.
const squashSchema, squashedSchema = "pgdbm_squash_71c3f0d2", "pgdbm_squash_again"

func (s *squash) write(ctx context.Context, old versions) (string, error) {
	server, err := localpg.Start(ctx, &localpg.Options{Fetch: true})
	if err != nil {
		return "", err
	}
	defer server.Stop(context.WithoutCancel(ctx)) // it ends with the process in any case
	s.url = server.URL("postgres")
	if s.pool, err = pgdbm.Open(ctx, pgdbm.Config{URL: s.url, ApplicationName: "pgdbm migrate squash", MaxConns: 4,
		Logger: slog.New(slog.DiscardHandler)}); err != nil {
		return "", err
	}
	defer s.pool.Close()
	if err := s.attachNeeds(ctx); err != nil {
		return "", err
	}
	before, err := s.needsState(ctx)
	if err != nil {
		return "", err
	}
	outside, err := s.outside(ctx)
	if err != nil {
		return "", err
	}
	made, err := s.attach(ctx, squashSchema, s.module.Files)
	if err != nil {
		return "", err
	}
	if err := s.refuseOutside(ctx, outside); err != nil {
		return "", err
	}
	after, err := s.needsState(ctx)
	if err != nil {
		return "", err
	}
	for i, n := range s.needs {
		if before[i] != after[i] {
			return "", fmt.Errorf("the migrations change what is in module %s", n.module.Name)
		}
	}
	filled, err := filledTables(ctx, made)
	if err != nil {
		return "", err
	}
	if len(filled) > 0 && !s.data {
		return "", fmt.Errorf("the migrations leave rows in %s, which only --data puts into the file", strings.Join(filled, ", "))
	}
	body, err := s.dump(ctx, made)
	if err != nil {
		return "", err
	}
	text := "-- pgdbm:replaces " + old.span() + "\n\n"
	if strings.Contains(body, "CREATE FUNCTION ") || strings.Contains(body, "CREATE PROCEDURE ") {
		// pg_dump writes functions before the tables that they read.
		text += "SET LOCAL check_function_bodies = false;\n\n"
	}
	text += body
	return text, s.compare(ctx, made, old.above, text)
}

func (s *squash) attach(ctx context.Context, schema string, files fs.FS) (*pgdbm.DB, error) {
	db, err := s.pool.Handle(pgdbm.HandleConfig{Schema: schema, Aliases: s.aliases})
	if err != nil {
		return nil, err
	}
	m := s.module
	m.Files = files
	attached, err := pgdbm.Attach(ctx, db, m)
	if err != nil {
		return nil, err
	}
	return attached.DB, nil
}

func (s *squash) dump(ctx context.Context, made *pgdbm.DB) (string, error) {
	// There are no rows unless they are asked for, but values of sequences and
	// filled views, which --schema-only would leave out.
	text, err := pgDump(ctx, s.url, squashSchema, "--no-owner", "--column-inserts", "--rows-per-insert=100")
	if err != nil {
		return "", err
	}
	stable, err := stableDump(text)
	if err != nil {
		return "", err
	}
	unused, err := pgdbm.All[string](ctx, made, unusedSequencesSQL, squashSchema)
	if err != nil {
		return "", err
	}
	body, err := templated(string(stable), squashSchema, unused...)
	if err != nil {
		return "", err
	}
	return s.namedNeeds(body)
}

// compare applies the new file to a schema of its own and compares it with what
// the old ones have made.
func (s *squash) compare(ctx context.Context, made *pgdbm.DB, version int64, text string) error {
	files := fstest.MapFS{fmt.Sprintf("%d_squash.sql", version): {Data: []byte(text)}}
	again, err := s.attach(ctx, squashedSchema, files)
	if err != nil {
		return fmt.Errorf("what would be written does not run: %w", err)
	}
	m := s.module
	m.Files = files
	v, err := migrate.Verify(ctx, again, m, &migrate.VerifyOptions{Against: made})
	if err != nil {
		return err
	}
	if len(v.Differences) > 0 {
		d := v.Differences[0]
		return fmt.Errorf("what would be written does not make the same: %s %s is %q, not %q", d.Kind, d.Name, d.Have, d.Want)
	}
	if err := sameState(ctx, made, again); err != nil {
		return err
	}
	return sameRows(ctx, made, again)
}
