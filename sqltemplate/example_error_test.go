package sqltemplate_test

import (
	"errors"
	"fmt"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// An error says where it is.
func ExampleParse_error() {
	_, err := sqltemplate.Parse("SELECT *\nFROM {{tables.events}}_2024")
	var fault *sqltemplate.Error
	if errors.As(err, &fault) {
		fmt.Println(err)
		fmt.Println("line", fault.Line, "column", fault.Column)
	}
	// Output:
	// 2:6: placeholder touches what stands after it: {{tables.events}}
	// line 2 column 6
}
