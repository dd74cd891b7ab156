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

// Tests never read PGHOST, PGOPTIONS and the like: they may be somebody's
// production.
func init() {
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "PGDBM_") {
			os.Unsetenv(name)
		}
	}
}

// server starts one private server for the tests of this package; it ends with
// the process.
var server = sync.OnceValues(func() (*localpg.Server, error) {
	return localpg.Start(context.Background(), nil)
})

// serverURL returns the URL of PGDBM_TEST_URL's server or of the private one.
func serverURL(t *testing.T) string {
	t.Helper()
	if url := os.Getenv("PGDBM_TEST_URL"); url != "" {
		return url
	}
	s, err := server()
	if err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.URL("postgres")
}

// database returns the URL of an empty database of the test's own.
func database(t *testing.T) string {
	t.Helper()
	admin := serverURL(t)
	name := "pgdbm_test_" + strings.ToLower(rand.Text()[:10])
	execute := func(ctx context.Context, sql string) error {
		conn, err := pgx.Connect(ctx, admin)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, sql)
		return err
	}
	if err := execute(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := execute(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	// Of several equal parameters the last one counts, in both forms.
	switch {
	case !strings.Contains(admin, "://"):
		return admin + " dbname=" + name
	case strings.Contains(admin, "?"):
		return admin + "&dbname=" + name
	default:
		return admin + "?dbname=" + name
	}
}
