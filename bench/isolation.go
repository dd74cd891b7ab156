package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing/fstest"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/tenant"
)

// isolationTenants is how many tenants bench isolation makes.
var isolationTenants = 300

func isolationFlags(flags *flag.FlagSet) {
	flags.IntVar(&isolationTenants, "schemas", isolationTenants, "how many tenants with roles to make")
}

// isolation reads rows of tenants with roles of their own through handles that
// work as the role, and through handles of the same schemas that work as the
// pool's user, on one connection each over loopback TCP, as a user who is no
// superuser.
//
//	hot-p50      one tenant, whose statement has a name
//	spread-p50   tenants in turn, whose statement has none
//	tx-p50       begin, the query and commit
//	added        what the role adds to hot-p50; there is no peer's figure
//	round-trips  a query, over all tenants
func isolation(ctx context.Context, url string) (results []result, err error) {
	if isolationTenants < 1 {
		return nil, fmt.Errorf("--schemas %d: less than 1", isolationTenants)
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	err = withTCPPool(ctx, url, func(c *pgxpool.Config) { c.MaxConns = 2 }, func(raw *pgxpool.Pool) error {
		login := raw.Config().ConnConfig.Database + "_login"
		if _, err := raw.Exec(ctx, fmt.Sprintf(`CREATE ROLE %[1]s LOGIN PASSWORD 'bench' CREATEROLE NOINHERIT; GRANT CREATE ON DATABASE %[2]s TO %[1]s`,
			login, raw.Config().ConnConfig.Database)); err != nil {
			return err
		}
		var sides [2]*isolationSide
		for i := range sides {
			cfg := raw.Config()
			cfg.ConnConfig.User, cfg.ConnConfig.Password = login, "bench"
			cfg.MaxConns = 1
			s := new(isolationSide)
			cfg.ConnConfig.DialFunc = countWrites(&s.writes)
			own, err := pgxpool.NewWithConfig(ctx, cfg)
			if err != nil {
				return err
			}
			defer own.Close()
			if s.pool, err = pgdbm.Borrow(own); err != nil {
				return err
			}
			defer s.pool.Close()
			sides[i] = s
		}
		if err := makeSides(ctx, sides[0], sides[1]); err != nil {
			return err
		}
		results, err = compareSides(ctx, sides[0], sides[1])
		return err
	})
	return results, err
}

// isolationSide reads through its handles.
type isolationSide struct {
	pool   *pgdbm.Pool
	dbs    []*pgdbm.DB
	writes atomic.Int64
	at     int
}

func makeSides(ctx context.Context, roles, none *isolationSide) error {
	files := fstest.MapFS{"001_items.sql": {Data: []byte(`CREATE TABLE {{tables.items}} (id int PRIMARY KEY, name text NOT NULL);
		INSERT INTO {{tables.items}} SELECT i, {{schema:literal}} FROM generate_series(1, 100) i`)}}
	ts, err := tenant.New(roles.pool, tenant.Config{Isolate: true, Modules: []pgdbm.Module{{Name: "bench", Files: files}}})
	if err != nil {
		return err
	}
	for i := range isolationTenants {
		id := fmt.Sprintf("t%05d", i)
		if _, err := ts.Create(ctx, id); err != nil {
			return err
		}
		db, err := ts.DB(ctx, id)
		if err != nil {
			return err
		}
		plain, err := none.pool.Schema(db.Schema())
		if err != nil {
			return err
		}
		roles.dbs, none.dbs = append(roles.dbs, db), append(none.dbs, plain)
	}
	return nil
}

const isolationRead = `SELECT name FROM {{tables.items}} WHERE id = $1`

func (s *isolationSide) read(ctx context.Context, q pgdbm.Querier, schema string) error {
	s.at++
	var name string
	if err := q.QueryRow(ctx, isolationRead, s.at%100+1).Scan(&name); err != nil {
		return err
	}
	if name != schema {
		return errors.New("another tenant's row")
	}
	return nil
}

func (s *isolationSide) hot(ctx context.Context) func() error {
	return func() error { return s.read(ctx, s.dbs[0], s.dbs[0].Schema()) }
}

func (s *isolationSide) spread(ctx context.Context) func() error {
	n := 0
	return func() error {
		n++
		db := s.dbs[n%len(s.dbs)]
		return s.read(ctx, db, db.Schema())
	}
}

func (s *isolationSide) tx(ctx context.Context) func() error {
	return func() error {
		return s.dbs[0].InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error { return s.read(ctx, tx, tx.Schema()) })
	}
}

func compareSides(ctx context.Context, roles, none *isolationSide) (results []result, err error) {
	const warmup, rounds = 1000, 8000
	for _, c := range []struct {
		name string
		of   func(*isolationSide) func() error
	}{
		{"hot-p50", func(s *isolationSide) func() error { return s.hot(ctx) }},
		{"spread-p50", func(s *isolationSide) func() error { return s.spread(ctx) }},
		{"tx-p50", func(s *isolationSide) func() error { return s.tx(ctx) }},
	} {
		ours, peer := c.of(roles), c.of(none)
		if _, _, err := interleave(max(warmup, 2*isolationTenants), ours, peer); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		o, p, err := interleave(rounds, ours, peer)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		results = append(results, compare(c.name, "us", micros(o), micros(p)))
	}
	results = append(results, compare("added", "us", results[0].Ours-results[0].Peer, 0))
	trips := func(s *isolationSide) (float64, error) {
		run := s.spread(ctx)
		before := s.writes.Load()
		for range rounds {
			if err := run(); err != nil {
				return 0, err
			}
		}
		return float64(s.writes.Load()-before) / rounds, nil
	}
	o, err := trips(roles)
	if err != nil {
		return nil, err
	}
	p, err := trips(none)
	return append(results, compare("round-trips", "writes/query", o, p)), err
}
