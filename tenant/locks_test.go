package tenant_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/localpg"
	"github.com/pgdbm/pgdbm/tenant"
)

func TestATenantOfMoreTablesThanTheServerHasLocksIsDropped(t *testing.T) {
	t.Parallel()
	server := testdb.Server(t, &localpg.Options{Settings: map[string]string{
		"max_locks_per_transaction": "10", "max_connections": "20", "superuser_reserved_connections": "2"}})
	pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: server.URL("postgres"), MaxConns: 4, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	ts := tenants(t, pool, tenant.Config{Isolate: true, Modules: []pgdbm.Module{{Name: "big", Files: files(`CREATE TABLE {{tables.t}} (id int PRIMARY KEY)`)}}})
	db := create(t, ts, "big")
	plain, err := pool.Schema(db.Schema())
	if err != nil {
		t.Fatal(err)
	}
	const more, at = 900, 30
	for i := 0; i < more; i += at {
		var sql strings.Builder
		for j := range at {
			fmt.Fprintf(&sql, "CREATE TABLE {{tables.t%d}} (id int PRIMARY KEY REFERENCES {{tables.t}});", i+j)
		}
		mustExec(t, plain, sql.String())
	}
	_, err = plain.Exec(t.Context(), `DROP SCHEMA {{schema}} CASCADE`)
	if state(err) != "53200" {
		t.Fatalf("the server has locks for all: %v", err)
	}
	if err := ts.Drop(t.Context(), "big"); err != nil {
		t.Fatal(err)
	}
	nothingIsLeft(t, pool)
}
