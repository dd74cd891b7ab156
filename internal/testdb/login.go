package testdb

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

var logins atomic.Int64

// Login returns the URLs of a new database: as it is, and as a login that may
// create schemas in it and is otherwise what its options say, as in CREATE ROLE.
// At the end of the test the login is dropped, and so are the roles that pgdbm
// has made for the database, with what they own.
func Login(tb testing.TB, options string) (admin, login string) {
	tb.Helper()
	admin = URL(tb)
	u, err := url.Parse(admin)
	if err != nil {
		tb.Fatal(err)
	}
	database := strings.TrimPrefix(u.Path, "/")
	name := fmt.Sprintf("%s_login_%d", database, logins.Add(1))
	Exec(tb, admin, fmt.Sprintf(`CREATE ROLE %[1]q LOGIN PASSWORD 'secret' %[2]s; GRANT CREATE ON DATABASE %[3]q TO %[1]q`, name, options, database))
	tb.Cleanup(func() { dropRoles(tb, admin, database, name) })
	query := u.Query()
	query.Del("user") // where they stand depends on the server that is used
	query.Del("password")
	u.RawQuery = query.Encode()
	u.User = url.UserPassword(name, "secret")
	return admin, u.String()
}

// dropRoles drops a login and the roles of a database.
func dropRoles(tb testing.TB, admin, database, login string) {
	ctx := context.WithoutCancel(tb.Context())
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		tb.Errorf("testdb: %v", err)
		return
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT rolname FROM pg_roles WHERE rolname = $1
		OR shobj_description(oid, 'pg_authid') LIKE 'pgdbm: % of database "' || $2 || '"'`, login, database)
	if err != nil {
		tb.Errorf("testdb: %v", err)
		return
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, name := range names {
		if err == nil {
			quoted := pgx.Identifier{name}.Sanitize()
			_, err = conn.Exec(ctx, "DROP OWNED BY "+quoted+" CASCADE; DROP ROLE "+quoted)
		}
	}
	if err != nil {
		tb.Errorf("testdb: %v", err)
	}
}
