package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm/localpg"
)

// withPool runs fn with a pool on an empty database of its own, on the server
// of url or on a private one, and removes what it made.
func withPool(ctx context.Context, url string, configure func(*pgxpool.Config), fn func(*pgxpool.Pool) error) error {
	socket := func(s *localpg.Server) (string, error) { return s.URL("postgres"), nil }
	return withPoolAt(ctx, url, socket, configure, fn)
}

// withTCPPool is withPool over loopback TCP, where a round trip costs more than
// over a socket.
func withTCPPool(ctx context.Context, url string, configure func(*pgxpool.Config), fn func(*pgxpool.Pool) error) error {
	tcp := func(s *localpg.Server) (string, error) { return s.TCPURL("postgres") }
	return withPoolAt(ctx, url, tcp, configure, fn)
}

func withPoolAt(ctx context.Context, url string, private func(*localpg.Server) (string, error), configure func(*pgxpool.Config), fn func(*pgxpool.Pool) error) error {
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Minute)
	defer cancel()
	if url == "" {
		server, err := localpg.Start(ctx, &localpg.Options{Fetch: true, TCP: true})
		if err != nil {
			return err
		}
		defer server.Stop(cleanup)
		if url, err = private(server); err != nil {
			return err
		}
	}
	admin, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer admin.Close()
	name := "pgdbm_bench_" + strings.ToLower(rand.Text()[:10])
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return err
	}
	defer func() {
		_, err := admin.Exec(cleanup, "DROP DATABASE "+name+" WITH (FORCE)")
		if err == nil {
			err = dropRoles(cleanup, admin, name)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}()
	cfg := admin.Config()
	cfg.ConnConfig.Database = name
	configure(cfg)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer pool.Close()
	return fn(pool)
}

// dropRoles drops what outlives a database: the roles that were made for it, and
// a bench's login.
func dropRoles(ctx context.Context, admin *pgxpool.Pool, database string) error {
	rows, err := admin.Query(ctx, `SELECT rolname FROM pg_roles WHERE rolname = $1 || '_login'
		OR shobj_description(oid, 'pg_authid') LIKE 'pgdbm: % of database "' || $1 || '"'`, database)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, name := range names {
		if err != nil {
			break
		}
		_, err = admin.Exec(ctx, "DROP ROLE "+pgx.Identifier{name}.Sanitize())
	}
	return err
}
