package main

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// safeWriter is where commands write. What a terminal would obey is written as an
// escape sequence of JSON and Go, since names and errors come from databases and
// files of others: control characters but tab and line end, and the characters that
// turn the direction of text. JSON keeps its meaning.
type safeWriter struct {
	io.Writer
	wrote bool
}

func (p *safeWriter) Write(text []byte) (int, error) {
	p.wrote = p.wrote || len(text) > 0
	if _, err := io.WriteString(p.Writer, escaped(string(text), "\t\n")); err != nil {
		return 0, err
	}
	return len(text), nil
}

// raw is the writer without that, for what may have such characters.
func raw(w io.Writer) io.Writer {
	if p, ok := w.(*safeWriter); ok {
		p.wrote = true
		return p.Writer
	}
	return w
}

// escaped escapes what a terminal would obey, but for some characters.
func escaped(text, but string) string {
	obeyed := func(r rune) bool {
		return (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) && !strings.ContainsRune(but, r)
	}
	if utf8.ValidString(text) && strings.IndexFunc(text, obeyed) < 0 {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case obeyed(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
