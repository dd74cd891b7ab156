package sqltemplate_test

import (
	"fmt"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

func ExampleDirectives() {
	directives, err := sqltemplate.Directives(`-- Builds the index without a lock.
-- pgdbm:no-transaction

CREATE INDEX CONCURRENTLY a ON {{tables.b}} (c); -- pgdbm:allow long-index-build
COMMENT ON TABLE {{tables.b}} IS '
-- pgdbm:not-one
';
`)
	for _, d := range directives {
		fmt.Printf("%q %q in the head: %v\n", d.Name, d.Args, d.Head)
	}
	fmt.Println(err)
	// Output:
	// "no-transaction" "" in the head: true
	// "allow" "long-index-build" in the head: false
	// <nil>
}
