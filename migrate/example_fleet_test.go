package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/fstest"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
)

func TestExampleFleetPrintsWhatItSays(t *testing.T) {
	pool = handle(t, "any").Pool()
	want := "3 migrated, 3 created\n" +
		"migrate billing: fleet of 3 schemas: 2 up to date, 1 failed, 0 remaining: " +
		"first in schema \"tenant_b\": migrate billing/002_paid.sql:1:1: ERROR: column \"paid\" of relation \"invoices\" already exists (SQLSTATE 42701)\n" +
		"to mend: tenant_b 002_paid.sql\n"
	if got := stdout(t, ExampleFleet); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// pool is the pool of the example; it needs a server, so a test runs it.
var pool *pgdbm.Pool

// A deployment step that provisions tenants, and later brings all of them up to
// date. One of them somebody has changed by hand.
func ExampleFleet() {
	ctx := context.Background()
	files := fstest.MapFS{"001_invoice.sql": {Data: []byte(`CREATE TABLE {{tables.invoices}} (id bigint PRIMARY KEY);`)}}
	billing := pgdbm.Module{Name: "billing", Files: files}
	res, err := migrate.Fleet(ctx, pool, billing, []string{"tenant_a", "tenant_b", "tenant_c"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d migrated, %d created\n", res.Migrated, res.Created)
	if _, err := pool.Pgx().Exec(ctx, `ALTER TABLE tenant_b.invoices ADD COLUMN paid int`); err != nil {
		fmt.Println(err)
		return
	}

	files["002_paid.sql"] = &fstest.MapFile{Data: []byte(`ALTER TABLE {{tables.invoices}} ADD COLUMN paid boolean;`)}
	schemas, err := migrate.FleetSchemas(ctx, pool, billing, "tenant_*")
	if err != nil {
		fmt.Println(err)
		return
	}
	res, err = migrate.Fleet(ctx, pool, billing, schemas, &migrate.FleetOptions{MaxFailures: -1})
	if partial := (*migrate.FleetError)(nil); errors.As(err, &partial) {
		fmt.Println(err)
		for _, e := range res.Failed {
			fmt.Println("to mend:", e.Schema, e.File)
		}
	}
}
