package sqltemplate_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

func names(tb testing.TB, schema string, aliases map[string]string) *sqltemplate.Names {
	tb.Helper()
	n, err := sqltemplate.NewNames(schema, aliases)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func parse(tb testing.TB, src string) *sqltemplate.Template {
	tb.Helper()
	tpl, err := sqltemplate.Parse(src)
	if err != nil {
		tb.Fatalf("%q: %v", src, err)
	}
	return tpl
}

func expand(tb testing.TB, src string, n *sqltemplate.Names) string {
	tb.Helper()
	text, err := parse(tb, src).Expand(n)
	if err != nil {
		tb.Fatalf("%q: %v", src, err)
	}
	return text
}

// expansion is a template and what it becomes in schema s, with module other in schema o.
type expansion struct{ src, want string }

func testExpansions(t *testing.T, cases []expansion) {
	t.Helper()
	n := names(t, "s", map[string]string{"other": "o"})
	for _, c := range cases {
		if got := expand(t, c.src, n); got != c.want {
			t.Errorf("%q:\ngot  %s\nwant %s", c.src, got, c.want)
		}
	}
}

// refusal is a template that does not parse.
type refusal struct{ src, want string }

func testRefusals(t *testing.T, cases []refusal) {
	t.Helper()
	for _, c := range cases {
		_, err := sqltemplate.Parse(c.src)
		var e *sqltemplate.Error
		switch {
		case err == nil:
			t.Errorf("%q: no error, want %q", c.src, c.want)
		case !errors.As(err, &e):
			t.Errorf("%q: error %v is no *Error", c.src, err)
		case err.Error() != c.want:
			t.Errorf("%q:\ngot  %s\nwant %s", c.src, err, c.want)
		}
	}
}

func TestPlaceholdersInCode(t *testing.T) {
	t.Parallel()
	testExpansions(t, []expansion{
		{"{{tables.users}}", `"s"."users"`},
		{"SELECT * FROM {{tables.users}} u", `SELECT * FROM "s"."users" u`},
		{"{{ tables.users }}{", `"s"."users"{`},
		{"{{\ttables.users  }}", `"s"."users"`},
		{"{{types.mood}} {{functions.f}}(1) {{sequences.q}}", `"s"."mood" "s"."f"(1) "s"."q"`},
		{"{{schema}} {{ schema }}", `"s" "s"`},
		{"{{schema:literal}} {{ schema:literal }}", `'s' 's'`},
		{"{{tables.other.x}} {{types.other.y}}", `"o"."x" "o"."y"`},
		{"{{tables.OTHER.X}}", `"o"."x"`},
		{`{{tables.other."X y"}}`, `"o"."X y"`},
		{"{{tables.Users}}", `"s"."users"`},
		{`{{tables."Users"}}`, `"s"."Users"`},
		{`{{tables."a;b}}--/*"}}`, `"s"."a;b}}--/*"`},
		{"{{tables.ÄÖ}}", `"s"."ÄÖ"`},
		{"{{tables.select}}", `"s"."select"`},
		{"{{tables.schema}} {{tables.other}}", `"s"."schema" "s"."other"`},
		{"{{tables." + strings.Repeat("x", 63) + "}}", `"s"."` + strings.Repeat("x", 63) + `"`},
		{"({{tables.a}},{{tables.b}})", `("s"."a","s"."b")`},
		{"SELECT {{tables.a}}.id, {{schema}}.b.c", `SELECT "s"."a".id, "s".b.c`},
		{"x::{{types.mood}}[]", `x::"s"."mood"[]`},
		{"x={{tables.a}};{{tables.b}}", `x="s"."a";"s"."b"`},
		{"{{tables.a}}/**/{{tables.b}}--", `"s"."a"/**/"s"."b"--`},
		{"a\n{{tables.b}}\r\nc", "a\n\"s\".\"b\"\r\nc"},
		{"{ {tables.a} } {{tables.b}}", `{ {tables.a} } "s"."b"`},
	})
}

func TestBadPlaceholdersInCodeAreRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 64)
	testRefusals(t, []refusal{
		{"SELECT {{user}}", "1:8: unknown placeholder: {{user}}"},
		{"{{", "1:1: unknown placeholder: {{"},
		{"{{}}", "1:1: unknown placeholder: {{}}"},
		{"{{Tables.users}}", "1:1: unknown placeholder: {{Tables.users}}"},
		{"{{tables_.users}}", "1:1: unknown placeholder: {{tables_.users}}"},
		{"{{{tables.users}}}", "1:1: unknown placeholder: {{{tables.users}}"},
		{"ARRAY{{1,2},{3,4}}", "1:6: unknown placeholder: {{1,2},{3,4}}"},
		{"\n\n {{tables.bad-name}}", "3:2: malformed placeholder: {{tables.bad-name}}"},
		{"{{tables.}}", "1:1: malformed placeholder: {{tables.}}"},
		{"{{tables}}", "1:1: placeholder without a name: {{tables}}"},
		{"{{tables .a}}", "1:1: placeholder without a name: {{tables .a}}"},
		{"{{tables. a}}", "1:1: malformed placeholder: {{tables. a}}"},
		{"{{tables.a}", "1:1: malformed placeholder: {{tables.a}"},
		{"{{tables.a\n}}", "1:1: malformed placeholder: {{tables.a"},
		{"{{tables.a b}}", "1:1: malformed placeholder: {{tables.a b}}"},
		{"{{tables.a$b}}", "1:1: malformed placeholder: {{tables.a$b}}"},
		{"{{tables.1a}}", "1:1: malformed placeholder: {{tables.1a}}"},
		{"{{tables.other.b.c}}", "1:1: malformed placeholder: {{tables.other.b.c}}"},
		{"{{tables.other.}}", "1:1: malformed placeholder: {{tables.other.}}"},
		{"{{tables.public.b}}", `1:1: module "public": name is reserved: {{tables.public.b}}`},
		{"{{tables.Ü.b}}", `1:1: module "Ü": name does not match [a-z][a-z0-9_]{0,62}: {{tables.Ü.b}}`},
		{`{{tables."other".b}}`, `1:1: module in quotes: {{tables."other".b}}`},
		{`{{tables.""}}`, `1:1: name is empty: {{tables.""}}`},
		{`{{tables."a""b"}}`, `1:1: malformed placeholder: {{tables."a""b"}}`},
		{`{{tables."a'b"}}`, `1:1: name holds one of ' " \ $ %: {{tables."a'b"}}`},
		{`{{tables."a%"}}`, `1:1: name holds one of ' " \ $ %: {{tables."a%"}}`},
		{"{{tables.\"a\tb\"}}", "1:1: name holds a control character: {{tables.\"a\tb\"}}"},
		{"{{tables.\"a\nb\"}}", "1:1: name holds a control character: {{tables.\"a"},
		{"{{tables.a\xff}}", `1:1: name is not valid UTF-8: "{{tables.a\xff}}"`},
		{"{{tables.A\xff}}", `1:1: name is not valid UTF-8: "{{tables.A\xff}}"`},
		{"{{tables." + long + "}}", "1:1: name is longer than 63 bytes: {{tables." + long + "}}"},
		{"{{tables.\"" + long + long + "\"}}", "1:1: name is longer than 63 bytes: {{tables.\"" + (long + long)[:90] + "..."},
		{"{{tables.other." + long + "}}", "1:1: name is longer than 63 bytes: {{tables.other." + long + "}}"},
		{"{{tables." + long + ".b}}", "1:1: name is longer than 63 bytes: {{tables." + long + ".b}}"},
		{"{{schema.x}}", "1:1: malformed placeholder: {{schema.x}}"},
		{"{{schema:lit}}", "1:1: malformed placeholder: {{schema:lit}}"},
		{"{{schema:literally}}", "1:1: malformed placeholder: {{schema:literally}}"},
		{"{{schema: literal}}", "1:1: malformed placeholder: {{schema: literal}}"},
		{"{{tables.a}} 'b", "1:14: unterminated quoted string"},
	})
}

func TestPlaceholderTouchingAnIdentifierIsRefused(t *testing.T) {
	t.Parallel()
	before := func(position, placeholder string) string {
		return position + ": placeholder touches what stands before it: " + placeholder
	}
	after := func(position, placeholder string) string {
		return position + ": placeholder touches what stands after it: " + placeholder
	}
	testRefusals(t, []refusal{
		{"FROM {{tables.events}}_2024", after("1:6", "{{tables.events}}")},
		{"{{tables.a}}x", after("1:1", "{{tables.a}}")},
		{"{{tables.a}}é", after("1:1", "{{tables.a}}")},
		{"{{tables.a}}1", after("1:1", "{{tables.a}}")},
		{"{{tables.a}}$1", after("1:1", "{{tables.a}}")},
		{"{{tables.a}}'b'", after("1:1", "{{tables.a}}")},
		{`{{tables.a}}"b"`, after("1:1", "{{tables.a}}")},
		{"{{schema}}E'b'", after("1:1", "{{schema}}")},
		{"FROM{{tables.a}}", before("1:5", "{{tables.a}}")},
		{"é{{tables.a}}", before("1:2", "{{tables.a}}")},
		{"1{{tables.a}}", before("1:2", "{{tables.a}}")},
		{"a${{tables.a}}", before("1:3", "{{tables.a}}")},
		{"'b'{{tables.a}}", before("1:4", "{{tables.a}}")},
		{`"b"{{tables.a}}`, before("1:4", "{{tables.a}}")},
		{"N{{schema:literal}}", before("1:2", "{{schema:literal}}")},
		{"{{tables.a}}{{tables.b}}", before("1:13", "{{tables.b}}")},
		{"{{schema:literal}}{{schema:literal}}", before("1:19", "{{schema:literal}}")},
		{"{{schema}}.{{schema}}x", after("1:12", "{{schema}}")},
	})
}

func TestModuleWithoutASchemaIsRefused(t *testing.T) {
	t.Parallel()
	tpl := parse(t, "SELECT 1 FROM {{tables.a}},\n  {{ tables.other.b }}")
	n := names(t, "s", map[string]string{"another": "x"})
	dst := []byte("kept")
	got, err := tpl.Append(dst, n)
	wantError(t, "Append", err, "2:3: no schema for module other, which Module.Requires does not name: {{ tables.other.b }}")
	if string(got) != "kept" {
		t.Errorf("Append returned %q", got)
	}
	text, err := tpl.Expand(n)
	wantError(t, "Expand", err, "2:3: no schema for module other, which Module.Requires does not name: {{ tables.other.b }}")
	if text != "" {
		t.Errorf("Expand returned %q", text)
	}
	_, err = tpl.Expand(nil)
	wantError(t, "Expand(nil)", err, "1:15: no schema: {{tables.a}}")
}

func TestModulesAreSortedAndUnique(t *testing.T) {
	t.Parallel()
	tpl := parse(t, "{{tables.b.x}} {{tables.x}} '{{types.a.x}}' {{functions.B.y}} $$ {{tables.c.x}} $$ -- {{tables.d.x}}")
	got := tpl.Modules()
	if want := []string{"a", "b", "c"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	got[0] = "z"
	if tpl.Modules()[0] != "a" {
		t.Error("the caller changed the template")
	}
	if got := parse(t, "{{tables.x}}").Modules(); len(got) != 0 {
		t.Errorf("got %q, want none", got)
	}
}

func TestTextWithoutPlaceholdersIsStatic(t *testing.T) {
	t.Parallel()
	for _, src := range []string{"", "SELECT 1", "'never ends", "\x00", "{ {", "'{{user}}'", "-- {{tables.x}}", "'{{1,2},{3,4}}'"} {
		tpl := parse(t, src)
		if !tpl.Static() || tpl.Source() != src || expand(t, src, nil) != src {
			t.Errorf("%q is not static", src)
		}
		if got := tpl.SourceOffset(nil, 99); got != len(src) {
			t.Errorf("%q: offset 99 is %d of the source", src, got)
		}
	}
	if tpl := parse(t, "{{schema}}"); tpl.Static() || tpl.Source() != "{{schema}}" {
		t.Error("a text with a placeholder is static")
	}
}

func TestSourceOffset(t *testing.T) {
	t.Parallel()
	tpl := parse(t, "ab {{tables.x}}.d '{{ schema:literal }}' /*{{tables.y}}*/ Y;")
	n := names(t, "sch", nil)
	text := expand(t, tpl.Source(), n)
	if want := `ab "sch"."x".d '''sch''' "sch"."y";`; text != want {
		t.Fatalf("got %s, want %s", text, want)
	}
	for _, c := range []struct{ expanded, want int }{
		{-5, 0},
		{0, 0},
		{2, 2},
		{3, 3},   // "sch"
		{11, 3},  // its last byte
		{12, 15}, // .d
		{15, 18}, // the quote of the string
		{16, 19}, // ''sch''
		{22, 19},
		{23, 39}, // the string's last quote
		{25, 41}, // "sch"."y"
		{33, 41},
		{34, 59}, // ;
		{35, 60},
		{99, 60},
	} {
		if got := tpl.SourceOffset(n, c.expanded); got != c.want {
			t.Errorf("SourceOffset(%d) = %d, want %d", c.expanded, got, c.want)
		}
	}
}

func TestTemplatesAreSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	tpl := parse(t, "{{tables.a}} {{tables.other.b}}")
	for _, schema := range []string{"x", "y"} {
		n := names(t, schema, map[string]string{"other": "o" + schema})
		t.Run(schema, func(t *testing.T) {
			t.Parallel()
			want := `"` + schema + `"."a" "o` + schema + `"."b"`
			for range 100 {
				if got, err := tpl.Expand(n); err != nil || got != want {
					t.Fatalf("got %s, %v, want %s", got, err, want)
				}
			}
		})
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	n := names(t, "tenant_42", map[string]string{"other": "o"})
	for _, src := range []string{
		"SELECT * FROM {{tables.users}} u JOIN {{tables.orders}} o USING (id)",
		"SELECT '{{schema:literal}}', {{tables.other.x}}",
		"SELECT 1",
	} {
		tpl := parse(t, src)
		dst := make([]byte, 0, 1024)
		if got := testing.AllocsPerRun(100, func() { dst, _ = tpl.Append(dst[:0], n) }); got != 0 {
			t.Errorf("%q: %v allocations", src, got)
		}
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	got, err := parse(t, "{{tables.a}};").Append([]byte("BEGIN; "), names(t, "s", nil))
	if err != nil || string(got) != `BEGIN; "s"."a";` {
		t.Errorf("got %q, %v", got, err)
	}
}
