package sqltemplate

import "strings"

// The functions of this file follow the rules of PostgreSQL's own lexer with standard_conforming_strings on. They know
// nothing of statements or scripts: what a token is depends only on the text from its first byte on.

// What a byte can be. Bytes from 0x80 up are letters, whatever character they are part of.
const (
	isSpace      = 1 << iota // blanks and line ends
	isIdentStart             // may begin an identifier
	isIdentCont              // may continue an identifier
	isDigit
	isOperator
	isStrange // an operator character that lets an operator end in + or -
)

var classes = makeClasses()

func makeClasses() (t [256]uint8) {
	set := func(chars string, class uint8) {
		for i := range len(chars) {
			t[chars[i]] |= class
		}
	}
	for c := range 256 {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c >= 0x80:
			t[c] = isIdentStart | isIdentCont
		case c >= '0' && c <= '9':
			t[c] = isDigit | isIdentCont
		}
	}
	set("$", isIdentCont)
	set(" \t\n\r\f\v", isSpace)
	set("~!@#^&|`?+-*/%<>=", isOperator)
	set("~!@#^&|`?%", isStrange)
	return t
}

func is(c byte, class uint8) bool { return classes[c]&class != 0 }

// skip returns the offset of the first byte from i on that is not of the class.
func skip(src string, i int, class uint8) int {
	for i < len(src) && is(src[i], class) {
		i++
	}
	return i
}

// at returns the byte at i, or 0 past the end. No token holds a 0, so it matches nothing.
func at(src string, i int) byte {
	if i < len(src) {
		return src[i]
	}
	return 0
}

// scan returns the kind and the end of the token at i, which must be inside src. A fault, if not empty, says why there
// is no token.
func scan(src string, i int) (kind Kind, end int, fault string) {
	c, next := src[i], at(src, i+1)
	switch {
	case is(c, isSpace):
		return Space, skip(src, i, isSpace), ""
	case is(c, isIdentStart):
		return scanWord(src, i)
	case is(c, isDigit), c == '.' && is(next, isDigit):
		return Number, scanNumber(src, i), ""
	case c == '-' && next == '-':
		return Comment, lineEnd(src, i), ""
	case c == '/' && next == '*':
		end, fault = scanComment(src, i)
		return Comment, end, fault
	case is(c, isOperator):
		return Operator, scanOperator(src, i), ""
	case c == '\'':
		return scanString(src, i, plainQuotes)
	case c == '"':
		end, fault = scanQuotedIdent(src, i)
		return QuotedIdent, end, fault
	case c == '$':
		return scanDollar(src, i)
	case c == ';':
		return Semicolon, i + 1, ""
	case c == ':' && (next == ':' || next == '='), c == '.' && next == '.':
		return Punct, i + 2, ""
	}
	return Punct, i + 1, ""
}

// scanWord scans an identifier, or a literal that begins with a letter.
func scanWord(src string, i int) (Kind, int, string) {
	next := at(src, i+1)
	switch src[i] {
	case 'e', 'E':
		if next == '\'' {
			return scanString(src, i+1, escapeQuotes)
		}
	case 'n', 'N':
		if next == '\'' {
			return scanString(src, i+1, plainQuotes)
		}
	case 'b', 'B', 'x', 'X':
		if next == '\'' {
			return scanString(src, i+1, bitQuotes)
		}
	case 'u', 'U':
		if next == '&' && at(src, i+2) == '\'' {
			return scanString(src, i+2, plainQuotes)
		}
		if next == '&' && at(src, i+2) == '"' {
			end, fault := scanQuotedIdent(src, i+2)
			return QuotedIdent, end, fault
		}
	}
	return Ident, skip(src, i, isIdentCont), ""
}

// quoting is how the inside of a string is read.
type quoting uint8

const (
	plainQuotes  quoting = iota // '' is a quote
	escapeQuotes                // '' is a quote, and a backslash takes the next byte with it
	bitQuotes                   // nothing is a quote: B'1''0' is B'1' and '0'
)

// scanString scans the string whose first quote is at i, and the parts that continue it.
func scanString(src string, i int, q quoting) (Kind, int, string) {
	for {
		end, ok := scanQuoted(src, i+1, q)
		if !ok {
			return String, len(src), "unterminated quoted string"
		}
		if i, ok = continuation(src, end); !ok {
			return String, end, ""
		}
	}
}

// scanQuoted returns the offset after the quote that ends the part of a string whose inside begins at i.
func scanQuoted(src string, i int, q quoting) (end int, ok bool) {
	for i < len(src) {
		switch src[i] {
		case '\'':
			if q == bitQuotes || at(src, i+1) != '\'' {
				return i + 1, true
			}
			i += 2
		case '\\':
			if i++; q == escapeQuotes {
				i++
			}
		default:
			i++
		}
	}
	return len(src), false
}

// continuation returns the offset of the quote with which a string that ended before i goes on. Between the parts
// there are spaces, line ends and -- comments, and at least one line end.
func continuation(src string, i int) (quote int, ok bool) {
	newline := false
	for i < len(src) {
		switch c := src[i]; {
		case c == '\n' || c == '\r':
			newline = true
			i++
		case is(c, isSpace):
			i++
		case c == '-' && at(src, i+1) == '-':
			i = lineEnd(src, i)
		default:
			return i, newline && c == '\''
		}
	}
	return i, false
}

// scanQuotedIdent scans the identifier whose first quote is at i.
func scanQuotedIdent(src string, i int) (end int, fault string) {
	for i++; ; i += 2 {
		n := strings.IndexByte(src[i:], '"')
		if n < 0 {
			return len(src), "unterminated quoted identifier"
		}
		if i += n; at(src, i+1) != '"' {
			return i + 1, ""
		}
	}
}

// lineEnd returns the offset of the first \n or \r from i on, or the end of the text.
func lineEnd(src string, i int) int {
	if n := strings.IndexAny(src[i:], "\r\n"); n >= 0 {
		return i + n
	}
	return len(src)
}

// scanComment scans the comment whose /* is at i. Comments nest.
func scanComment(src string, i int) (end int, fault string) {
	for depth := 0; i < len(src); {
		switch {
		case src[i] == '/' && at(src, i+1) == '*':
			depth++
			i += 2
		case src[i] == '*' && at(src, i+1) == '/':
			i += 2
			if depth--; depth == 0 {
				return i, ""
			}
		default:
			i++
		}
	}
	return len(src), "unterminated /* comment"
}

// scanDollar scans a parameter, a dollar-quoted string or a $ that is neither.
func scanDollar(src string, i int) (Kind, int, string) {
	if is(at(src, i+1), isDigit) {
		return Param, skip(src, i+1, isDigit), ""
	}
	inside := dollarTag(src, i)
	if inside == 0 {
		return Punct, i + 1, ""
	}
	tag := src[i:inside]
	n := strings.Index(src[inside:], tag)
	if n < 0 {
		return DollarString, len(src), "unterminated dollar-quoted string"
	}
	return DollarString, inside + n + len(tag), ""
}

// dollarTag returns the offset after the $tag$ at i, or 0 if there is none.
func dollarTag(src string, i int) int {
	end := i + 1
	if is(at(src, end), isIdentStart) {
		for end < len(src) && src[end] != '$' && is(src[end], isIdentCont) {
			end++
		}
	}
	if at(src, end) != '$' {
		return 0
	}
	return end + 1
}

// scanOperator scans the operator at i. It ends before a comment, and it ends in + or - only if it holds one of the
// characters that SQL's own operators do not have: so in a=-1 it is =, and in a@-1 it is @-.
//
// An operator is a name, so the first 64 bytes of a long run decide: all that PostgreSQL accepts is shorter. Reading
// each run to its end would take time in the square of its length where only its first byte is a token.
func scanOperator(src string, i int) int {
	end, strange := i, false
	for end < len(src) && is(src[end], isOperator) && (end == i || !beginsComment(src, end)) {
		if end > i+maxNameLen && !strange {
			break
		}
		strange = strange || is(src[end], isStrange)
		end++
	}
	if strange {
		return end
	}
	for end > i+1 && (src[end-1] == '+' || src[end-1] == '-') {
		end--
	}
	return end
}

func beginsComment(src string, i int) bool {
	c, next := src[i], at(src, i+1)
	return c == '-' && next == '-' || c == '/' && next == '*'
}
