package sqllint

import "strings"

func (l *linter) alter(s *statement) {
	switch {
	case s.take("type"):
		l.alterType(s)
	case s.take("index"), s.take("sequence"):
	case s.take("view"), s.take("materialized", "view"), s.take("foreign", "table"), s.take("schema"):
		s.take("if", "exists")
		if n, ok := s.name(); ok && l.hasUsers(n) && s.is("rename") {
			l.say("rename", s.start, "")
		}
	case s.take("table"):
		s.take("if", "exists")
		s.take("only")
		n, ok := s.name()
		s.take("*")
		if !ok || !l.hasUsers(n) {
			l.alterNew(n, s)
			return
		}
		for _, action := range s.parts() {
			l.action(n, action)
		}
	}
}

// alterNew notes what happens to a table that the file has created.
func (l *linter) alterNew(table name, s *statement) {
	for _, a := range s.parts() {
		l.references(a)
		if a.take("add") {
			a.take("column")
			a.take("if", "not", "exists")
			if !a.is("constraint|primary|unique|foreign|check|exclude") {
				column := bare(a.peek(0))
				a.at++
				l.columnType(table, column, a)
			}
		}
	}
}

func (l *linter) alterType(s *statement) {
	n, ok := s.name()
	switch {
	case !ok || !l.hasUsers(n):
	case s.is("rename"):
		l.say("rename", s.start, "")
	case s.take("add", "value"):
		s.take("if", "not", "exists")
		if t := s.peek(0); t.kind == text {
			l.enumAdded[t.text] = true
		}
	}
}

// action is one of ALTER TABLE.
func (l *linter) action(table name, a *statement) {
	strong := true
	switch {
	case a.take("rename"):
		if !a.is("constraint") {
			l.say("rename", a.start, "")
		}
	case a.take("add"):
		strong = l.add(table, a)
	case a.take("alter"):
		l.alterColumn(table, a)
	case a.take("drop", "constraint"):
	case a.take("drop"):
		l.dropColumn(a)
	case a.take("validate", "constraint"):
		strong = false
		if l.notValid[bare(a.peek(0))] && !l.text.NoTransaction {
			l.say("validate-at-once", a.start, "")
		}
	case a.is("disable", "trigger"):
		l.say("disable-trigger", a.start, "")
		strong = false
	case a.is("set", "logged|unlogged|tablespace|access"):
		l.say("rewrite", a.start, "")
	case a.take("attach", "partition"):
		strong = false
		if n, ok := a.name(); ok && l.hasUsers(n) {
			l.say("attach-partition", a.start, "")
		}
	case a.is("detach"), a.is("cluster"), a.is("set", "("), a.is("reset", "("), a.is("enable", "trigger"), a.is("set", "without"):
		strong = false
	}
	if a.has("cascade") && a.tokens[0].text == "drop" {
		l.say("drop-cascade", a.start, "")
	}
	if strong {
		l.locked = append(l.locked, name{start: a.start, module: table.module, object: table.object})
	}
}

// add reports whether it locks the table against readers.
func (l *linter) add(table name, a *statement) bool {
	l.references(a)
	constraint := ""
	if a.take("constraint") {
		constraint = bare(a.peek(0))
		a.at++
	}
	notValid := a.has("not", "valid")
	if notValid {
		l.notValid[constraint] = true
	}
	switch {
	case a.take("check"):
		l.checkNotNull(table, a)
		if !notValid {
			l.say("add-check", a.start, "")
		}
	case a.is("foreign"):
		if !notValid {
			l.say("add-foreign-key", a.start, "")
		}
		return false
	case a.is("exclude"):
		l.say("add-exclusion", a.start, "")
	case a.is("unique|primary"):
		if !a.has("using", "index") {
			l.say("add-unique", a.start, "")
		}
	case a.is("not"): // NOT NULL as a constraint of the table, since PostgreSQL 18
		if !notValid {
			l.say("set-not-null", a.start, "")
		}
	default:
		a.take("column")
		a.take("if", "not", "exists")
		column := bare(a.peek(0))
		a.at++
		l.addColumn(table, column, a)
	}
	return true
}

// checkNotNull notes that a column cannot be null once the constraint is valid.
func (l *linter) checkNotNull(table name, a *statement) {
	for probe := *a; !probe.done(); probe.at++ {
		column := bare(probe.peek(0))
		next := probe
		next.at++
		if next.is("is", "not", "null") {
			l.known.notNull[table.key()+" "+column] = true
		}
	}
}

func (l *linter) addColumn(table name, column string, a *statement) {
	at := a.start
	l.columnType(table, column, a)
	kind := l.known.types[table.key()][column]
	switch {
	case strings.HasSuffix(kind, "serial") || strings.HasPrefix(kind, "serial") || strings.HasPrefix(kind, "bigserial"),
		a.has("generated", "always", "as", "(") && !a.has("virtual"), a.has("as", "identity"):
		l.say("add-column-rewrite", at, column)
	case a.has("default"):
		if volatileDefault(a) {
			l.say("add-column-rewrite", at, column)
		}
	case a.has("not", "null"):
		l.say("add-column-not-null", at, column)
	}
	if a.has("unique") || a.has("primary", "key") {
		l.say("add-unique", at, "")
	}
	if a.has("references") && (a.has("default") && !a.has("default", "null")) {
		l.say("add-foreign-key", at, "")
	}
	if a.has("check") {
		l.say("add-check", at, "")
	}
}

// stable are functions whose value is one for the whole statement, so that PostgreSQL stores it once.
const stable = "now|current_timestamp|current_date|current_time|localtime|localtimestamp|transaction_timestamp|statement_timestamp|" +
	"current_user|session_user|current_setting|to_timestamp|make_date|make_interval|make_timestamptz|lower|upper|md5|array|coalesce|numeric|varchar|char|bit|timestamp|timestamptz|time|jsonb_build_object|jsonb_build_array|json_build_object|json_build_array|cast"

// volatileDefault reports whether a default calls a function that may give each row another value.
func volatileDefault(a *statement) bool {
	probe := *a
	for !probe.done() && !probe.take("default") {
		probe.at++
	}
	for ; !probe.done(); probe.at++ {
		if probe.is("not|null|check|references|unique|constraint") && !probe.is("null", ")") {
			return false
		}
		call := probe
		call.at++
		if k := probe.peek(0).kind; (k == word || k == placeholder) && call.is("(") && !probe.is(stable) {
			return true
		}
	}
	return false
}

func (l *linter) alterColumn(table name, a *statement) {
	if a.take("constraint") {
		return
	}
	a.take("column")
	column := bare(a.peek(0))
	a.at++
	switch {
	case a.take("type"), a.take("set", "data", "type"):
		kind := l.readType(a)
		if !l.known.freeChange(table.key(), column, kind) || a.has("using") {
			l.say("alter-type", a.start, column)
		}
		l.known.column(table.key(), column, kind)
	case a.is("set", "not", "null"):
		if !l.known.notNull[table.key()+" "+column] {
			l.say("set-not-null", a.start, column)
		}
	case a.is("add", "generated"):
	}
}

func (l *linter) dropColumn(a *statement) {
	a.take("column")
	a.take("if", "exists")
	l.say("drop-column", a.start, bare(a.peek(0)))
}
