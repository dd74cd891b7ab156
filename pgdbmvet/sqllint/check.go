package sqllint

import "strings"

// check looks at one statement.
func (l *linter) check(s *statement) {
	l.strings(s)
	l.names(s)
	s.at = 0
	switch {
	case s.is("begin|commit|rollback|abort|end") || s.is("start", "transaction"):
		if !s.is("rollback", "to") && !s.has("savepoint") {
			l.say("transaction-control", s.start, "")
		}
	case s.is("set") && !s.is("set", "local|constraints"):
		if !l.text.NoTransaction {
			l.say("set-without-local", s.start, "")
		}
	case s.take("create"):
		l.create(s)
	case s.take("alter"):
		l.alter(s)
	case s.take("drop"):
		l.drop(s)
	case s.take("truncate"):
		l.truncate(s)
	case s.take("update"), s.take("delete", "from"):
		s.take("only")
		if n, ok := s.name(); ok && l.hasUsers(n) && !s.has("where") {
			l.say("without-where", s.start, "")
		}
	case s.take("lock"):
		s.take("table")
		s.take("only")
		if n, ok := s.name(); ok && l.hasUsers(n) && (!s.has("mode") || s.has("access", "exclusive")) {
			l.say("lock-table", s.start, "")
		}
	case s.take("cluster"):
		s.take("verbose")
		if n, ok := s.name(); !ok || l.hasUsers(n) {
			l.say("cluster", s.start, "")
		}
	case s.take("vacuum"):
		if s.is("full") || s.is("(") && s.has("full") {
			l.say("vacuum-full", s.start, "")
		}
	case s.take("reindex"):
		switch {
		case s.has("concurrently"):
			l.concurrently(s)
		default:
			l.reindex(s)
		}
	case s.take("refresh", "materialized", "view"):
		if !s.take("concurrently") {
			if n, ok := s.name(); ok && l.hasUsers(n) {
				l.say("refresh-view", s.start, "")
			}
		}
	}
}

func (l *linter) concurrently(s *statement) {
	if !l.text.NoTransaction {
		l.say("concurrent-in-transaction", s.start, "")
	}
}

func (l *linter) reindex(s *statement) {
	if s.is("(") {
		s.skipParens()
	}
	s.take("table|index|schema|database|system")
	if n, ok := s.name(); !ok || l.hasUsers(n) {
		l.say("reindex", s.start, "")
	}
}

func (l *linter) create(s *statement) {
	s.take("or", "replace")
	for s.take("temp|temporary|unlogged|global|local|unique") {
	}
	switch {
	case s.take("table"), s.take("materialized", "view"), s.take("foreign", "table"):
		l.createTable(s)
	case s.take("index"):
		if s.has("concurrently") {
			l.concurrently(s)
			return
		}
		for !s.done() && !s.take("on") {
			s.at++
		}
		s.take("only")
		if n, ok := s.name(); ok && l.hasUsers(n) {
			l.say("create-index", s.start, "")
		}
	case s.take("type"):
		if n, ok := s.name(); ok && s.is("as", "enum") {
			l.made[n.key()] = true
			if l.Tenant {
				l.say("tenant-enum", s.start, "")
			}
		}
	}
}

func (l *linter) createTable(s *statement) {
	s.take("if", "not", "exists")
	n, ok := s.name()
	if !ok {
		return
	}
	l.made[n.key()] = true
	if !s.take("(") {
		return
	}
	for _, part := range s.parts() {
		if part.is("constraint|primary|unique|foreign|check|exclude|like") {
			l.references(part)
			continue
		}
		column := bare(part.peek(0))
		part.at++
		l.columnType(n, column, part)
		l.references(part)
	}
}

// columnType notes a column's type and looks at it.
func (l *linter) columnType(table name, column string, s *statement) {
	at, kind := s.peek(0).start, l.readType(s)
	l.known.column(table.key(), column, kind)
	switch {
	case kind == "json" || kind == "json[]":
		l.say("json", at, column)
	case kind == "timestamp" || strings.HasPrefix(kind, "timestamp(") && !strings.HasSuffix(kind, "withtimezone") || strings.HasSuffix(kind, "withouttimezone"):
		l.say("timestamp", at, column)
	case (kind == "int" || kind == "integer" || kind == "int4" || kind == "smallint" || kind == "int2") && (s.has("primary", "key") || s.has("as", "identity")),
		strings.HasSuffix(kind, "serial") && kind != "bigserial", kind == "serial4", kind == "serial2":
		l.say("int-key", at, column)
	}
}

// typeEnds are the words that may follow a column's type.
const typeEnds = "not|null|default|primary|unique|references|check|constraint|generated|collate|compression|storage|using|deferrable|initially"

// readType reads a type, without spaces.
func (l *linter) readType(s *statement) string {
	var kind strings.Builder
	for !s.done() && !s.is(typeEnds) && !s.is(",") {
		kind.WriteString(s.peek(0).text)
		s.at++
	}
	return kind.String()
}

// references looks at the foreign keys of a column or a constraint.
func (l *linter) references(s *statement) {
	for probe := *s; !probe.done(); probe.at++ {
		if !probe.is("references") {
			continue
		}
		probe.at++
		if n, ok := probe.name(); ok && n.module != "" && l.Tenant {
			l.say("shared-foreign-key", n.start, "")
		}
		probe.at--
	}
}

func (l *linter) truncate(s *statement) {
	s.take("table")
	if s.has("cascade") {
		l.say("drop-cascade", s.start, "")
	}
	for _, part := range s.parts() {
		part.take("only")
		if n, ok := part.name(); ok && l.hasUsers(n) {
			l.say("truncate", s.start, "")
			return
		}
	}
}

func (l *linter) drop(s *statement) {
	if s.has("cascade") {
		l.say("drop-cascade", s.start, "")
	}
	switch {
	case s.take("index"):
		if s.take("concurrently") {
			l.concurrently(s)
			return
		}
		s.take("if", "exists")
		if n, ok := s.name(); ok && l.hasUsers(n) {
			l.say("drop-index", s.start, "")
		}
	case s.take("table"), s.take("materialized", "view"), s.take("view"), s.take("foreign", "table"):
		s.take("if", "exists")
		for _, part := range s.parts() {
			if n, ok := part.name(); ok && l.hasUsers(n) {
				l.say("drop-table", s.start, "")
				return
			}
		}
	case s.take("schema"), s.take("database"):
		l.say("drop-table", s.start, "")
	}
}
