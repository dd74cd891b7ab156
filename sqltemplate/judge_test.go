package sqltemplate_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// judge is a server that says how many statements a text holds: its Parse message takes only one.
type judge struct {
	tb   testing.TB
	conn *pgconn.PgConn
}

func newJudge(tb testing.TB) judge {
	tb.Helper()
	conn, err := pgconn.Connect(tb.Context(), testdb.URL(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close(context.Background()) })
	return judge{tb, conn}
}

// verdict is what the server thinks of a text.
type verdict int

const (
	oneStatement verdict = iota // or none; it parses, though it may fail for another reason
	severalStatements
	noSQL
)

func (j judge) parse(sql string) (verdict, error) {
	j.tb.Helper()
	_, err := j.conn.Prepare(j.tb.Context(), "", sql, nil)
	var pgErr *pgconn.PgError
	switch {
	case err == nil:
		return oneStatement, nil
	case !errors.As(err, &pgErr):
		j.tb.Fatal(err)
	case pgErr.Code != "42601" && pgErr.Code != "22025":
		return oneStatement, err
	case strings.HasPrefix(pgErr.Message, "cannot insert multiple commands"):
		return severalStatements, err
	}
	return noSQL, err
}

func TestServerSeesOneStatementInEachPiece(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	for _, c := range splitCases {
		pieces, err := sqltemplate.Split(c.src)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pieces {
			end := p.End
			switch p.Kind {
			case sqltemplate.Meta:
				continue
			case sqltemplate.CopyIn:
				end = p.Data
			}
			// A server does not know of byte order marks, so the piece is judged without what stands before its code.
			v, err := j.parse(c.src[p.Code:end])
			if v == severalStatements || v == noSQL && !c.broken {
				t.Errorf("%s: %q: %v", c.name, c.src[p.Code:end], err)
			}
		}
	}
}

// fragments are glued to make texts that are often nearly right.
var fragments = []string{
	"SELECT", "1", ";", ";", " ", " ", "\n", "\r", "'", "''", `"`, `""`, "$$", "$a$", "$1", "a", "a$b", "E'", "e'", `\'`, "B'1'", "x'", "U&'", `U&"`,
	"n'", "--", "/*", "*/", "*", "/", "+", "-", "@", "<", "=", "::", ".", "..", ":=", "(", ")", "[", "]", ",", "{", "0x1F", "1.", ".5", "1e", "1e5",
	"é", " AS ", " END", " CASE WHEN true THEN 1 END", "CREATE FUNCTION f() RETURNS int ", "CREATE OR REPLACE PROCEDURE f() ", "BEGIN ATOMIC ", "; END;",
	"BEGIN", "; END", "RETURN 1", "CREATE RULE r AS ON INSERT TO t DO (", "SELECT 1;", "SELECT 1 ", "SELECT 'a'", "SELECT 1 AS \"x\"", "'a'\n'b'",
	"'a' -- c\n'b'", "/* c */", "-- c\n", "$a$ b; $a$", "'x;'",
}

func TestServerAgreesOnRandomTexts(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 4000 {
		var b strings.Builder
		for range 1 + rnd.IntN(10) {
			b.WriteString(fragments[rnd.IntN(len(fragments))])
		}
		j.compare(b.String())
	}
}

func TestServerAgreesOnRandomScripts(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		statements := make([]string, 1+rnd.IntN(3))
		for i := range statements {
			statements[i] = randomStatement(rnd)
		}
		src := strings.Join(statements, ";") + ";"
		pieces, err := sqltemplate.Split(src)
		if err != nil || len(pieces) != len(statements) {
			t.Fatalf("%q: %d pieces of %d, error %v", src, len(pieces), len(statements), err)
		}
		for _, p := range pieces {
			if v, err := j.parse(src[p.Start:p.End]); v != oneStatement {
				t.Fatalf("%q: server says %v", src[p.Start:p.End], err)
			}
		}
	}
}

// randomStatement returns a statement of literals, comments and names with insides that look like something else.
func randomStatement(rnd *rand.Rand) string {
	const insides = "ab1 ;'\"$\\-/*(){}\n\ré"
	var inside strings.Builder
	for range rnd.IntN(8) {
		chars := []rune(insides)
		inside.WriteRune(chars[rnd.IntN(len(chars))])
	}
	text := inside.String()
	quotes := strings.NewReplacer("'", "''")
	forms := []string{
		"'" + quotes.Replace(text) + "'",
		"N'" + quotes.Replace(text) + "'",
		"E'" + strings.NewReplacer("'", `\'`, `\`, `\\`).Replace(text) + "'",
		"E'" + strings.NewReplacer("'", "''", `\`, `\'`).Replace(text) + "'",
		"U&'" + strings.NewReplacer("'", "''", `\`, `\\`).Replace(text) + "'",
		"'a' -- " + strings.NewReplacer("\n", "", "\r", "").Replace(text) + "\n '" + quotes.Replace(text) + "'",
		"$q$" + text + "$q$",
		"1 AS \"x" + strings.ReplaceAll(text, `"`, `""`) + `"`,
		"1 AS U&\"x" + strings.NewReplacer(`"`, `""`, `\`, `\\`).Replace(text) + `"`,
		"1 AS a$q$",
		"1 -- " + strings.NewReplacer("\n", "", "\r", "").Replace(text) + "\n",
		"1 /* " + strings.ReplaceAll(text, "*", "") + " */",
		"1 /*/* " + strings.ReplaceAll(text, "*", "") + " */ **/",
		"2*-1", "2-+-1", "-.5e1", "1.e-3", "(ARRAY[1,2])[1:2]", "(1)::int4", "'{{1,2},{3,4}}'::int[]",
	}
	var b strings.Builder
	b.WriteString("SELECT ")
	for i := range 1 + rnd.IntN(4) {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString(forms[rnd.IntN(len(forms))])
	}
	return b.String()
}

// compare fails if the server and Split disagree on the number of statements in a text.
func (j judge) compare(src string) {
	j.tb.Helper()
	pieces, splitErr := sqltemplate.Split(src)
	statements := 0
	for _, p := range pieces {
		switch {
		case p.Kind == sqltemplate.Meta, p.Kind == sqltemplate.CopyIn:
			return // the server knows neither
		case p.Kind == sqltemplate.Statement && src[p.Code:p.End] != ";":
			statements++
		}
	}
	v, err := j.parse(src)
	switch {
	case splitErr != nil && v != noSQL:
		j.tb.Errorf("%q: Split says %v, server says %v", src, splitErr, err)
	case splitErr == nil && v == oneStatement && statements > 1:
		j.tb.Errorf("%q: Split sees %d statements, server says %v", src, statements, err)
	case splitErr == nil && v == severalStatements && statements < 2:
		j.tb.Errorf("%q: Split sees %d statements, server says %v", src, statements, err)
	}
}

func TestServerReadsWhatWasExpanded(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	const schema = "it; is --a /* {{schema}} É"
	n := names(t, schema, nil)
	run := func(src string) [][]byte {
		t.Helper()
		text := expand(t, src, n)
		results, err := j.conn.Exec(t.Context(), text).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if last := results[len(results)-1]; len(last.Rows) > 0 {
			return last.Rows[0]
		}
		return nil
	}
	run(`CREATE SCHEMA {{schema}};
		CREATE TYPE {{types.mood}} AS ENUM ('fine');
		CREATE SEQUENCE {{sequences.ids}};
		CREATE TABLE {{tables.Order}} (id bigint DEFAULT nextval('{{sequences.ids}}'), mood {{types.mood}}[]);
		CREATE TABLE {{tables."Order"}} ();
		CREATE FUNCTION {{functions.f}}(a text = {{schema:literal}}) RETURNS text LANGUAGE plpgsql AS $f$
			DECLARE
				b text; -- of {{schema}}
			BEGIN
				INSERT INTO {{tables.order}} (mood) VALUES (ARRAY['fine'::{{types.mood}}]);
				EXECUTE 'SELECT {{schema:literal}} || count(*) FROM {{tables.order}}' INTO b;
				RETURN a || '|' || b || '|' || {{schema:literal}} || '|' || '{{schema:literal}}';
			END $f$;
		INSERT INTO /*{{tables.order}}*/ "order" VALUES (DEFAULT, '{fine}')`)
	row := run(`SELECT {{functions.f}}(), '{{schema:literal}}', E'{{schema:literal}}', U&'{{schema:literal}}', N'{{schema:literal}}',
		$${{schema:literal}}$$, $$it's {{schema:literal}}$$, '{{tables.order}}'::regclass::oid <> '{{tables."Order"}}'::regclass::oid`)
	quoted := "'" + schema + "'"
	want := []string{
		schema + "|" + schema + "2|" + schema + "|" + quoted, quoted, quoted, quoted, quoted, quoted, "it's " + quoted, "t",
	}
	for i := range want {
		if string(row[i]) != want[i] {
			t.Errorf("column %d is %s, want %s", i+1, row[i], want[i])
		}
	}
}
