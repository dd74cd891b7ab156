package pgdbmtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// table is one of a handle's schema, as the catalog has it.
type table struct {
	schema, relation string
	columns          []column
	primaryKey       []string
}

type column struct {
	name      string
	array     bool
	generated bool
	sequence  string // that it owns, as regclass reads it; empty: none
}

func (t *table) name() string { return pgx.Identifier{t.schema, t.relation}.Sanitize() }

func (t *table) column(name string) (column, bool) {
	i := slices.IndexFunc(t.columns, func(c column) bool { return c.name == name })
	if i < 0 {
		return column{}, false
	}
	return t.columns[i], true
}

// errNoTable says that a schema has no such table.
var errNoTable = errors.New("no such table")

type queryer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// readTable asks the catalog for a table, a partitioned or a foreign one, or a
// view.
func readTable(ctx context.Context, q queryer, schema, relation string) (*table, error) {
	t := &table{schema: schema, relation: relation}
	rows, err := q.Query(ctx, `SELECT a.attname::text, y.typcategory = 'A', a.attgenerated <> '',
			coalesce(pg_catalog.pg_get_serial_sequence(pg_catalog.format('%I.%I', n.nspname, c.relname), a.attname), ''),
			coalesce(pg_catalog.array_position(i.indkey::smallint[], a.attnum), -1)
		FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
		LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisprimary
		WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
		ORDER BY a.attnum`, schema, relation)
	if err != nil {
		return nil, err
	}
	key := map[int]string{}
	var c column
	var place int
	_, err = pgx.ForEachRow(rows, []any{&c.name, &c.array, &c.generated, &c.sequence, &place}, func() error {
		t.columns = append(t.columns, c)
		if place >= 0 {
			key[place] = c.name
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(t.columns) == 0 {
		return nil, fmt.Errorf("table %q in schema %q: %w", relation, schema, errNoTable)
	}
	for place := range len(key) {
		t.primaryKey = append(t.primaryKey, key[place])
	}
	return t, nil
}

// foreignKey is one from a table to another that must exist first.
type foreignKey struct{ from, to string }

// foreignKeys returns the keys between tables of a schema that are checked at
// once, each table's on itself apart.
func foreignKeys(ctx context.Context, q queryer, schema string) ([]foreignKey, error) {
	rows, err := q.Query(ctx, `SELECT f.relname::text, t.relname::text FROM pg_catalog.pg_constraint k
		JOIN pg_catalog.pg_class f ON f.oid = k.conrelid JOIN pg_catalog.pg_class t ON t.oid = k.confrelid
		JOIN pg_catalog.pg_namespace n ON n.oid = f.relnamespace
		WHERE k.contype = 'f' AND NOT k.condeferrable AND n.nspname = $1 AND t.relnamespace = f.relnamespace`, schema)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (k foreignKey, err error) {
		return k, row.Scan(&k.from, &k.to)
	})
}

// selfKeys returns the columns of the table's foreign keys on itself, and those
// they point to.
func selfKeys(ctx context.Context, q queryer, t *table) ([][2][]string, error) {
	rows, err := q.Query(ctx, `SELECT
			array(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, o) JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY o),
			array(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, o) JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY o)
		FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE k.contype = 'f' AND NOT k.condeferrable AND k.conrelid = k.confrelid AND n.nspname = $1 AND c.relname = $2`, t.schema, t.relation)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (k [2][]string, err error) {
		return k, row.Scan(&k[0], &k[1])
	})
}

// sortByKeys orders sets of rows so that each comes after those its table's
// foreign keys point to, and the rows of a table that points to itself alike.
func (l *loader) sortByKeys(sets []*rowSet) ([]*rowSet, error) {
	keys, err := foreignKeys(l.ctx, l.tx, l.schema)
	if err != nil {
		return nil, err
	}
	var sorted []*rowSet
	for left := slices.Clone(sets); len(left) > 0; {
		i := slices.IndexFunc(left, func(s *rowSet) bool {
			return !slices.ContainsFunc(keys, func(k foreignKey) bool {
				return k.from == s.table.relation && k.to != k.from &&
					slices.ContainsFunc(left, func(o *rowSet) bool { return o.table.relation == k.to })
			})
		})
		if i < 0 {
			var files []string
			for _, s := range left {
				files = append(files, s.file)
			}
			return nil, fmt.Errorf("%s: foreign keys that are not DEFERRABLE go round in a circle", strings.Join(files, ", "))
		}
		sorted = append(sorted, left[i])
		left = slices.Delete(left, i, i+1)
	}
	for _, s := range sorted {
		self, err := selfKeys(l.ctx, l.tx, s.table)
		if err != nil {
			return nil, err
		}
		if len(self) > 0 {
			s.sortRows(self)
		}
	}
	return sorted, nil
}
