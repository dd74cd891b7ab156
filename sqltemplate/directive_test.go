package sqltemplate_test

import (
	"slices"
	"testing"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

func TestDirectives(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		src  string
		want []sqltemplate.Directive
	}{
		{"-- pgdbm:no-transaction\nSELECT 1;", []sqltemplate.Directive{{Name: "no-transaction", Head: true}}},
		{"--pgdbm:no-transaction", []sqltemplate.Directive{{Name: "no-transaction", Head: true}}},
		{"\n\t --\tPGDBM: requires  a >= 7,  b \r\n", []sqltemplate.Directive{{Name: "requires", Args: "a >= 7,  b", Offset: 3, Head: true}}},
		{"-- pgdbm:", []sqltemplate.Directive{{Head: true}}},
		{"-- pgdbm:No-Transaction", []sqltemplate.Directive{{Name: "No-Transaction", Head: true}}},
		{"/* a */ -- pgdbm:a\n-- b\n-- pgdbm:c d\n; -- pgdbm:e", []sqltemplate.Directive{
			{Name: "a", Offset: 8, Head: true}, {Name: "c", Args: "d", Offset: 24, Head: true}, {Name: "e", Offset: 39},
		}},
		{"-- pgdbm no-transaction\n-- pgdbmx:y\n-- see pgdbm:z\n--- pgdbm:z", nil},
		{"/* -- pgdbm:a */ /*\n-- pgdbm:a\n*/", nil},
		{"SELECT '\n-- pgdbm:a\n' $$\n-- pgdbm:a\n$$ \"\n-- pgdbm:a\n\"", nil},
		{"SELECT 'a'\n-- pgdbm:a\n'b'", nil},
		{"COPY t FROM stdin;\n-- pgdbm:a\n\\.\n", nil},
		{"\\echo -- pgdbm:a\n", nil},
	} {
		got, err := sqltemplate.Directives(c.src)
		if err != nil {
			t.Errorf("%q: %v", c.src, err)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q:\ngot  %+v\nwant %+v", c.src, got, c.want)
		}
	}
}

func TestDirectivesBeforeAnErrorAreKept(t *testing.T) {
	t.Parallel()
	got, err := sqltemplate.Directives("-- pgdbm:a\n'b -- pgdbm:c")
	wantError(t, "Directives", err, "2:1: unterminated quoted string")
	if want := []sqltemplate.Directive{{Name: "a", Head: true}}; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
