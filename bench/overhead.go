package main

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
)

// overhead runs one point query through a handle and through the pgxpool.Pool
// that the handle borrows, on the same connection.
func overhead(ctx context.Context, url string) (results []result, err error) {
	one := func(cfg *pgxpool.Config) { cfg.MaxConns = 1 }
	err = withPool(ctx, url, one, func(raw *pgxpool.Pool) error {
		if _, err := raw.Exec(ctx, `CREATE SCHEMA shop;
			CREATE TABLE shop.items (id int PRIMARY KEY, name text NOT NULL);
			INSERT INTO shop.items SELECT i, 'item ' || i FROM generate_series(1, 10000) i;
			ANALYZE shop.items`); err != nil {
			return err
		}
		pool, err := pgdbm.Borrow(raw)
		if err != nil {
			return err
		}
		defer pool.Close()
		db, err := pool.Schema("shop")
		if err != nil {
			return err
		}

		const text = `SELECT id, name FROM {{tables.items}} WHERE id = $1`
		expanded, err := db.Expand(text)
		if err != nil {
			return err
		}
		var id, i, j int
		var name string
		ours := func() error {
			i++
			return db.QueryRow(ctx, text, i%10000+1).Scan(&id, &name)
		}
		peer := func() error {
			j++
			return raw.QueryRow(ctx, expanded, j%10000+1).Scan(&id, &name)
		}
		const warmup, rounds = 2000, 30000
		if _, _, err := interleave(warmup, ours, peer); err != nil {
			return err
		}
		o, p, err := interleave(rounds, ours, peer)
		if err != nil {
			return err
		}
		var failed error
		allocs := func(f func() error) float64 {
			return testing.AllocsPerRun(2000, func() {
				if err := f(); err != nil {
					failed = err
				}
			})
		}
		results = []result{
			compare("p50", "us", micros(o), micros(p)),
			compare("allocs", "allocs/query", allocs(ours), allocs(peer)),
		}
		return failed
	})
	return results, err
}
