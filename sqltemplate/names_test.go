package sqltemplate_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

func TestSchemaNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		want string // the error, "" for none
	}{
		{"app", ""},
		{"public", ""},
		{"MyApp", ""},
		{"my app; drop table x --", ""},
		{"größe", ""},
		{"PG_x", ""},
		{"pgdbm", ""},
		{"pgx", ""},
		{strings.Repeat("x", 63), ""},
		{strings.Repeat("é", 31), ""},
		{"", `schema "": name is empty`},
		{strings.Repeat("é", 32), `schema "` + strings.Repeat("é", 32) + `": name is longer than 63 bytes`},
		{"pg_app", `schema "pg_app": name is PostgreSQL's own`},
		{"information_schema", `schema "information_schema": name is PostgreSQL's own`},
		{"a\xff", `schema "a\xff": name is not valid UTF-8`},
		{"abc\n", `schema "abc\n": name holds a control character`},
		{"a\x00", `schema "a\x00": name holds a control character`},
		{"a\u0085", `schema "a\u0085": name holds a control character`},
		{"a'b", `schema "a'b": name holds one of ' " \ $ %`},
		{`a"b`, `schema "a\"b": name holds one of ' " \ $ %`},
		{`a\b`, `schema "a\\b": name holds one of ' " \ $ %`},
		{"a$b", `schema "a$b": name holds one of ' " \ $ %`},
		{"a%b", `schema "a%b": name holds one of ' " \ $ %`},
	} {
		wantError(t, c.name, sqltemplate.ValidateSchema(c.name), c.want)
	}
}

func TestModuleNames(t *testing.T) {
	t.Parallel()
	const pattern = "name does not match [a-z][a-z0-9_]{0,62}"
	for _, c := range []struct{ name, want string }{
		{"billing", ""},
		{"b2_", ""},
		{"p", ""},
		{"pgdbm2", ""},
		{strings.Repeat("x", 63), ""},
		{"", `module "": name is empty`},
		{strings.Repeat("x", 64), `module "` + strings.Repeat("x", 64) + `": name is longer than 63 bytes`},
		{"Billing", `module "Billing": ` + pattern},
		{"2b", `module "2b": ` + pattern},
		{"_b", `module "_b": ` + pattern},
		{"a-b", `module "a-b": ` + pattern},
		{"é", `module "é": ` + pattern},
		{"abc\n", `module "abc\n": name holds a control character`},
		{"pg_x", `module "pg_x": name is reserved`},
		{"pgdbm", `module "pgdbm": name is reserved`},
		{"public", `module "public": name is reserved`},
		{"information_schema", `module "information_schema": name is reserved`},
	} {
		wantError(t, c.name, sqltemplate.ValidateModule(c.name), c.want)
	}
}

func wantError(t *testing.T, what string, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("%q: error %q, want %q", what, got, want)
	}
}

func TestNewNamesValidatesAll(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		schema  string
		aliases map[string]string
		want    string
	}{
		{"app", nil, ""},
		{"app", map[string]string{"billing": "public"}, ""},
		{"pg_app", nil, `schema "pg_app": name is PostgreSQL's own`},
		{"app", map[string]string{"a": "x", "B": "y"}, `module "B": name does not match [a-z][a-z0-9_]{0,62}`},
		{"app", map[string]string{"a": "x'"}, `module "a": schema "x'": name holds one of ' " \ $ %`},
	} {
		n, err := sqltemplate.NewNames(c.schema, c.aliases)
		wantError(t, c.schema, err, c.want)
		if (n == nil) != (err != nil) {
			t.Errorf("%q: names %v with error %v", c.schema, n, err)
		}
	}
}

func TestNamesDoNotChangeWithTheCallersMap(t *testing.T) {
	t.Parallel()
	aliases := map[string]string{"other": "first"}
	n := names(t, "app", aliases)
	aliases["other"] = `"; DROP TABLE x; --`
	if got := expand(t, "{{tables.other.x}}", n); got != `"first"."x"` {
		t.Errorf("got %s", got)
	}
	if n.Schema() != "app" {
		t.Errorf("schema %s", n.Schema())
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"a": `"a"`, "": `""`, `a"b""`: `"a""b"""""`, `a'\`: `"a'\"`} {
		if got := sqltemplate.Quote(name); got != want {
			t.Errorf("Quote(%q) = %s, want %s", name, got, want)
		}
	}
}

func TestNamesTellTheirAliases(t *testing.T) {
	t.Parallel()
	want := map[string]string{"a": "one", "b": "two"}
	if got := maps.Collect(names(t, "s", want).Aliases()); !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if got := maps.Collect(names(t, "s", nil).Aliases()); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}
