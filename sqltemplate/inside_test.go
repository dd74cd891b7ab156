package sqltemplate_test

import (
	"testing"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

func TestPlaceholdersInStrings(t *testing.T) {
	t.Parallel()
	testExpansions(t, []expansion{
		{"'{{tables.x}}'::regclass", `'"s"."x"'::regclass`},
		{`'{{tables."X y"}}'`, `'"s"."X y"'`},
		{"'{{schema:literal}}'", "'''s'''"},
		{"'a{{schema:literal}}b{{schema}}{{tables.x}}c'", `'a''s''b"s""s"."x"c'`},
		{"E'{{schema:literal}}' e'\\\\{{tables.x}}'", `E'''s''' e'\\"s"."x"'`},
		{"N'{{schema:literal}}' U&'{{ schema:literal }}\\0041'", `N'''s''' U&'''s''\0041'`},
		{"'\\{{tables.x}}'", `'\"s"."x"'`},
		{"'a' -- {{tables.x}}\n '{{schema}}'", "'a' -- {{tables.x}}\n '\"s\"'"},
		{"'-- {{schema}}', '/* {{schema}} */', '/*{{tables.x}}*/ y'", `'-- "s"', '/* "s" */', '/*"s"."x"*/ y'`},
		{"{{schema}} '{{1,2},{3,4}}' '{{user}}' '{{ user.name }}' '{{'", `"s" '{{1,2},{3,4}}' '{{user}}' '{{ user.name }}' '{{'`},
		{"{{schema}} '{{Tables.x}}' '{{tablesx}}' '{{tables2.x}}' '{{schemas}}'", `"s" '{{Tables.x}}' '{{tablesx}}' '{{tables2.x}}' '{{schemas}}'`},
		{"'{{{schema}}}'", `'{"s"}'`},
		{"'{{{{schema}}}}'", `'{{"s"}}'`},
		{"'{{user}}{{schema}}'", `'{{user}}"s"'`},
		{"'{{user {{schema}}'", `'{{user "s"'`},
		{"'it''s {{schema:literal}}'", "'it''s ''s'''"},
	})
}

func TestBadPlaceholdersInStringsAreRefused(t *testing.T) {
	t.Parallel()
	testRefusals(t, []refusal{
		{"'{{tables.bad-name}}'", "1:2: malformed placeholder: {{tables.bad-name}}"},
		{"'{{schema:lit}}'", "1:2: malformed placeholder: {{schema:lit}}"},
		{"'{{tables.}}'", "1:2: malformed placeholder: {{tables.}}"},
		{"'{{tables}}'", "1:2: placeholder without a name: {{tables}}"},
		{"'{{tables.'\n'x}}'", "1:2: malformed placeholder: {{tables.'"},
		{"'a'\n'{{tables.x'", "2:2: malformed placeholder: {{tables.x'"},
		{"'{{user}} {{ types.x y}}'", "1:11: malformed placeholder: {{ types.x y}}"},
		{`E'\{{schema:literal}}'`, "1:4: placeholder after a backslash: {{schema:literal}}"},
		{`E'\\\{{schema}}'`, "1:6: placeholder after a backslash: {{schema}}"},
		{"B'{{schema}}'", "1:3: placeholder in a bit string: {{schema}}"},
		{"x'00'\n'{{tables.}}'", "2:2: placeholder in a bit string: {{tables.}}"},
	})
}

func TestPlaceholdersInQuotedIdentifiersAreRefused(t *testing.T) {
	t.Parallel()
	testRefusals(t, []refusal{
		{`SELECT "{{tables.x}}"`, "1:9: placeholder in a quoted identifier: {{tables.x}}"},
		{`"{{tables.bad-name}}"`, "1:2: placeholder in a quoted identifier: {{tables.bad-name}}"},
		{`"{{tables."x"}}"`, `1:2: placeholder in a quoted identifier: {{tables."x"}}`},
		{`U&"{{a}} {{schema}}"`, "1:10: placeholder in a quoted identifier: {{schema}}"},
		{`$$ "{{schema}}" $$`, "1:5: placeholder in a quoted identifier: {{schema}}"},
	})
	testExpansions(t, []expansion{
		{`{{schema}} "{{user}}"`, `"s" "{{user}}"`},
	})
}

func TestPlaceholdersInDollarQuotedBodies(t *testing.T) {
	t.Parallel()
	testExpansions(t, []expansion{
		{"$$ SELECT 1 FROM {{tables.x}}; $$", `$$ SELECT 1 FROM "s"."x"; $$`},
		{"$${{tables.x}}$$", `$$"s"."x"$$`},
		{"$f${{schema:literal}}, '{{schema:literal}}'$f$", `$f$'s', '''s'''$f$`},
		{"$f$ $g$ {{schema:literal}} '{{schema:literal}}' $g$ $f$", `$f$ $g$ 's' '''s''' $g$ $f$`},
		{"$$ EXECUTE 'DO $x$ {{schema:literal}} $x$' $$", `$$ EXECUTE 'DO $x$ ''s'' $x$' $$`},
		{"$$ -- {{tables.x}}\n /* {{tables.x}} y */ {{tables.x}} $$", "$$ -- {{tables.x}}\n /* {{tables.x}} y */ \"s\".\"x\" $$"},
		{"$$ /*{{tables.x}}*/ x $$", `$$ "s"."x" $$`},
		{"$$ {{user}} {{1}} {{tables.x}} {{ $$", `$$ {{user}} {{1}} "s"."x" {{ $$`},
		{"$$ {{{tables.x}}} $$", `$$ {"s"."x"} $$`},
		{"$$ x := {{types.y}} \\d {{schema}} $$", `$$ x := "s"."y" \d "s" $$`},
		{"$$ COPY t FROM stdin;\n{{schema}}\n\\.\n $$", "$$ COPY t FROM stdin;\n\"s\"\n\\.\n $$"},
		{"$$ a $$; {{schema}} $$ b $$", `$$ a $$; "s" $$ b $$`},
	})
	testRefusals(t, []refusal{
		{"$$\n {{tables.bad-name}} $$", "2:2: malformed placeholder: {{tables.bad-name}}"},
		{"$$ '{{schema:lit}}' $$", "1:5: malformed placeholder: {{schema:lit}}"},
		{"$$ FROM {{tables.events}}_2024 $$", "1:9: placeholder touches what stands after it: {{tables.events}}"},
		{"$$ {{schema}}{{schema}} $$", "1:14: placeholder touches what stands before it: {{schema}}"},
		{"$$ $x$ {{tables.a b}} $x$ $$", "1:8: malformed placeholder: {{tables.a b}}"},
	})
}

func TestBodyThatDoesNotLexIsText(t *testing.T) {
	t.Parallel()
	testExpansions(t, []expansion{
		{"$$ it's {{schema:literal}} $$", "$$ it's 's' $$"},
		{"$$ don't: -- {{schema}}_x \"{{tables.x}}\" {{user}} $$", `$$ don't: -- "s"_x ""s"."x"" {{user}} $$`},
		{"$a$ $b$ 'x {{schema}} $b$ {{schema}} $a$", `$a$ $b$ 'x "s" $b$ "s" $a$`},
	})
	testRefusals(t, []refusal{
		{"$$ it's {{schema:lit}} $$", "1:9: malformed placeholder: {{schema:lit}}"},
	})
}

func TestNothingExpandsInCommentsAndCopyData(t *testing.T) {
	t.Parallel()
	testExpansions(t, []expansion{
		{"-- {{tables.x}} {{user}} {{tables.}}", "-- {{tables.x}} {{user}} {{tables.}}"},
		{"--{{tables.x}}\nx", "--{{tables.x}}\nx"},
		{"/* see {{tables.x}} */ x", "/* see {{tables.x}} */ x"},
		{"/* {{tables.x}} /* */ */ x", "/* {{tables.x}} /* */ */ x"},
		{"/* {{user}} */ user", "/* {{user}} */ user"},
		{"/*\n{{tables.x}}\n*/ x", "/*\n{{tables.x}}\n*/ x"},
		{
			"COPY {{tables.x}} FROM stdin;\n{{tables.x}}\t{{\n\\.\n{{schema}}",
			"COPY \"s\".\"x\" FROM stdin;\n{{tables.x}}\t{{\n\\.\n\"s\"",
		},
		{"COPY {{tables.x}} FROM stdin; -- {{schema}}\n{{tables.x}}", "COPY \"s\".\"x\" FROM stdin; -- {{schema}}\n{{tables.x}}"},
		{"\\echo {{tables.x}}\n{{schema}}", "\\echo {{tables.x}}\n\"s\""},
	})
}

func TestCommentBeforeTheNameItReplaces(t *testing.T) {
	t.Parallel()
	testExpansions(t, []expansion{
		{"FROM /*{{tables.users}}*/ users u", `FROM "s"."users" u`},
		{"FROM /* {{ tables.users }} */\tusers", `FROM "s"."users"`},
		{"FROM /*{{tables.users}}*/users", `FROM "s"."users"`},
		{"/*{{tables.Users}}*/ USERS", `"s"."users"`},
		{`/*{{tables.users}}*/ "users"`, `"s"."users"`},
		{`/*{{tables."Users"}}*/ "Users"`, `"s"."Users"`},
		{"/*{{tables.other.users}}*/ users", `"o"."users"`},
		{"/*{{types.mood}}*/ mood[], /*{{functions.f}}*/ f(1)", `"s"."mood"[], "s"."f"(1)`},
		{"/*{{tables.users}}*/ users.id", `"s"."users".id`},
		{"/*{{tables.a}}*/ a, /*{{tables.b}}*/ b", `"s"."a", "s"."b"`},
	})
	const another = "comment with a placeholder before another name: {{tables.users}}"
	testRefusals(t, []refusal{
		{"/*{{tables.users}}*/ user", "1:3: " + another},
		{"/*{{tables.users}}*/ users2", "1:3: " + another},
		{`/*{{tables.users}}*/ "Users"`, "1:3: " + another},
		{`/*{{tables.users}}*/ U&"users"`, "1:3: " + another},
		{"/*{{tables.users}}*/ app.users", "1:3: " + another},
		{"/*{{tables.users}}*/", "1:3: " + another},
		{"/*{{tables.users}}*/\nusers", "1:3: " + another},
		{"/*{{tables.users}}*/ /**/ users", "1:3: " + another},
		{"/*{{tables.users}}*/ 'users'", "1:3: " + another},
		{"\n /* {{tables.users}} */ {{tables.users}}", "2:5: " + another},
		{"app./*{{tables.users}}*/ users", "1:7: comment with a placeholder inside a qualified name: {{tables.users}}"},
		{"app. /**/ /*{{tables.users}}*/ users", "1:13: comment with a placeholder inside a qualified name: {{tables.users}}"},
		{"/*{{schema}}*/ schema", "1:3: comment with a placeholder that has no name: {{schema}}"},
		{`"a"/*{{tables.users}}*/users`, "1:6: placeholder touches what stands before it: {{tables.users}}"},
		{`/*{{tables.users}}*/users"a"`, "1:3: placeholder touches what stands after it: {{tables.users}}"},
	})
}

func TestFileCanSwitchTemplatesOff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		src    string
		static bool
	}{
		{"-- pgdbm:no-templates\n{{schema}} {{user}}", true},
		{"\ufeff/* licence */\n\n  --pgdbm: no-templates \r\n{{user}} 'never ends", true},
		{"SELECT 1 -- no {{ here\n", true},
		{"SELECT 1", true},
		{"SELECT 1;\n-- pgdbm:no-templates\n{{schema}}", false},
		{"/* -- pgdbm:no-templates */ {{schema}}", false},
		{"-- pgdbm:No-templates\n{{schema}}", false},
	} {
		tpl, err := sqltemplate.ParseFile(c.src)
		if err != nil {
			t.Errorf("%q: %v", c.src, err)
			continue
		}
		if tpl.Static() != c.static {
			t.Errorf("%q: static is %v", c.src, tpl.Static())
		}
	}
	if tpl, err := sqltemplate.Parse("-- pgdbm:no-templates\n{{schema}}"); err != nil || tpl.Static() {
		t.Errorf("Parse honours a file's directive: %v", err)
	}
	_, err := sqltemplate.ParseFile("SELECT 1; -- pgdbm:no-templates\n{{user}}")
	wantError(t, "ParseFile", err, "2:1: unknown placeholder: {{user}}")
}
