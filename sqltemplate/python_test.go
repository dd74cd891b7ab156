package sqltemplate_test

import (
	"slices"
	"testing"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// The tests of this file are named after bugs of the Python pgdbm that this package must not have.

func TestPythonSplitterBugs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, src string
		want      []string
	}{
		{"backslash before the quote of an E string", `SELECT E'a\';b'; SELECT 2`, []string{`SELECT E'a\';b';`, "SELECT 2"}},
		{"nested comment", "/* a /* b */ ; */ SELECT 1; SELECT 2", []string{"SELECT 1;", "SELECT 2"}},
		{"semicolon in a quoted identifier", `SELECT "a;b" FROM t; SELECT 2`, []string{`SELECT "a;b" FROM t;`, "SELECT 2"}},
		{"apostrophe in a quoted identifier swallows the rest", `SELECT "it's"; SELECT 2`, []string{`SELECT "it's";`, "SELECT 2"}},
		{"dollars in an identifier swallow the rest", "SELECT a$b$c; SELECT 2", []string{"SELECT a$b$c;", "SELECT 2"}},
		{
			"BEGIN ATOMIC", "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; SELECT 2",
			[]string{"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END;", "SELECT 2"},
		},
		{
			"rule with two actions", "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3",
			[]string{"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);", "SELECT 3"},
		},
		{"rows of COPY", "COPY t FROM stdin;\na;b\n\\.\nSELECT 2", []string{"COPY t FROM stdin;\na;b\n\\.\n", "SELECT 2"}},
		{"psql's commands", "\\restrict x;y\nSELECT 2", []string{"\\restrict x;y", "SELECT 2"}},
	} {
		pieces, err := sqltemplate.Split(c.src)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, p := range pieces {
			got = append(got, c.src[p.Code:p.End])
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestPythonSplitterAcceptsUnterminatedInput(t *testing.T) {
	t.Parallel()
	for _, src := range []string{"SELECT 'a", `SELECT "a`, "SELECT $$a", "SELECT /* a"} {
		if _, err := sqltemplate.Split(src); err == nil {
			t.Errorf("%q: no error", src)
		}
	}
}

func TestPythonTemplatesInsideLiteralsAndCommentsAreRewrittenBlindly(t *testing.T) {
	t.Parallel()
	testExpansions(t, []expansion{
		{"-- {{tables.users}} holds users\n", "-- {{tables.users}} holds users\n"},
		{"/* as {{tables.users}} */ x", "/* as {{tables.users}} */ x"},
		{"$$ -- {{tables.users}}\n $$", "$$ -- {{tables.users}}\n $$"},
		{"'{{schema:literal}}'", "'''s'''"},
		{"'{{1,2},{3,4}}'", "'{{1,2},{3,4}}'"},
	})
	testRefusals(t, []refusal{
		{`"{{tables.users}}"`, `1:2: placeholder in a quoted identifier: {{tables.users}}`},
	})
}

func TestPythonMalformedTemplatePassesThrough(t *testing.T) {
	t.Parallel()
	const want = "malformed placeholder: {{tables.bad-name}}"
	testRefusals(t, []refusal{
		{"SELECT * FROM {{tables.bad-name}}", "1:15: " + want},
		{"SELECT '{{tables.bad-name}}'", "1:9: " + want},
		{"DO $$ {{tables.bad-name}} $$", "1:7: " + want},
	})
}

func TestPythonTableNamesAreUnquoted(t *testing.T) {
	t.Parallel()
	n := names(t, "MyApp", nil)
	for src, want := range map[string]string{
		"{{tables.order}}":   `"MyApp"."order"`,
		`{{tables."Users"}}`: `"MyApp"."Users"`,
		"{{tables.Users}}":   `"MyApp"."users"`, // folded by us, as the server folds it in other SQL
		"{{schema}}.users":   `"MyApp".users`,
	} {
		if got := expand(t, src, n); got != want {
			t.Errorf("%q: got %s, want %s", src, got, want)
		}
	}
}

func TestPythonNewlineInSchemaNamePasses(t *testing.T) {
	t.Parallel()
	// A pattern that ends in $ matches before a newline at the end of the name.
	for _, name := range []string{"abc\n", "abc\r\n", "\nabc"} {
		if sqltemplate.ValidateSchema(name) == nil {
			t.Errorf("schema %q passes", name)
		}
		if sqltemplate.ValidateModule(name) == nil {
			t.Errorf("module %q passes", name)
		}
		if _, err := sqltemplate.Parse(`{{tables."` + name + `"}}`); err == nil {
			t.Errorf("name %q passes", name)
		}
	}
}

func TestPythonDirectiveMatchesInsideStrings(t *testing.T) {
	t.Parallel()
	for _, src := range []string{
		"SELECT '\n-- pgdbm:no-transaction\n';", "DO $$\n-- pgdbm:no-transaction\n$$;", "/*\n-- pgdbm:no-transaction\n*/",
	} {
		if got, err := sqltemplate.Directives(src); err != nil || got != nil {
			t.Errorf("%q: got %+v, %v", src, got, err)
		}
	}
}

func TestPythonDirectiveIsIgnoredWhenWrittenLooser(t *testing.T) {
	t.Parallel()
	for _, src := range []string{"--pgdbm:no-transaction\n", "  -- pgdbm:no-transaction\n", "-- pgdbm: no-transaction \r\n"} {
		got, err := sqltemplate.Directives(src)
		if err != nil || len(got) != 1 || got[0].Name != "no-transaction" || !got[0].Head {
			t.Errorf("%q: got %+v, %v", src, got, err)
		}
	}
}
