package engine_test

import (
	"errors"
	"testing"

	"github.com/pgdbm/pgdbm/internal/engine"
)

func TestALoneCarriageReturnBeforeAnErrorEndsALine(t *testing.T) {
	t.Parallel()
	p := newDatabase(t).program()
	for _, text := range []string{
		"begin /* \r */;\nselect nothing;\ncommit;", // what is blanked
		"select 1 /* \r */;\nselect nothing;",       // and what is not
	} {
		_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.up.sql", text))
		var e *engine.Error
		if !errors.As(err, &e) || e.Line != 3 || e.Column != 8 {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestAPlaceBehindABlankedBeginCountsCharacters(t *testing.T) {
	t.Parallel()
	p := newDatabase(t).program()
	for _, c := range []struct {
		text         string
		line, column int
	}{
		{"begin /* ä */; select nothing;\ncommit;", 1, 23},
		{"begin /* ä\n */; select 1; /* ä */  select nothing;\ncommit;", 2, 32},
	} {
		_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.up.sql", c.text))
		var e *engine.Error
		if !errors.As(err, &e) || e.Line != c.line || e.Column != c.column {
			t.Errorf("%q: got %v, want %d:%d", c.text, err, c.line, c.column)
		}
	}
	// What is refused before it runs has its place too.
	_, err := engine.Load("app", mapFS("1_a.up.sql", "begin /* ä */; \\echo x\ncommit;"))
	if want := `migrate app/1_a.up.sql:1:16: psql's meta-command \echo is not SQL`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
