package sqltemplate_test

import (
	"fmt"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A server's error position is one in the text that it got.
func ExampleTemplate_SourceOffset() {
	const source = "SELECT *\nFROM {{tables.users}} WHERE nmae = $1"
	query, err := sqltemplate.Parse(source)
	if err != nil {
		fmt.Println(err)
		return
	}
	names, err := sqltemplate.NewNames("a_long_name_of_a_schema", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := query.Expand(names)
	if err != nil {
		fmt.Println(err)
		return
	}
	offset := strings.Index(text, "nmae") // as the server would say
	line, column := sqltemplate.Position(source, query.SourceOffset(names, offset))
	fmt.Printf("%d:%d: column does not exist\n", line, column)
	// Output:
	// 2:29: column does not exist
}
