package sqllint

import "fmt"

// newer is what PostgreSQL knows since a major version after 14.
var newer = []struct {
	since int
	what  string
	found func(*statement) bool
}{
	{15, "MERGE", func(s *statement) bool { return s.is("merge") }},
	{15, "NULLS NOT DISTINCT", func(s *statement) bool { return s.has("nulls", "not", "distinct") }},
	{15, "SET ACCESS METHOD", func(s *statement) bool { return s.is("alter") && s.has("set", "access", "method") }},
	{15, "security_invoker", func(s *statement) bool { return s.is("create|alter") && s.has("security_invoker") }},
	{17, "SET EXPRESSION", func(s *statement) bool { return s.is("alter", "table") && s.has("set", "expression", "as") }},
	{17, "JSON_TABLE", func(s *statement) bool { return s.has("json_table", "(") }},
	{17, "MERGE ... RETURNING", func(s *statement) bool { return s.is("merge") && s.hasTop("returning") }},
	{17, "NOT MATCHED BY SOURCE", func(s *statement) bool { return s.is("merge") && s.has("not", "matched", "by", "source") }},
	{18, "virtual generated column", virtualColumn},
	{18, "NOT ENFORCED", func(s *statement) bool { return s.is("create|alter", "table") && s.has("not", "enforced") }},
	{18, "NOT NULL as a constraint of the table", tableNotNull},
	{18, "WITHOUT OVERLAPS", func(s *statement) bool { return s.is("create|alter") && s.has("without", "overlaps") }},
	{18, "uuidv7", func(s *statement) bool { return s.has("uuidv7", "(") }},
}

// tooNew looks for what the oldest version that the files are for does not know.
func (l *linter) tooNew(s *statement) {
	if l.Postgres == 0 {
		return
	}
	s.at = 0
	for _, n := range newer {
		if n.since > l.Postgres && n.found(s) {
			l.say("too-new", s.start, fmt.Sprintf("%s, since PostgreSQL %d", n.what, n.since))
		}
	}
}

// virtualColumn finds a generated column that is not stored.
func virtualColumn(s *statement) bool {
	if !s.is("create|alter") {
		return false
	}
	for probe := *s; !probe.done(); probe.at++ {
		if probe.is("generated", "always", "as", "(") {
			probe.at += 3
			probe.skipParens()
			if !probe.is("stored") {
				return true
			}
		}
	}
	return false
}

// tableNotNull finds ADD [CONSTRAINT c] NOT NULL x.
func tableNotNull(s *statement) bool {
	if !s.is("alter", "table") {
		return false
	}
	for probe := *s; !probe.done(); {
		if !probe.take("add") {
			probe.at++
			continue
		}
		if probe.take("constraint") {
			probe.at++
		}
		if probe.is("not", "null") {
			return true
		}
	}
	return false
}
