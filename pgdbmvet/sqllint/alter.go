package sqllint

func (l *linter) alter(s *statement) {
	switch {
	case s.take("type"):
		l.alterType(s)
	case s.take("domain"):
		l.alterDomain(s)
	case s.take("index"):
		s.take("if", "exists")
		if n, ok := s.name(); ok && s.has("set", "tablespace") {
			l.sayOf("rewrite", s.start, n, "")
		}
	case s.take("sequence"):
	case s.take("policy"):
		l.onTable(s)
	case s.take("materialized", "view"), s.take("view"), s.take("foreign", "table"), s.take("schema"):
		l.alterOther(s)
	case s.take("table"):
		if s.is("all", "in", "tablespace") {
			l.say("rewrite", s.start, "")
			return
		}
		s.take("if", "exists")
		s.take("only")
		n, ok := s.name()
		s.take("*")
		if !ok || !l.hasUsers(n) {
			l.alterNew(n, s)
			return
		}
		actions := s.parts()
		for _, a := range actions { // PostgreSQL drops before it does the rest
			if a.take("drop", "constraint") {
				a.take("if", "exists")
				delete(l.known.checks, n.key()+" "+bare(a.peek(0)))
				a.at = 0
			}
		}
		for _, action := range actions {
			l.action(n, action)
		}
	}
}

// alterOther looks at views, foreign tables and schemas.
func (l *linter) alterOther(s *statement) {
	s.take("if", "exists")
	n, ok := s.name()
	switch {
	case !ok || !l.hasUsers(n):
	case s.is("rename"), s.is("set", "schema"):
		l.sayOf("rename", s.start, n, "")
	case s.is("set", "tablespace|access"):
		l.sayOf("rewrite", s.start, n, "")
	}
}

func (l *linter) alterDomain(s *statement) {
	n, ok := s.name()
	if !ok || !l.hasUsers(n) {
		return
	}
	switch {
	case s.is("rename"), s.is("set", "schema"):
		if !s.is("rename", "constraint") {
			l.sayOf("rename", s.start, n, "")
		}
	case s.is("add") && !s.has("not", "valid"), s.is("validate"), s.is("set", "not", "null"):
		l.sayOf("domain-constraint", s.start, n, "")
	}
}

// alterNew notes what happens to a table that the file has created.
func (l *linter) alterNew(table name, s *statement) {
	for _, a := range s.parts() {
		l.references(a)
		switch {
		case a.take("rename", "to"):
			if n, ok := a.name(); ok {
				delete(l.made, table.key())
				l.made[n.key()] = true
			}
		case a.take("add", "constraint"):
			a.at++
			l.newConstraint(table, a)
		case a.take("add"):
			a.take("column")
			a.take("if", "not", "exists")
			if a.is("primary|unique|foreign|check|exclude") {
				l.newConstraint(table, a)
				continue
			}
			l.newColumn(table, a)
		case a.is("enable", "row", "level", "security"):
			l.secured = append(l.secured, name{start: a.start, module: table.module, object: table.object})
		}
	}
}

func (l *linter) alterType(s *statement) {
	n, ok := s.name()
	switch {
	case !ok || !l.hasUsers(n):
	case s.is("rename"), s.is("set", "schema"):
		l.sayOf("rename", s.start, n, "")
	case s.take("add", "value"):
		s.take("if", "not", "exists")
		if t := s.peek(0); t.kind == text {
			l.enumAdded = append(l.enumAdded, enumValue{t.text, n.key()})
		}
	}
}

// action is one of ALTER TABLE.
func (l *linter) action(table name, a *statement) {
	strong := true
	switch {
	case a.take("rename"):
		if !a.is("constraint") {
			l.sayOf("rename", a.start, table, "")
		}
	case a.is("set", "schema"):
		l.sayOf("rename", a.start, table, "")
	case a.take("add"):
		strong = l.add(table, a)
	case a.take("alter"):
		strong = l.alterColumn(table, a)
	case a.take("drop", "constraint"):
	case a.take("drop"):
		l.dropColumn(table, a)
	case a.take("validate", "constraint"):
		strong = false
		l.validate(table, a)
	case a.is("disable", "trigger"):
		l.sayOf("disable-trigger", a.start, table, "")
		strong = false
	case a.is("enable", "row", "level", "security"):
		l.secured = append(l.secured, name{start: a.start, module: table.module, object: table.object})
	case a.is("disable", "row", "level", "security"), a.is("no", "force", "row", "level"):
		l.sayOf("disable-row-security", a.start, table, "")
	case a.is("set", "logged|unlogged|tablespace|access"):
		l.sayOf("rewrite", a.start, table, "")
	case a.is("attach|detach"):
		strong = l.partition(table, a)
	case a.is("cluster"), a.is("set", "("), a.is("reset", "("), a.is("enable", "trigger|replica|always"), a.is("set", "without"):
		strong = false
	}
	if a.has("cascade") && a.tokens[0].text == "drop" {
		l.sayOf("drop-cascade", a.start, table, "")
	}
	if strong {
		l.lock(table, a.start)
	}
}

func (l *linter) validate(table name, a *statement) {
	constraint := bare(a.peek(0))
	if l.notValid[table.key()+" "+constraint] && !l.text.NoTransaction {
		l.sayOf("validate-at-once", a.start, table, constraint)
	}
	l.known.validate(table.key(), constraint)
}

// partition reports whether the table is locked against readers.
func (l *linter) partition(table name, a *statement) bool {
	attach := a.take("attach", "partition")
	if !attach && !a.take("detach", "partition") {
		return false
	}
	n, ok := a.name()
	switch {
	case attach:
		if ok && l.hasUsers(n) {
			l.sayOf("attach-partition", a.start, n, "")
		}
		return false
	case a.is("concurrently|finalize"):
		return false
	}
	l.sayOf("detach-partition", a.start, table, "")
	return true
}

func (l *linter) dropColumn(table name, a *statement) {
	a.take("column")
	a.take("if", "exists")
	l.sayOf("drop-column", a.start, table, bare(a.peek(0)))
}
