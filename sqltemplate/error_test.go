package sqltemplate_test

import (
	"errors"
	"testing"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

func TestPosition(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		src          string
		offset       int
		line, column int
	}{
		{"", 0, 1, 1},
		{"", 5, 1, 1},
		{"abc", -1, 1, 1},
		{"abc", 2, 1, 3},
		{"abc", 99, 1, 4},
		{"a\nb", 1, 1, 2},
		{"a\nb", 2, 2, 1},
		{"a\r\nb", 2, 1, 3},
		{"a\r\nb", 3, 2, 1},
		{"a\rb\r\rc", 2, 2, 1},
		{"a\rb\r\rc", 5, 4, 1},
		{"a\r", 2, 2, 1},
		{"a\n\r\nb", 4, 3, 1},
		{"é日𝄞x", 9, 1, 4},
		{"é日𝄞x", 3, 1, 2},
		{"é日𝄞x", 10, 1, 5},
		{"\xff\xffx", 2, 1, 3},
	} {
		line, column := sqltemplate.Position(c.src, c.offset)
		if line != c.line || column != c.column {
			t.Errorf("Position(%q, %d) = %d, %d, want %d, %d", c.src, c.offset, line, column, c.line, c.column)
		}
	}
}

func TestErrorCarriesItsPosition(t *testing.T) {
	t.Parallel()
	_, err := sqltemplate.Parse("SELECT 'é',\n  'é', {{user}}")
	var e *sqltemplate.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is no *Error", err)
	}
	want := sqltemplate.Error{Offset: 21, Line: 2, Column: 8, Msg: "unknown placeholder: {{user}}"}
	if *e != want || err.Error() != "2:8: unknown placeholder: {{user}}" {
		t.Errorf("got %+v, want %+v", *e, want)
	}
}
