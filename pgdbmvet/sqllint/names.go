package sqllint

import (
	"regexp"
	"slices"
	"strings"
)

// strings looks into the strings of a statement.
func (l *linter) strings(s *statement) {
	for _, t := range s.tokens {
		if t.kind != text {
			continue
		}
		if i := strings.Index(t.text, "'{{"); !l.text.Foreign && i >= 0 && strings.Contains(strings.ReplaceAll(t.text, " ", ""), "'{{schema}}'") {
			l.say("schema-in-string", t.start, "")
		}
	}
}

// catalogs are schemas that are the same in every database.
const catalogs = "pg_catalog|information_schema|pg_toast"

// names looks at the names of tables, wherever they stand in a statement, for those that would not follow the module.
func (l *linter) names(s *statement) {
	if l.text.Foreign || s.is("grant|revoke") || s.is("alter", "default") { // whose FROM and ON are for roles
		return
	}
	queries := l.queries(s)
	l.namesInStrings(s)
	for s.at = 0; !s.done(); s.at++ {
		var lists, columns bool // several names may follow; a parenthesis behind one holds columns
		switch {
		case s.is("table", "all", "in"), s.is("on", "select|insert|update|delete"), s.is("from", "rows", "from"), s.begins("create", "event"): // no names
			continue
		case s.at == 0 && s.is("update"), s.is("join"):
			s.at++
		case s.is("from") && !s.inFunction() && !s.is("from", "stdin"), s.at == 0 && s.is("truncate|lock"), s.is("using") && s.tokens[0].text == "delete":
			lists = true
			s.at++
			s.take("table")
		case s.is("into") && s.tokens[0].text != "select", s.is("references"), s.at == 0 && s.is("copy") && !s.is("copy", "("):
			columns = true
			s.at++
		case s.is("partition", "of"), s.is("attach|detach", "partition"):
			columns = true
			s.at += 2
		case s.is("inherits", "("), s.is("like") && s.before().text == "(" && s.begins("create", "table"):
			columns = true
			s.at++
			s.take("(")
		case s.namesObject():
			columns, lists = true, s.tokens[0].text == "drop"
			s.at++
			s.take("concurrently")
			s.take("if", "not", "exists")
			s.take("if", "exists")
		case s.is("table") && s.at > 0 && !s.is("table", "(|as"), s.is("view") && s.at > 0:
			columns = true
			s.at++
			s.take("concurrently")
			s.take("if", "not", "exists")
			s.take("if", "exists")
			lists = s.tokens[0].text == "drop"
		case s.is("on") && (s.begins("create", "index") || s.begins("create", "trigger") || s.begins("create", "policy") || s.begins("create", "rule") || s.begins("comment")):
			if s.tokens[0].text == "comment" && !s.is("on", "table") {
				continue
			}
			columns = true
			s.at++
			s.take("table")
		default:
			continue
		}
		for {
			s.take("only|lateral")
			l.oneName(s, queries, columns)
			if !lists {
				break
			}
			if s.is("as") {
				s.at++
			}
			if s.peek(0).kind == word && !s.is("where|join|on|left|right|full|inner|cross|natural|group|order|limit|set|using|union|returning|for|cascade|restrict|in") {
				s.at++ // an alias
			}
			if !s.take(",") {
				break
			}
		}
		s.at--
	}
	s.at = 0
}

// inString is a name with its schema, as functions and casts take it.
var inString = regexp.MustCompile(`^'("?[A-Za-z_][A-Za-z0-9_$]*"?)\.["A-Za-z_]`)

// namesInStrings looks at what nextval('x.y') and 'x.y'::regclass name.
func (l *linter) namesInStrings(s *statement) {
	for i := range s.tokens {
		at := statement{tokens: s.tokens, end: s.end, at: i}
		found := inString.FindStringSubmatch(at.peek(0).text)
		if at.peek(0).kind != text || found == nil || slices.Contains(strings.Split(catalogs, "|"), found[1]) {
			continue
		}
		call, cast := at, at
		call.at -= 2
		cast.at++
		if i > 1 && call.is("nextval|currval|setval|to_regclass|to_regtype|to_regproc|pg_get_serial_sequence", "(") ||
			isCast(&cast, "regclass|regtype|regproc|regprocedure") {
			l.say("hard-coded-schema", at.peek(0).start, at.peek(0).text)
		}
	}
}

// isCast reports whether a cast to one of the types comes next, whether its :: is one token or two.
func isCast(s *statement, types string) bool {
	return s.is("::", types) || s.is(":", ":", types)
}

// oneName judges the name that comes next. A parenthesis behind it makes it a function's, unless it holds columns.
func (l *linter) oneName(s *statement, queries map[string]bool, columns bool) {
	if t := s.peek(0); t.kind != word && t.kind != quoted && t.kind != placeholder {
		return
	}
	n, ok := s.name()
	switch {
	case !ok || n.template || s.is("(") && !columns:
	case n.schema == "pg_temp", n.schema == "" && l.temporary[n.object]:
	case n.schema != "":
		for _, c := range strings.Split(catalogs, "|") {
			if n.schema == c {
				return
			}
		}
		l.say("hard-coded-schema", n.start, n.schema+"."+n.object)
	case queries[n.object] || strings.HasPrefix(n.object, "pg_"):
	default:
		l.say("unqualified-name", n.start, n.object)
	}
}

// namesObject reports whether a word comes next that says of what kind the object is that the statement creates, alters
// or drops.
func (s *statement) namesObject() bool {
	if s.at == 0 || s.at > 3 || !s.is("type|domain|function|procedure|aggregate|sequence|index") {
		return false
	}
	first, before := s.tokens[0].text, s.before().text
	return before == "replace" || before == first && (first == "create" || first == "alter" || first == "drop") && (first != "create" || !s.is("index"))
}

// begins reports whether the statement begins with the first word and has the second among its next four.
func (s *statement) begins(first string, second ...string) bool {
	if len(s.tokens) == 0 || s.tokens[0].text != first {
		return false
	}
	if len(second) == 0 {
		return true
	}
	for _, t := range s.tokens[1:min(5, len(s.tokens))] {
		if t.kind == word && t.text == second[0] {
			return true
		}
	}
	return false
}

// inFunction reports whether FROM is part of a function's own syntax, as in extract(year FROM x), or of IS DISTINCT
// FROM.
func (s *statement) inFunction() bool {
	if s.at > 0 && s.tokens[s.at-1].text == "distinct" && s.at > 1 && (s.tokens[s.at-2].text == "is" || s.tokens[s.at-2].text == "not") {
		return true
	}
	depth := 0
	for i := s.at - 1; i > 0; i-- {
		switch t := s.tokens[i]; {
		case t.kind == word && depth == 0 && t.text == "select":
			return false
		case t.kind != other:
		case t.text == ")":
			depth++
		case t.text == "(" && depth > 0:
			depth--
		case t.text == "(":
			before := s.tokens[i-1].text
			return before == "extract" || before == "substring" || before == "trim" || before == "overlay" || before == "position"
		}
	}
	return false
}

// queries returns the names that WITH gives.
func (l *linter) queries(s *statement) map[string]bool {
	names := map[string]bool{}
	for i := range s.tokens {
		probe := statement{tokens: s.tokens, end: s.end, at: i}
		if !probe.is("with|,") {
			continue
		}
		probe.at++
		probe.take("recursive")
		n, ok := probe.name()
		if !ok || n.template {
			continue
		}
		if probe.is("(") {
			probe.skipParens()
		}
		if probe.take("as") {
			probe.take("not")
			probe.take("materialized")
			if probe.is("(") {
				names[n.object] = true
			}
		}
	}
	return names
}
