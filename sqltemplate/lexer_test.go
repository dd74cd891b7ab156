package sqltemplate_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// tokens returns the tokens of a text, each as "Kind text". Space is left out.
func tokens(t *testing.T, src string) []string {
	t.Helper()
	var out []string
	lex := sqltemplate.NewLexer(src)
	for {
		tok, ok := lex.Next()
		if !ok {
			break
		}
		if tok.Kind != sqltemplate.Space {
			out = append(out, tok.Kind.String()+" "+src[tok.Start:tok.End])
		}
	}
	if err := lex.Err(); err != nil {
		t.Fatalf("%q: %v", src, err)
	}
	return out
}

func TestLexer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, src string
		want      []string
	}{
		{"words", "Select _a a1$ é", []string{"Ident Select", "Ident _a", "Ident a1$", "Ident é"}},
		{"quoted identifiers", `"a""b" U&"\0041" u& "c"`, []string{`QuotedIdent "a""b"`, `QuotedIdent U&"\0041"`, "Ident u", "Operator &", `QuotedIdent "c"`}},
		{"strings", `'a''b'E'\''N'c'b'1'X'f'u&'d'`, []string{"String 'a''b'", `String E'\''`, "String N'c'", "String b'1'", "String X'f'", "String u&'d'"}},
		{"no doubled quote in a bit string", "B'1''0'", []string{"String B'1'", "String '0'"}},
		{"continued string", "'a'\n'b' 'c'", []string{"String 'a'\n'b'", "String 'c'"}},
		{"continued string behind comments", "E'a' -- x\n-- y\n \t'\\'' /**/\n'b'", []string{"String E'a' -- x\n-- y\n \t'\\''", "Comment /**/", "String 'b'"}},
		{"a bit string is continued", "B'1'\r'0'", []string{"String B'1'\r'0'"}},
		{"dollar strings", "$$a$$ $b$$$$b$ $c", []string{"DollarString $$a$$", "DollarString $b$$$$b$", "Punct $", "Ident c"}},
		{"dollar quotes end at the first tag", "$a$x$b$a$;", []string{"DollarString $a$x$b$a$", "Semicolon ;"}},
		{"a tag holds no dollar and begins with no digit", "$a1$$a1$ 1$a$$a$", []string{"DollarString $a1$$a1$", "Number 1", "DollarString $a$$a$"}},
		{"parameters", "$1 $12a", []string{"Param $1", "Param $12", "Ident a"}},
		{"numbers", "1 1.5 1. .5 1e3 1.5E-3 1_000 0x1F 0o17 0B1_0 1_000.000_1", []string{
			"Number 1", "Number 1.5", "Number 1.", "Number .5", "Number 1e3", "Number 1.5E-3", "Number 1_000", "Number 0x1F", "Number 0o17",
			"Number 0B1_0", "Number 1_000.000_1",
		}},
		{"numbers and what follows them", "1..10 1.a 1e 1e+ 0x 0_x 1__0 0b2", []string{
			"Number 1", "Punct ..", "Number 10", "Number 1.", "Ident a", "Number 1", "Ident e", "Number 1", "Ident e", "Operator +",
			"Number 0", "Ident x", "Number 0", "Ident _x", "Number 1", "Ident __0", "Number 0", "Ident b2",
		}},
		{"operators", "+ - * / <> >= => != || ->> @> ~*", []string{
			"Operator +", "Operator -", "Operator *", "Operator /", "Operator <>", "Operator >=", "Operator =>", "Operator !=", "Operator ||",
			"Operator ->>", "Operator @>", "Operator ~*",
		}},
		{"operators end in + or - only with strange characters", "=-1 @-1 *+-1 <-> +-+ ?-|-", []string{
			"Operator =", "Operator -", "Number 1", "Operator @-", "Number 1", "Operator *", "Operator +", "Operator -", "Number 1",
			"Operator <->", "Operator +", "Operator -", "Operator +", "Operator ?-|-",
		}},
		{"operators end before comments", "*--a\n@/*b*/", []string{"Operator *", "Comment --a", "Operator @", "Comment /*b*/"}},
		{"operators as long as they may be", strings.Repeat("+", 62) + "@", []string{"Operator " + strings.Repeat("+", 62) + "@"}},
		{"comments", "--a\n/*b/*c*/d*/-- e", []string{"Comment --a", "Comment /*b/*c*/d*/", "Comment -- e"}},
		{"punctuation", "a::b:=c,(d)[1:2].{}", []string{
			"Ident a", "Punct ::", "Ident b", "Punct :=", "Ident c", "Punct ,", "Punct (", "Ident d", "Punct )", "Punct [", "Number 1",
			"Punct :", "Number 2", "Punct ]", "Punct .", "Punct {", "Punct }",
		}},
		{"meta-commands", "\\echo 'a\nb \\g\r\nc", []string{"MetaCommand \\echo 'a", "Ident b", "MetaCommand \\g", "Ident c"}},
		{"COPY data", "COPY t FROM stdin;\n'\n\\.\na", []string{
			"Ident COPY", "Ident t", "Ident FROM", "Ident stdin", "Semicolon ;", "CopyData '\n\\.\n", "Ident a",
		}},
	} {
		if got := tokens(t, c.src); !slices.Equal(got, c.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestLexerTellsPrefixesFromIdentifiers(t *testing.T) {
	t.Parallel()
	want := []string{"Ident e", "Ident b", "Ident x", "Ident n", "Ident u", "Ident u", "Operator &", "Ident E1", "String ''", "Ident be", "String 'a'"}
	if got := tokens(t, "e b x n u u& E1'' be'a'"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLexerStopsAtAnError(t *testing.T) {
	t.Parallel()
	lex := sqltemplate.NewLexer("a 'b")
	for range 2 {
		if _, ok := lex.Next(); !ok || lex.Err() != nil {
			t.Fatalf("no token before the error; error %v", lex.Err())
		}
	}
	for range 2 {
		if tok, ok := lex.Next(); ok || lex.Err() == nil || tok != (sqltemplate.Token{}) {
			t.Errorf("token %v after the error %v", tok, lex.Err())
		}
	}
}

func TestKindsHaveNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{sqltemplate.Space.String(), "Space"},
		{sqltemplate.MetaCommand.String(), "MetaCommand"},
		{sqltemplate.Kind(100).String(), "Kind?"},
		{sqltemplate.Blank.String(), "Blank"},
		{sqltemplate.Meta.String(), "Meta"},
		{sqltemplate.PieceKind(100).String(), "PieceKind?"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}
