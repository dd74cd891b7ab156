package pgdbmtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Contents are the rows of tables at a moment.
type Contents struct {
	handle Handle
	tables []*contents
}

// contents are the rows of one table. A nil value is NULL.
type contents struct {
	table *table
	rows  [][]*string
}

// Capture reads the rows of these tables of the handle's schema, of all if none
// is named. They are compared later, by [Contents.Diff] or [Contents.Unchanged],
// as the text that PostgreSQL has for each value, so that every type counts, and
// a row as often as it is there.
func Capture(tb testing.TB, h Handle, tables ...string) *Contents {
	tb.Helper()
	c, err := capture(tb.Context(), h, tables)
	if err != nil {
		tb.Fatalf("pgdbmtest: capture: %v", err)
	}
	return c
}

func capture(ctx context.Context, h Handle, names []string) (*Contents, error) {
	if len(names) == 0 {
		rows, err := h.Query(ctx, `SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1`, h.Schema())
		if err != nil {
			return nil, err
		}
		if names, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return nil, err
		}
	}
	c := &Contents{handle: h}
	for _, name := range names {
		t, err := readTable(ctx, h, h.Schema(), name)
		if err != nil {
			return nil, err
		}
		rows, err := t.read(ctx, h)
		if err != nil {
			return nil, fmt.Errorf("table %q: %w", name, err)
		}
		c.tables = append(c.tables, &contents{t, rows})
	}
	return c, nil
}

// read returns the rows in the order of the primary key, else of all columns.
func (t *table) read(ctx context.Context, q queryer) ([][]*string, error) {
	var columns, order []string
	for _, c := range t.columns {
		text := pgx.Identifier{c.name}.Sanitize() + "::text"
		columns = append(columns, text)
		if len(t.primaryKey) == 0 {
			order = append(order, text+` COLLATE "C"`)
		}
	}
	for _, name := range t.primaryKey {
		order = append(order, pgx.Identifier{name}.Sanitize())
	}
	rows, err := q.Query(ctx, "SELECT array["+strings.Join(columns, ", ")+"]::text[] FROM "+t.name()+" ORDER BY "+strings.Join(order, ", "))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[[]*string])
}

// Unchanged fails the test, which goes on, when the tables do not have the rows
// that they had.
func (c *Contents) Unchanged(tb testing.TB) {
	tb.Helper()
	if diff := c.Diff(tb); diff != "" {
		tb.Errorf("pgdbmtest: tables have changed:\n%s", diff)
	}
}

// Diff returns how the tables differ now from what they were, or "": a line for
// each row that has come (+), gone (-) or, where there is a primary key, changed
// (~), at most 50 in all.
func (c *Contents) Diff(tb testing.TB) string {
	tb.Helper()
	var names []string
	for _, t := range c.tables {
		names = append(names, t.table.relation)
	}
	if len(names) == 0 {
		return ""
	}
	now, err := capture(tb.Context(), c.handle, names)
	if err != nil {
		tb.Fatalf("pgdbmtest: capture: %v", err)
	}
	var lines []string
	for i, was := range c.tables {
		lines = append(lines, was.diff(now.tables[i])...)
	}
	if more := len(lines) - maxDiff; more > 0 {
		lines = append(lines[:maxDiff], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

const (
	maxDiff  = 50  // lines
	maxValue = 100 // characters of a value
)

func (was *contents) diff(is *contents) (lines []string) {
	name := was.table.relation
	if names := is.table.columnNames(); !slices.Equal(was.table.columnNames(), names) {
		return []string{fmt.Sprintf("%s: columns are %s, were %s", name, strings.Join(names, ", "), strings.Join(was.table.columnNames(), ", "))}
	}
	key := func(row []*string) string { return fmt.Sprint(quoted(row)) }
	if len(was.table.primaryKey) > 0 {
		key = was.table.key
	}
	left := map[string][][]*string{} // what was, by key
	for _, row := range was.rows {
		left[key(row)] = append(left[key(row)], row)
	}
	var added []string
	for _, row := range is.rows {
		k := key(row)
		switch before := left[k]; {
		case len(before) == 0:
			added = append(added, fmt.Sprintf("+ %s: %s", name, is.table.text(row, nil)))
			continue
		case !slices.Equal(quoted(before[0]), quoted(row)):
			lines = append(lines, fmt.Sprintf("~ %s: %s", name, is.table.text(row, before[0])))
		}
		left[k] = left[k][1:]
	}
	for _, row := range was.rows { // in their order
		if k := key(row); len(left[k]) > 0 {
			left[k] = left[k][1:]
			lines = append(lines, fmt.Sprintf("- %s: %s", name, was.table.text(row, nil)))
		}
	}
	return append(lines, added...)
}

func (t *table) columnNames() (names []string) {
	for _, c := range t.columns {
		names = append(names, c.name)
	}
	return names
}

func (t *table) key(row []*string) string {
	var parts []*string
	for i, c := range t.columns {
		if slices.Contains(t.primaryKey, c.name) {
			parts = append(parts, row[i])
		}
	}
	return fmt.Sprint(quoted(parts))
}

// text is a row for people to read; with what it was before, only its key and
// what has changed.
func (t *table) text(row, before []*string) string {
	var parts []string
	for i, c := range t.columns {
		switch {
		case before == nil || slices.Contains(t.primaryKey, c.name):
			parts = append(parts, c.name+"="+short(row[i]))
		case quote(before[i]) != quote(row[i]):
			parts = append(parts, c.name+"="+short(before[i])+" -> "+short(row[i]))
		}
	}
	return strings.Join(parts, " ")
}

func quoted(row []*string) (values []string) {
	for _, v := range row {
		values = append(values, quote(v))
	}
	return values
}

func quote(v *string) string {
	if v == nil {
		return "NULL"
	}
	return fmt.Sprintf("%q", *v)
}

func short(v *string) string {
	if v == nil {
		return "NULL"
	}
	runes := []rune(*v)
	if len(runes) > maxValue {
		return fmt.Sprintf("%q... (%d characters)", string(runes[:maxValue]), len(runes))
	}
	return quote(v)
}
