package sqltemplate

import (
	"strconv"
	"strings"
)

// placeholder is one {{...}}.
type placeholder struct {
	end    int    // the offset after its braces
	form   form   // what it expands to
	module string // whose schema; "" is the template's own
	name   string // what is in the schema, as PostgreSQL will know it; "" for the schema alone
}

// form is what a placeholder expands to.
type form uint8

const (
	object  form = iota // "schema"."name"
	ident               // "schema"
	literal             // 'schema'
)

// finding is what parsePlaceholder found.
type finding uint8

const (
	foreign   finding = iota // braces of somebody else's
	malformed                // one of our words, and something wrong after it
	proper
)

// parsePlaceholder reads the placeholder whose braces begin at i. What is not proper has a fault.
func parsePlaceholder(src string, i int) (p placeholder, f finding, fault string) {
	i = skipBlanks(src, i+len("{{"))
	start := i
	i = skip(src, i, isIdentCont)
	switch src[start:i] {
	case "tables", "types", "functions", "sequences":
		i, fault = p.parsePath(src, i)
	case "schema":
		p.form = ident
		if rest, ok := strings.CutPrefix(src[i:], ":literal"); ok {
			p.form = literal
			i = len(src) - len(rest)
		}
	default:
		return p, foreign, "unknown placeholder"
	}
	if fault != "" {
		return p, malformed, fault
	}
	i = skipBlanks(src, i)
	if !strings.HasPrefix(src[i:], "}}") {
		return p, malformed, "malformed placeholder"
	}
	p.end = i + len("}}")
	return p, proper, ""
}

// parsePath reads .name or .module.name.
func (p *placeholder) parsePath(src string, i int) (end int, fault string) {
	if at(src, i) != '.' {
		return i, "placeholder without a name"
	}
	first := i + 1
	if p.name, i, fault = parseName(src, first); fault != "" || at(src, i) != '.' {
		return i, fault
	}
	if src[first] == '"' {
		return i, "module in quotes"
	}
	p.module = p.name
	if err := ValidateModule(p.module); err != nil {
		return i, err.Error()
	}
	p.name, i, fault = parseName(src, i+1)
	return i, fault
}

// parseName reads a name, bare or in double quotes. A bare one folds as PostgreSQL would fold it in a database whose
// encoding is UTF-8. It has no $, although PostgreSQL allows it: folded, it could end a dollar-quoted string.
func parseName(src string, i int) (name string, end int, fault string) {
	if at(src, i) == '"' {
		n := strings.IndexByte(src[i+1:], '"')
		if n < 0 {
			return "", i, "malformed placeholder"
		}
		name, end = src[i+1:i+1+n], i+n+2
	} else {
		if !is(at(src, i), isIdentStart) {
			return "", i, "malformed placeholder"
		}
		for end = i; end < len(src) && src[end] != '$' && is(src[end], isIdentCont); {
			end++
		}
		name = foldASCII(src[i:end])
	}
	if err := validateName(name); err != nil {
		return "", end, err.Error()
	}
	return name, end, ""
}

// foldASCII turns ASCII letters into small ones and leaves every other byte alone, valid UTF-8 or not.
func foldASCII(s string) string {
	for i := range len(s) {
		if lower(s[i]) != s[i] {
			return foldFrom(s, i)
		}
	}
	return s
}

func foldFrom(s string, i int) string {
	folded := []byte(s)
	for ; i < len(folded); i++ {
		folded[i] = lower(folded[i])
	}
	return string(folded)
}

func skipBlanks(src string, i int) int {
	for at(src, i) == ' ' || at(src, i) == '\t' {
		i++
	}
	return i
}

// excerpt returns the placeholder at i for an error text: up to its }} or the end of its line, and not all of a long
// one.
func excerpt(src string, i int) string {
	const most = 100
	text := src[i:lineEnd(src, i)]
	if n := strings.Index(text, "}}"); n >= 0 {
		text = text[:n+len("}}")]
	}
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	if strconv.CanBackquote(text) {
		return text
	}
	return strconv.Quote(text)
}
