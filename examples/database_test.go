package examples_test

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/localpg"
)

// server starts one private server for the tests of this package; it ends with
// the process.
var server = sync.OnceValues(func() (*localpg.Server, error) {
	return localpg.Start(context.Background(), nil)
})

// database returns the URL of an empty database of the test's own.
func database(t *testing.T) string {
	t.Helper()
	s, err := server()
	if err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	name := "test_" + strings.ToLower(rand.Text()[:10])
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return s.URL(name)
}
