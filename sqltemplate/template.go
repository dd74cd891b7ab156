package sqltemplate

import "slices"

// Template is a text with placeholders. It is immutable and safe for concurrent use. Make one with [Parse] or
// [ParseFile].
type Template struct {
	source  string
	marks   []mark
	tail    string // the text after the last schema
	modules []string
}

// mark is a place in the expanded text where the name of a schema goes, without quotes: those and the name after the
// schema are part of the text before and after it.
type mark struct {
	text   string // from the schema of the mark before up to this one's
	module string // whose schema; "" is the template's own

	cut        int // while it is built: the end of text
	start, end int // what the placeholder replaces in the source
	at         int // its braces, which a comment may enclose
	open, shut int // how much of its expansion stands before and after the schema
}

func static(src string) *Template { return &Template{source: src, tail: src} }

func newTemplate(src string, marks []mark, tail string) *Template {
	t := &Template{source: src, marks: slices.Clip(marks), tail: tail}
	for _, m := range marks {
		if m.module != "" {
			t.modules = append(t.modules, m.module)
		}
	}
	slices.Sort(t.modules)
	t.modules = slices.Compact(t.modules)
	return t
}

// Source returns the text that was parsed.
func (t *Template) Source() string { return t.source }

// Static reports whether there is nothing to expand: the expansion is the source.
func (t *Template) Static() bool { return len(t.marks) == 0 }

// Modules returns the other modules that the template names, sorted and each once. The slice is the caller's.
func (t *Template) Modules() []string { return slices.Clone(t.modules) }

// Append appends the expansion to dst and returns the longer slice, as append does. It allocates only if dst has no
// room. If the template names a module that n has no schema for, it returns dst as it was and an [*Error] that points
// at the placeholder.
func (t *Template) Append(dst []byte, n *Names) ([]byte, error) {
	had := len(dst)
	for i := range t.marks {
		m := &t.marks[i]
		schema := n.schemaOf(m.module)
		if schema == "" {
			return dst[:had], t.noSchema(m)
		}
		dst = append(dst, m.text...)
		dst = append(dst, schema...)
	}
	return append(dst, t.tail...), nil
}

func (t *Template) noSchema(m *mark) error {
	fault := "no schema"
	if m.module != "" {
		fault = "no schema for module " + m.module + ", which Module.Requires does not name"
	}
	return errorAt(t.source, m.at, fault+": "+excerpt(t.source, m.at))
}

// Expand returns the expansion; of a static template that is the source itself. For errors see [Template.Append].
func (t *Template) Expand(n *Names) (string, error) {
	if t.Static() {
		return t.source, nil
	}
	var room [1024]byte
	text, err := t.Append(room[:0], n)
	if err != nil {
		return "", err
	}
	return string(text), nil
}

// SourceOffset returns the offset in the source of a byte of the expansion for n. For a byte that came from a
// placeholder it is the start of that, or of the comment that encloses it. An offset outside the expansion is taken as
// the nearest end of it.
func (t *Template) SourceOffset(n *Names, expanded int) int {
	source := 0              // what of the source is behind us
	rest := max(0, expanded) // what of the expansion is not
	for i := range t.marks {
		m := &t.marks[i]
		if source+rest < m.start {
			break
		}
		rest -= m.start - source
		if rest -= m.open + len(n.schemaOf(m.module)) + m.shut; rest < 0 {
			return m.start
		}
		source = m.end
	}
	return min(source+rest, len(t.source))
}
