package pgdbm_test

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"testing"
	"testing/fstest"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// The examples need a server, so they have no output comment, with which go
// test would run them without one. This test runs them and compares.

// databaseURL is the database of the example that runs.
var databaseURL string

// migrations would be an embed.FS in a program:
//
//	//go:embed migrations/*.sql
//	var migrations embed.FS
var migrations fs.FS = fstest.MapFS{"migrations/001_items.sql": {Data: []byte(`
	CREATE TABLE {{tables.items}} (id int PRIMARY KEY, name text NOT NULL);
	INSERT INTO {{tables.items}} VALUES (1, 'tea'), (2, 'cake');`)}}

func TestExamplesPrintWhatTheySay(t *testing.T) {
	for _, c := range []struct {
		name    string
		example func()
		want    string
	}{
		{"Attach", ExampleAttach, "shop has 2 items\n"},
		{"AttachAll", ExampleAttachAll, "shop sold tea\n"},
		{"Pool_Schema", ExamplePool_Schema, "andes: 2 items\nbaltic: 1 items\n"},
		{"All", ExampleAll, "1 tea\n2 cake\n"},
		{"Each", ExampleEach, "tea\n"},
		{"DB_InTx", ExampleDB_InTx, "not enough cake\n2 items\n"},
		{"Tx_In", ExampleTx_In, "1 item in shop, 1 entry in audit\n"},
	} {
		databaseURL = testdb.URL(t)
		if got := capture(t, c.example); got != c.want {
			t.Errorf("%s printed %q, want %q", c.name, got, c.want)
		}
	}
}

func capture(t *testing.T, f func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = stdout }()
	f()
	w.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// A service with a database of its own: Attach opens the pool, migrates, and
// returns the handle.
func ExampleAttach() {
	ctx := context.Background()
	shop, err := pgdbm.Attach(ctx, pgdbm.URL(databaseURL), pgdbm.Module{Name: "shop", Files: migrations})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer shop.Close()
	n, err := pgdbm.Value[int](ctx, shop, `SELECT count(*) FROM {{tables.items}}`)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(shop.Schema(), "has", n, "items")
}

// Several modules on one pool, one of which names the tables of the other.
func ExampleAttachAll() {
	ctx := context.Background()
	shop := pgdbm.Module{Name: "shop", Files: migrations}
	sales := pgdbm.Module{Name: "sales", Requires: []string{"shop"}, Files: fstest.MapFS{"1_sold.sql": {Data: []byte(`
		CREATE TABLE {{tables.sold}} (item int REFERENCES {{tables.shop.items}});
		INSERT INTO {{tables.sold}} VALUES (1);`)}}}

	handles, err := pgdbm.AttachAll(ctx, pgdbm.URL(databaseURL), sales, shop)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() {
		for _, h := range handles {
			h.Close()
		}
	}()
	name, err := pgdbm.Value[string](ctx, handles[0],
		`SELECT i.name FROM {{tables.sold}} s JOIN {{tables.shop.items}} i ON i.id = s.item`)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("shop sold", name)
}

// One pool for all tenants, a handle and a schema for each.
func ExamplePool_Schema() {
	ctx := context.Background()
	pool, err := pgdbm.Open(ctx, pgdbm.Config{URL: databaseURL, MaxConns: 4})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	for i, name := range []string{"andes", "baltic"} {
		db, err := pool.Schema(name)
		if err != nil {
			fmt.Println(err)
			return
		}
		tenant, err := pgdbm.Attach(ctx, db, pgdbm.Module{Name: "shop", Files: migrations})
		if err != nil {
			fmt.Println(err)
			return
		}
		if _, err := tenant.Exec(ctx, `DELETE FROM {{tables.items}} WHERE id <= $1`, i); err != nil {
			fmt.Println(err)
			return
		}
		n, err := pgdbm.Value[int](ctx, tenant, `SELECT count(*) FROM {{tables.items}}`)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: %d items\n", tenant.Schema(), n)
	}
}

// withShop runs f with an attached module, to keep the examples below short.
func withShop(f func(ctx context.Context, shop *pgdbm.Attached) error) {
	ctx := context.Background()
	shop, err := pgdbm.Attach(ctx, pgdbm.URL(databaseURL), pgdbm.Module{Name: "shop", Files: migrations})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer shop.Close()
	if err := f(ctx, shop); err != nil {
		fmt.Println(err)
	}
}

// Rows become structs by the names of their columns.
func ExampleAll() {
	withShop(func(ctx context.Context, shop *pgdbm.Attached) error {
		type Item struct {
			ID    int
			Title string `db:"name"`
		}
		items, err := pgdbm.All[Item](ctx, shop, `SELECT id, name FROM {{tables.items}} ORDER BY id`)
		for _, i := range items {
			fmt.Println(i.ID, i.Title)
		}
		return err
	})
}

// Rows one by one; leaving the loop gives the connection back.
func ExampleEach() {
	withShop(func(ctx context.Context, shop *pgdbm.Attached) error {
		for name, err := range pgdbm.Each[string](ctx, shop, `SELECT name FROM {{tables.items}} ORDER BY id`) {
			if err != nil {
				return err
			}
			fmt.Println(name)
			break
		}
		return nil
	})
}

// An error rolls everything back.
func ExampleDB_InTx() {
	withShop(func(ctx context.Context, shop *pgdbm.Attached) error {
		err := shop.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
			if _, err := tx.Exec(ctx, `DELETE FROM {{tables.items}}`); err != nil {
				return err
			}
			return fmt.Errorf("not enough %s", "cake")
		})
		fmt.Println(err)
		n, err := pgdbm.Value[int](ctx, shop, `SELECT count(*) FROM {{tables.items}}`)
		fmt.Println(n, "items")
		return err
	})
}

// One transaction over the schemas of two modules.
func ExampleTx_In() {
	withShop(func(ctx context.Context, shop *pgdbm.Attached) error {
		auditModule := pgdbm.Module{Name: "audit", Files: fstest.MapFS{"1_log.sql": {Data: []byte(
			`CREATE TABLE {{tables.log}} (what text);`)}}}
		audit, err := pgdbm.Attach(ctx, shop.Pool(), auditModule)
		if err != nil {
			return err
		}
		err = shop.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
			if _, err := tx.Exec(ctx, `DELETE FROM {{tables.items}} WHERE id = 2`); err != nil {
				return err
			}
			log, err := tx.In(audit.DB)
			if err != nil {
				return err
			}
			_, err = log.Exec(ctx, `INSERT INTO {{tables.log}} VALUES ('the cake is gone')`)
			return err
		})
		if err != nil {
			return err
		}
		items, err := pgdbm.Value[int](ctx, shop, `SELECT count(*) FROM {{tables.items}}`)
		if err != nil {
			return err
		}
		entries, err := pgdbm.Value[int](ctx, audit, `SELECT count(*) FROM {{tables.log}}`)
		fmt.Printf("%d item in shop, %d entry in audit\n", items, entries)
		return err
	})
}
