package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
)

// fleetSize is how many schemas bench migrate migrates.
var fleetSize = 1000

func migrateFlags(flags *flag.FlagSet) {
	flags.IntVar(&fleetSize, "schemas", fleetSize, "how many schemas to migrate")
}

// fleetWorkers is how many connections each side uses at a time.
const fleetWorkers = 4

// fleet migrates many schemas with migrate.Fleet. The peer is goose, with a
// Provider for each schema and a connection whose search_path is that schema,
// so that each has a version table of its own. Both run the same statements on
// one server. Schemas are provisioned once, half of them by one side first; the
// other figures are medians of three. nothing-to-do-10000 is ours alone.
func fleet(ctx context.Context, url string) ([]result, error) {
	if fleetSize < 1 {
		return nil, fmt.Errorf("--schemas %d: less than 1", fleetSize)
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	var results []result
	err := withPool(ctx, url, func(c *pgxpool.Config) { c.MaxConns = fleetWorkers + 1 }, func(raw *pgxpool.Pool) error {
		b, err := newFleetBench(raw, fleetSize)
		if err != nil {
			return err
		}
		defer b.pool.Close()
		ours, peer, err := b.provision(ctx)
		if err != nil {
			return fmt.Errorf("provision: %w", err)
		}
		results = append(results, compare("provision", "ms", millis(ours), millis(peer)))
		const rounds = 3
		for _, step := range []struct {
			name string
			more int
		}{{"add-column", 1}, {"nothing-to-do", 0}} {
			ours, peer := &side{run: b.ours, files: b.files}, &side{run: b.peer, files: b.files}
			o, p, err := interleave(rounds,
				func() error { return ours.next(ctx, step.more, b.schemas) },
				func() error { return peer.next(ctx, step.more, b.schemas) })
			if err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
			b.files = ours.files
			results = append(results, compare(step.name, "ms", millis(o), millis(p)))
		}
		alone, err := b.recorded(ctx, 10000)
		results = append(results, compare("nothing-to-do-10000", "ms", millis(alone), 0))
		return err
	})
	return results, err
}

// side is one of the two, and how many files it has applied.
type side struct {
	run   func(ctx context.Context, files int, schemas []string) error
	files int
}

func (s *side) next(ctx context.Context, more int, schemas []string) error {
	s.files += more
	return s.run(ctx, s.files, schemas)
}

type fleetBench struct {
	raw     *pgxpool.Pool
	pool    *pgdbm.Pool
	schemas []string
	files   int // that both sides have applied
}

func newFleetBench(raw *pgxpool.Pool, n int) (*fleetBench, error) {
	pool, err := pgdbm.Borrow(raw)
	if err != nil {
		return nil, err
	}
	b := &fleetBench{raw: raw, pool: pool}
	for i := range n {
		b.schemas = append(b.schemas, fmt.Sprintf("tenant_%05d", i))
	}
	return b, nil
}

// fleetFiles are the first n migrations, with names as the sides write them.
func fleetFiles(n int, head string, table func(string) string) fs.FS {
	var tables strings.Builder
	for _, name := range []string{"users", "orders", "items", "invoices", "events"} {
		fmt.Fprintf(&tables, `CREATE TABLE %s (id bigint PRIMARY KEY, name text NOT NULL, amount numeric, created_at timestamptz NOT NULL DEFAULT now());`+"\n", table(name))
	}
	files := fstest.MapFS{"00001_tables.sql": {Data: []byte(head + tables.String())}}
	for i := 2; i <= n; i++ {
		text := fmt.Sprintf("%[1]sALTER TABLE %[2]s ADD COLUMN note%[3]d text;\nCREATE INDEX users_note%[3]d ON %[2]s (note%[3]d);\n", head, table("users"), i)
		files[fmt.Sprintf("%05d_note.sql", i)] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

// provision makes the schemas, one half of them after the other.
func (b *fleetBench) provision(ctx context.Context) (ours, peer time.Duration, err error) {
	b.files = 1
	half := len(b.schemas) / 2
	for i, part := range [][]string{b.schemas[:half], b.schemas[half:]} {
		sides := []func() error{
			func() error { return timed(&ours, func() error { return b.ours(ctx, b.files, part) }) },
			func() error { return timed(&peer, func() error { return b.peer(ctx, b.files, part) }) },
		}
		if i == 1 {
			slices.Reverse(sides)
		}
		for _, side := range sides {
			if err := side(); err != nil {
				return 0, 0, err
			}
		}
	}
	return ours, peer, nil
}

func timed(sum *time.Duration, fn func() error) error {
	start := time.Now()
	err := fn()
	*sum += time.Since(start)
	return err
}

func (b *fleetBench) ours(ctx context.Context, files int, schemas []string) error {
	_, err := migrate.Fleet(ctx, b.pool, ourModule(files), schemas, &migrate.FleetOptions{Workers: fleetWorkers})
	return err
}

func ourModule(files int) pgdbm.Module {
	return pgdbm.Module{Name: "bench", Files: fleetFiles(files, "", func(name string) string { return "{{tables." + name + "}}" })}
}

func (b *fleetBench) peer(ctx context.Context, files int, schemas []string) error {
	fsys := fleetFiles(files, "-- +goose Up\n", func(name string) string { return name })
	errs := make([]error, fleetWorkers)
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range fleetWorkers {
		wg.Go(func() {
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= len(schemas) {
					return
				}
				errs[w] = b.gooseUp(ctx, fsys, "goose_"+schemas[i])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// gooseUp migrates one schema.
func (b *fleetBench) gooseUp(ctx context.Context, fsys fs.FS, schema string) error {
	cfg := b.raw.Config().ConnConfig
	cfg.RuntimeParams["search_path"] = schema
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(1)
	defer db.Close()
	if _, err := db.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+schema); err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, fsys, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// recorded times a run with nothing to do over n schemas, of which only the
// names and the ledger's rows exist.
func (b *fleetBench) recorded(ctx context.Context, n int) (time.Duration, error) {
	schemas := make([]string, n)
	for i := range schemas {
		schemas[i] = fmt.Sprintf("recorded_%05d", i)
	}
	err := pgx.BeginFunc(ctx, b.raw, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO pgdbm.migrations (module, target_schema, version, state, file_name, raw_hash, semantic_hash)
			SELECT m.module, s.name, m.version, m.state, m.file_name, m.raw_hash, m.semantic_hash
			FROM pgdbm.migrations m, unnest($1::text[]) s (name) WHERE m.target_schema = $2`, schemas, b.schemas[0])
		return err
	})
	if err != nil {
		return 0, err
	}
	for part := range slices.Chunk(schemas, 100) {
		var sql strings.Builder
		for _, s := range part {
			sql.WriteString("CREATE SCHEMA " + s + ";")
		}
		if _, err := b.raw.Exec(ctx, sql.String()); err != nil {
			return 0, err
		}
	}
	var times []time.Duration
	for range 7 {
		start := time.Now()
		if err := b.ours(ctx, b.files, schemas); err != nil {
			return 0, err
		}
		times = append(times, time.Since(start))
	}
	return median(times), nil
}
