package sqltemplate

import "strings"

// noTemplates is the directive that switches the placeholders of a file off.
const noTemplates = "no-templates"

// Directive is an instruction to pgdbm: a comment of the form -- pgdbm:NAME ARGS.
type Directive struct {
	Name   string // as written; "" if nothing follows the colon
	Args   string // the rest of the line, without the spaces around it
	Offset int    // of the comment
	Head   bool   // it stands before the first code of the text
}

// Directives returns the directives of a script, in their order. Only -- comments in code are read, at any
// indentation, with or without spaces around "pgdbm:", the case of which does not matter; that of the name does.
// Whether a name means something is for the caller to know. When the text does not lex, the error is that of
// [Lexer.Err], and the directives before that place are returned all the same.
func Directives(src string) ([]Directive, error) {
	var ds []Directive
	lex, head := NewLexer(src), true
	for {
		tok, ok := lex.Next()
		if !ok {
			return ds, lex.Err()
		}
		head = head && tok.blank()
		if tok.Kind != Comment {
			continue
		}
		if d, ok := parseDirective(src[tok.Start:tok.End]); ok {
			d.Offset, d.Head = tok.Start, head
			ds = append(ds, d)
		}
	}
}

func parseDirective(comment string) (Directive, bool) {
	const prefix, blanks = "pgdbm:", " \t\f\v"
	text, ok := strings.CutPrefix(comment, "--")
	text = strings.Trim(text, blanks)
	if !ok || len(text) < len(prefix) || foldASCII(text[:len(prefix)]) != prefix {
		return Directive{}, false
	}
	text = strings.TrimLeft(text[len(prefix):], blanks)
	end := strings.IndexAny(text, blanks)
	if end < 0 {
		end = len(text)
	}
	return Directive{Name: text[:end], Args: strings.TrimLeft(text[end:], blanks)}, true
}
