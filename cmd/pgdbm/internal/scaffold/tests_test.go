package scaffold

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The tests that are added to a package compile and pass, whatever it looks like.
func TestTestsAreAddedToAPackage(t *testing.T) {
	t.Parallel()
	dir := newProject(t, Options{Kind: Lib, Name: "catalog"})
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return filepath.Dir(path)
	}
	add := func(dir string, requires ...string) {
		t.Helper()
		file, err := Tests(dir, requires)
		if err != nil {
			t.Fatal(err)
		}
		if err := Write(dir, []File{file}); err != nil {
			t.Fatal(err)
		}
	}
	add(dir)

	// A module without a function, unexported.
	add(write("plain/plain.go", `package plain

import (
	"testing/fstest"

	db "github.com/pgdbm/pgdbm"
)

var module = db.Module{Name: "plain", Files: fstest.MapFS{"1_x.sql": {Data: []byte("CREATE TABLE {{tables.x}} (y int);")}}}
`))
	// Close returns an error; the module requires another one.
	needy := write("needy/needy.go", `package needy

import (
	"context"

	"github.com/pgdbm/pgdbm"
)

var Module pgdbm.Module = pgdbm.Module{Name: "needy", Requires: []string{"catalog"}}

type Thing struct{ db *pgdbm.Attached }

func (t *Thing) Close() error { t.db.Close(); return nil }

func Start(ctx context.Context, src pgdbm.Source) (*Thing, error) {
	db, err := pgdbm.Attach(ctx, src, Module)
	return &Thing{db}, err
}
`)
	if _, err := Tests(needy, nil); err == nil || !strings.Contains(err.Error(), "requires catalog") {
		t.Errorf("error %v", err)
	}
	if _, err := Tests(needy, []string{"catalog"}); err == nil || !strings.Contains(err.Error(), "IMPORTPATH.VARIABLE") {
		t.Errorf("error %v", err)
	}
	add(needy, "example.com/catalog.Module")
	// No Close at all, in a program.
	add(write("prog/main.go", `package main

import (
	"context"

	"github.com/pgdbm/pgdbm"
)

var Module = pgdbm.Module{Name: "prog"}

func open(ctx context.Context, src pgdbm.Source) (*pgdbm.Attached, error) {
	return pgdbm.Attach(ctx, src, Module)
}

func main() { _, _ = open(context.Background(), pgdbm.URL("")) }
`))
	goTool(t, dir, "vet", "./...")
	goTool(t, dir, "test", "-count=1", "./...")

	if _, err := Tests(write("bare/bare.go", "package bare"), nil); err == nil || !strings.Contains(err.Error(), "no variable") {
		t.Errorf("error %v", err)
	}
	if _, err := Tests(t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "no Go package") {
		t.Errorf("error %v", err)
	}
}
