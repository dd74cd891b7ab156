package sqllint

import "strings"

// body looks at what the block of a DO changes: it runs with the file. The body of a function runs later, and EXECUTE
// runs what is not known.
func (l *linter) body(s *statement) {
	for _, t := range s.tokens {
		if t.kind != text || !strings.HasPrefix(t.text, "$") {
			continue
		}
		tag := strings.IndexByte(t.text[1:], '$') + 2
		if len(t.text) < 2*tag {
			continue
		}
		code := t.text[tag : len(t.text)-tag]
		for _, inner := range blockStatements(code, t.start+tag) {
			l.run(inner)
		}
	}
}

// changes are the words by which statements begin that change something.
const changes = "alter|create|drop|truncate|update|delete|insert|merge|lock|reindex|cluster|refresh"

// blockStatements returns the statements of a block in PL/pgSQL that change something.
func blockStatements(code string, offset int) (all []*statement) {
	var now *statement
	fresh := true // a statement may begin here
	for _, t := range tokens(code, offset) {
		switch probe := (&statement{tokens: []token{t}}); {
		case t.semicolon():
			now, fresh = nil, true
			continue
		case now != nil:
			now.tokens = append(now.tokens, t)
		case fresh && probe.is(changes):
			now = &statement{tokens: []token{t}, start: t.start}
			all = append(all, now)
		}
		if now != nil {
			now.end = t.start + len(t.text)
		}
		fresh = t.kind == word && (t.text == "then" || t.text == "else" || t.text == "loop" || t.text == "begin")
	}
	return all
}
