package sqltemplate_test

import (
	"fmt"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

func Example() {
	query, err := sqltemplate.Parse("SELECT u.name, b.total FROM {{tables.users}} u JOIN {{tables.billing.totals}} b USING (id)")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, tenant := range []string{"acme", "globex"} {
		names, err := sqltemplate.NewNames(tenant, map[string]string{"billing": "money"})
		if err != nil {
			fmt.Println(err)
			return
		}
		text, err := query.Expand(names)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(text)
	}
	// Output:
	// SELECT u.name, b.total FROM "acme"."users" u JOIN "money"."totals" b USING (id)
	// SELECT u.name, b.total FROM "globex"."users" u JOIN "money"."totals" b USING (id)
}
