package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// two gives a program the second connection that files outside a transaction take.
func two(c *pgxpool.Config) { c.MaxConns = 2 }

const outsideHead = "-- pgdbm:no-transaction\n"

func TestAFileOutsideATransactionRunsStatementByStatement(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	text := outsideHead + `\restrict abc
create table {{tables.a}} (x int, y text);
copy {{tables.a}} from stdin;
1	one; {{tables.a}}
2	\N
\.
create index concurrently a_x on {{tables.a}} (x);
vacuum (analyze) {{tables.a}};
create function twice(n int) returns int language sql begin atomic; select n; select 2 * n; end;
create rule r as on delete to {{tables.a}} do also (select 1; select 2);
create procedure p() language plpgsql as $$ begin insert into a values (3); commit; insert into a values (4); commit; end $$;
call p();
reindex table concurrently {{tables.a}};
drop index concurrently {{tables.a_x}};
\unrestrict abc
;;
`
	text = strings.Replace(text, "begin atomic;", "begin atomic", 1)
	if got := versions(p.up(target(t, "app", "my app", "1_a.sql", text))); got != "1" {
		t.Errorf("applied %s", got)
	}
	d.want("1:one; {{tables.a}} 2:- 3:- 4:-", `select string_agg(x || ':' || coalesce(y, '-'), ' ' order by x) from "my app".a`)
	d.want("applied 10 10 1 t t t", `select concat_ws(' ', state, stmt_done, stmt_total, attempts, stmt_hash is null, error is null, duration_ms > 0) from pgdbm.migrations`)
	d.want("0", `select count(*) from pg_indexes where schemaname = 'my app'`)
	if got := versions(p.up(target(t, "app", "my app", "1_a.sql", text, "2_b.sql", "alter table a add z int"))); got != "2" {
		t.Errorf("applied %s", got)
	}
}

func TestAFileOutsideATransactionGoesOnAtTheStatementThatFailed(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	head := outsideHead + "create table log (n int);\nset work_mem = '7MB';\ninsert into log values (1);\n"
	_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql", head+"insert into log\n  select 1/n from nope;\ninsert into log values (3);"))
	if err == nil || err.Error() != `migrate app/1_a.sql:6:19: ERROR: relation "nope" does not exist (SQLSTATE 42P01)` {
		t.Fatalf("got %v", err)
	}
	d.want("running 3 5 1 42P01", "select concat_ws(' ', state, stmt_done, stmt_total, attempts, error_sqlstate) from pgdbm.migrations")
	d.want("1", "select sum(n) from app.log")

	// What is in effect must not change ...
	for _, text := range []string{
		outsideHead + "create table log (n bigint);\nset work_mem = '7MB';\ninsert into log values (1);\nselect 1;",
		outsideHead + "create table log (n int);",
	} {
		if _, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql", text)); !errors.Is(err, engine.ErrChanged) {
			t.Errorf("changed: %v", err)
		}
	}
	_, err = p.Up(t.Context(), target(t, "app", "app", "1_a.sql", strings.TrimPrefix(head, outsideHead)+"select 1;"))
	if !errors.Is(err, engine.ErrInterrupted) {
		t.Errorf("in a transaction: %v", err)
	}
	// ... the rest may, and what the file has set for the session counts for it.
	p.up(target(t, "app", "app", "1_a.sql", "-- mended\n"+head+"insert into log values (2);\ncreate table w as select current_setting('work_mem') as mem;"))
	d.want("3", "select sum(n) from app.log")
	d.want("7MB", "select mem from app.w")
	d.want("applied 5 2 t", "select concat_ws(' ', state, stmt_done, attempts, error is null) from pgdbm.migrations")
}

func TestAFileOutsideATransactionWhoseFirstStatementFailsIsFailed(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	if _, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql", outsideHead+"vacuum nope;")); err == nil {
		t.Fatal("no error")
	}
	d.want("failed 0 1", "select concat_ws(' ', state, stmt_done, attempts) from pgdbm.migrations")
	p.up(target(t, "app", "app", "1_a.sql", "create table a ();"))
	d.want("applied 1 2", "select concat_ws(' ', state, stmt_done, attempts) from pgdbm.migrations")
}

func TestAFileOutsideATransactionTakesTwoConnections(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	p.MaxConns = 1
	_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql", "create table a ();", "2_b.sql", outsideHead+"vacuum a;"))
	if !errors.Is(err, engine.ErrOneConnection) {
		t.Fatalf("got %v", err)
	}
	contains(t, err.Error(), "migrate app/2_b.sql: pool of one connection")
	d.want("0", "select count(*) from pg_namespace where nspname in ('app', 'pgdbm')")
}

// Two programs of one pool must not wait for each other's second connection for ever.
func TestProgramsOfOnePoolShareItsTwoConnections(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	together(t, 3, func(i int) error {
		name := fmt.Sprintf("m%d", i)
		_, err := p.Up(t.Context(), target(t, name, name, "1_a.sql", outsideHead+"create table a (); vacuum a;"))
		return err
	})
	d.want("3", "select count(*) from pgdbm.migrations where state = 'applied'")
}

func TestTheLocksConnectionHoldsNoSnapshot(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two, func(c *pgxpool.Config) {
		c.ConnConfig.RuntimeParams["application_name"] = "deploy"
		c.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "50"
	})
	gate := d.connect()
	if _, err := gate.Exec(t.Context(), "select pg_advisory_lock(7)"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql",
			outsideHead+"create table a (x int); do $$ begin perform pg_sleep(0.2); perform pg_advisory_lock(7); end $$; create index concurrently i on a (x);"))
		done <- err
	}()
	d.eventually("1", "select count(*) from pg_locks where locktype = 'advisory' and not granted and objid = 7")
	d.want("idle in transaction t t", `select concat_ws(' ', state, backend_xmin is null, backend_xid is null) from pg_stat_activity a
		where application_name = 'deploy' and exists (select from pg_locks l where l.pid = a.pid and l.locktype = 'advisory' and l.granted
		and l.classid = $1::int8::oid and l.objid = $2::int8::oid)`, uint32(uint64(engine.SchemaKey("app"))>>32), uint32(uint64(engine.SchemaKey("app"))))
	gate.Close(context.Background())
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The last message of a killed process may commit when its lock is free already, and the next run has made its plan.
func TestWhatAKilledProcessCommitsLateCounts(t *testing.T) {
	t.Parallel()
	for _, late := range []string{
		"create table app.b (); update pgdbm.migrations set stmt_done = 3, stmt_hash = null",
		"create table app.b (); create table app.c (); update pgdbm.migrations set stmt_done = 4, stmt_hash = null, state = 'applied'",
	} {
		d := newDatabase(t)
		p := d.program(two)
		d.exec("create table public.gate (x int)")
		file := outsideHead + "create table a (); vacuum a; create table b as select 1 / count(*) as x from gate; create table c ();"
		if _, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql", file)); err == nil {
			t.Fatal("no error")
		}
		d.exec("insert into public.gate values (1)")
		acquire, n := p.Acquire, 0
		p.Acquire = func(ctx context.Context) (*pgx.Conn, func(bool), error) {
			if n++; n == 3 { // after that which looked, and that which took the lock and made the plan
				d.exec(late)
			}
			return acquire(ctx)
		}
		p.up(target(t, "app", "app", "1_a.sql", file, "2_b.sql", "create table d ();"))
		d.want("applied 4,applied 1", "select string_agg(concat_ws(' ', state, stmt_done), ',' order by version) from pgdbm.migrations")
		d.want("a b c d", "select string_agg(tablename, ' ' order by tablename) from pg_tables where schemaname = 'app'")
		if n < 4 {
			t.Errorf("%d connections were taken", n)
		}
	}
}

func TestTheLossOfTheLockEndsTheRun(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	engine.Ping(p.Runner, 5*time.Millisecond)
	done := make(chan error, 1)
	go func() {
		_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql", outsideHead+"create table a (x int); vacuum a; do $$ begin perform pg_sleep(60); end $$;"))
		done <- err
	}()
	sleeping := "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
	d.eventually("1", sleeping)
	d.exec("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'")
	err := <-done
	if !errors.Is(err, engine.ErrLockLost) {
		t.Fatalf("got %v", err)
	}
	contains(t, err.Error(), "migrate app/1_a.sql: migration lock lost: ")
	d.eventually("0", sleeping)
	d.want("running 2", "select concat_ws(' ', state, stmt_done) from pgdbm.migrations")
	contains(t, d.value("select error from pgdbm.migrations"), "migration lock lost")
	p.up(target(t, "app", "app", "1_a.sql", outsideHead+"create table a (x int); vacuum a; vacuum a;"))
}

// A process that is killed leaves its statement running in the server.
func TestAStatementOfAKilledProcessIsWaitedFor(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	tg := target(t, "app", "app", "1_a.sql", outsideHead+"create table a (x int);\nvacuum a;")
	orphan := d.connect()
	if _, err := orphan.Exec(t.Context(), fmt.Sprintf("select pg_advisory_lock(%d)", engine.WorkKey("app"))); err != nil {
		t.Fatal(err)
	}
	waits := 0
	engine.OnWait(p.Runner, func() {
		if waits++; waits == 3 {
			d.want("0", "select count(*) from pg_locks where locktype = 'advisory' and granted and pid <> $1 and database = (select oid from pg_database where datname = current_database())", orphan.PgConn().PID())
			orphan.Close(context.Background())
		}
	})
	p.up(tg)
	if waits < 3 {
		t.Errorf("%d waits", waits)
	}
}

func TestALockTimeoutNeverEndsAConcurrentIndex(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.exec("create schema app; create table app.a as select 1 as x")
	p := d.program(two, func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["lock_timeout"] = "20" })
	other, err := d.connect().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(t.Context(), "update app.a set x = 2"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql",
			outsideHead+"set lock_timeout = '10ms';\ncreate index concurrently i on a (x);\ncreate table t as select current_setting('lock_timeout') as t;"))
		done <- err
	}()
	d.eventually("1", "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")
	for range 5 { // 20 ms and more, by the server's clock
		d.exec("select pg_sleep(0.02)")
	}
	if err := other.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	d.want("10ms", "select t from app.t")
}

func TestAnInvalidIndexThatWasLeftIsBuiltAnew(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"create unique index concurrently i on a (x);", "create unique index concurrently if not exists i on {{tables.a}} (x);",
		`CREATE UNIQUE INDEX CONCURRENTLY "i" ON ONLY "app"."a" (x)`} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			d.exec("create schema app; create table app.a as select 1 as x from generate_series(1, 2)")
			p := d.program(two)
			tg := target(t, "app", "app", "1_a.sql", outsideHead+text)
			_, err := p.Up(t.Context(), tg)
			var pgErr *pgconn.PgError
			if !errors.As(err, &pgErr) || pgErr.Code != "23505" {
				t.Fatalf("got %v", err)
			}
			d.want("false", "select indisvalid from pg_index where indexrelid = 'app.i'::regclass")
			d.exec("delete from app.a where ctid = '(0,1)'")
			p.up(tg)
			d.want("true", "select indisvalid from pg_index where indexrelid = 'app.i'::regclass")
			contains(t, p.logs.String(), "WARN migration: dropping the invalid index that an interrupted run has left module=app schema=app file=1_a.sql index=app.i")
		})
	}
}

// Behind a pooler no lock of ours tells of the statement that a killed process has left running. Ours is held by a
// transaction that the statement may wait for, so it has to be given up meanwhile.
func TestAnIndexThatAKilledProcessStillBuildsBecomesOurs(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.exec("create schema app; create table app.a (x int)")
	p := d.program(two)
	p.ThroughPooler = true
	failing := target(t, "app", "app", "1_a.sql", outsideHead+"create index concurrently i on {{tables.a}} (x / y);")
	if _, err := p.Up(t.Context(), failing); err == nil {
		t.Fatal("no error")
	}
	d.exec("update pgdbm.migrations set state = 'running'")
	orphan, err := d.connect().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := orphan.Exec(t.Context(), "lock table app.a in share update exclusive mode"); err != nil {
		t.Fatal(err)
	}
	waits, done := make(chan struct{}, 1000), make(chan error, 1)
	engine.OnWait(p.Runner, func() { waits <- struct{}{} })
	go func() {
		_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql", outsideHead+"create index concurrently i on {{tables.a}} (x);"))
		done <- err
	}()
	<-waits
	d.eventually("0", "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())")
	if _, err := orphan.Exec(t.Context(), "create index i on app.a (x)"); err != nil {
		t.Fatal(err)
	}
	if err := orphan.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	d.want("applied 1", "select concat_ws(' ', state, stmt_done) from pgdbm.migrations")
}

// The process was killed after the statement had ended and before that was recorded.
func TestWhatWasDoneAndNotRecordedIsNotDoneAgain(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.exec("create schema app; create table app.a (x int); create index j on app.a (x); create table app.p (x int) partition by list (x); " +
		"create table app.p1 partition of app.p for values in (1); create table app.p2 partition of app.p for values in (2)")
	p := d.program(two)
	list := []string{"1_a.sql", outsideHead + "create index concurrently i on a (x); vacuum a;", "2_b.sql", outsideHead + "drop index concurrently j; vacuum a;"}
	detach := d.value("select current_setting('server_version_num')::int >= 140000") == "true"
	if detach {
		list = append(list, "3_c.sql", outsideHead+"alter table p detach partition p1 concurrently; vacuum a;")
	}
	tg := target(t, "app", "app", list...)
	p.up(tg)
	d.exec("update pgdbm.migrations set state = 'running', stmt_done = 0, stmt_hash = null")
	if got, want := versions(p.up(tg)), "1 2 3"; !strings.HasPrefix(want, got) || got == "" {
		t.Errorf("applied %s", got)
	}
	d.want("i", "select string_agg(indexname, ' ') from pg_indexes where schemaname = 'app'")

	// Without the mark an index that is there is in the way, as the statement says.
	_, err := p.Up(t.Context(), target(t, "app", "app", append(list, "4_d.sql", outsideHead+"create index concurrently i on a (x);")...))
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "42P07" {
		t.Errorf("got %v", err)
	}
}

func TestLeftoversOfReindexAreDropped(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.asSuperuser()
	d.exec("create schema app; create table app.a (x int); create index i on app.a (x); create index i_ccnew on app.a (x); create index other on app.a (x);" +
		"update pg_index set indisvalid = false where indexrelid in ('app.i_ccnew'::regclass, 'app.other'::regclass)")
	p := d.program(two)
	p.up(target(t, "app", "app", "1_a.sql", outsideHead+"reindex index concurrently {{tables.i}};"))
	d.want("i other", "select string_agg(indexname, ' ' order by indexname) from pg_indexes where schemaname = 'app'")
	for i, what := range []string{"table a", "(concurrently) table app.a", "schema app", "database " + sqltemplate.Quote(d.value("select current_database()"))} {
		d.exec("create index i_ccnew1 on app.a (x); update pg_index set indisvalid = false where indexrelid = 'app.i_ccnew1'::regclass")
		if !strings.HasPrefix(what, "(") {
			what = strings.Replace(what, " ", " concurrently ", 1)
		}
		p.up(target(t, fmt.Sprintf("app%d", i), "app", "1_a.sql", outsideHead+"reindex "+what+";"))
		d.want("i other", "select string_agg(indexname, ' ' order by indexname) from pg_indexes where schemaname = 'app'")
	}
}

func TestSixteenProgramsRunAFileOutsideATransactionOnce(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	tg := target(t, "app", "app", "1_a.sql", outsideHead+"create table log (n int); insert into log values (1); vacuum log; insert into log values (2);")
	programs := make([]*program, 16)
	for i := range programs {
		programs[i] = d.program(two)
	}
	var mu sync.Mutex
	applied := 0
	together(t, 16, func(i int) error {
		res, err := programs[i].Up(t.Context(), tg)
		mu.Lock()
		defer mu.Unlock()
		applied += len(res.Applied)
		return err
	})
	if applied != 1 {
		t.Errorf("applied %d times", applied)
	}
	d.want("3", "select sum(n) from app.log")
	d.want("1", "select attempts from pgdbm.migrations")
}
