package sqllint

func (l *linter) createTable(s *statement) {
	maybe := s.take("if", "not", "exists")
	n, ok := s.name()
	if !ok {
		return
	}
	if !maybe || !l.known.tables[n.key()] { // else it is there already, and has users
		l.again(n)
		l.made[n.key()] = true
	}
	if s.take("partition", "of") {
		if parent, ok := s.name(); ok && l.hasUsers(parent) {
			l.sayOf("create-partition", s.start, parent, "")
		}
	}
	if s.is("(") {
		columns := *s
		columns.at++
		s.skipParens()
		for _, part := range columns.parts() {
			l.tablePart(n, part)
		}
	}
	if s.hasTop("partition", "by") {
		l.known.partitioned[n.key()] = true
	}
}

// tablePart is a column or a constraint of CREATE TABLE.
func (l *linter) tablePart(table name, part *statement) {
	l.references(part)
	if part.take("constraint") {
		part.at++
	}
	if part.is("primary|unique|foreign|check|exclude|like|not") {
		l.newConstraint(table, part)
		return
	}
	l.newColumn(table, part)
}

func (l *linter) createView(s *statement) {
	s.take("materialized")
	s.take("view")
	s.take("if", "not", "exists")
	n, ok := s.name()
	if !ok {
		return
	}
	l.again(n)
	if s.tokens[0].text == "create" && s.tokens[1].text == "materialized" {
		l.made[n.key()] = true
	}
	if at, ok := star(s); ok {
		l.sayOf("select-star", at, n, "")
	}
}

// star finds a * in a list of what is selected, outside parentheses.
func star(s *statement) (offset int, ok bool) {
	for probe := *s; !probe.done(); {
		if probe.is("(") {
			probe.skipParens()
			continue
		}
		if t := probe.peek(0); t.text == "*" || t.text == ".*" {
			before := probe.before()
			after := probe
			after.at++
			if (t.text == ".*" || before.text == "." || before.text == "," || before.text == "select" || before.text == "all") && (after.done() || after.is("from|,")) {
				return t.start, true
			}
		}
		probe.at++
	}
	return 0, false
}

// wide is from how many columns on an index is wide.
const wide = 4

func (l *linter) createIndex(s *statement, unique bool) {
	concurrently := s.take("concurrently")
	s.take("if", "not", "exists")
	index := ""
	if !s.is("on") {
		index = bare(s.peek(0))
		s.at++
	}
	s.take("on")
	only := s.take("only")
	n, ok := s.name()
	if !ok {
		return
	}
	partitioned := l.known.partitioned[n.key()]
	switch {
	case concurrently && partitioned:
		l.sayOf("partitioned", s.start, n, "")
	case !concurrently && l.hasUsers(n) && !(only && partitioned): // which builds nothing
		l.sayOf("create-index", s.start, n, "")
		l.lock(n, s.start)
	}
	plain := !s.take("using") || s.take("btree")
	if !plain || !s.take("(") {
		return
	}
	columns := s.parts()
	if len(columns) >= wide && !unique {
		l.sayOf("wide-index", s.start, n, "")
	}
	l.known.indexes[index] = nil
	for _, c := range columns {
		l.known.indexes[index] = append(l.known.indexes[index], bare(c.peek(0)))
	}
}
