package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
)

const (
	fairnessBusy  = 200 // goroutines of the busy schema
	fairnessReads = 200 // of the quiet schema, in a round of ours
	fairnessPeer  = 10  // in a round of the peer, where each takes a second
	fairnessPause = 5 * time.Millisecond
)

// fairness reads rows in one schema while 200 goroutines keep running queries of
// 50 ms in another one, on a pool of 10 connections. Both sides run after each
// other, twice, and which is first changes. The peer is raw pgxpool, which serves
// all in their order.
//
//	quiet-p50, quiet-p99  how long a read of the quiet schema takes, with its wait
func fairness(ctx context.Context, url string) ([]result, error) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	var ours, peer []time.Duration
	err := withPool(ctx, url, func(c *pgxpool.Config) { c.MaxConns = 10 }, func(raw *pgxpool.Pool) error {
		if _, err := raw.Exec(ctx, `CREATE SCHEMA quiet; CREATE TABLE quiet.items (id int PRIMARY KEY);
			INSERT INTO quiet.items SELECT generate_series(1, 100)`); err != nil {
			return err
		}
		pool, err := pgdbm.Borrow(raw)
		if err != nil {
			return err
		}
		defer pool.Close()
		busy, err := pool.Schema("busy")
		if err != nil {
			return err
		}
		quiet, err := pool.Schema("quiet")
		if err != nil {
			return err
		}
		const read = `SELECT id FROM {{tables.items}} WHERE id = $1`
		sides := []func() error{
			func() error { return besideABusyOne(ctx, busy, quiet, read, fairnessReads, &ours) },
			func() error {
				return besideABusyOne(ctx, raw, raw, `SELECT id FROM "quiet"."items" WHERE id = $1`, fairnessPeer, &peer)
			},
		}
		for range 2 {
			for _, side := range sides {
				if err := side(); err != nil {
					return err
				}
			}
			slices.Reverse(sides)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return []result{
		compare("quiet-p50", "ms", millis(median(ours)), millis(median(peer))),
		compare("quiet-p99", "ms", millis(percentile(ours, 99)), millis(percentile(peer, 99))),
	}, nil
}

// queryer is a handle or a pool.
type queryer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// besideABusyOne reads through quiet while busy is kept busy.
func besideABusyOne(ctx context.Context, busy, quiet queryer, read string, reads int, times *[]time.Duration) error {
	load, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for range fairnessBusy {
		wg.Go(func() {
			var done string
			for load.Err() == nil {
				if err := busy.QueryRow(load, `SELECT pg_sleep(0.05)::text`).Scan(&done); err != nil && load.Err() == nil {
					return
				}
			}
		})
	}
	if err := pauseFor(ctx, 200*time.Millisecond); err != nil {
		return err
	}
	for i := range reads {
		var id int
		start := time.Now()
		if err := quiet.QueryRow(ctx, read, i%100+1).Scan(&id); err != nil {
			return err
		}
		*times = append(*times, time.Since(start))
		if id != i%100+1 {
			return errors.New("a wrong row")
		}
		if err := pauseFor(ctx, fairnessPause); err != nil {
			return err
		}
	}
	return nil
}
