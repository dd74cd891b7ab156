package sqltemplate_test

import (
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// seed gives a fuzz target every text of the split cases, and some with placeholders.
func seed(f *testing.F) {
	for _, c := range splitCases {
		f.Add(c.src)
	}
	for _, src := range []string{
		"SELECT * FROM {{tables.users}} u, {{ tables.other.\"X y\" }} '{{schema:literal}}' E'\\'{{schema}}'",
		"$a$ {{types.x}} $b$ '{{schema:literal}}' $b$ \"{{user}}\" -- {{tables.x}}\n $a$ it's /*{{tables.x}}*/ x",
		"$$ it's {{schema}} $$ /* {{tables.x}} */ \"x\".y {{schema}}{{schema}} {{tables.a}}b U&'{{functions.f}}' B'{{schema}}'",
		"-- pgdbm:no-templates\n{{ 'a' -- b\n'{{sequences.q}}'",
	} {
		f.Add(src)
	}
}

func FuzzLexer(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, src string) {
		lex := sqltemplate.NewLexer(src)
		end := 0
		for {
			tok, ok := lex.Next()
			if !ok {
				break
			}
			if tok.Start != end || tok.End <= end || tok.End > len(src) {
				t.Fatalf("token %v after offset %d of %d", tok, end, len(src))
			}
			end = tok.End
		}
		err := lex.Err()
		if (err == nil) != (end == len(src)) {
			t.Fatalf("tokens end at %d of %d, error %v", end, len(src), err)
		}
		if err != nil {
			checkError(t, src, err)
		}
	})
}

// checkError fails if an error is none of this package's or points outside the text.
func checkError(t *testing.T, src string, err error) {
	t.Helper()
	e, ok := err.(*sqltemplate.Error)
	if !ok {
		t.Fatalf("error %v is no *Error", err)
	}
	line, column := sqltemplate.Position(src, e.Offset)
	if e.Offset < 0 || e.Offset >= len(src) || e.Line != line || e.Column != column || line < 1 || column < 1 || e.Msg == "" {
		t.Fatalf("error %+v", *e)
	}
}

func FuzzSplit(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, src string) {
		pieces, err := sqltemplate.Split(src)
		if err != nil {
			checkError(t, src, err)
			return
		}
		end := 0
		for i, p := range pieces {
			if p.Start != end || p.End <= end || p.Code < p.Start || p.Code > p.End {
				t.Fatalf("piece %+v after offset %d", p, end)
			}
			if isCopy := p.Kind == sqltemplate.CopyIn; isCopy && (p.Data <= p.Code || p.DataEnd < p.Data || p.DataEnd > p.End) ||
				!isCopy && (p.Data != 0 || p.DataEnd != 0) {
				t.Fatalf("piece %+v", p)
			}
			if isBlank := p.Kind == sqltemplate.Blank; isBlank != (p.Code == p.End) || isBlank && i != len(pieces)-1 {
				t.Fatalf("piece %d %+v", i, p)
			}
			end = p.End
			splitAgain(t, src[p.Start:p.End], p)
		}
		if end != len(src) {
			t.Fatalf("pieces end at %d of %d", end, len(src))
		}
	})
}

// splitAgain fails if a piece is not one piece of the same kind when it stands alone.
func splitAgain(t *testing.T, text string, p sqltemplate.Piece) {
	t.Helper()
	if p.Start > 0 && strings.HasPrefix(text, "\ufeff") {
		return // alone it would be a byte order mark
	}
	again, err := sqltemplate.Split(text)
	want := p
	want.Start, want.End, want.Code = 0, p.End-p.Start, p.Code-p.Start
	if p.Kind == sqltemplate.CopyIn {
		want.Data, want.DataEnd = p.Data-p.Start, p.DataEnd-p.Start
	}
	if err != nil || len(again) != 1 || again[0] != want {
		t.Fatalf("%q: got %+v, %v, want %+v", text, again, err, want)
	}
}

func FuzzTemplate(f *testing.F) {
	seed(f)
	n, err := sqltemplate.NewNames("the schema", map[string]string{"other": "o", "a": "{{tables.x}}"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, src string) {
		tpl, err := sqltemplate.Parse(src)
		if err != nil {
			checkError(t, src, err)
			if !strings.Contains(src, "{{") {
				t.Fatalf("error %v without braces", err)
			}
			return
		}
		text, err := tpl.Expand(n)
		if err != nil {
			checkError(t, src, err)
			if len(tpl.Modules()) == 0 {
				t.Fatalf("error %v without modules", err)
			}
			return
		}
		if tpl.Source() != src || tpl.Static() && text != src || !strings.Contains(src, "{{") && !tpl.Static() {
			t.Fatalf("source %q, expansion %q", tpl.Source(), text)
		}
		checkOffsets(t, tpl, n, text)
		if !tpl.Static() {
			checkShape(t, src, text)
		}
	})
}

// checkOffsets fails if an offset of the expansion maps outside of the source, or before one that is before it, or if
// what did not come from a placeholder maps to another byte.
func checkOffsets(t *testing.T, tpl *sqltemplate.Template, n *sqltemplate.Names, text string) {
	t.Helper()
	src, last := tpl.Source(), 0
	for i := -1; i <= len(text)+1; i++ {
		got := tpl.SourceOffset(n, i)
		if got < last || got > len(src) {
			t.Fatalf("offset %d of %q is %d of %q after %d", i, text, got, src, last)
		}
		last = got
		inside := i >= 0 && i < len(text) && got < len(src)
		if inside && src[got] != text[i] && src[got] != '{' && src[got] != '/' {
			t.Fatalf("offset %d of %q is %d of %q", i, text, got, src)
		}
	}
	if last != len(src) {
		t.Fatalf("the end of %q is %d of %q", text, last, src)
	}
}

// checkShape fails if an expansion has other statements than its source: no placeholder may open or close anything.
func checkShape(t *testing.T, src, text string) {
	t.Helper()
	before, err := sqltemplate.Split(src)
	if err != nil {
		t.Fatal(err)
	}
	after, err := sqltemplate.Split(text)
	if err != nil || len(before) != len(after) {
		t.Fatalf("%q has %d pieces, %q %d, error %v", src, len(before), text, len(after), err)
	}
	for i := range before {
		if before[i].Kind != after[i].Kind {
			t.Fatalf("piece %d of %q is %v, of %q %v", i, src, before[i].Kind, text, after[i].Kind)
		}
	}
}
