package migrate_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
	"github.com/pgdbm/pgdbm/migrate"
)

// logged is a module each of whose files can be seen to have run once or not.
func logged() pgdbm.Module {
	return module("1_log.sql", `CREATE TABLE {{tables.log}} (n int PRIMARY KEY); INSERT INTO {{tables.log}} VALUES (1);`,
		"2_more.sql", `INSERT INTO {{tables.log}} VALUES (2); CREATE TABLE {{tables.more}} (id int);`,
		"3_last.sql", `INSERT INTO {{tables.log}} VALUES (3); CREATE INDEX ON {{tables.more}} (id);`)
}

// wantLogged fails the test unless each of logged's files ran once in each of
// the schemas, and the ledger says so.
func (d *fleetDB) wantLogged(schemas []string) {
	d.t.Helper()
	d.want(3*len(schemas), appliedRows)
	var sums []string
	for _, s := range schemas {
		sums = append(sums, "SELECT count(*) = 3 AND sum(n) = 6 AS good FROM "+pgx.Identifier{s, "log"}.Sanitize())
	}
	d.want(len(schemas), "SELECT count(*) FROM ("+strings.Join(sums, " UNION ALL ")+") s WHERE good")
}

func TestAnInterruptedFleetResumes(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 6)
	schemas := tenants(200)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events := 0
	res, err := migrate.Fleet(ctx, d.pool, logged(), schemas, &migrate.FleetOptions{Workers: 3, Progress: func(e migrate.FleetEvent) {
		if events++; e.Done == 65 {
			cancel()
		}
	}})
	var partial *migrate.FleetError
	if !errors.Is(err, context.Canceled) || !errors.As(err, &partial) || partial.Failed != 0 || partial.Err == nil {
		t.Fatalf("got %v", err)
	}
	if res.Migrated < 65 || res.Migrated == 200 || res.Migrated+len(res.Remaining) != 200 || len(res.Failed) != 0 {
		t.Errorf("%d migrated, %d remain, %d failed", res.Migrated, len(res.Remaining), len(res.Failed))
	}
	if !slices.IsSortedFunc(res.Remaining, strings.Compare) {
		t.Errorf("remaining out of order: %q", res.Remaining)
	}
	again := d.fleet(logged(), schemas, nil)
	if again.Migrated+again.UpToDate != 200 || again.UpToDate < res.Migrated {
		t.Errorf("%d migrated at first; then %+v", res.Migrated, again)
	}
	d.wantLogged(schemas)
}

const childURL = "PGDBM_FLEET_CHILD_URL"

// Not a test of its own: the process that the next test kills.
func TestFleetChildProcess(t *testing.T) {
	url := os.Getenv(childURL)
	if url == "" {
		t.Skip("no URL: see TestAFleetWhoseProcessIsKilledConverges")
	}
	pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: url, MaxConns: 5})
	if err != nil {
		t.Fatal(err)
	}
	_, err = migrate.Fleet(t.Context(), pool, logged(), tenants(200), &migrate.FleetOptions{Workers: 3, BatchSize: 5,
		Progress: func(e migrate.FleetEvent) { fmt.Println("event", e.Done) }})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAFleetWhoseProcessIsKilledConverges(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 4)
	finished := false
	for kills := 0; !finished; kills++ {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFleetChildProcess$", "-test.v")
		cmd.Env = append(os.Environ(), childURL+"="+d.url)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		enough := 10 + rand.IntN(120) // events before the end
		if kills == 6 {
			enough = 1 << 30
		}
		var last []string
		for lines := bufio.NewScanner(out); lines.Scan() && enough > 0; enough-- {
			last = append(last, lines.Text())
		}
		if enough == 0 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, out)
		}
		err = cmd.Wait()
		finished = err == nil
		if err != nil && enough > 0 {
			t.Fatalf("the child ended by itself: %v\n%s", err, strings.Join(last[max(0, len(last)-10):], "\n"))
		}
	}
	if res := d.fleet(logged(), tenants(200), nil); res.UpToDate != 200 {
		t.Errorf("after the last child: %+v", res)
	}
	d.wantLogged(tenants(200))
}

func TestShardsCoverAFleetExactlyOnce(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 8)
	schemas := tenants(200)
	results := make([]*migrate.FleetResult, 3)
	var wg sync.WaitGroup
	for i := range results {
		shard, err := migrate.ParseShard(fmt.Sprintf("%d/3", i+1))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			var err error
			results[i], err = migrate.Fleet(t.Context(), d.pool, logged(), schemas, &migrate.FleetOptions{Shard: shard, Workers: 2,
				Progress: func(e migrate.FleetEvent) {
					if !shard.Has(e.Schema) {
						t.Errorf("%s is not in shard %s", e.Schema, shard)
					}
				}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	total := 0
	for i, res := range results {
		if res.Schemas < 40 || res.Migrated != res.Schemas || res.Applied != 3*res.Schemas {
			t.Errorf("shard %d: %+v", i+1, res)
		}
		total += res.Schemas
	}
	if total != 200 {
		t.Errorf("%d schemas in all shards", total)
	}
	d.wantLogged(schemas)
}

func TestAShardNeverChanges(t *testing.T) {
	t.Parallel()
	for schema, want := range map[string]int{"tenant_001": 2, "tenant_002": 5, "Größe": 6, "public": 1} {
		for i := range 7 {
			if got := (migrate.Shard{Index: i + 1, Of: 7}).Has(schema); got != (i+1 == want) {
				t.Errorf("%s in shard %d/7: %v", schema, i+1, got)
			}
		}
	}
	for _, bad := range []string{"", "1", "0/2", "3/2", "-1/2", "1/0", "0/0", "a/b", "1/2/3"} {
		if s, err := migrate.ParseShard(bad); err == nil {
			t.Errorf("%q: %v", bad, s)
		}
	}
	if s, err := migrate.ParseShard("2/5"); err != nil || s.String() != "2/5" {
		t.Errorf("%v, %v", s, err)
	}
}

func TestFleetsAtTheSameTimeApplyNothingTwice(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	schemas := tenants(120)
	var wg sync.WaitGroup
	var mu sync.Mutex
	applied := 0
	for i := range 4 {
		d := openFleetDB(t, url, 4)
		mine := slices.Clone(schemas)
		switch i {
		case 1: // an order in which waiting for locks would deadlock
			slices.Reverse(mine)
		case 2:
			rand.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
		}
		wg.Go(func() {
			res, err := migrate.Fleet(t.Context(), d.pool, logged(), mine, &migrate.FleetOptions{Workers: 3})
			if err != nil || res.Migrated+res.UpToDate != 120 {
				t.Errorf("fleet %d: %+v, %v", i, res, err)
			}
			mu.Lock()
			applied += res.Applied
			mu.Unlock()
		})
	}
	for i := range 2 { // and a host that attaches meanwhile
		d := openFleetDB(t, url, 2)
		wg.Go(func() {
			for _, s := range []string{schemas[3+i], schemas[90], schemas[117]} {
				db, err := d.pool.Schema(s)
				if err != nil {
					t.Error(err)
					return
				}
				res, err := migrate.Up(t.Context(), db, logged(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				applied += len(res.Applied)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if applied != 360 {
		t.Errorf("%d files applied, want 360", applied)
	}
	openFleetDB(t, url, 2).wantLogged(schemas)
}

func TestAFleetWaitsForASchemaThatSomebodyElseMigrates(t *testing.T) {
	t.Parallel()
	d := newFleetDB(t, 4)
	schemas := tenants(30)
	d.fleet(module("1_a.sql", createA), schemas[:1], nil)
	m := module("1_a.sql", createA, "2_b.sql", createB+" ALTER TABLE {{tables.a}} ADD COLUMN n int;")
	other := openFleetDB(t, d.url, 1)
	db, err := other.pool.Schema("tenant_000")
	if err != nil {
		t.Fatal(err)
	}
	// The other holds the schema's lock for as long as it waits for the table.
	conn, err := pgx.Connect(t.Context(), d.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), `BEGIN; LOCK TABLE tenant_000.a`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := migrate.Up(t.Context(), db, m, nil)
		done <- err
	}()
	d.eventually(1, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	res, err := migrate.Fleet(ctx, d.pool, m, schemas, &migrate.FleetOptions{Progress: func(e migrate.FleetEvent) {
		if e.Done == 29 {
			cancel() // all but one
		}
	}})
	if !errors.Is(err, context.Canceled) || !slices.Equal(res.Remaining, []string{"tenant_000"}) || res.Migrated != 29 {
		t.Errorf("while it is locked: %+v, %v", res, err)
	}
	if _, err := conn.Exec(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if res := d.fleet(m, schemas[:1], nil); res.UpToDate != 1 {
		t.Errorf("afterwards: %+v", res)
	}
}

// eventually waits until the query's value is as said.
func (d *fleetDB) eventually(want int, sql string) {
	d.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); d.value(sql) != want; {
		if time.Now().After(deadline) {
			d.t.Fatalf("%s: never %d", sql, want)
		}
	}
}
