package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
)

// tenantCount is how many schemas bench tenants reads in.
var tenantCount = 10000

func tenantsFlags(flags *flag.FlagSet) {
	flags.IntVar(&tenantCount, "schemas", tenantCount, "how many schemas to read in")
}

// tenantRounds is how many reads of each side are timed for a figure.
const tenantRounds = 20000

// tenants reads single rows of many schemas with the same tables, over loopback
// TCP, on one connection of ours and one of the peer's, which is pgxpool with
// pgx's default mode. Both connections have read in every schema before
// uniform, zipf and single are timed, and ours is not recycled. In the bounded
// run it is, and the peer closes its connections as often.
//
//	uniform-p50, zipf-p50, single-p50  a read in a schema drawn evenly, by
//	                                   Zipf's law (s = 1.2), or always the same
//	round-trips                        writes to the socket for each read of uniform
//	bounded-p50                        a read in a schema drawn evenly, connections
//	                                   closed after some 1,000 schemas
//	backend-memory                     of a server process that reads all five tables
//	                                   of every schema in turn: the most that one has
//	                                   taken of ours, recycled, and the peer's at the
//	                                   end, which is not
func tenants(ctx context.Context, url string) ([]result, error) {
	if tenantCount < 1 {
		return nil, fmt.Errorf("--schemas %d: less than 1", tenantCount)
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	var results []result
	err := withTCPPool(ctx, url, func(*pgxpool.Config) {}, func(raw *pgxpool.Pool) error {
		b := &tenantBench{config: raw.Config()}
		if err := b.provision(ctx, raw); err != nil {
			return fmt.Errorf("provision: %w", err)
		}
		for _, part := range []func(context.Context) ([]result, error){b.warm, b.bounded, b.memory} {
			rs, err := part(ctx)
			if err != nil {
				return err
			}
			results = append(results, rs...)
		}
		return nil
	})
	return results, err
}

// tenantBench is the database of bench tenants.
type tenantBench struct {
	config  *pgxpool.Config
	schemas []string
}

const tenantRows = 10 // of each table

func (b *tenantBench) provision(ctx context.Context, raw *pgxpool.Pool) error {
	for i := range tenantCount {
		b.schemas = append(b.schemas, fmt.Sprintf("tenant_%05d", i))
	}
	pool, err := pgdbm.Borrow(raw)
	if err != nil {
		return err
	}
	defer pool.Close()
	var file strings.Builder
	for _, table := range tenantTables {
		fmt.Fprintf(&file, `CREATE TABLE {{tables.%[1]s}} (id int PRIMARY KEY, name text NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE INDEX %[1]s_name ON {{tables.%[1]s}} (name);
INSERT INTO {{tables.%[1]s}} (id, name) SELECT i, {{schema:literal}} FROM generate_series(1, %[2]d) i;
`, table, tenantRows)
	}
	module := pgdbm.Module{Name: "tenant", Files: fstest.MapFS{"001_tables.sql": {Data: []byte(file.String())}}}
	_, err = migrate.Fleet(ctx, pool, module, b.schemas, nil)
	return err
}

var tenantTables = []string{"items", "users", "orders", "invoices", "events"}

const tenantRead = `SELECT id, name FROM {{tables.items}} WHERE id = $1`

// tenantSides are a connection of ours and one of the peer's to one database.
type tenantSides struct {
	schemas            []string
	pool               *pgdbm.Pool
	handles            []*pgdbm.DB
	peer               *pgxpool.Pool
	texts              []string
	oursSent, peerSent atomic.Int64
}

// open makes both sides. schemasPerConn is ours alone.
func (b *tenantBench) open(ctx context.Context, schemasPerConn int) (*tenantSides, error) {
	s := &tenantSides{schemas: b.schemas}
	peer := b.config.Copy()
	peer.MaxConns = 1
	peer.ConnConfig.DialFunc = countWrites(&s.peerSent)
	var err error
	if s.peer, err = pgxpool.NewWithConfig(ctx, peer); err != nil {
		return nil, err
	}
	s.pool, err = pgdbm.Open(ctx, pgdbm.Config{
		URL: b.config.ConnString(), Database: b.config.ConnConfig.Database, MaxConns: 1, SchemasPerConn: schemasPerConn,
		Pgx: func(c *pgxpool.Config) error {
			c.ConnConfig.DialFunc = countWrites(&s.oursSent)
			return nil
		},
	})
	if err != nil {
		s.peer.Close()
		return nil, err
	}
	for _, schema := range b.schemas {
		db, err := s.pool.Schema(schema)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		text, err := db.Expand(tenantRead)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.handles, s.texts = append(s.handles, db), append(s.texts, text)
	}
	return s, nil
}

func (s *tenantSides) close() error {
	s.peer.Close()
	s.pool.Close()
	return nil
}

// countWrites dials connections that count how often they are written to: pgx
// writes once what it then waits for an answer to.
func countWrites(n *atomic.Int64) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return countingConn{conn, n}, err
	}
}

type countingConn struct {
	net.Conn
	n *atomic.Int64
}

func (c countingConn) Write(b []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(b)
}

// readers are the two reads of one row, in the schema that each next says. They
// check what they get.
func (s *tenantSides) readers(ctx context.Context, ours, peer func() int) (func() error, func() error) {
	read := func(row pgx.Row, schema string, want int) error {
		var id int
		var name string
		if err := row.Scan(&id, &name); err != nil {
			return err
		}
		if id != want || name != schema {
			return fmt.Errorf("row %d of %s, for %d of %s", id, name, want, schema)
		}
		return nil
	}
	return func() error {
			i := ours()
			id := i%tenantRows + 1
			return read(s.handles[i].QueryRow(ctx, tenantRead, id), s.schemas[i], id)
		}, func() error {
			i := peer()
			id := i%tenantRows + 1
			return read(s.peer.QueryRow(ctx, s.texts[i], id), s.schemas[i], id)
		}
}

// uniform draws schemas evenly; the sides draw alike.
func uniform(n int) func() int {
	r := rand.New(rand.NewPCG(1, 2))
	return func() int { return r.IntN(n) }
}

func zipf(n int) func() int {
	z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.2, 1, uint64(n-1))
	return func() int { return int(z.Uint64()) }
}

func same(int) func() int { return func() int { return 0 } }

func inTurn(n int) func() int {
	i := -1
	return func() int { i++; return i % n }
}

func (b *tenantBench) warm(ctx context.Context) ([]result, error) {
	s, err := b.open(ctx, -1)
	if err != nil {
		return nil, err
	}
	defer s.close()
	n := len(b.schemas)
	ours, peer := s.readers(ctx, inTurn(n), inTurn(n))
	if _, _, err := interleave(n, ours, peer); err != nil {
		return nil, err
	}
	var results []result
	for _, c := range []struct {
		name string
		draw func(n int) func() int
	}{{"uniform-p50", uniform}, {"zipf-p50", zipf}, {"single-p50", same}} {
		ours, peer := s.readers(ctx, c.draw(n), c.draw(n))
		if _, _, err := interleave(2000, ours, peer); err != nil {
			return nil, err
		}
		o, p := s.oursSent.Load(), s.peerSent.Load()
		ourTime, peerTime, err := interleave(tenantRounds, ours, peer)
		if err != nil {
			return nil, err
		}
		results = append(results, compare(c.name, "us", micros(ourTime), micros(peerTime)))
		if c.name == "uniform-p50" {
			results = append(results, compare("round-trips", "per query",
				float64(s.oursSent.Load()-o)/tenantRounds, float64(s.peerSent.Load()-p)/tenantRounds))
		}
	}
	return results, nil
}

func (b *tenantBench) bounded(ctx context.Context) ([]result, error) {
	s, err := b.open(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer s.close()
	n := len(b.schemas)
	ours, peer := s.readers(ctx, uniform(n), uniform(n))
	made := s.pool.Stat().NewConnsCount()
	fresh := func() error {
		// The peer's connection goes when ours went.
		if now := s.pool.Stat().NewConnsCount(); now != made {
			made = now
			s.peer.Reset()
		}
		return nil
	}
	o, p, err := interleaveWith(tenantRounds, fresh, ours, peer)
	return []result{compare("bounded-p50", "us", micros(o), micros(p))}, err
}

// tenantSweep reads in all five tables.
const tenantSweep = `SELECT (SELECT count(*) FROM {{tables.items}} WHERE id = $1), (SELECT count(*) FROM {{tables.users}} WHERE id = $1),
	(SELECT count(*) FROM {{tables.orders}} WHERE id = $1), (SELECT count(*) FROM {{tables.invoices}} WHERE id = $1),
	(SELECT count(*) FROM {{tables.events}} WHERE id = $1)`

// memorySQL is what the answering process has allocated.
const memorySQL = `SELECT sum(total_bytes)::bigint FROM pg_catalog.pg_backend_memory_contexts`

func (b *tenantBench) memory(ctx context.Context) ([]result, error) {
	s, err := b.open(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer s.close()
	var most, peer int64
	for i, db := range s.handles {
		if _, err := db.Exec(ctx, tenantSweep, 1); err != nil {
			return nil, err
		}
		text, err := db.Expand(tenantSweep)
		if err != nil {
			return nil, err
		}
		if _, err := s.peer.Exec(ctx, text, 1); err != nil {
			return nil, err
		}
		if i%50 == 0 || i == len(s.handles)-1 {
			var now int64
			if err := s.pool.Pgx().QueryRow(ctx, memorySQL).Scan(&now); err != nil {
				return nil, err
			}
			most = max(most, now)
		}
	}
	if err := s.peer.QueryRow(ctx, memorySQL).Scan(&peer); err != nil {
		return nil, err
	}
	const mega = 1e6
	return []result{compare("backend-memory", "MB", float64(most)/mega, float64(peer)/mega)}, nil
}
