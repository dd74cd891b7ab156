package localpg_test

import (
	"context"
	"log"

	"github.com/pgdbm/pgdbm/localpg"
)

// A server of a certain version, on any machine that has npm.
func ExampleFetch() {
	ctx := context.Background()
	bin, err := localpg.Fetch(ctx, "18")
	if err != nil {
		log.Fatal(err)
	}
	server, err := localpg.Start(ctx, &localpg.Options{BinDir: bin})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Stop(ctx)
}
