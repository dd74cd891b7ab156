package sqllint

import (
	"slices"
	"strings"
)

// An enumValue is one that the file adds to an enum.
type enumValue struct {
	value string // with its quotes
	enum  string // the type's key
}

// enumValues looks for values of enums that the transaction has added before.
func (l *linter) enumValues(s *statement) {
	if len(l.enumAdded) == 0 || l.text.NoTransaction || s.is("comment") {
		return
	}
	if s.is("do") {
		for _, piece := range cutAtSemicolons(block(s)) {
			l.enumValues(piece)
		}
		return
	}
	for i, t := range s.tokens {
		added := t.kind == text && slices.ContainsFunc(l.enumAdded, func(v enumValue) bool { return v.value == t.text && l.usesValue(s, i, v.enum) })
		if added && !s.has("alter", "type") { // which adds it
			l.say("enum-value-used", t.start, t.text)
		}
	}
}

func cutAtSemicolons(code []token) (all []*statement) {
	for len(code) > 0 {
		n := slices.IndexFunc(code, token.semicolon)
		if n < 0 {
			n = len(code)
		}
		if n > 0 {
			all = append(all, &statement{tokens: code[:n], start: code[0].start, end: code[n-1].start + len(code[n-1].text)})
		}
		code = code[min(n+1, len(code)):]
	}
	return all
}

// usesValue reports whether a string is a value of the enum. What it is cast to, compared with or written into says so;
// where none of these is known, it may be one in a statement that names the enum, a table with a column of it, or a
// table whose columns are not known.
func (l *linter) usesValue(s *statement, i int, enum string) bool {
	at := &statement{tokens: s.tokens, end: s.end, at: i + 1}
	if at.take("::") || at.take(":", ":") || at.take("as") && i > 1 && s.tokens[i-2].text == "cast" {
		n, ok := at.name()
		return ok && n.key() == enum
	}
	tables, unknown := l.namedTables(s)
	column := partner(s, i)
	if column == "" {
		column = insertedInto(s, i)
	}
	known := false
	for _, table := range tables {
		kind, ok := l.known.types[table][column]
		if ok && typeKey(kind) == enum {
			return true
		}
		known = known || ok
	}
	if known {
		return false
	}
	return unknown || namesType(s, enum) || slices.ContainsFunc(tables, func(table string) bool {
		for _, kind := range l.known.types[table] {
			if typeKey(kind) == enum {
				return true
			}
		}
		return false
	})
}

// typeKey is the key of a column's type, of which it may be an array.
func typeKey(kind string) string {
	n, _ := (&statement{tokens: tokens(kind, 0)}).name()
	return n.key()
}

// namedTables returns the tables that a statement names whose columns are known, and whether it names others.
func (l *linter) namedTables(s *statement) (tables []string, unknown bool) {
	queries := l.queries(s)
	for i, t := range s.tokens {
		probe := statement{tokens: s.tokens, end: s.end, at: i}
		n, ok := probe.name()
		switch {
		case !ok:
		case l.known.types[n.key()] != nil:
			tables = append(tables, n.key())
		case t.kind == placeholder:
			unknown = unknown || strings.HasPrefix(strings.TrimLeft(t.text, "{ "), "tables.")
		case l.text.Foreign && i > 0 && (&statement{tokens: s.tokens[i-1:]}).is("from|join|into|update"):
			unknown = unknown || !queries[n.object] && !probe.is("(")
		}
	}
	return tables, unknown
}

// partner is the column that a string is compared with, written into or the default of, or "".
func partner(s *statement, i int) string {
	const compares = "=|<>|!=|<|>|<=|>="
	at := func(i int) *statement { return &statement{tokens: s.tokens, end: s.end, at: i} }
	switch after := at(i + 1); {
	case after.take(compares):
		for after.peek(1).text == "." {
			after.at += 2
		}
		return columnOf(after.peek(0))
	case at(i - 1).is(compares):
		return columnOf(at(i - 2).peek(0))
	case at(i - 1).is("default"):
		for j := i - 2; j > 0; j-- {
			if at(j - 1).is("add|alter|column|exists|(|,") {
				return columnOf(s.tokens[j])
			}
		}
	}
	j := i - 1 // a list of strings before it
	for j > 0 && at(j).is(",") && s.tokens[j-1].kind == text {
		j -= 2
	}
	if at(j).is("(") && at(j-1).is("in") {
		if at(j - 2).is("not") {
			j--
		}
		return columnOf(at(j - 2).peek(0))
	}
	return ""
}

func columnOf(t token) string {
	if t.kind == word || t.kind == quoted {
		return bare(t)
	}
	return ""
}

// insertedInto is the column into which INSERT writes a string that stands among its VALUES, or "".
func insertedInto(s *statement, i int) string {
	insert := statement{tokens: s.tokens, end: s.end}
	for !insert.done() && !insert.take("insert", "into") {
		insert.at++
	}
	if _, ok := insert.name(); !ok || !insert.is("(") {
		return ""
	}
	columns := insert
	columns.at++
	insert.skipParens()
	if !insert.take("values") {
		return ""
	}
	for insert.is("(") {
		row := insert
		row.at++
		insert.skipParens()
		if insert.at <= i {
			insert.take(",")
			continue
		}
		names := columns.parts()
		for n, value := range row.parts() {
			if len(value.tokens) == 1 && value.start == s.tokens[i].start && n < len(names) {
				return columnOf(names[n].peek(0))
			}
		}
		return ""
	}
	return ""
}

// namesType reports whether a statement names a type, apart from a column that has its name.
func namesType(s *statement, key string) bool {
	for i, t := range s.tokens {
		probe := statement{tokens: s.tokens, end: s.end, at: i}
		n, ok := probe.name()
		before := probe
		before.at = i - 1
		if ok && n.key() == key && (t.kind == placeholder || before.is("::|:|as") || probe.peek(0).kind == text) {
			return true
		}
	}
	return false
}
