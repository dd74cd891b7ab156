package sqllint

import (
	"slices"
	"strings"
)

// A catalog is what the module's files have made so far.
type catalog struct {
	tables      map[string]bool              // made by earlier files
	types       map[string]map[string]string // of columns, by table
	notNull     map[string]bool              // table and column that is declared so
	checks      map[string]nullCheck         // by table and constraint
	checked     map[string]bool              // table and column that a CHECK names
	partitioned map[string]bool
	indexes     map[string][]string // columns of an index
	domains     map[string]bool     // with a constraint
	policies    map[string]bool     // tables that have one
}

// A nullCheck is a CHECK (column IS NOT NULL).
type nullCheck struct {
	table   string
	columns []string
	valid   bool
}

func newCatalog() *catalog {
	return &catalog{
		tables: map[string]bool{}, types: map[string]map[string]string{}, notNull: map[string]bool{}, checks: map[string]nullCheck{},
		checked: map[string]bool{}, partitioned: map[string]bool{}, indexes: map[string][]string{}, domains: map[string]bool{}, policies: map[string]bool{},
	}
}

// column notes a column's type.
func (c *catalog) column(table, column, kind string) {
	if c.types[table] == nil {
		c.types[table] = map[string]string{}
	}
	c.types[table][column] = kind
}

// neverNull reports whether the server knows without reading rows that the column holds no null.
func (c *catalog) neverNull(table, column string) bool {
	if c.notNull[table+" "+column] {
		return true
	}
	for _, check := range c.checks {
		if check.valid && check.table == table && slices.Contains(check.columns, column) {
			return true
		}
	}
	return false
}

// validate notes that a constraint has become valid.
func (c *catalog) validate(table, constraint string) {
	if check, ok := c.checks[table+" "+constraint]; ok {
		check.valid = true
		c.checks[table+" "+constraint] = check
	}
}

// freeChange reports whether a column can change its type without reading a row, as far as that is known: PostgreSQL
// has varchar to text or to a longer varchar binary the same, as it has numbers of more digits and cidr as inet.
func (c *catalog) freeChange(table, column, to string) bool {
	from := c.types[table][column]
	if c.checked[table+" "+column] {
		return false // the CHECK is made anew, for all rows
	}
	old, wanted := typeLimit(from), typeLimit(to)
	switch {
	case isText(from) && isText(to):
		return wanted == "" || old != "" && atLeast(wanted, old)
	case isNumeric(from) && isNumeric(to):
		digits, scale, _ := strings.Cut(old, ",")
		wantedDigits, wantedScale, _ := strings.Cut(wanted, ",")
		return wanted == "" || old != "" && scale == wantedScale && atLeast(wantedDigits, digits)
	}
	return from == "cidr" && to == "inet"
}

func isText(kind string) bool {
	return kind == "text" || strings.HasPrefix(kind, "varchar") || strings.HasPrefix(kind, "charactervarying")
}

func isNumeric(kind string) bool {
	return kind == "numeric" || kind == "decimal" || strings.HasPrefix(kind, "numeric(") || strings.HasPrefix(kind, "decimal(")
}

// typeLimit returns what stands in a type's parentheses.
func typeLimit(kind string) string {
	_, rest, _ := strings.Cut(kind, "(")
	return strings.TrimSuffix(rest, ")")
}

// atLeast compares numbers without leading zeros.
func atLeast(a, b string) bool { return len(a) > len(b) || len(a) == len(b) && a >= b }
