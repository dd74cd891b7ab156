package sqltemplate

import "strings"

const byteOrderMark = "\ufeff"

// Lexer cuts a script into tokens: PostgreSQL's, and what psql adds to them, which are the rows after COPY ... FROM
// STDIN and the commands that begin with a backslash. Make one with [NewLexer]. It is not safe for concurrent use.
type Lexer struct {
	src    string
	pos    int
	nul    int // the offset of the first NUL byte, or -1
	script bool
	err    error

	stmt  statement
	copy  copyState
	ended bool // the last token ended a statement
}

// copyState is where the lexer is between a COPY ... FROM STDIN statement and the end of its rows.
type copyState uint8

const (
	noCopy   copyState = iota
	copyLine           // on the rest of the line on which the statement ends
	copyRows           // at the first row
)

// NewLexer returns a lexer at the start of a script.
func NewLexer(src string) *Lexer {
	return &Lexer{src: src, nul: strings.IndexByte(src, 0), script: true}
}

// newBodyLexer returns a lexer for the inside of a dollar-quoted string, which no psql reads.
func newBodyLexer(src string) *Lexer {
	return &Lexer{src: src, nul: strings.IndexByte(src, 0)}
}

// Next returns the next token. The tokens are adjacent and none is empty. At the end of the text, and where no token
// can be made, ok is false: [Lexer.Err] tells which.
func (l *Lexer) Next() (tok Token, ok bool) {
	if l.err != nil || l.pos == len(l.src) {
		return Token{}, false
	}
	kind, end, fault := l.scan()
	if l.nul >= 0 && l.nul < end {
		l.err = errorAt(l.src, l.nul, "NUL byte")
		return Token{}, false
	}
	if fault != "" {
		l.err = errorAt(l.src, l.pos, fault)
		return Token{}, false
	}
	tok = Token{kind, l.pos, end}
	l.pos = end
	if l.script {
		l.follow(tok)
	}
	return tok, true
}

// Err returns nil at the end of the text, and else an [*Error]. For a string, comment or quoted identifier that never
// ends it points at the start of that, and for a NUL byte at the byte.
func (l *Lexer) Err() error { return l.err }

// scan is the function scan for a script.
func (l *Lexer) scan() (Kind, int, string) {
	if !l.script {
		return scan(l.src, l.pos)
	}
	switch {
	case l.pos == 0 && strings.HasPrefix(l.src, byteOrderMark):
		return Space, skip(l.src, len(byteOrderMark), isSpace), ""
	case l.copy == copyLine:
		return l.scanCopyLine()
	case l.copy == copyRows:
		_, end := copyEnd(l.src, l.pos)
		return CopyData, end, ""
	case l.src[l.pos] == '\\':
		return MetaCommand, lineEnd(l.src, l.pos), ""
	}
	return scan(l.src, l.pos)
}

// scanCopyLine scans what is left of the line on which a COPY ... FROM STDIN statement ends. The rows begin on the next
// line. psql would run other code on this line after it read them, so that the text had another order than its
// execution; such code is refused.
func (l *Lexer) scanCopyLine() (Kind, int, string) {
	kind, end, fault := scan(l.src, l.pos)
	line := len(l.src)
	if n := strings.IndexByte(l.src[l.pos:], '\n'); n >= 0 {
		line = l.pos + n
	}
	switch {
	case fault != "":
		return kind, end, fault
	case kind == Space:
		return kind, min(end, line+1), ""
	case kind == Comment && end <= line:
		return kind, end, ""
	}
	return kind, end, "code on the line on which COPY FROM STDIN ends"
}

// follow keeps track of statements.
func (l *Lexer) follow(tok Token) {
	l.ended = false
	switch {
	case tok.Kind == CopyData:
		l.copy = noCopy
	case l.copy == copyLine:
		if tok.Kind == Space && l.src[tok.End-1] == '\n' {
			l.copy = copyRows
		}
	case tok.Kind == MetaCommand:
		l.stmt = statement{}
	case !tok.blank() && l.stmt.add(l.src, tok):
		if l.ended = true; l.stmt.copyIn {
			l.copy = copyLine
		}
		l.stmt = statement{}
	}
}

// copyEnd returns the end of the rows that begin at i, and the end of the line \. after them. Rows without that line
// end with the text. As in psql, only \n ends a line here, and a \r before it is no part of the line.
func copyEnd(src string, i int) (rows, end int) {
	for from := i; ; {
		n := strings.Index(src[from:], `\.`)
		if n < 0 {
			return len(src), len(src)
		}
		rows, from = from+n, from+n+2
		if rows > i && src[rows-1] != '\n' {
			continue
		}
		switch rest := src[from:]; {
		case rest == "" || rest == "\r":
			return rows, len(src)
		case rest[0] == '\n':
			return rows, from + 1
		case strings.HasPrefix(rest, "\r\n"):
			return rows, from + 2
		}
	}
}
