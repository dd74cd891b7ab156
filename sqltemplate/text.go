package sqltemplate

import "strings"

// text expands the placeholders of src[lo:hi], which is no code.
func (b *builder) text(lo, hi int, inString bool, q quoting) error {
	for i := b.nextBraces(lo, hi); i < hi; i = b.nextBraces(i, hi) {
		p, f, fault := parsePlaceholder(b.src[:hi], i)
		switch {
		case f == foreign:
			i++
			continue
		case f == malformed:
			return b.errorAt(i, fault)
		case q == escapeQuotes && escaped(b.src[lo:i]):
			// The backslash would take the first quote that the placeholder brings.
			return b.errorAt(i, "placeholder after a backslash")
		}
		b.expand(i, i, p, inString)
		i = p.end
	}
	return nil
}

// refuse returns an error if src[lo:hi] holds a placeholder, well-formed or not.
func (b *builder) refuse(lo, hi int, fault string) error {
	for i := b.nextBraces(lo, hi); i < hi; i = b.nextBraces(i+1, hi) {
		if _, f, _ := parsePlaceholder(b.src[:hi], i); f != foreign {
			return b.errorAt(i, fault)
		}
	}
	return nil
}

// nextBraces returns the offset of the first {{ in src[lo:hi], or hi.
func (b *builder) nextBraces(lo, hi int) int {
	if n := strings.Index(b.src[lo:hi], "{{"); n >= 0 {
		return lo + n
	}
	return hi
}

// escaped reports whether the byte after text is one that a backslash takes.
func escaped(text string) bool {
	return (len(text)-len(strings.TrimRight(text, `\`)))%2 == 1
}
