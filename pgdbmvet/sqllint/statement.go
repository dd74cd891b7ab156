package sqllint

import (
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A token is one of a statement that is neither space nor comment; a placeholder is one token.
type token struct {
	kind  tokenKind
	text  string // of a word folded to lower case, of others as written
	start int
}

type tokenKind int

const (
	word tokenKind = iota
	quoted
	placeholder
	text // a string of any kind
	other
)

// A statement is read from left to right.
type statement struct {
	tokens     []token
	start, end int // in the source
	at         int // the next token
}

func newStatement(source string, p sqltemplate.Piece) *statement {
	s := &statement{start: p.Code, end: p.End}
	for _, t := range tokens(source[p.Code:p.End], p.Code) {
		if !t.semicolon() {
			s.tokens = append(s.tokens, t)
		}
	}
	return s
}

func (t token) semicolon() bool { return t.kind == other && t.text == ";" }

// tokens reads code that stands at an offset of the source.
func tokens(code string, offset int) (all []token) {
	lexer := sqltemplate.NewLexer(code)
	for skip := 0; ; {
		tok, ok := lexer.Next()
		if !ok {
			return all
		}
		if tok.Start < skip || tok.Kind == sqltemplate.Space || tok.Kind == sqltemplate.Comment {
			continue
		}
		t := token{other, code[tok.Start:tok.End], offset + tok.Start}
		switch {
		case tok.Kind == sqltemplate.Ident:
			t.kind, t.text = word, strings.ToLower(t.text)
		case tok.Kind == sqltemplate.QuotedIdent:
			t.kind = quoted
		case tok.Kind == sqltemplate.String || tok.Kind == sqltemplate.DollarString:
			t.kind = text
		case strings.HasPrefix(code[tok.Start:], "{{"):
			if end := strings.Index(code[tok.Start:], "}}"); end > 0 {
				skip = tok.Start + end + 2
				t.kind, t.text = placeholder, code[tok.Start:skip]
			}
		}
		all = append(all, t)
	}
}

func (s *statement) peek(n int) token {
	if s.at+n < len(s.tokens) && s.at+n >= 0 {
		return s.tokens[s.at+n]
	}
	return token{kind: other, start: s.end}
}

// is reports whether these words, or punctuation, come next; "a|b" is either.
func (s *statement) is(words ...string) bool {
	for i, w := range words {
		t := s.peek(i)
		if t.kind != word && t.kind != other || t.text == "" {
			return false
		}
		found := false
		for _, either := range strings.Split(w, "|") {
			found = found || t.text == either
		}
		if !found {
			return false
		}
	}
	return true
}

// take skips these words if they come next.
func (s *statement) take(words ...string) bool {
	if s.is(words...) {
		s.at += len(words)
		return true
	}
	return false
}

func (s *statement) done() bool { return s.at >= len(s.tokens) }

// has reports whether these words stand in a row somewhere from here on.
func (s *statement) has(words ...string) bool {
	for probe := *s; !probe.done(); probe.at++ {
		if probe.is(words...) {
			return true
		}
	}
	return false
}

// hasTop is has outside parentheses.
func (s *statement) hasTop(words ...string) bool {
	for probe := *s; !probe.done(); {
		switch {
		case probe.is(words...):
			return true
		case probe.is("("):
			probe.skipParens()
		default:
			probe.at++
		}
	}
	return false
}

// before is the token that was read last.
func (s *statement) before() token { return s.peek(-1) }

// A name is that of a table or another object.
type name struct {
	start    int
	template bool
	module   string // of {{tables.module.x}}
	schema   string // written out
	object   string // without quotes
}

// String is how a finding names it.
func (n name) String() string {
	if of := n.module + n.schema; of != "" {
		return of + "." + n.object
	}
	return n.object
}

// key is equal for two names of one object, however written.
func (n name) key() string { return n.module + "." + n.object }

// name reads a name; ok is false where there is none.
func (s *statement) name() (n name, ok bool) {
	t := s.peek(0)
	n.start = t.start
	switch t.kind {
	case placeholder:
		s.at++
		n.template = true
		parts := strings.Split(strings.Trim(t.text, "{} \t"), ".")
		if len(parts) == 1 { // {{schema}}.x
			if s.take(".") {
				n.object = bare(s.peek(0))
				s.at++
			}
			return n, true
		}
		n.object = unquote(strings.TrimSpace(parts[len(parts)-1]))
		if len(parts) > 2 {
			n.module = strings.TrimSpace(parts[1])
		}
	case word, quoted:
		s.at++
		n.object = bare(t)
		if s.take(".") {
			n.schema, n.object = n.object, bare(s.peek(0))
			s.at++
		}
	default:
		return n, false
	}
	return n, true
}

func bare(t token) string {
	if t.kind == quoted {
		return unquote(t.text)
	}
	return t.text
}

func unquote(text string) string {
	if inner, ok := strings.CutPrefix(text, `"`); ok {
		return strings.ReplaceAll(strings.TrimSuffix(inner, `"`), `""`, `"`)
	}
	return strings.ToLower(text)
}

// parts splits what is left at the commas outside parentheses.
func (s *statement) parts() (all []*statement) {
	depth, from := 0, s.at
	cut := func(to int) {
		if to > from {
			end := s.end
			if to < len(s.tokens) {
				end = s.tokens[to].start
			}
			all = append(all, &statement{tokens: s.tokens[from:to], start: s.tokens[from].start, end: end})
		}
		from = to + 1
	}
	for i := s.at; i < len(s.tokens); i++ {
		switch t := s.tokens[i]; {
		case t.kind != other:
		case t.text == "(" || t.text == "[":
			depth++
		case t.text == ")" || t.text == "]":
			if depth--; depth < 0 {
				cut(i)
				return all
			}
		case t.text == "," && depth == 0:
			cut(i)
		}
	}
	cut(len(s.tokens))
	return all
}

// skipParens skips a parenthesised part.
func (s *statement) skipParens() {
	for depth := 0; !s.done(); {
		t := s.peek(0)
		s.at++
		if t.kind == other && t.text == "(" {
			depth++
		} else if t.kind == other && t.text == ")" {
			depth--
		}
		if depth <= 0 {
			return
		}
	}
}
