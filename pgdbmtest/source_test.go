package pgdbmtest_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

func TestEachSourceRunsALibraryInEveryMode(t *testing.T) {
	t.Parallel()
	library := module("library")
	library.Requires = []string{"users"}
	var mu sync.Mutex
	var schemas, kinds []string
	t.Run("group", func(t *testing.T) {
		pgdbmtest.EachSource(t, library, func(t *testing.T, src pgdbm.Source) {
			db := attach(t, src, library)
			mustExec(t, db, `INSERT INTO {{tables.notes}} SELECT count(*) FROM {{tables.users.notes}}`)
			if n := count(t, db); n != 1 {
				t.Errorf("%d notes", n)
			}
			if _, err := db.Exec(t.Context(), `SELECT FROM notes`); state(err) != "42P01" {
				t.Errorf("a forgotten template: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			schemas = append(schemas, db.Schema())
			kinds = append(kinds, fmt.Sprintf("%T", src))
		}, module("users"))
	})
	n := map[string]int{}
	for i := range schemas {
		n[schemas[i]]++
		n[kinds[i]]++
	}
	want := map[string]int{"library": 4, "Elsewhere": 1, "pgdbm.URL": 1, "pgdbm.Config": 1, "*pgdbm.Pool": 2, "*pgdbm.DB": 1}
	if fmt.Sprint(n) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", n, want)
	}
}
