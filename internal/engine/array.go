package engine

import (
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// castElements writes casts of arrays, as ARRAY[a, b]::text[], as those of their elements, ARRAY[a::text, b::text]. The
// server makes the first of IN ('x', 'y') on a varchar column, and the second when it reads what it has printed of that,
// as a restored dump has it. The text is the server's, pretty or with all parentheses; one that is no SQL stays.
func castElements(def string) string {
	if !strings.Contains(def, "ARRAY[") {
		return def
	}
	var tokens []string
	lexer := sqltemplate.NewLexer(def)
	for tok, ok := lexer.Next(); ok; tok, ok = lexer.Next() {
		tokens = append(tokens, def[tok.Start:tok.End])
	}
	if lexer.Err() != nil {
		return def
	}
	return strings.Join(castElementsOf(tokens), "")
}

func castElementsOf(tokens []string) []string {
	var out []string
	for i := 0; i < len(tokens); i++ {
		if !beginsArray(tokens[i:]) {
			out = append(out, tokens[i])
			continue
		}
		end := i + 1 + closing(tokens[i+1:]) // of the elements
		elements := castElementsOf(tokens[i+2 : end])
		after := tokens[end+1:]
		// Parentheses, unless they are a function's.
		wrapped := i > 0 && tokens[i-1] == "(" && (i == 1 || !isWord(tokens[i-2])) && len(after) > 0 && after[0] == ")"
		if wrapped {
			after = after[1:]
		}
		kind, length := arrayCast(after)
		if kind == "" || len(elements) == 0 {
			out = append(append(append(out, "ARRAY", "["), elements...), "]")
			i = end
			continue
		}
		if wrapped {
			out, end = out[:len(out)-1], end+1
		}
		out = append(out, pushCast(elements, kind, wrapped)...)
		i = end + length
	}
	return out
}

func beginsArray(tokens []string) bool {
	return len(tokens) > 1 && tokens[0] == "ARRAY" && tokens[1] == "[" && closing(tokens[1:]) > 0
}

// closing returns where the bracket that tokens begin with is closed, or -1.
func closing(tokens []string) int {
	depth := 0
	for i, t := range tokens {
		switch t {
		case "(", "[":
			depth++
		case ")", "]":
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

func isWord(token string) bool {
	c := token[0]
	return c == '"' || c == '_' || c >= 0x80 || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// arrayCast returns the type of the elements when tokens begin with a cast to an array, and how many tokens that has.
func arrayCast(tokens []string) (kind string, length int) {
	if len(tokens) == 0 || tokens[0] != "::" {
		return "", 0
	}
	for i, t := range tokens[1:] {
		switch {
		case t == "[":
			if i > 0 && i+2 < len(tokens) && tokens[i+2] == "]" {
				return strings.Join(tokens[1:i+1], ""), i + 3
			}
			return "", 0
		case isWord(t) || strings.Trim(t, "0123456789") == "" || slices.Contains([]string{" ", ".", "(", ")", ","}, t):
		default:
			return "", 0
		}
	}
	return "", 0
}

// pushCast writes an array of elements each of which has the cast.
func pushCast(elements []string, kind string, parentheses bool) []string {
	out := []string{"ARRAY", "["}
	for len(elements) > 0 {
		n, depth := 0, 0
		for ; n < len(elements) && (depth > 0 || elements[n] != ","); n++ {
			switch elements[n] {
			case "(", "[":
				depth++
			case ")", "]":
				depth--
			}
		}
		e := elements[:n]
		for len(e) > 0 && strings.TrimSpace(e[0]) == "" {
			out, e = append(out, e[0]), e[1:]
		}
		switch {
		case beginsArray(e) && 2+closing(e[1:]) == len(e):
			out = append(out, pushCast(e[2:len(e)-1], kind, parentheses)...)
		case parentheses || isCompound(e):
			out = append(append(append(out, "("), e...), ")", "::", kind)
		default:
			out = append(append(out, e...), "::", kind)
		}
		if n < len(elements) {
			out, n = append(out, ","), n+1
		}
		elements = elements[n:]
	}
	return append(out, "]")
}

// isCompound reports whether the server puts an expression into parentheses to cast it, also in pretty output: one with
// operators.
func isCompound(tokens []string) bool {
	if len(tokens) > 0 && tokens[0] == "CASE" {
		return false
	}
	depth := 0
	for _, t := range tokens {
		switch {
		case t == "(" || t == "[":
			depth++
		case t == ")" || t == "]":
			depth--
		case depth == 0 && (strings.Trim(t, "+-*/<>=~!@#%^&|`?") == "" || slices.Contains([]string{"AND", "OR", "NOT", "IS", "COLLATE"}, t)):
			return true
		}
	}
	return false
}
