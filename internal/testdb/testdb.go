// Package testdb gives each test of this module an empty PostgreSQL database of
// its own, as package pgdbmtest does for everybody, but with PostgreSQL's own
// search_path: what pgdbm promises must not depend on that of its tests.
//
// PG* variables are forgotten when a program that imports this package starts:
// they may name somebody's production.
package testdb

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/localpg"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

func init() {
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "PGDBM_") {
			os.Unsetenv(name)
		}
	}
}

// URL returns the URL of a new and empty database, which is dropped at the end
// of the test, with whoever is still connected to it.
func URL(tb testing.TB) string {
	tb.Helper()
	u, err := url.Parse(pgdbmtest.URL(tb))
	if err != nil {
		tb.Fatal(err)
	}
	query := u.Query()
	query.Del("options") // which set search_path
	u.RawQuery = query.Encode()
	return u.String()
}

// Exec runs SQL, one or several statements without arguments, on a connection of
// its own.
func Exec(tb testing.TB, url, sql string) {
	tb.Helper()
	ctx := context.WithoutCancel(tb.Context()) // clean-ups call it too
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		tb.Fatalf("testdb: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		tb.Fatalf("testdb: %v", err)
	}
}

// Server starts a server for this test alone, where the one that tests share is
// not enough.
func Server(tb testing.TB, o *localpg.Options) *localpg.Server {
	tb.Helper()
	var opts localpg.Options
	if o != nil {
		opts = *o
	}
	opts.Fetch = true
	server, err := localpg.Start(tb.Context(), &opts)
	var missing *localpg.NotFoundError
	if errors.As(err, &missing) && os.Getenv("CI") == "" {
		tb.Skip(err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return server
}
