package sqllint

import "strings"

// A catalog is what the module's files have made so far.
type catalog struct {
	types   map[string]map[string]string // of columns, by table
	notNull map[string]bool              // table and column that a CHECK (column IS NOT NULL) is for
}

func newCatalog() *catalog {
	return &catalog{map[string]map[string]string{}, map[string]bool{}}
}

// column notes a column's type.
func (c *catalog) column(table, column, kind string) {
	if c.types[table] == nil {
		c.types[table] = map[string]string{}
	}
	c.types[table][column] = kind
}

// freeChange reports whether a column can change its type without a rewrite, as far as that is known: PostgreSQL has
// varchar to text or to a longer varchar binary the same.
func (c *catalog) freeChange(table, column, to string) bool {
	from := c.types[table][column]
	length := func(kind string) string {
		_, rest, _ := strings.Cut(kind, "(")
		return strings.TrimSuffix(rest, ")")
	}
	isText := func(kind string) bool {
		return kind == "text" || strings.HasPrefix(kind, "varchar") || strings.HasPrefix(kind, "charactervarying")
	}
	if !isText(from) || !isText(to) {
		return false
	}
	old, wanted := length(from), length(to)
	return wanted == "" || old != "" && (len(wanted) > len(old) || len(wanted) == len(old) && wanted >= old)
}
