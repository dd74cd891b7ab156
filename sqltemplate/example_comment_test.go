package sqltemplate_test

import (
	"fmt"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A placeholder in a comment replaces the name behind it, so the source is SQL as it stands.
func ExampleParse_comment() {
	query, err := sqltemplate.Parse("SELECT users.id FROM /*{{tables.users}}*/ users")
	if err != nil {
		fmt.Println(err)
		return
	}
	names, err := sqltemplate.NewNames("app", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(query.Expand(names))
	// Output:
	// SELECT users.id FROM "app"."users" <nil>
}
