package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
)

const (
	ddlChanges  = 40 // of each side's table
	ddlReaders  = 4  // goroutines of each side
	ddlCalm     = 25 * time.Millisecond
	ddlSettling = 25 * time.Millisecond // after a change, in which its cost shows
)

// ddl runs statements of both sides all the time, SELECT * and INSERT RETURNING,
// single and in transactions, while the tables that they use are altered: columns
// come and go and change their types. Each side has a table of its own on one
// server; both are altered one after the other, and which is first changes. The
// peer is raw pgxpool in its default mode.
//
//	errors     single statements that failed
//	tx-errors  transactions that failed; ours may run again three times
//	lost       the longest that a single statement took around each change,
//	           median of all changes, less the median statement otherwise
func ddl(ctx context.Context, url string) ([]result, error) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	var results []result
	err := withTCPPool(ctx, url, func(c *pgxpool.Config) { c.MaxConns = ddlReaders }, func(raw *pgxpool.Pool) error {
		pool, err := pgdbm.Open(ctx, pgdbm.Config{URL: raw.Config().ConnString(), Database: raw.Config().ConnConfig.Database, MaxConns: ddlReaders})
		if err != nil {
			return err
		}
		defer pool.Close()
		db, err := pool.Schema("ours")
		if err != nil {
			return err
		}
		admin, err := pgx.ConnectConfig(ctx, raw.Config().ConnConfig)
		if err != nil {
			return err
		}
		defer admin.Close(context.WithoutCancel(ctx))
		ours, peer := &ddlSide{schema: "ours", handle: db}, &ddlSide{schema: "peer", handle: raw}
		if err := alternate(ctx, admin, ours, peer); err != nil {
			return err
		}
		for _, s := range []*ddlSide{ours, peer} {
			if s.wrong != nil {
				return fmt.Errorf("%s: %w", s.schema, s.wrong)
			}
		}
		results = []result{
			compare("errors", "statements", float64(ours.errors), float64(peer.errors)),
			compare("tx-errors", "transactions", float64(ours.txErrors), float64(peer.txErrors)),
			compare("lost", "ms", millis(ours.lost()), millis(peer.lost())),
		}
		return nil
	})
	return results, err
}

// ddlHandle is what both sides run statements with: a *pgdbm.DB, a *pgxpool.Pool.
type ddlHandle interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Begin(ctx context.Context) (pgx.Tx, error)
}

// ddlSide is one side, and what it has seen.
type ddlSide struct {
	schema string
	handle ddlHandle

	mu       sync.Mutex // guards the fields below
	calm     []time.Duration
	around   []time.Duration // the longest of each change
	errors   int
	txErrors int
	wrong    error // a row that is not as it should be, or an error that has nothing to do with changes

	changing atomic.Bool
}

func (s *ddlSide) lost() time.Duration { return median(s.around) - median(s.calm) }

// alternate runs both sides and changes their tables in turn.
func alternate(ctx context.Context, admin *pgx.Conn, sides ...*ddlSide) error {
	run, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for _, s := range sides {
		if _, err := admin.Exec(ctx, fmt.Sprintf(`CREATE SCHEMA %[1]s; CREATE TABLE %[1]s.items (id int PRIMARY KEY, name text NOT NULL, n int);
			INSERT INTO %[1]s.items SELECT i, 'item', i FROM generate_series(1, 100) i; CREATE TABLE %[1]s.log (id bigserial, name text)`, s.schema)); err != nil {
			return err
		}
		for g := range ddlReaders {
			wg.Go(func() {
				for i := g; run.Err() == nil; i++ {
					s.statement(run, i)
				}
			})
		}
	}
	for i := range ddlChanges {
		order := slices.Clone(sides)
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			if err := pauseFor(ctx, ddlCalm); err != nil {
				return err
			}
			if err := s.change(ctx, admin, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// change alters the side's tables once.
func (s *ddlSide) change(ctx context.Context, admin *pgx.Conn, i int) error {
	alter := []string{
		`ALTER TABLE %[1]s.items ADD extra%[2]d int DEFAULT 1`,
		`ALTER TABLE %[1]s.items ALTER n TYPE bigint; ALTER TABLE %[1]s.log ALTER name TYPE varchar`,
		`ALTER TABLE %[1]s.items DROP extra%[3]d`,
		`ALTER TABLE %[1]s.items ALTER n TYPE int; ALTER TABLE %[1]s.log ALTER name TYPE text`,
	}[i%4]
	s.mu.Lock()
	s.around = append(s.around, 0)
	s.mu.Unlock()
	s.changing.Store(true)
	defer s.changing.Store(false)
	if _, err := admin.Exec(ctx, fmt.Sprintf(alter, s.schema, i, i-2)); err != nil {
		return err
	}
	return pauseFor(ctx, ddlSettling)
}

func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// statement runs one statement, or every fourth time a transaction.
func (s *ddlSide) statement(ctx context.Context, i int) {
	changing := s.changing.Load()
	start := time.Now()
	var err error
	single := true
	switch i % 4 {
	case 0, 1:
		err = s.read(ctx, s.handle, i%100+1)
	case 2:
		err = s.write(ctx, s.handle)
	case 3:
		single = false
		err = s.transaction(ctx, i%100+1)
	}
	took := time.Since(start)
	s.mu.Lock()
	defer s.mu.Unlock()
	var pe *pgconn.PgError
	switch {
	case ctx.Err() != nil:
		return
	case err != nil && !errors.As(err, &pe):
		s.wrong = err
	case err != nil && single:
		s.errors++
	case err != nil:
		s.txErrors++
	}
	switch {
	case !single || len(s.around) == 0:
	case changing:
		s.around[len(s.around)-1] = max(s.around[len(s.around)-1], took)
	default:
		s.calm = append(s.calm, took)
	}
}

// ddlQuerier is a side's handle or a transaction of it.
type ddlQuerier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func (s *ddlSide) sql(text string) string {
	if s.schema == "peer" {
		return fmt.Sprintf(text, "peer.items", "peer.log")
	}
	return fmt.Sprintf(text, "{{tables.items}}", "{{tables.log}}")
}

func (s *ddlSide) read(ctx context.Context, q ddlQuerier, id int) error {
	rows, err := q.Query(ctx, s.sql(`SELECT * FROM %[1]s WHERE id = $1`), id)
	if err != nil {
		return err
	}
	m, err := pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
	if err == nil && (fmt.Sprint(m["id"]) != fmt.Sprint(id) || m["name"] != "item") {
		return fmt.Errorf("row %v, want %d", m, id)
	}
	return err
}

func (s *ddlSide) write(ctx context.Context, q ddlQuerier) error {
	rows, err := q.Query(ctx, s.sql(`INSERT INTO %[2]s (name) VALUES ($1) RETURNING *`), "x")
	if err != nil {
		return err
	}
	_, err = pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
	return err
}

func (s *ddlSide) transaction(ctx context.Context, id int) error {
	both := func(ctx context.Context, q ddlQuerier) error {
		if err := s.read(ctx, q, id); err != nil {
			return err
		}
		return s.write(ctx, q)
	}
	if db, ok := s.handle.(*pgdbm.DB); ok {
		return db.InTxOptions(ctx, pgdbm.TxOptions{Retries: 3}, func(ctx context.Context, tx *pgdbm.Tx) error { return both(ctx, tx) })
	}
	return pgx.BeginFunc(ctx, s.handle, func(tx pgx.Tx) error { return both(ctx, tx) })
}
