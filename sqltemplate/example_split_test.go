package sqltemplate_test

import (
	"fmt"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// The pieces of a dump can be sent one by one.
func ExampleSplit() {
	const dump = `\restrict key
CREATE TABLE note (id int, text text); -- a comment;
COPY note FROM stdin;
1	semicolons; are data here
2	and so is 'this
\.
CREATE FUNCTION two() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;
`
	pieces, err := sqltemplate.Split(dump)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range pieces {
		line, _ := sqltemplate.Position(dump, p.Code)
		switch p.Kind {
		case sqltemplate.CopyIn:
			fmt.Printf("line %d: %s with %d bytes of rows\n", line, p.Kind, p.DataEnd-p.Data)
		case sqltemplate.Blank:
		default:
			fmt.Printf("line %d: %s %s\n", line, p.Kind, dump[p.Code:p.End])
		}
	}
	// Output:
	// line 1: Meta \restrict key
	// line 2: Statement CREATE TABLE note (id int, text text);
	// line 3: CopyIn with 46 bytes of rows
	// line 7: Statement CREATE FUNCTION two() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;
}
