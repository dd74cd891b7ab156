package testdb_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/internal/testdb"
)

func TestURLIsAnEmptyDatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	a, b := testdb.URL(t), testdb.URL(t)
	testdb.Exec(t, a, "CREATE TABLE only_here (); INSERT INTO only_here DEFAULT VALUES")
	if n := tables(t, a); n != 1 {
		t.Errorf("tables where one was made: %d", n)
	}
	if n := tables(t, b); n != 0 {
		t.Errorf("tables in another test's database: %d", n)
	}
}

func tables(t *testing.T, url string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
