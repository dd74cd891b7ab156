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
