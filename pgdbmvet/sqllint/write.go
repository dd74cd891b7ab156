package sqllint

import "strings"

// write looks at INSERT, UPDATE, DELETE and MERGE.
func (l *linter) write(s *statement) {
	verb := s.peek(0).text
	s.at++
	s.take("from|into")
	s.take("only")
	n, ok := s.name()
	if !ok || !l.hasUsers(n) {
		return
	}
	if (verb == "update" || verb == "delete") && !s.hasTop("where") {
		l.sayOf("without-where", s.start, n, "")
	}
	if len(l.locked) > 0 && !l.text.NoTransaction && (verb != "insert" || selectsFrom(s)) {
		l.sayOf("backfill", s.start, n, "")
	}
}

// selectsFrom reports whether INSERT takes its rows from a table, and not from a function.
func selectsFrom(s *statement) bool {
	if !s.hasTop("select") {
		return false
	}
	for probe := *s; !probe.done(); {
		switch {
		case probe.is("("):
			probe.skipParens()
		case probe.take("from"):
			probe.take("only")
			if _, ok := probe.name(); ok && !probe.is("(") {
				return true
			}
		default:
			probe.at++
		}
	}
	return false
}

// subqueries looks at a statement with WITH, whose queries may write.
func (l *linter) subqueries(s *statement) {
	for i, t := range s.tokens {
		if i == 0 || t.kind != word || t.text != "update" && t.text != "delete" && t.text != "merge" && t.text != "insert" {
			continue
		}
		if before := s.tokens[i-1]; before.text != "(" && before.text != ")" {
			continue
		}
		probe := statement{tokens: s.tokens[i:], start: t.start, end: s.end}
		for depth := 0; !probe.done() && depth >= 0; probe.at++ {
			if probe.is("(") {
				depth++
			} else if probe.is(")") {
				depth--
			}
			if depth < 0 {
				probe.tokens = probe.tokens[:probe.at]
			}
		}
		probe.at = 0
		l.write(&probe)
	}
}

// lockTable looks at LOCK. What keeps writers out is as it is for CREATE INDEX; nothing weaker waits for long.
func (l *linter) lockTable(s *statement) {
	s.take("table")
	weak := s.has("in", "access", "share") || s.has("in", "row") || s.has("in", "share", "update")
	if weak {
		return
	}
	if tables := l.lockEach(s); tables != "" && !s.has("in", "share") {
		l.say("lock-table", s.start, tables)
	}
}

// set looks at SET and RESET.
func (l *linter) set(s *statement) {
	local := s.is("set", "local")
	if !local && !l.text.NoTransaction {
		setting := *s
		setting.at++
		setting.take("session")
		l.say("set-without-local", s.start, bare(setting.peek(0)))
	}
	if s.take("reset") || l.text.Foreign {
		return
	}
	s.at++
	s.take("local|session")
	if !s.take("search_path") || !s.take("to|=") {
		return
	}
	for _, part := range s.parts() {
		t := part.peek(0)
		schema := strings.ToLower(strings.Trim(bare(t), "'"))
		if t.kind != placeholder && !everywhere(schema) {
			l.say("hard-coded-schema", t.start, "search_path")
		}
	}
}

// everywhere reports whether a schema is the same in every database, or none at all.
func everywhere(schema string) bool {
	switch schema {
	case "", "public", "pg_catalog", "pg_temp", "$user", "default", "information_schema", "pg_toast":
		return true
	}
	return false
}

// setConfig looks for set_config that is not for the transaction alone.
func (l *linter) setConfig(s *statement) {
	if l.text.NoTransaction {
		return
	}
	for ; !s.done(); s.at++ {
		call := *s
		if !call.take("set_config", "(") {
			continue
		}
		if args := call.parts(); len(args) == 3 && args[2].is("false") {
			l.say("set-without-local", s.peek(0).start, strings.Trim(bare(args[0].peek(0)), "'"))
		}
	}
}

// noteTemporary notes a table that is the session's own, whose name has no template.
func (l *linter) noteTemporary(s *statement) {
	for s.at = 0; !s.done(); s.at++ {
		if s.is("temp|temporary") && (s.begins("create") || s.before().text == "into") {
			s.at++
			s.take("recursive")
			s.take("table|view|sequence")
			s.take("if", "not", "exists")
			if n, ok := s.name(); ok && !n.template {
				l.temporary[n.object], l.made[n.key()] = true, true
			}
			break
		}
	}
	s.at = 0
}

// longest is how many bytes of a name PostgreSQL keeps.
const longest = 63

func (l *linter) longNames(s *statement) {
	for _, t := range s.tokens {
		if t.kind == word && len(t.text) > longest || t.kind == quoted && strings.HasPrefix(t.text, `"`) && len(bare(t)) > longest {
			l.say("long-name", t.start, bare(t))
		}
	}
}
