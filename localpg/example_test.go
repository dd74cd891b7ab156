package localpg_test

import (
	"context"
	"log"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/localpg"
)

// A server for one program. It ends with the program even when Stop is not
// reached.
func Example() {
	ctx := context.Background()
	server, err := localpg.Start(ctx, &localpg.Options{Settings: map[string]string{"log_statement": "all"}})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Stop(ctx)

	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
}
