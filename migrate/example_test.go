package migrate_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/fstest"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
)

// db is the handle of the example; it needs a server, so a test runs it.
var db *pgdbm.DB

func TestExampleUpPrintsWhatItSays(t *testing.T) {
	db = handle(t, "billing")
	want := "applied 001_invoice.sql\npending: false\n"
	if got := stdout(t, ExampleUp); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// stdout returns what an example prints. It is for tests that are not parallel.
func stdout(t *testing.T, example func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = before }()
	example()
	w.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// A deployment step that migrates and then says where it stands.
func ExampleUp() {
	ctx := context.Background()
	billing := pgdbm.Module{Name: "billing", Files: fstest.MapFS{"001_invoice.sql": {Data: []byte(
		`CREATE TABLE {{tables.invoices}} (id bigint PRIMARY KEY);`)}}}

	res, err := migrate.Up(ctx, db, billing, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range res.Applied {
		fmt.Println("applied", f.File)
	}
	status, err := migrate.Status(ctx, db, billing, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("pending:", status.Pending())
}
