package testdb_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/internal/testdb"
)

func count(t *testing.T, url, sql string, args ...any) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestURLIsAnEmptyDatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	const tables = "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
	a, b := testdb.URL(t), testdb.URL(t)
	testdb.Exec(t, a, "CREATE TABLE only_here (); INSERT INTO only_here DEFAULT VALUES")
	if n := count(t, a, tables); n != 1 {
		t.Errorf("tables where one was made: %d", n)
	}
	if n := count(t, b, tables); n != 0 {
		t.Errorf("tables in another database: %d", n)
	}
}

func TestSearchPathIsPostgreSQLs(t *testing.T) {
	t.Parallel()
	if n := count(t, testdb.URL(t), `SELECT count(*) FROM pg_settings WHERE name = 'search_path' AND setting = '"$user", public'`); n != 1 {
		t.Error("another one")
	}
}

func TestExecWorksInACleanup(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	t.Cleanup(func() { testdb.Exec(t, url, "SELECT 1") })
}
