package sqllint

import "strings"

// body looks at what the block of a DO changes: it runs with the file. The body of a function runs later, and EXECUTE
// runs what is not known.
func (l *linter) body(s *statement) {
	for _, inner := range blockStatements(block(s)) {
		l.run(inner)
	}
}

// block returns the tokens of the block of a DO.
func block(s *statement) []token {
	for i, t := range s.tokens {
		if t.kind != text || i > 0 && s.tokens[i-1].text == "language" {
			continue
		}
		code, places := unquoteBlock(t.text)
		all := tokens(code, 0)
		for i := range all {
			all[i].start = t.start + places[all[i].start]
		}
		return all
	}
	return nil
}

// unquoteBlock returns what a string says, and where in it each byte of that stands.
func unquoteBlock(quoted string) (code string, places []int) {
	begin, end := strings.IndexByte(quoted, '\'')+1, len(quoted)-1
	dollars := strings.HasPrefix(quoted, "$")
	if dollars {
		begin = strings.IndexByte(quoted[1:], '$') + 2
		end = len(quoted) - begin
	}
	escapes := !dollars && strings.HasPrefix(strings.ToLower(quoted), "e")
	var b strings.Builder
	for i := begin; i < end; i++ {
		c := quoted[i]
		places = append(places, i)
		switch {
		case !dollars && c == '\'':
			i++ // the second of two
		case escapes && c == '\\' && i+1 < end:
			i++
			if c = quoted[i]; strings.IndexByte("nrtbf", c) >= 0 {
				c = ' '
			}
		}
		b.WriteByte(c)
	}
	return b.String(), places
}

// changes are the words by which statements begin that change something.
const changes = "alter|create|drop|truncate|update|delete|insert|merge|lock|reindex|cluster|refresh"

// blockStatements returns the statements of a block in PL/pgSQL that change something.
func blockStatements(code []token) (all []*statement) {
	var now *statement
	fresh := true // a statement may begin here
	for _, t := range code {
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
