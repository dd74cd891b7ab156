package engine_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm/internal/engine"
)

// together runs n programs at once and returns their errors.
func together(t *testing.T, n int, fn func(i int) error) {
	t.Helper()
	start := make(chan struct{})
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = fn(i)
		})
	}
	close(start)
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("program %d: %v", i, err)
		}
	}
}

func TestSixteenProgramsApplyTheSameModuleOnce(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	tg := target(t, "app", "app",
		"1_a.sql", "create table {{tables.a}} (x int);", "2_b.sql", "insert into {{tables.a}} values (2);",
		"3_c.sql", "insert into {{tables.a}} values (3); create table {{tables.c}} ();", "4_d.sql", "insert into {{tables.a}} values (4);")
	var mu sync.Mutex
	applied := 0
	programs := make([]*program, 16)
	for i := range programs {
		programs[i] = d.program()
	}
	together(t, 16, func(i int) error {
		res, err := programs[i].Up(t.Context(), tg)
		mu.Lock()
		defer mu.Unlock()
		applied += len(res.Applied)
		return err
	})
	if applied != 4 {
		t.Errorf("%d files applied in all, want 4", applied)
	}
	d.want("2,3,4", "select string_agg(x::text, ',' order by x) from app.a")
	d.want("4 4", "select count(*) || ' ' || sum(attempts) from pgdbm.migrations where state = 'applied'")
}

func TestSixteenModulesStartOnAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	programs := make([]*program, 16)
	for i := range programs {
		programs[i] = d.program()
	}
	together(t, 16, func(i int) error {
		name := fmt.Sprintf("m%d", i)
		_, err := programs[i].Up(t.Context(), target(t, name, name, "1_a.sql", "create table {{tables.a}} ();"))
		return err
	})
	d.want("16", "select count(*) from pgdbm.migrations where state = 'applied'")
}

func TestProgramsShareASmallPool(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(func(c *pgxpool.Config) { c.MaxConns = 2 })
	together(t, 8, func(i int) error {
		_, err := p.Up(t.Context(), target(t, fmt.Sprintf("m%d", i%4), "shared", "1_a.sql", fmt.Sprintf("create table m%d_a ();", i%4)))
		return err
	})
	d.want("4", "select count(*) from pg_tables where schemaname = 'shared'")
}

// hold takes a lock in a transaction that stays open until the returned function is called.
func (d *database) hold(key int64) (release func()) {
	d.t.Helper()
	c := d.connect()
	sql := fmt.Sprintf("set application_name = 'the holder'; begin; select pg_advisory_xact_lock(%d)", key)
	if _, err := c.PgConn().Exec(d.t.Context(), sql).ReadAll(); err != nil {
		d.t.Fatal(err)
	}
	return func() {
		if _, err := c.Exec(d.t.Context(), "rollback"); err != nil {
			d.t.Error(err)
		}
	}
}

func TestAWaiterHoldsNoTransactionAndNoConnection(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["application_name"] = "waiter" })
	p.up(target(t, "app", "app", "1_a.sql", "create table a ();"))
	release := d.hold(engine.SchemaKey("app"))
	waiting := make(chan struct{})
	proceed := make(chan struct{})
	var once sync.Once
	engine.OnWait(p.Runner, func() {
		once.Do(func() {
			close(waiting)
			<-proceed
		})
	})
	done := make(chan error, 1)
	go func() {
		_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql", "create table a ();", "2_b.sql", "create table b ();"))
		done <- err
	}()
	<-waiting
	if got := p.pool.Stat().AcquiredConns(); got != 0 {
		t.Errorf("%d connections are held", got)
	}
	d.want("idle t 0", `select concat_ws(' ', state, xact_start is null and backend_xmin is null,
		(select count(*) from pg_locks l where l.pid = a.pid)) from pg_stat_activity a where application_name = 'waiter'`)
	close(proceed)
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	d.want("b", "select max(tablename) from pg_tables where schemaname = 'app'")
}

func TestAWaitEndsWithTheContextAndNamesTheHolder(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	engine.Poll(p.Runner, time.Millisecond, 4*time.Millisecond, 2*time.Millisecond)
	p.up(target(t, "app", "app", "1_a.sql", "create table a ();"))
	defer d.hold(engine.SchemaKey("app"))()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waits := 0
	engine.OnWait(p.Runner, func() {
		if waits++; waits == 5 {
			cancel()
		}
	})
	_, err := p.Up(ctx, target(t, "app", "app", "1_a.sql", "create table a ();", "2_b.sql", "create table b ();"))
	if !errors.Is(err, engine.ErrLocked) || !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	contains(t, err.Error(), `migrate app: schema "app": locked by another session (pid `, "application the holder): context canceled")
	contains(t, p.logs.String(), `WARN waiting for migration lock lock=schema "app" holder=pid `, "application the holder waited=")
}

func TestTheLedgersLockIsWaitedForInTheSameWay(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	release := d.hold(engine.LedgerKey())
	var once sync.Once
	engine.OnWait(p.Runner, func() { once.Do(release) })
	p.up(target(t, "app", "app", "1_a.sql", "create table a ();"))
}

func TestLockKeysNeverChange(t *testing.T) {
	t.Parallel()
	if got, want := engine.SchemaKey("billing"), int64(-3677597654405900768); got != want {
		t.Errorf("key %d, want %d", got, want)
	}
	if got, want := engine.LedgerKey(), int64(-1152353247579793227); got != want {
		t.Errorf("key %d, want %d", got, want)
	}
}

// Somebody else, who knows nothing of our locks, makes the same schema in a transaction that is still open.
func TestASchemaThatSomebodyElseMakesMeanwhileIsUsed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, schema string
		run          func(p *program) error
	}{
		{"Up", "app", func(p *program) error {
			_, err := p.Up(p.t.Context(), target(p.t, "app", "app", "1_a.sql", "create table a ();"))
			return err
		}},
		{"ledger", "pgdbm", func(p *program) error {
			_, err := p.Up(p.t.Context(), target(p.t, "app", "app", "1_a.sql", "create table a ();"))
			return err
		}},
		{"EnsureSchema", "app", func(p *program) error { return p.EnsureSchema(p.t.Context(), "app") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			p := d.program()
			other, err := d.connect().Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := other.Exec(t.Context(), "create schema "+test.schema); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- test.run(p) }()
			d.eventually("1", "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")
			if err := other.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			d.want("1", "select count(*) from pg_namespace where nspname = $1", test.schema)
		})
	}
}
