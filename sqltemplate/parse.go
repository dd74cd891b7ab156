package sqltemplate

import "strings"

// Parse reads the text of a query or script. A text without {{ is not even lexed, whatever it holds. The error is an
// [*Error]: a placeholder that cannot be expanded, or, in a text with {{, a token that never ends.
func Parse(src string) (*Template, error) {
	if !strings.Contains(src, "{{") {
		return static(src), nil
	}
	b := builder{src: src}
	if err := b.code(NewLexer(src), 0, false); err != nil {
		return nil, err
	}
	return b.template(), nil
}

// ParseFile is Parse for a file, which can switch its placeholders off: with -- pgdbm:no-templates before its first
// statement it expands to its source.
func ParseFile(src string) (*Template, error) {
	if !strings.Contains(src, "{{") {
		return static(src), nil
	}
	// A text that does not lex fails below, unless the directive comes before that.
	directives, _ := Directives(src)
	for _, d := range directives {
		if d.Head && d.Name == noTemplates {
			return static(src), nil
		}
	}
	return Parse(src)
}

// Verbatim returns a template that expands to the source as it is, whatever is in it.
func Verbatim(src string) *Template { return static(src) }

// builder makes a template. It goes through the source once, from its start to its end.
type builder struct {
	src   string
	marks []mark
	out   []byte // the expansion of what is done, without the schemas
	done  int    // the end in src of what is in out
}

// expand replaces src[start:p.end] with a placeholder. In a string quotes have to be doubled.
func (b *builder) expand(start, at int, p placeholder, inString bool) {
	open, shut := `"`, `"`
	switch {
	case p.form == literal && inString:
		open, shut = `''`, `''`
	case p.form == literal:
		open, shut = `'`, `'`
	case p.form == object:
		shut = `".` + Quote(p.name)
	}
	b.out = append(b.out, b.src[b.done:start]...)
	b.out = append(b.out, open...)
	b.marks = append(b.marks, mark{
		cut: len(b.out), module: p.module, start: start, at: at, end: p.end, open: len(open), shut: len(shut),
	})
	b.out = append(b.out, shut...)
	b.done = p.end
}

// template returns what was built.
func (b *builder) template() *Template {
	if len(b.marks) == 0 {
		return static(b.src)
	}
	text := string(append(b.out, b.src[b.done:]...))
	cut := 0
	for i := range b.marks {
		m := &b.marks[i]
		m.text = text[cut:m.cut]
		cut = m.cut
	}
	return newTemplate(b.src, b.marks, text[cut:])
}

func (b *builder) errorAt(i int, fault string) error {
	return errorAt(b.src, i, fault+": "+excerpt(b.src, i))
}
