package sqltemplate

import "strings"

// code goes through the code that lex reads, which begins at base: a script, or with body the inside of a dollar-quoted
// string.
func (b *builder) code(lex *Lexer, base int, body bool) error {
	c := codeWalk{builder: b, lo: base, hi: base + len(lex.src), body: body}
	for {
		tok, ok := lex.Next()
		if !ok {
			return lex.Err()
		}
		tok.Start, tok.End = tok.Start+base, tok.End+base
		if tok.Start < b.done {
			continue // a token of a placeholder that is done
		}
		if err := c.token(tok); err != nil {
			return err
		}
		if !tok.blank() {
			c.dot = b.src[tok.Start:tok.End] == "."
		}
	}
}

// codeWalk is the state of builder.code.
type codeWalk struct {
	*builder
	lo, hi int // of the code in src
	body   bool
	dot    bool // the last token that was not blank is a dot
}

func (c *codeWalk) token(tok Token) error {
	switch tok.Kind {
	case Punct:
		if strings.HasPrefix(c.src[tok.Start:c.hi], "{{") {
			return c.braces(tok.Start)
		}
	case Comment:
		return c.comment(tok)
	case QuotedIdent:
		return c.refuse(tok.Start, tok.End, "placeholder in a quoted identifier")
	case String:
		return c.literal(tok)
	case DollarString:
		return c.dollar(tok)
	}
	return nil
}

// braces takes a {{ in code.
func (c *codeWalk) braces(i int) error {
	p, f, fault := parsePlaceholder(c.src[:c.hi], i)
	switch {
	case f == foreign && c.body:
		return nil
	case f != proper:
		return c.errorAt(i, fault)
	}
	return c.replace(i, i, p)
}

// replace expands a placeholder in code, in the place of src[start:p.end].
//
// What touches it would change its meaning: after {{tables.events}} the rest of {{tables.events}}_2024 is an alias.
func (c *codeWalk) replace(start, at int, p placeholder) error {
	if start > c.lo && (start == c.done && len(c.marks) > 0 || sticks(c.src[start-1])) {
		return c.errorAt(at, "placeholder touches what stands before it")
	}
	if p.end < c.hi && sticks(c.src[p.end]) {
		return c.errorAt(at, "placeholder touches what stands after it")
	}
	c.expand(start, at, p, false)
	return nil
}

// sticks reports whether a byte beside a quoted name could join it.
func sticks(b byte) bool { return is(b, isIdentCont) || b == '"' || b == '\'' }

// comment takes a comment. /*{{tables.users}}*/ users is a name that the placeholder replaces, and the placeholder must
// be true to it.
func (c *codeWalk) comment(tok Token) error {
	if c.src[tok.Start] != '/' {
		return nil
	}
	at := skipBlanks(c.src, tok.Start+len("/*"))
	if !strings.HasPrefix(c.src[at:tok.End], "{{") {
		return nil
	}
	p, f, _ := parsePlaceholder(c.src[:tok.End], at)
	if f != proper || skipBlanks(c.src, p.end) != tok.End-len("*/") {
		return nil
	}
	name, end := followingName(c.src[:c.hi], skipBlanks(c.src, tok.End))
	switch {
	case p.form != object:
		return c.errorAt(at, "comment with a placeholder that has no name")
	case name != p.name:
		return c.errorAt(at, "comment with a placeholder before another name")
	case c.dot:
		return c.errorAt(at, "comment with a placeholder inside a qualified name")
	}
	p.end = end
	return c.replace(tok.Start, at, p)
}

// followingName returns the name that begins at i, as PostgreSQL would know it, or "".
func followingName(src string, i int) (name string, end int) {
	if i >= len(src) {
		return "", i
	}
	kind, end, fault := scan(src, i)
	text := src[i:end]
	switch {
	case fault != "":
		return "", i
	case kind == Ident:
		return foldASCII(text), end
	case kind == QuotedIdent && text[0] == '"':
		return strings.ReplaceAll(text[1:len(text)-1], `""`, `"`), end
	}
	return "", i
}

// literal takes a quoted string, part by part: between the parts there may be comments.
func (c *codeWalk) literal(tok Token) error {
	text := c.src[:tok.End]
	quote := tok.Start + strings.IndexByte(text[tok.Start:], '\'')
	q := quotingOf(text[tok.Start])
	for {
		end, _ := scanQuoted(text, quote+1, q)
		var err error
		if q == bitQuotes {
			err = c.refuse(quote+1, end-1, "placeholder in a bit string")
		} else {
			err = c.text(quote+1, end-1, true, q)
		}
		if err != nil {
			return err
		}
		var ok bool
		if quote, ok = continuation(text, end); !ok {
			return nil
		}
	}
}

// quotingOf returns how a string is read that begins with a byte.
func quotingOf(first byte) quoting {
	switch lower(first) {
	case 'e':
		return escapeQuotes
	case 'b', 'x':
		return bitQuotes
	}
	return plainQuotes
}

// dollar takes a dollar-quoted string: its inside is code, or plain text if it does not lex.
func (c *codeWalk) dollar(tok Token) error {
	tag := dollarTag(c.src, tok.Start) - tok.Start
	lo, hi := tok.Start+tag, tok.End-tag
	body := c.src[lo:hi]
	switch {
	case !strings.Contains(body, "{{"):
		return nil
	case lexes(body):
		return c.code(newBodyLexer(body), lo, true)
	}
	return c.text(lo, hi, false, plainQuotes)
}

func lexes(body string) bool {
	lex := newBodyLexer(body)
	for ok := true; ok; {
		_, ok = lex.Next()
	}
	return lex.Err() == nil
}
