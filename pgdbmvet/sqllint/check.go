package sqllint

import "strings"

// check looks at one statement.
func (l *linter) check(s *statement) {
	l.begins(s)
	l.noteTemporary(s)
	l.strings(s)
	l.longNames(s)
	l.names(s)
	l.tooNew(s)
	s.at = 0
	l.does(s)
	s.at = 0
	l.enumValues(s)
}

// does looks at what a statement does, by itself or by what is in it.
func (l *linter) does(s *statement) {
	switch {
	case s.is("do"):
		l.body(s)
	case s.is("with"):
		l.subqueries(s)
	case s.is("explain"):
		if what := explained(s); what != nil {
			l.does(what)
		}
	default:
		l.run(s)
	}
}

// explained returns the statement that EXPLAIN runs, which it does with ANALYZE, or nil.
func explained(s *statement) *statement {
	s.at++
	analyze := false
	if s.is("(") {
		options := *s
		options.at++
		s.skipParens()
		for _, o := range options.parts() {
			if o.take("analyze") {
				analyze = !o.is("false|off|0")
			}
		}
	} else if analyze = s.take("analyze"); analyze {
		s.take("verbose")
	}
	if !analyze || s.done() {
		return nil
	}
	return &statement{tokens: s.tokens[s.at:], start: s.peek(0).start, end: s.end}
}

// run looks at what a statement does.
func (l *linter) run(s *statement) {
	switch {
	case s.is("begin|commit|rollback|abort|end") || s.is("start", "transaction"):
		if !s.is("rollback", "to") && !s.has("savepoint") {
			l.say("transaction-control", s.start, "")
		}
	case s.is("set|reset") && !s.is("set", "constraints|transaction"):
		l.set(s)
	case s.is("select"):
		l.setConfig(s)
	case s.take("create"):
		l.create(s)
	case s.take("alter"):
		l.alter(s)
	case s.take("drop"):
		l.drop(s)
	case s.take("truncate"):
		l.truncate(s)
	case s.is("update|delete|merge|insert"):
		l.write(s)
	case s.take("lock"):
		l.lockTable(s)
	case s.take("cluster"):
		if s.is("(") {
			s.skipParens()
		}
		s.take("verbose")
		if n, ok := s.name(); !ok || l.hasUsers(n) {
			l.sayOf("cluster", s.start, n, "")
		}
	case s.take("vacuum"):
		if s.is("full") || s.is("(") && s.has("full") && !s.has("full", "false|off|0") {
			l.say("vacuum-full", s.start, vacuumed(s))
		}
	case s.take("reindex"):
		if !s.has("concurrently") {
			l.reindex(s)
		}
	case s.take("refresh", "materialized", "view"):
		if !s.take("concurrently") {
			if n, ok := s.name(); ok && l.hasUsers(n) {
				l.sayOf("refresh-view", s.start, n, "")
			}
		}
	}
}

// vacuumed are the tables that follow VACUUM, divided by commas.
func vacuumed(s *statement) string {
	if s.is("(") {
		s.skipParens()
	}
	for s.take("full|freeze|verbose|analyze|analyse") {
	}
	return names(s)
}

// names are those that come next, divided by commas.
func names(s *statement) string {
	var all []string
	for _, part := range s.parts() {
		if n, ok := part.name(); ok {
			all = append(all, n.String())
		}
	}
	return strings.Join(all, ", ")
}

func (l *linter) reindex(s *statement) {
	if s.is("(") {
		s.skipParens()
	}
	s.take("table|index|schema|database|system")
	if n, ok := s.name(); !ok || l.hasUsers(n) {
		l.sayOf("reindex", s.start, n, "")
	}
}

func (l *linter) create(s *statement) {
	s.take("or", "replace")
	unique := s.has("unique", "index")
	for s.take("temp|temporary|unlogged|global|local|unique|recursive") {
	}
	switch {
	case s.is("materialized", "view"), s.is("view"):
		l.createView(s)
	case s.take("table"), s.take("foreign", "table"):
		l.createTable(s)
	case s.take("index"):
		l.createIndex(s, unique)
	case s.take("function|procedure|sequence|aggregate"):
		s.take("if", "not", "exists")
		if n, ok := s.name(); ok {
			l.again(n)
			l.made[n.key()] = true
		}
	case s.take("domain"):
		l.createDomain(s)
	case s.take("policy"):
		named, table, _ := l.onTable(s)
		l.again(named)
		l.known.policies[table.key()] = true
	case s.take("trigger"), s.take("constraint", "trigger"):
		l.createTrigger(s)
	case s.take("type"):
		if n, ok := s.name(); ok {
			l.again(n)
			l.made[n.key()] = true
			if s.is("as", "enum") && l.Tenant {
				l.sayOf("tenant-enum", s.start, n, "")
			}
		}
	}
}

// references looks at the foreign keys of a column or a constraint.
func (l *linter) references(s *statement) {
	for probe := *s; !probe.done(); probe.at++ {
		if !probe.is("references") {
			continue
		}
		probe.at++
		if n, ok := probe.name(); ok && n.module != "" && l.Tenant {
			l.sayOf("shared-foreign-key", n.start, n, "")
		}
		probe.at--
	}
}

func (l *linter) truncate(s *statement) {
	s.take("table")
	cascade := s.has("cascade")
	tables := l.lockEach(s)
	if cascade {
		l.say("drop-cascade", s.start, tables)
	}
	if tables != "" {
		l.say("truncate", s.start, tables)
	}
}

// lockEach notes the locks on the tables that come next, and returns their names, divided by commas.
func (l *linter) lockEach(s *statement) string {
	var names []string
	for _, part := range s.parts() {
		part.take("only")
		if n, ok := part.name(); ok && l.hasUsers(n) {
			l.lock(n, s.start)
			names = append(names, n.String())
		}
	}
	return strings.Join(names, ", ")
}

// onTable reads the name of a policy or a trigger and the table that it is on, and notes the lock; ok is false where that
// has no users. The first result stands for what was named.
func (l *linter) onTable(s *statement) (named, table name, ok bool) {
	s.take("if", "exists")
	named.object = bare(s.peek(0))
	for !s.done() && !s.take("on") {
		s.at++
	}
	table, ok = s.name()
	named.module, named.object = table.module, named.object+" on "+table.object
	if !ok || !l.hasUsers(table) {
		return named, table, false
	}
	l.lock(table, s.start)
	return named, table, true
}

// createTrigger looks at CREATE TRIGGER; those of views are no matter.
func (l *linter) createTrigger(s *statement) {
	if s.has("instead", "of") {
		return
	}
	named, table, ok := l.onTable(s)
	if ok {
		l.again(named)
		l.sayOf("create-trigger", s.start, table, "")
	}
}

func (l *linter) drop(s *statement) {
	if s.has("cascade") {
		l.say("drop-cascade", s.start, droppedNames(*s))
	}
	switch {
	case s.take("index"):
		if s.take("concurrently") {
			return
		}
		l.dropEach(s, "drop-index", false)
	case s.take("materialized", "view"), s.take("view"):
		l.dropEach(s, "drop-table", true)
	case s.take("table"), s.take("foreign", "table"):
		l.dropEach(s, "drop-table", false)
		l.lockEach(s)
	case s.take("policy"):
		if named, _, ok := l.onTable(s); ok {
			l.gone(named, "drop-policy", s.start)
		}
	case s.take("trigger"):
		if named, _, ok := l.onTable(s); ok {
			l.gone(named, "drop-trigger", s.start)
		}
	case s.take("function|procedure|routine|aggregate|type|domain|sequence"):
		l.dropEach(s, "drop-object", true)
	case s.is("schema"):
		l.say("drop-schema", s.start, droppedNames(*s))
	case s.is("database"):
		l.say("drop-database", s.start, droppedNames(*s))
	}
}

// droppedNames are the names behind DROP and a kind, divided by commas.
func droppedNames(s statement) string {
	s.take("materialized|foreign")
	s.at++
	s.take("if", "exists")
	return names(&s)
}

// dropEach looks at the objects that are dropped; again says that creating one anew makes good for it.
func (l *linter) dropEach(s *statement, rule string, again bool) {
	s.take("if", "exists")
	for _, part := range s.parts() {
		n, ok := part.name()
		switch {
		case !ok || !l.hasUsers(n):
			continue
		case again:
			l.gone(n, rule, s.start)
		default:
			l.sayOf(rule, s.start, n, "")
		}
		return
	}
}
