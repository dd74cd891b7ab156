package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/fstest"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/tenant"
)

// databaseURL is the database of the example; it needs a server, so a test runs
// it.
var databaseURL string

func TestExamplePrintsWhatItSays(t *testing.T) {
	databaseURL, _ = testdb.Login(t, "")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	Example()
	os.Stdout = stdout
	w.Close()
	got, err := io.ReadAll(r)
	if want := "tenant_acme_co_vjqkt7d5hu has tea\nsuspended: true\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// A request names its tenant; the rest follows from that.
func Example() {
	ctx := context.Background()
	pool, err := pgdbm.Open(ctx, pgdbm.Config{URL: databaseURL, MaxConns: 4})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	shop := pgdbm.Module{Name: "shop", Files: fstest.MapFS{"001_items.sql": {Data: []byte(`
		CREATE TABLE {{tables.items}} (name text PRIMARY KEY);
		INSERT INTO {{tables.items}} VALUES ('tea');`)}}}
	ts, err := tenant.New(pool, tenant.Config{Modules: []pgdbm.Module{shop}, Isolate: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := ts.Create(ctx, "Acme & Co"); err != nil {
		fmt.Println(err)
		return
	}

	db, err := ts.DB(ctx, "Acme & Co")
	if err != nil {
		fmt.Println(err)
		return
	}
	item, err := pgdbm.Value[string](ctx, db, `SELECT name FROM {{tables.items}}`)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(db.Schema(), "has", item)

	if _, err := ts.Suspend(ctx, "Acme & Co"); err != nil {
		fmt.Println(err)
		return
	}
	_, err = ts.DB(ctx, "Acme & Co")
	fmt.Println("suspended:", errors.Is(err, tenant.ErrSuspended))
}
