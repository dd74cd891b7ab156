package engine_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

func semantic(t *testing.T, text string) string {
	t.Helper()
	return load(t, "app", "1_x.sql", text)[0].SemanticHash
}

func TestSemanticHashIgnoresWhatMeansNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, a, b string }{
		{"space", "create table t (a int);", "create\n table\tt(a int) ;"},
		{"comments", "create table t (a int);", "-- who\ncreate /* what /* nested */ */ table t (a int); -- why"},
		{"line ends", "create table t (\n a int);\n", "create table t (\r\n a int);\r\n"},
		{"byte order mark", "select 1;", "\ufeffselect 1;"},
		{"case of keywords and names", "create table t (a int);", "CREATE TABLE T (A INT);"},
		{"last semicolon", "select 1;", "select 1"},
		{"empty statements", "select 1; select 2;", ";select 1;; ;select 2;;"},
		{"tokens of pg_dump", "\\restrict abc\nselect 1;\n\\unrestrict abc\n", "\\restrict xyz\nselect 1;\n\\unrestrict xyz\n"},
		{"no tokens of pg_dump", "\\restrict abc\nselect 1;\n\\unrestrict abc\n", "select 1;"},
		{"line ends in a body", "do $$\nbegin\nend $$;", "do $$\r\nbegin\r\nend $$;"},
		{"space in a placeholder comment", "select * from /*{{tables.t}}*/ t;", "select * from /* {{ tables.t }} */ t;"},
	} {
		if a, b := semantic(t, test.a), semantic(t, test.b); a != b {
			t.Errorf("%s: hashes differ", test.name)
		}
	}
}

func TestSemanticHashSeesEveryToken(t *testing.T) {
	t.Parallel()
	texts := []string{
		"select a b;", "select ab;", "select a, b;", "select 'a b';", "select 'ab';", "select \"ab\";", "select \"AB\";",
		"select 1;", "select 2;", "select 1; select 2;", "select 1 select 2;", "select $$1$$;", "select $x$1$x$;",
		"select $$ 1$$;", "select a - -1;", "select a + 1;", "select E'a';", "select 'A';", "do $$ begin end $$;",
		"do $$ begin /* c */ end $$;",
		"select * from t;", "select * from {{tables.t}};", "select * from /*{{tables.t}}*/ t;", "select * from {{tables.\"T\"}};",
		"-- pgdbm:no-templates\nselect * from t;",
		"copy t from stdin;\n1\n\\.\n", "copy t from stdin;\n2\n\\.\n", "copy t from stdin;\n1 \n\\.\n",
	}
	seen := make(map[string]string)
	for _, text := range texts {
		h := semantic(t, text)
		if other, ok := seen[h]; ok {
			t.Errorf("%q and %q have one hash", text, other)
		}
		seen[h] = text
	}
}

// The recorded hashes of every database depend on these values.
func TestHashesNeverChange(t *testing.T) {
	t.Parallel()
	f := load(t, "app", "1_x.sql", "\ufeffCREATE TABLE {{tables.users}} (id int); -- x\r\ninsert into {{tables.users}} values ('1');\r\n")[0]
	sum := sha256.Sum256([]byte("CREATE TABLE {{tables.users}} (id int); -- x\ninsert into {{tables.users}} values ('1');\n"))
	if want := hex.EncodeToString(sum[:]); f.RawHash != want {
		t.Errorf("raw hash %s, want %s", f.RawHash, want)
	}
	const want = "d5766267172a30e0abc27025864c86556d3d5da063d1766d36e89e6b0dab8593"
	if f.SemanticHash != want {
		t.Errorf("semantic hash %s, want %s", f.SemanticHash, want)
	}
}

func FuzzCosmeticEditsKeepTheSemanticHash(f *testing.F) {
	for _, text := range []string{
		"create table {{tables.t}} (a int, b text default 'x');\ninsert into t values (1, $$a;b$$);",
		"create function f() returns int language sql begin atomic select 1; end;",
		"select e'\\'' , u&'x' , b'1' , $1 , 1.5e3 , a->>'b' , \"Q\" ;; select 2",
		"select * from /*{{tables.t}}*/ t where x = 'a'\n'b'",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, err := engine.SemanticHash(text)
		if err != nil {
			return
		}
		if directives, err := sqltemplate.Directives(text); err != nil || len(directives) > 0 {
			return
		}
		edited, ok := decorate(text)
		if !ok {
			return
		}
		got, err := engine.SemanticHash(edited)
		if err != nil {
			t.Fatalf("%q edited to %q: %v", text, edited, err)
		}
		if got != want {
			t.Fatalf("%q edited to %q: another hash", text, edited)
		}
	})
}

// decorate changes the case of names and adds a comment to each space. Texts for psql are left alone: in COPY data
// nothing is cosmetic.
func decorate(text string) (string, bool) {
	var b strings.Builder
	lexer := sqltemplate.NewLexer(text)
	for tok, ok := lexer.Next(); ok; tok, ok = lexer.Next() {
		s := text[tok.Start:tok.End]
		if tok.Kind == sqltemplate.Ident {
			s = upperASCII(s)
		}
		b.WriteString(s)
		switch tok.Kind {
		case sqltemplate.CopyData, sqltemplate.MetaCommand:
			return "", false
		case sqltemplate.Space:
			b.WriteString("/* added */ ")
		}
	}
	return b.String(), lexer.Err() == nil
}

func upperASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}
