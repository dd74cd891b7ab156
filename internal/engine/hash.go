package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// hash fills in the two hashes. Neither may ever change for the same text: they are compared with what ledgers hold.
func (f *File) hash() error {
	sum := sha256.Sum256([]byte(f.Source))
	f.RawHash = hex.EncodeToString(sum[:])
	var err error
	if f.SemanticHash, err = semanticHash(f.Source); err == nil && f.format != "" {
		f.SemanticHash = foreignHash(f.SemanticHash, f.format, f.NoTransaction)
	}
	return err
}

// foreignHash counts how a file in a foreign format is read, which no directive says.
func foreignHash(semantic, format string, outside bool) string {
	h := sha256.New()
	writePart(h, 'f', semantic)
	writePart(h, 'f', format)
	writePart(h, 'f', strconv.FormatBool(outside))
	return hex.EncodeToString(h.Sum(nil))
}

// semanticHash is equal for two texts that differ in space, comments, the case of keywords and unquoted names, empty
// statements, the last semicolon or psql's meta-commands, and for no others. A comment that is a placeholder counts:
// it is replaced. So do directives, since they change how the text is read, save for timeouts and what is for the lint.
func semanticHash(source string) (string, error) {
	directives, err := sqltemplate.Directives(source)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, d := range directives {
		if isAside(d.Name) {
			continue
		}
		writePart(h, 'd', d.Name)
		writePart(h, 'd', d.Args)
	}
	if err := hashTokens(h, source); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// isAside reports whether a directive may change at any time: it says how long something may take, or speaks to the
// lint.
func isAside(directive string) bool {
	return directive == "lock-timeout" || directive == "statement-timeout" || directive == allowDirective
}

// prefixHash is as the semantic hash, of the file's first n statements without its directives.
func (f *File) prefixHash(n int) string {
	end := 0
	for _, p := range f.pieces {
		if n == 0 {
			break
		}
		if runs(p, f.Source) {
			n--
			end = p.End
		}
	}
	h := sha256.New()
	// The text was lexed when it was loaded, and statements end where tokens do: there is no error.
	_ = hashTokens(h, f.Source[:end])
	return hex.EncodeToString(h.Sum(nil))
}

// hashTokens feeds what counts of a text.
func hashTokens(h hash.Hash, source string) error {
	lexer := sqltemplate.NewLexer(source)
	begun, ended := false, false // whether a statement has begun, and whether a semicolon has ended it
	for tok, ok := lexer.Next(); ok; tok, ok = lexer.Next() {
		text := source[tok.Start:tok.End]
		class := tokenClass(tok.Kind, text)
		switch class {
		case 0:
			continue
		case ';':
			ended = begun
			continue
		case 'i':
			text = lowerASCII(text)
		case 'p':
			text = squeeze(text)
		}
		if ended {
			writePart(h, ';', ";")
		}
		begun, ended = true, false
		writePart(h, class, text)
	}
	return lexer.Err()
}

// tokenClass returns the letter that stands for a kind of token in the hash, 0 for one that does not count.
func tokenClass(kind sqltemplate.Kind, text string) byte {
	switch kind {
	case sqltemplate.Space, sqltemplate.MetaCommand:
		return 0
	case sqltemplate.Comment:
		if isPlaceholderComment(text) {
			return 'p'
		}
		return 0
	case sqltemplate.Semicolon:
		return ';'
	case sqltemplate.Ident:
		return 'i'
	case sqltemplate.QuotedIdent:
		return 'q'
	case sqltemplate.String:
		return 's'
	case sqltemplate.DollarString:
		return '$'
	case sqltemplate.Number:
		return 'n'
	case sqltemplate.Param:
		return '#'
	case sqltemplate.CopyData:
		return 'c'
	default: // Operator, Punct
		return 'o'
	}
}

// isPlaceholderComment reports whether a comment holds nothing but a placeholder.
func isPlaceholderComment(comment string) bool {
	inside, ok := strings.CutPrefix(comment, "/*")
	if !ok {
		return false
	}
	inside = strings.TrimSpace(strings.TrimSuffix(inside, "*/"))
	return strings.HasPrefix(inside, "{{") && strings.HasSuffix(inside, "}}")
}

// squeeze drops the space that a placeholder may have inside its braces and around them.
func squeeze(comment string) string {
	return strings.Map(func(c rune) rune {
		if c == ' ' || c == '\t' || c == '\n' || c == '\r' {
			return -1
		}
		return c
	}, comment)
}

// writePart feeds one token so that no two sequences of tokens feed the same bytes.
func writePart(h hash.Hash, class byte, text string) {
	var head [9]byte
	head[0] = class
	binary.BigEndian.PutUint64(head[1:], uint64(len(text)))
	h.Write(head[:])
	h.Write([]byte(text))
}

// lowerASCII folds as the server folds names in a multi-byte encoding.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
