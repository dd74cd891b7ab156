package sqltemplate_test

import (
	"fmt"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

func ExampleLexer() {
	const src = "SELECT a-1 -- one less"
	lex := sqltemplate.NewLexer(src)
	for {
		tok, ok := lex.Next()
		if !ok {
			break
		}
		if tok.Kind != sqltemplate.Space {
			fmt.Println(tok.Kind, src[tok.Start:tok.End])
		}
	}
	fmt.Println(lex.Err())
	// Output:
	// Ident SELECT
	// Ident a
	// Operator -
	// Number 1
	// Comment -- one less
	// <nil>
}
