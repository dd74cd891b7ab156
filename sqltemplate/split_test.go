package sqltemplate_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// splitCase is a script and its pieces as [render] shows them.
type splitCase struct {
	name string
	src  string
	want []string
	// broken marks SQL that no server accepts. What a client of the server judges it by is the rest.
	broken bool
}

// splitCases are judged by a real server too, in judge_test.go.
var splitCases = []splitCase{
	{name: "nothing", src: "", want: nil},
	{name: "space and comments", src: " \n-- a;\n/* b; */ ", want: []string{"Blank:"}},
	{name: "one statement without a semicolon", src: "SELECT 1", want: []string{"Statement:SELECT 1"}},
	{
		name: "several statements",
		src:  "SELECT 1;\n\nSELECT 2; SELECT 3\n",
		want: []string{"Statement:SELECT 1;", "Statement:SELECT 2;", "Statement:SELECT 3\n"},
	},
	{
		name: "nothing but semicolons",
		src:  "; ;\n",
		want: []string{"Statement:;", "Statement:;", "Blank:"},
	},
	{
		name: "a comment belongs to what follows it",
		src:  "-- one;\nSELECT 1; -- two;\nSELECT 2;/* three; */",
		want: []string{"Statement:SELECT 1;", "Statement:SELECT 2;", "Blank:"},
	},
	{
		name: "nested comments",
		src:  "/* a /* b; */ c; */ SELECT /* /**/ ; */ 1; SELECT /*/**/*/ 2;",
		want: []string{"Statement:SELECT /* /**/ ; */ 1;", "Statement:SELECT /*/**/*/ 2;"},
	},
	{
		name: "line comments end at either line end",
		src:  "SELECT 1 -- a;\r; SELECT 2 -- b;\r\n; SELECT 3",
		want: []string{"Statement:SELECT 1 -- a;\r;", "Statement:SELECT 2 -- b;\r\n;", "Statement:SELECT 3"},
	},
	{
		name: "doubled quotes",
		src:  "SELECT 'a;''b;'; SELECT 2;",
		want: []string{"Statement:SELECT 'a;''b;';", "Statement:SELECT 2;"},
	},
	{
		name: "a backslash in a plain string is no escape",
		src:  `SELECT 'a\'; SELECT 'b';`,
		want: []string{`Statement:SELECT 'a\';`, `Statement:SELECT 'b';`},
	},
	{
		name: "E string",
		src:  `SELECT E'a\';b', e'\\'; SELECT 2;`,
		want: []string{`Statement:SELECT E'a\';b', e'\\';`, "Statement:SELECT 2;"},
	},
	{
		name: "an E at the end of an identifier",
		src:  `SELECT 1 AS nice'a\';SELECT 2;`,
		want: []string{`Statement:SELECT 1 AS nice'a\';`, "Statement:SELECT 2;"}, broken: true,
	},
	{
		name: "U& string and identifier",
		src:  `SELECT U&'\0041;' AS U&"a;""b\0041"; SELECT u&'\' UESCAPE ';';`,
		want: []string{`Statement:SELECT U&'\0041;' AS U&"a;""b\0041";`, `Statement:SELECT u&'\' UESCAPE ';';`}, broken: true,
	},
	{
		name: "U& string with another escape character",
		src:  `SELECT U&'\' UESCAPE '!'; SELECT 2;`,
		want: []string{`Statement:SELECT U&'\' UESCAPE '!';`, "Statement:SELECT 2;"},
	},
	{
		name: "N, B and X strings",
		src:  `SELECT N'a;\', n'b;'; SELECT B'01', x'1f';`,
		want: []string{`Statement:SELECT N'a;\', n'b;';`, `Statement:SELECT B'01', x'1f';`},
	},
	{
		name: "continued string",
		src:  "SELECT 'a;'\n  'b;' -- it's a comment\n\t'c;'; SELECT E'a\\''\n'\\';b'; SELECT 3;",
		want: []string{
			"Statement:SELECT 'a;'\n  'b;' -- it's a comment\n\t'c;';", "Statement:SELECT E'a\\''\n'\\';b';", "Statement:SELECT 3;",
		},
	},
	{
		name: "strings on one line do not continue",
		src:  `SELECT E'a' '\'; SELECT 2;`,
		want: []string{`Statement:SELECT E'a' '\';`, "Statement:SELECT 2;"}, broken: true,
	},
	{
		name: "semicolon in a quoted identifier",
		src:  `SELECT 1 AS "a;b"; SELECT 2 AS "c"";d";`,
		want: []string{`Statement:SELECT 1 AS "a;b";`, `Statement:SELECT 2 AS "c"";d";`},
	},
	{
		name: "apostrophe in a quoted identifier",
		src:  `SELECT 1 AS "it's"; SELECT 2;`,
		want: []string{`Statement:SELECT 1 AS "it's";`, "Statement:SELECT 2;"},
	},
	{
		name: "dollar quotes",
		src:  "SELECT $$a;'b$$; SELECT $x$ $$;$y$ $X$ $x$; SELECT $é1$;$é1$;",
		want: []string{"Statement:SELECT $$a;'b$$;", "Statement:SELECT $x$ $$;$y$ $X$ $x$;", "Statement:SELECT $é1$;$é1$;"},
	},
	{
		name: "dollars in identifiers",
		src:  "SELECT 1 AS a$b$c; SELECT 2 AS a$$; SELECT 3;",
		want: []string{"Statement:SELECT 1 AS a$b$c;", "Statement:SELECT 2 AS a$$;", "Statement:SELECT 3;"},
	},
	{
		name: "parameters",
		src:  "SELECT $1::int; SELECT $1::int+$2::int;",
		want: []string{"Statement:SELECT $1::int;", "Statement:SELECT $1::int+$2::int;"},
	},
	{
		name: "a parameter before a dollar quote",
		src:  "SELECT $1$$;$$; SELECT 2;",
		want: []string{"Statement:SELECT $1$$;$$;", "Statement:SELECT 2;"}, broken: true,
	},
	{
		name: "comments behind operators",
		src:  "SELECT 1*--;\n2; SELECT 3+/*;*/4; SELECT 5 @--;\n6;",
		want: []string{"Statement:SELECT 1*--;\n2;", "Statement:SELECT 3+/*;*/4;", "Statement:SELECT 5 @--;\n6;"},
	},
	{
		name: "rule with several actions",
		src:  "CREATE RULE r AS ON UPDATE TO t DO ALSO (SELECT 1; SELECT ';)'; (SELECT 2);); SELECT 3;",
		want: []string{
			"Statement:CREATE RULE r AS ON UPDATE TO t DO ALSO (SELECT 1; SELECT ';)'; (SELECT 2););", "Statement:SELECT 3;",
		},
	},
	{
		name: "BEGIN ATOMIC",
		src:  "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 3;",
		want: []string{
			"Statement:CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;", "Statement:SELECT 3;",
		},
	},
	{
		name: "empty BEGIN ATOMIC in a procedure",
		src:  "create or replace procedure p() begin /* x */ atomic end; SELECT 1;",
		want: []string{"Statement:create or replace procedure p() begin /* x */ atomic end;", "Statement:SELECT 1;"},
	},
	{
		name: "BEGIN ATOMIC with CASE and END",
		src: "CREATE OR REPLACE FUNCTION f(a int) RETURNS int BEGIN ATOMIC SELECT CASE WHEN a = 1 THEN CASE a WHEN 1 THEN 2 END " +
			"END AS end; SELECT 1 end; SELECT 2 AS case; SELECT 3; END; SELECT 4;",
		want: []string{
			"Statement:CREATE OR REPLACE FUNCTION f(a int) RETURNS int BEGIN ATOMIC SELECT CASE WHEN a = 1 THEN CASE a WHEN 1 THEN 2 END " +
				"END AS end; SELECT 1 end; SELECT 2 AS case; SELECT 3; END;", "Statement:SELECT 4;",
		},
	},
	{
		name: "END of a body in other words",
		src:  "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 \"END\"; SELECT 1 endless; /* END; */ SELECT 'END;'; END; SELECT 3;",
		want: []string{
			"Statement:CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 \"END\"; SELECT 1 endless; /* END; */ SELECT 'END;'; END;",
			"Statement:SELECT 3;",
		},
	},
	{
		name: "BEGIN and ATOMIC elsewhere",
		src:  "BEGIN; SELECT 1 AS atomic; END; BEGIN ATOMIC; SELECT 1; END;",
		want: []string{
			"Statement:BEGIN;", "Statement:SELECT 1 AS atomic;", "Statement:END;", "Statement:BEGIN ATOMIC;", "Statement:SELECT 1;",
			"Statement:END;",
		}, broken: true,
	},
	{
		name: "a function that is called begin",
		src:  "CREATE FUNCTION begin() RETURNS int RETURN 1; SELECT 2; END;",
		want: []string{"Statement:CREATE FUNCTION begin() RETURNS int RETURN 1;", "Statement:SELECT 2;", "Statement:END;"},
	},
	{
		name: "function with a quoted body",
		src:  "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN RETURN 1; END; $f$; SELECT 2;",
		want: []string{
			"Statement:CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN RETURN 1; END; $f$;", "Statement:SELECT 2;",
		},
	},
	{
		name: "DO",
		src:  "DO $$BEGIN PERFORM 1; END$$; DO 'BEGIN PERFORM ''a;''; END';",
		want: []string{"Statement:DO $$BEGIN PERFORM 1; END$$;", "Statement:DO 'BEGIN PERFORM ''a;''; END';"},
	},
	{
		name: "COPY with rows",
		src:  "COPY t (a, b) FROM stdin;\n1\tit's\n;\n2\t\"$$\n\\.\nSELECT 1;\n",
		want: []string{"CopyIn:COPY t (a, b) FROM stdin;\n|1\tit's\n;\n2\t\"$$\n", "Statement:SELECT 1;", "Blank:"},
	},
	{
		name: "COPY with options, carriage returns and a comment",
		src:  "copy t from STDIN with (format csv) where a > 1 ; -- rows;\r\n1;\r\n\\.\r\nSELECT 1;",
		want: []string{"CopyIn:copy t from STDIN with (format csv) where a > 1 ; -- rows;\r\n|1;\r\n", "Statement:SELECT 1;"},
	},
	{
		name: "COPY without rows",
		src:  "COPY t FROM stdin;\n\\.\nCOPY t FROM stdout; /* none */ \n\\.",
		want: []string{"CopyIn:COPY t FROM stdin;\n|", "CopyIn:COPY t FROM stdout; /* none */ \n|"},
	},
	{
		name: "COPY with rows to the end of the text",
		src:  "COPY t FROM stdin;\n1\\.\n\\.2\nSELECT 1;",
		want: []string{"CopyIn:COPY t FROM stdin;\n|1\\.\n\\.2\nSELECT 1;"},
	},
	{
		name: "COPY at the end of the text",
		src:  "COPY t FROM stdin;",
		want: []string{"CopyIn:COPY t FROM stdin;|"},
	},
	{
		name: "COPY without a semicolon",
		src:  "COPY t FROM stdin",
		want: []string{"Statement:COPY t FROM stdin"},
	},
	{
		name: "COPY that reads no rows from the script",
		src: "COPY t FROM '/x'; COPY t TO STDOUT; COPY (SELECT 1 FROM stdin) TO stdout; COPY t FROM PROGRAM 'stdin';\n" +
			"COPY \"from\" TO stdout; COPY stdin TO stdout; SELECT 1 FROM stdin;\n",
		want: []string{
			"Statement:COPY t FROM '/x';", "Statement:COPY t TO STDOUT;", "Statement:COPY (SELECT 1 FROM stdin) TO stdout;",
			"Statement:COPY t FROM PROGRAM 'stdin';", "Statement:COPY \"from\" TO stdout;", "Statement:COPY stdin TO stdout;",
			"Statement:SELECT 1 FROM stdin;", "Blank:",
		},
	},
	{
		name: "restrict lines of pg_dump",
		src:  "-- dump;\n\\restrict a;b'c\n\nSET x.y = 1;\n\n\\unrestrict a;b'c\r\n",
		want: []string{"Meta:\\restrict a;b'c", "Statement:SET x.y = 1;", "Meta:\\unrestrict a;b'c", "Blank:"},
	},
	{
		name: "meta-command in a statement",
		src:  "SELECT 1 \\gset\nSELECT (2 \\x\n; SELECT 3;",
		want: []string{
			"Statement:SELECT 1 ", "Meta:\\gset", "Statement:SELECT (2 ", "Meta:\\x", "Statement:;", "Statement:SELECT 3;",
		}, broken: true,
	},
	{
		name: "byte order mark",
		src:  "\ufeff\nSELECT 1;",
		want: []string{"Statement:SELECT 1;"},
	},
	{
		name: "placeholders",
		src:  `COPY {{tables."fr;om"}} FROM stdin;` + "\n{{;\n\\.\nSELECT '{{schema:literal}};' FROM {{ tables.users }};",
		want: []string{
			`CopyIn:COPY {{tables."fr;om"}} FROM stdin;` + "\n|{{;\n", "Statement:SELECT '{{schema:literal}};' FROM {{ tables.users }};",
		}, broken: true,
	},
	{
		name: "letters outside ASCII",
		src:  "SELECT 1 AS größe$$; SELECT 2 AS ﬁn;",
		want: []string{"Statement:SELECT 1 AS größe$$;", "Statement:SELECT 2 AS ﬁn;"},
	},
	{
		name: "keywords fold as ASCII only",
		src:  "COPY t FROM \u017ftdin;\nSELECT 1;",
		want: []string{"Statement:COPY t FROM \u017ftdin;", "Statement:SELECT 1;"}, broken: true,
	},
}

// render shows a piece as its kind and the text from its code on.
func render(src string, p sqltemplate.Piece) string {
	if p.Kind == sqltemplate.CopyIn {
		return p.Kind.String() + ":" + src[p.Code:p.Data] + "|" + src[p.Data:p.DataEnd]
	}
	return p.Kind.String() + ":" + src[p.Code:p.End]
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for _, c := range splitCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pieces, err := sqltemplate.Split(c.src)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			end := 0
			for _, p := range pieces {
				got = append(got, render(c.src, p))
				if p.Start != end {
					t.Errorf("piece %d starts at %d, want %d", len(got)-1, p.Start, end)
				}
				end = p.End
			}
			if end != len(c.src) {
				t.Errorf("pieces end at %d of %d", end, len(c.src))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got:\n%q\nwant:\n%q", got, c.want)
			}
		})
	}
}

func TestSplitPointsAtWhatNeverEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ src, want string }{
		{"SELECT 1;\n  'a", "2:3: unterminated quoted string"},
		{"SELECT E'a\\'", "1:8: unterminated quoted string"},
		{"SELECT E'a\\", "1:8: unterminated quoted string"},
		{"SELECT b'a", "1:8: unterminated quoted string"},
		{"SELECT 'a'\n-- b\n'c", "1:8: unterminated quoted string"},
		{"SELECT \"a\"\"", "1:8: unterminated quoted identifier"},
		{"é U&\"", "1:3: unterminated quoted identifier"},
		{"\r\n\r/* /* */", "3:1: unterminated /* comment"},
		{"/*/", "1:1: unterminated /* comment"},
		{"$a$ $b$ $A$", "1:1: unterminated dollar-quoted string"},
		{"$$ $", "1:1: unterminated dollar-quoted string"},
		{"SELECT '\x00'", "1:9: NUL byte"},
		{"SELECT 1\x00'", "1:9: NUL byte"},
		{"COPY t FROM stdin;\n\x00", "2:1: NUL byte"},
		{"COPY t FROM stdin; SELECT 1;\n", "1:20: code on the line on which COPY FROM STDIN ends"},
		{"COPY t FROM stdin; /* a\n */\n", "1:20: code on the line on which COPY FROM STDIN ends"},
		{"COPY t FROM stdin; ;\n", "1:20: code on the line on which COPY FROM STDIN ends"},
		{"COPY t FROM stdin; \\.\n", "1:20: code on the line on which COPY FROM STDIN ends"},
		{"COPY t FROM stdin; 'a\n", "1:20: unterminated quoted string"},
	} {
		pieces, err := sqltemplate.Split(c.src)
		var fault *sqltemplate.Error
		switch {
		case !errors.As(err, &fault):
			t.Errorf("%q: error %v is no *Error", c.src, err)
		case err.Error() != c.want:
			t.Errorf("%q: error %q, want %q", c.src, err, c.want)
		case pieces != nil:
			t.Errorf("%q: pieces with an error", c.src)
		}
	}
}

func TestSplitIsLinear(t *testing.T) {
	t.Parallel()
	// Each of these was chosen to make a careless lexer look at the rest of the text again and again.
	for _, part := range []string{"'a'\n-- b\n", "$a ", "$a$$b$", "/*", "--", "E'\\'", "a$b", "((;", "\\.", "1_", "+-", "COPY t FROM stdin;\n\\.\n"} {
		src := strings.Repeat(part, 200_000/len(part))
		_, _ = sqltemplate.Split(src)
	}
}
