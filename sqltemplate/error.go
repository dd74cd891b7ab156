package sqltemplate

import (
	"strconv"
	"unicode/utf8"
)

// Error is a fault at one place of a text: a token that never ends, a byte that PostgreSQL cannot hold, or a
// placeholder that cannot be expanded.
type Error struct {
	Offset int    // in bytes, from 0
	Line   int    // from 1
	Column int    // in characters, from 1
	Msg    string // the fact, without the position
}

// Error returns "LINE:COLUMN: message".
func (e *Error) Error() string {
	return strconv.Itoa(e.Line) + ":" + strconv.Itoa(e.Column) + ": " + e.Msg
}

// errorAt makes the Error for a byte offset of src.
func errorAt(src string, offset int, msg string) *Error {
	line, column := Position(src, offset)
	return &Error{Offset: offset, Line: line, Column: column, Msg: msg}
}

// Position returns the line and column, both from 1, of a byte offset of src. A line ends at \n, at \r\n or at a \r
// alone. The column counts characters; a byte that is not part of valid UTF-8 counts as one. An offset outside src is
// taken as the nearest end of it, and one inside a character as that character's.
func Position(src string, offset int) (line, column int) {
	offset = max(0, min(offset, len(src)))
	line = 1
	start := 0
	for i := 0; i < offset; i++ {
		switch src[i] {
		case '\n':
			line, start = line+1, i+1
		case '\r':
			// The \n of \r\n ends the line; between the two the line is still the old one.
			if i+1 == len(src) || src[i+1] != '\n' {
				line, start = line+1, i+1
			}
		}
	}
	column = 1
	for i := start; i < offset; {
		_, size := utf8.DecodeRuneInString(src[i:])
		if i += size; i <= offset {
			column++
		}
	}
	return line, column
}
