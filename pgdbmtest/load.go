package pgdbmtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// Load fills tables of the handle's schema from files, or fails the test. See
// [LoadFiles].
func Load(tb testing.TB, h Handle, fsys fs.FS, names ...string) {
	tb.Helper()
	if err := LoadFiles(tb.Context(), h, fsys, names...); err != nil {
		tb.Fatalf("pgdbmtest: %v", err)
	}
}

// LoadFiles fills tables of the handle's schema from files, in one transaction,
// or in a savepoint of that of the handle: after an error nothing has changed. A
// [Config].Seed can use it.
//
// The names are files or patterns as of [path.Match]; none are all *.sql, *.csv
// and *.json files of the root. Files are loaded in the order of the names,
// those of one pattern in alphabetical order, except that consecutive CSV and
// JSON files are loaded in the order that the foreign keys of their tables ask
// for; DEFERRABLE keys are checked at the end.
//
//   - x.sql holds statements, with the placeholders of the handle.
//   - users.csv, and 02_users.csv too, holds rows of the table users. The first
//     record names the columns. An empty field is NULL, and "" is the empty
//     string, as for COPY.
//   - users.json holds an array of objects. What an object does not name gets the
//     column's default; null is NULL. Objects and arrays go into json and jsonb
//     columns as they are, and arrays into array columns.
//
// PostgreSQL reads every value, as text, so that each type takes what COPY
// takes. Names of tables and columns are taken literally and quoted. Sequences of
// identity and serial columns go on behind what was loaded.
//
// The error names file, line and, where it is known, column.
func LoadFiles(ctx context.Context, h Handle, fsys fs.FS, names ...string) error {
	files, err := loadOrder(fsys, names)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	tx, err := h.Begin(ctx)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	l := &loader{ctx: ctx, tx: tx, fsys: fsys, schema: h.Schema()}
	for len(files) > 0 && err == nil {
		n := slices.IndexFunc(files, func(name string) bool { return path.Ext(name) == ".sql" })
		switch n {
		case 0:
			err = l.script(files[0])
			n = 1
		case -1:
			n = len(files)
			fallthrough
		default:
			err = l.rows(files[:n])
		}
		files = files[n:]
	}
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err != nil {
		return fmt.Errorf("load %w", err)
	}
	return nil
}

func loadOrder(fsys fs.FS, names []string) (files []string, err error) {
	all := len(names) == 0
	if all {
		names = []string{"*"}
	}
	for _, name := range names {
		found, err := fs.Glob(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		for _, file := range found {
			switch path.Ext(file) {
			case ".sql", ".csv", ".json":
				files = append(files, file)
			default:
				if !all {
					return nil, fmt.Errorf("%s: neither .sql nor .csv nor .json", file)
				}
			}
		}
	}
	if len(files) == 0 {
		return nil, errors.New("no .sql, .csv or .json file")
	}
	return files, nil
}

// loader loads files in a transaction. Its errors begin with the file.
type loader struct {
	ctx    context.Context
	tx     pgx.Tx
	fsys   fs.FS
	schema string
}

// control are the statements that would end the loader's transaction.
var control = regexp.MustCompile(`(?i)^(begin|start|commit|end|rollback|abort|prepare\s+transaction)\b`)

func (l *loader) script(file string) error {
	text, err := fs.ReadFile(l.fsys, file)
	if err != nil {
		return err
	}
	pieces, err := sqltemplate.Split(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, p := range pieces {
		sql := strings.TrimSpace(string(text)[p.Start:p.End])
		at := fmt.Sprintf("%s:%d", file, lineOf(string(text), p.Code))
		switch {
		case p.Kind == sqltemplate.Blank:
			continue
		case p.Kind != sqltemplate.Statement:
			return fmt.Errorf("%s: COPY ... FROM STDIN and psql commands are not for fixtures", at)
		case control.MatchString(string(text)[p.Code:p.End]):
			return fmt.Errorf("%s: transaction control in a fixture", at)
		}
		if _, err := l.tx.Exec(l.ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return nil
}

func lineOf(text string, offset int) int { return 1 + strings.Count(text[:offset], "\n") }

// rows loads files of rows in the order of their foreign keys.
func (l *loader) rows(files []string) error {
	var sets []*rowSet
	for _, file := range files {
		s, err := l.read(file)
		if err != nil {
			return err
		}
		sets = append(sets, s)
	}
	sets, err := l.sortByKeys(sets)
	if err != nil {
		return err
	}
	if _, err := l.tx.Exec(l.ctx, "SET CONSTRAINTS ALL DEFERRED"); err != nil {
		return err
	}
	for _, s := range sets {
		if err := l.insert(s); err != nil {
			return err
		}
		if err := l.moveSequences(s); err != nil {
			return fmt.Errorf("%s: %w", s.file, err)
		}
	}
	if _, err := l.tx.Exec(l.ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(files, ", "), err)
	}
	return nil
}

// batchRows is how many rows go to the server at once.
const batchRows = 500

func (l *loader) insert(s *rowSet) error {
	for chunk := range slices.Chunk(s.rows, batchRows) {
		batch := &pgx.Batch{}
		for _, r := range chunk {
			batch.Queue(s.insertSQL(r), r.values...)
		}
		if err := l.send(s, chunk, batch); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) send(s *rowSet, chunk []row, batch *pgx.Batch) (err error) {
	results := l.tx.SendBatch(l.ctx, batch)
	defer func() { err = errors.Join(err, closeUnless(err, results)) }()
	for _, r := range chunk {
		if _, err := results.Exec(); err != nil {
			return s.explain(r, err)
		}
	}
	return nil
}

// closeUnless closes results; after an error the close repeats it.
func closeUnless(err error, results pgx.BatchResults) error {
	if closed := results.Close(); err == nil {
		return closed
	}
	return nil
}

// insertSQL inserts a row. The server takes each parameter for a value of its
// column's type.
func (s *rowSet) insertSQL(r row) string {
	if len(r.columns) == 0 {
		return "INSERT INTO " + s.table.name() + " DEFAULT VALUES"
	}
	var names, params []string
	for i, c := range r.columns {
		names = append(names, pgx.Identifier{c}.Sanitize())
		params = append(params, fmt.Sprintf("$%d", i+1))
	}
	return "INSERT INTO " + s.table.name() + " (" + strings.Join(names, ", ") + ") OVERRIDING SYSTEM VALUE VALUES (" + strings.Join(params, ", ") + ")"
}

// parameter is in the context of an error when a value cannot be read.
var parameter = regexp.MustCompile(`parameter \$(\d+)`)

// explain names the place of a row that the server refuses.
func (s *rowSet) explain(r row, err error) error {
	column := ""
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		column = pe.ColumnName
		if m := parameter.FindStringSubmatch(pe.Where); m != nil {
			var n int
			if _, scanErr := fmt.Sscan(m[1], &n); scanErr == nil && n >= 1 && n <= len(r.columns) {
				column = r.columns[n-1]
			}
		}
	}
	if column != "" {
		return fmt.Errorf("%s:%d: column %q: %w", s.file, r.line, column, err)
	}
	return fmt.Errorf("%s:%d: %w", s.file, r.line, err)
}

// moveSequences lets the sequences of identity and serial columns go on behind
// the largest value.
func (l *loader) moveSequences(s *rowSet) error {
	for _, c := range s.table.columns {
		if c.sequence == "" || !s.fills(c.name) {
			continue
		}
		column := pgx.Identifier{c.name}.Sanitize()
		_, err := l.tx.Exec(l.ctx, `SELECT pg_catalog.setval($1::text::regclass, m) FROM (SELECT max(`+column+`)::bigint m FROM `+s.table.name()+`) x
			WHERE m >= 1 AND m > coalesce(pg_catalog.pg_sequence_last_value($1::text::regclass), 0)`, c.sequence)
		if err != nil {
			return fmt.Errorf("column %q: sequence: %w", c.name, err)
		}
	}
	return nil
}
