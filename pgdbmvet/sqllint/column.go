package sqllint

import "strings"

// addColumn is ALTER TABLE ... ADD COLUMN, from the column's name on.
func (l *linter) addColumn(table name, a *statement) {
	at, column := a.start, bare(a.peek(0))
	a.at++
	domain, _ := (&statement{tokens: a.tokens, at: a.at, end: a.end}).name()
	l.columnType(table, column, a)
	kind := l.known.types[table.key()][column]
	computed := a.hasTop("generated", "always", "as", "(")
	notNull := a.hasTop("not", "null")
	switch {
	case isSerial(kind), computed && a.hasTop("stored"), a.hasTop("as", "identity"), l.known.domains[domain.key()]:
		l.sayOf("add-column-rewrite", at, table, column)
	case computed:
		if notNull {
			l.sayOf("add-check", at, table, column)
		}
	case a.hasTop("default"):
		if volatileDefault(a) {
			l.sayOf("add-column-rewrite", at, table, column)
		}
		if a.hasTop("references") && !a.hasTop("default", "null") {
			l.sayOf("add-foreign-key", at, table, column)
		}
	case notNull:
		l.sayOf("add-column-not-null", at, table, column)
	}
	if a.hasTop("unique") || a.hasTop("primary", "key") {
		l.sayOf("add-unique", at, table, column)
	}
	if a.hasTop("check") {
		l.sayOf("add-check", at, table, column)
	}
	l.columnConstraints(table, column, a)
}

// newColumn notes a column of a table that has no users, from its name on.
func (l *linter) newColumn(table name, s *statement) {
	column := bare(s.peek(0))
	s.at++
	l.columnType(table, column, s)
	l.columnConstraints(table, column, s)
}

// columnConstraints notes what holds for a column, from behind its type on.
func (l *linter) columnConstraints(table name, column string, s *statement) {
	if s.hasTop("not", "null") || s.hasTop("primary", "key") {
		l.known.notNull[table.key()+" "+column] = true
	}
	if s.hasTop("check") {
		l.known.checked[table.key()+" "+column] = true
	}
}

// columnType notes a column's type and looks at it.
func (l *linter) columnType(table name, column string, s *statement) {
	at, kind := s.peek(0).start, l.readType(s)
	l.known.column(table.key(), column, kind)
	base := strings.TrimRight(kind, "[]0123456789")
	switch {
	case base == "json":
		l.sayOf("json", at, table, column)
	case base == "timestamp" || strings.HasPrefix(kind, "timestamp(") && !strings.HasSuffix(kind, "withtimezone") || strings.HasSuffix(kind, "withouttimezone") && strings.HasPrefix(kind, "timestamp"):
		l.sayOf("timestamp", at, table, column)
	case base == "char" || base == "character" || base == "bpchar" || strings.HasPrefix(kind, "char(") || strings.HasPrefix(kind, "character(") || strings.HasPrefix(kind, "bpchar("):
		l.sayOf("char", at, table, column)
	case strings.HasPrefix(kind, "varchar(") || strings.HasPrefix(kind, "charactervarying("):
		l.sayOf("varchar", at, table, column)
	case isSmallInt(kind) && (s.hasTop("primary", "key") || s.hasTop("as", "identity") || s.hasTop("references")), isSerial(kind) && !isBigSerial(kind):
		l.sayOf("int-key", at, table, column)
	}
	if isSerial(kind) {
		l.sayOf("serial", at, table, column)
		l.known.notNull[table.key()+" "+column] = true
	}
}

// isSmallInt reports whether a type has fewer than 64 bits.
func isSmallInt(kind string) bool {
	return kind == "int" || kind == "integer" || kind == "int4" || kind == "smallint" || kind == "int2"
}

func isSerial(kind string) bool {
	return kind == "serial" || kind == "smallserial" || kind == "serial4" || kind == "serial2" || isBigSerial(kind)
}

func isBigSerial(kind string) bool { return kind == "bigserial" || kind == "serial8" }

// typeEnds are the words that may follow a column's type.
const typeEnds = "not|null|default|primary|unique|references|check|constraint|generated|collate|compression|storage|using|deferrable|initially"

// readType reads a type, without spaces.
func (l *linter) readType(s *statement) string {
	var kind strings.Builder
	for !s.done() && !s.is(typeEnds) {
		kind.WriteString(s.peek(0).text)
		s.at++
	}
	return kind.String()
}

// unvolatile are functions whose value is one for the whole statement, so that PostgreSQL stores it once, and words that
// are no functions.
const unvolatile = "now|current_timestamp|current_date|current_time|localtime|localtimestamp|transaction_timestamp|statement_timestamp|" +
	"current_user|session_user|current_setting|current_schema|to_timestamp|to_char|to_date|to_number|to_jsonb|to_json|timezone|date_trunc|date_part|extract|age|" +
	"make_date|make_interval|make_timestamp|make_timestamptz|lower|upper|initcap|md5|sha256|encode|decode|repeat|replace|translate|concat|concat_ws|format|" +
	"length|substr|substring|left|right|trim|btrim|ltrim|rtrim|lpad|rpad|abs|ceil|floor|round|power|sqrt|greatest|least|coalesce|nullif|cast|array|row|" +
	"jsonb_build_object|jsonb_build_array|json_build_object|json_build_array|array_fill|int4range|int8range|tstzrange|daterange|numrange|point|box|" +
	"numeric|decimal|dec|varchar|varying|char|character|bpchar|bit|float|interval|timestamp|timestamptz|time|timetz|" +
	"and|or|not|in|is|any|all|some|like|ilike|between|case|when|then|else|as|values|select|distinct|default"

// volatileDefault reports whether a default calls a function that may give each row another value. One that is not
// known is taken to.
func volatileDefault(a *statement) bool {
	probe := *a
	for !probe.done() && !probe.take("default") {
		probe.at++
	}
	for depth := 0; !probe.done(); probe.at++ {
		switch {
		case probe.is("("):
			depth++
		case probe.is(")"):
			depth--
		case depth == 0 && probe.is("not|check|references|unique|constraint|primary|collate"):
			return false
		}
		call := probe
		call.at++
		if k := probe.peek(0).kind; (k == word || k == placeholder) && call.is("(") && !probe.is(unvolatile) && !strings.HasSuffix(probe.before().text, ":") {
			return true
		}
	}
	return false
}

// alterColumn reports whether it locks the table against readers.
func (l *linter) alterColumn(table name, a *statement) bool {
	if a.take("constraint") {
		return true
	}
	a.take("column")
	column := bare(a.peek(0))
	a.at++
	switch {
	case a.take("type"), a.take("set", "data", "type"):
		l.alterColumnType(table, column, a)
	case a.is("set", "not", "null"):
		if !l.known.neverNull(table.key(), column) {
			l.sayOf("set-not-null", a.start, table, column)
		}
		l.known.notNull[table.key()+" "+column] = true
	case a.is("drop", "not", "null"):
		delete(l.known.notNull, table.key()+" "+column)
		l.sayOf("drop-not-null", a.start, table, column)
	case a.is("set", "expression"):
		l.sayOf("rewrite", a.start, table, column)
	case a.is("set", "statistics"), a.is("set|reset", "("):
		return false
	}
	return true
}

func (l *linter) alterColumnType(table name, column string, a *statement) {
	kind := l.readType(a)
	if !l.known.freeChange(table.key(), column, kind) || a.hasTop("collate") || !sameValue(a, column, kind) {
		l.sayOf("alter-type", a.start, table, column)
	}
	l.known.column(table.key(), column, kind)
}

// sameValue reports whether what follows USING, if it does, is the column cast to its new type and no more.
func sameValue(a *statement, column, kind string) bool {
	for !a.done() && !a.take("using") {
		a.at++
	}
	if a.done() {
		return true
	}
	if bare(a.peek(0)) != column {
		return false
	}
	a.at++
	cast := ""
	for ; !a.done(); a.at++ {
		cast += a.peek(0).text
	}
	return cast == "" || cast == "::"+kind
}
