package sqllint

import "fmt"

// add is ALTER TABLE ... ADD; it reports whether it locks the table against readers.
func (l *linter) add(table name, a *statement) bool {
	l.references(a)
	constraint := fmt.Sprintf("%d", len(l.known.checks)) // no constraint's name without quotes
	if a.take("constraint") {
		constraint = bare(a.peek(0))
		a.at++
	}
	notValid := a.hasTop("not", "valid")
	if notValid {
		l.notValid[table.key()+" "+constraint] = true
	}
	if a.is("unique|primary|foreign|exclude") {
		l.refused(table, a, notValid)
	}
	switch {
	case a.is("check"):
		l.noteCheck(table, constraint, a, !notValid)
		if !notValid {
			l.sayOf("add-check", a.start, table, "")
		}
	case a.is("foreign"):
		if !notValid {
			l.sayOf("add-foreign-key", a.start, table, "")
		}
		return false
	case a.is("exclude"):
		l.sayOf("add-exclusion", a.start, table, "")
	case a.is("unique|primary"):
		l.addUnique(table, a)
	case a.take("not", "null"): // as a constraint of the table, since PostgreSQL 18
		column := bare(a.peek(0))
		l.known.checks[table.key()+" "+constraint] = nullCheck{table.key(), []string{column}, !notValid}
		if !notValid {
			l.sayOf("set-not-null", a.start, table, column)
		}
	default:
		a.take("column")
		a.take("if", "not", "exists")
		l.addColumn(table, a)
	}
	return true
}

// refused looks at what a partitioned table cannot have.
func (l *linter) refused(table name, a *statement, notValid bool) {
	if !l.known.partitioned[table.key()] {
		return
	}
	if a.has("using", "index") && !a.has("using", "index", "tablespace") || a.is("foreign") && notValid && l.Postgres < 18 {
		l.sayOf("partitioned", a.start, table, "")
	}
}

// addUnique looks at UNIQUE and PRIMARY KEY.
func (l *linter) addUnique(table name, a *statement) {
	probe := *a
	for !probe.done() && !probe.take("using", "index") {
		probe.at++
	}
	if probe.done() || probe.is("tablespace") {
		l.sayOf("add-unique", a.start, table, "")
		return
	}
	if !a.is("primary") {
		return
	}
	for _, column := range l.known.indexes[bare(probe.peek(0))] { // a key's columns become NOT NULL
		if !l.known.neverNull(table.key(), column) {
			l.sayOf("set-not-null", a.start, table, column)
		}
	}
}

// noteCheck notes which columns a CHECK names, and which it keeps from null.
func (l *linter) noteCheck(table name, constraint string, a *statement, valid bool) {
	check := *a
	check.take("check")
	whole := check
	check.skipParens()
	whole.tokens = whole.tokens[:check.at]
	not := nullCheck{table: table.key(), valid: valid}
	for probe := whole; !probe.done(); probe.at++ {
		if k := probe.peek(0).kind; k != word && k != quoted {
			continue
		}
		column := bare(probe.peek(0))
		l.known.checked[table.key()+" "+column] = true
		next := probe
		next.at++
		if next.is("is", "not", "null") && !whole.has("or") && !whole.has("case") && !whole.has("not", "(") && !whole.has("not", column) {
			not.columns = append(not.columns, column)
		}
	}
	l.known.checks[table.key()+" "+constraint] = not
}

// newConstraint notes a constraint of a table that has no users.
func (l *linter) newConstraint(table name, a *statement) {
	switch {
	case a.is("check"):
		l.noteCheck(table, bare(a.before()), a, !a.hasTop("not", "valid"))
	case a.take("primary", "key", "("):
		for _, column := range a.parts() {
			l.known.notNull[table.key()+" "+bare(column.peek(0))] = true
			l.keyColumn(table, column)
		}
	case a.take("foreign", "key", "("):
		for _, column := range a.parts() {
			l.keyColumn(table, column)
		}
	}
}

// keyColumn looks at a column of a key, whose type is known by now.
func (l *linter) keyColumn(table name, column *statement) {
	if isSmallInt(l.known.types[table.key()][bare(column.peek(0))]) {
		l.sayOf("int-key", column.start, table, bare(column.peek(0)))
	}
}

func (l *linter) createDomain(s *statement) {
	n, ok := s.name()
	if !ok {
		return
	}
	l.again(n)
	l.made[n.key()] = true
	if s.hasTop("check") || s.hasTop("not", "null") {
		l.known.domains[n.key()] = true
		l.sayOf("create-domain", s.start, n, "")
	}
}
