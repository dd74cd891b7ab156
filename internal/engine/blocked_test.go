package engine_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm/internal/engine"
)

// block holds a lock on a table, as an application that went to lunch inside a transaction.
func (d *database) block(table string) (release func()) {
	d.t.Helper()
	c := d.connect()
	var tx pgx.Tx
	_, err := c.Exec(d.t.Context(), "set application_name = 'lunch'")
	if err == nil {
		tx, err = c.Begin(d.t.Context())
	}
	if err == nil {
		_, err = tx.Exec(d.t.Context(), "/* why */ update "+table+" set x = 42 where 'secret' <> ''")
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(d.t.Context()); err != nil {
			d.t.Error(err)
		}
	}
}

func three(c *pgxpool.Config) { c.MaxConns = 3 }

func TestABlockedFileStepsBackAndTriesAgain(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{"transaction": "", "outside": outsideHead} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			d.exec("create schema app; create table app.a (x int); insert into app.a values (1)")
			p := d.program(three)
			p.LockTimeout = 150 * time.Millisecond
			release := d.block("app.a")
			done := make(chan error, 1)
			go func() {
				_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql", head+"create table log (); alter table a add y int;"))
				done <- err
			}()
			// On a busy machine the first look at who is in the way may come too late.
			for strings.Count(p.logs.String(), "migration blocked") < 2 || !strings.Contains(p.logs.String(), "blocked_by=pid ") {
				if len(done) > 0 {
					t.Fatalf("ended: %v: %s", <-done, p.logs)
				}
				d.want("0", "select count(*) from pg_attribute where attrelid = 'app.a'::regclass and attname = 'y'")
			}
			release()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			contains(t, p.logs.String(), "WARN migration blocked, trying again module=app schema=app version=1 file=1_a.sql attempt=1 attempts=10 pause=",
				"sqlstate=55P03 blocked_by=pid ", ", application lunch, idle in transaction: update app . a set x")
			if strings.Contains(p.logs.String(), "secret") || strings.Contains(p.logs.String(), "42 ") {
				t.Errorf("values are logged: %s", p.logs)
			}
			d.want("applied 1", "select concat_ws(' ', state, attempts) from pgdbm.migrations")
		})
	}
}

func TestABlockedFileGivesUpAfterItsAttempts(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]string{"transaction": "", "outside": outsideHead} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			d.exec("create schema app; create table app.a (x int); insert into app.a values (1)")
			p := d.program(three)
			p.LockAttempts = 2
			defer d.block("app.a")()
			_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql", "-- pgdbm:lock-timeout 600ms\n"+head+"create table log ();\nalter table a add y int;"))
			var pgErr *pgconn.PgError
			if !errors.Is(err, engine.ErrBlocked) || !errors.As(err, &pgErr) || pgErr.Code != "55P03" {
				t.Fatalf("got %v", err)
			}
			line := map[string]string{"": "3", outsideHead: "4"}[head]
			contains(t, err.Error(), "migrate app/1_a.sql:"+line+":1: blocked in 2 attempts by pid ",
				", application lunch, idle in transaction: ERROR: canceling statement due to lock timeout (SQLSTATE 55P03)")
			d.want("55P03", "select error_sqlstate from pgdbm.migrations")
			if got := strings.Count(p.logs.String(), "trying again"); got != 1 {
				t.Errorf("tried again %d times", got)
			}
		})
	}
}

func TestADeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.exec("create schema app; create table app.a (x int); create table app.b (x int)")
	p := d.program(three)
	p.LockTimeout = -1
	other, err := d.connect().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(t.Context(), "set local deadlock_timeout = '1h'; lock table app.b"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.sql", "set local deadlock_timeout = '100ms'; alter table a add y int; alter table b add y int;"))
		done <- err
	}()
	waiting := "select count(*) from pg_locks where not granted and database = (select oid from pg_database where datname = current_database())"
	d.eventually("1", waiting)
	if _, err := other.Exec(t.Context(), "lock table app.a"); err != nil {
		t.Fatal(err)
	}
	if err := other.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	contains(t, p.logs.String(), "sqlstate=40P01")
	d.want("2", "select count(*) from pg_attribute where attrelid in ('app.a'::regclass, 'app.b'::regclass) and attname = 'y'")
}

func TestABlockedFileEndsWithTheContext(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.exec("create schema app; create table app.a (x int); insert into app.a values (1)")
	p := d.program()
	p.LockTimeout, p.LockAttempts = 20*time.Millisecond, 1_000_000
	defer d.block("app.a")()
	ctx, cancel := contextUntil(t, func() bool { return strings.Contains(p.logs.String(), "trying again") })
	defer cancel()
	if _, err := p.Up(ctx, target(t, "app", "app", "1_a.sql", "alter table a add y int;")); err == nil || ctx.Err() == nil {
		t.Errorf("got %v", err)
	}
}

func TestAFilesHeadSetsItsTimeouts(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	p.StatementTimeout = time.Hour
	show := "select current_setting('lock_timeout') || ' ' || current_setting('statement_timeout') as s;"
	p.up(target(t, "app", "app",
		"1_a.sql", "create table a as "+show,
		"2_b.sql", "-- pgdbm:lock-timeout 5s\n-- pgdbm:statement-timeout 7min\ncreate table b as "+show,
		"3_c.sql", "-- pgdbm:lock-timeout 0s\n-- pgdbm:statement-timeout 0ms\n-- pgdbm:no-transaction\ncreate table c as "+show,
		"4_d.sql", "-- pgdbm:no-transaction\ncreate table d as "+show,
		"5_e.sql", "-- pgdbm:no-transaction\n-- pgdbm:lock-timeout 3s\nset lock_timeout = '9s';\ncreate table e as "+show))
	d.want("2s 1h|5s 7min|0 0|2s 1h|9s 1h", "select concat_ws('|', a.s, b.s, c.s, d.s, e.s) from app.a, app.b, app.c, app.d, app.e")
	// Timeouts may be changed afterwards: they are no part of what was applied.
	p.up(target(t, "app", "app",
		"1_a.sql", "-- pgdbm:lock-timeout 1s\ncreate table a as "+show,
		"2_b.sql", "create table b as "+show,
		"3_c.sql", "-- pgdbm:no-transaction\ncreate table c as "+show,
		"4_d.sql", "-- pgdbm:no-transaction\ncreate table d as "+show,
		"5_e.sql", "-- pgdbm:no-transaction\nset lock_timeout = '9s';\ncreate table e as "+show))

	_, err := p.Up(t.Context(), target(t, "m", "m", "1_a.sql", "-- pgdbm:statement-timeout 30ms\nselect pg_sleep(60);"))
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "57014" {
		t.Errorf("got %v", err)
	}
}

func TestAFileMayGoStatementByStatementInItsTransaction(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	d.asSuperuser()
	text := "create table {{tables.a}} (x int);\nselect pg_sleep(0);\ncopy a from stdin;\n1\n\\.\ncreate index i on a (x);\n"
	for name, schema := range map[string]string{"option": "one", "citus": "two", "neither": "three"} {
		p := d.program()
		p.StatementByStatement = name == "option"
		if name == "citus" { // all that is asked for is its row
			d.exec(`set allow_system_table_mods = on; insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
				values (99999, 'citus', 10, 'public'::regnamespace, false, '12.1')`)
		}
		before := p.roundTrips.Load()
		p.up(target(t, "app", schema, "1_a.sql", text))
		trips := p.roundTrips.Load() - before
		d.exec("delete from pg_extension where oid = 99999")

		before = p.roundTrips.Load()
		_, err := p.Up(t.Context(), target(t, "app", schema, "1_a.sql", text, "2_b.sql", "create table b ();\nselect 1;\nselect 1/0;"))
		if err == nil || !strings.HasPrefix(err.Error(), "migrate app/2_b.sql:3:9: ERROR: division by zero") &&
			!strings.HasPrefix(err.Error(), "migrate app/2_b.sql:3:1: ERROR: division by zero") {
			t.Errorf("%s: %v", name, err)
		}
		d.want("0", "select count(*) from pg_tables where schemaname = $1 and tablename = 'b'", schema)
		t.Logf("%s: %d round trips, then %d", name, trips, p.roundTrips.Load()-before)
		d.want("4", "select stmt_done from pgdbm.migrations where target_schema = $1 and version = '1'", schema)
	}
}

func TestLogsShowNoValuesOfAQuery(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"update t set a = 'x'":                   "update t set a =",
		"insert into s.t (a, b) values (1)":      "insert into s . t (",
		"-- c\n/* d */ select $1, 2":             "select",
		"'x":                                     "",
		"":                                       "",
		"select e'x'":                            "select",
		`delete from "My Table" where id > 1000`: `delete from "My Table" where id >`,
	} {
		if got := engine.FirstWords(query); got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
}
