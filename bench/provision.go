package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/tenant"
)

// provisionRounds is how many tenants each side of bench provision makes.
const provisionRounds = 60

// provision makes tenants one by one, each a schema of five tables by one file,
// in turn with and without a role. The peer makes a schema and runs goose on it.
//
//	create       without a role, with its row in the list of tenants
//	isolated     with a role and what is granted to it
//	rate         tenants a second, the peer's divided by ours as everywhere
func provision(ctx context.Context, url string) (results []result, err error) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	err = withPool(ctx, url, func(c *pgxpool.Config) { c.MaxConns = 2 }, func(raw *pgxpool.Pool) error {
		b, err := newFleetBench(raw, 0)
		if err != nil {
			return err
		}
		defer b.pool.Close()
		fsys := fleetFiles(1, "-- +goose Up\n", func(name string) string { return name })
		made := 0
		peer := func() error {
			made++
			return b.gooseUp(ctx, fsys, fmt.Sprintf("goose_%05d", made))
		}
		for _, c := range []struct {
			name    string
			isolate bool
		}{{"create", false}, {"isolated", true}} {
			ts, err := tenant.New(b.pool, tenant.Config{Isolate: c.isolate, Modules: []pgdbm.Module{ourModule(1)}})
			if err != nil {
				return err
			}
			n := 0
			ours := func() error {
				n++
				_, err := ts.Create(ctx, fmt.Sprintf("%s%05d", c.name, n))
				return err
			}
			if _, _, err := interleave(3, ours, peer); err != nil {
				return err
			}
			o, p, err := interleave(provisionRounds, ours, peer)
			if err != nil {
				return err
			}
			results = append(results, compare(c.name, "ms", millis(o), millis(p)))
		}
		rate := func(ms float64) float64 { return float64(time.Second/time.Millisecond) / ms }
		results = append(results, result{Name: "rate", Unit: "tenants/s", Ours: rate(results[0].Ours), Peer: rate(results[0].Peer)})
		ratio := results[0].Ours / results[0].Peer
		results[2].Ratio = &ratio
		return nil
	})
	return results, err
}
