package engine_test

import (
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/internal/engine"
)

// wrappedFiles are parts that are one transaction, in each format that may have it.
var wrappedFiles = map[string][]string{
	"golang-migrate": {"1_a.up.sql", "-- a title\nBEGIN;\ncreate table t (x int);\nsavepoint s; insert into t values (1); rollback to s; release s;\ncreate view v as select x from {{tables.t}};\nCOMMIT;\n-- the end\n",
		"1_a.down.sql", "start transaction; drop view v; drop table t; end work"},
	"golang-migrate in other words": {"1_a.up.sql", "begin work; create table t (x int); create view v as select x from t; commit transaction;;",
		"1_a.down.sql", "BEGIN TRANSACTION;\ndrop view v; drop table t;\nEND;"},
	"goose":          {"1_a.sql", "-- +goose Up\nBEGIN;\ncreate table t (x int); create view v as select x from t;\nCOMMIT;\n-- +goose Down\nBEGIN;\ndrop view v; drop table t;\nCOMMIT;\n"},
	"goose outside":  {"1_a.sql", "-- +goose NO TRANSACTION\n-- +goose Up\nBEGIN;\ncreate table t (x int); create view v as select x from t;\nCOMMIT;\n-- +goose Down\ndrop view v; drop table t;"},
	"dbmate":         {"1_a.sql", "-- migrate:up\nbegin; create table t (x int); create view v as select x from t; commit;\n-- migrate:down\ndrop view v; drop table t;"},
	"dbmate outside": {"1_a.sql", "-- migrate:up transaction:false\nbegin; create table t (x int); create view v as select x from t; commit;\n-- migrate:down transaction:false\nbegin; drop view v; drop table t; commit;"},
	"tern":           {"1_a.sql", "begin; create table t (x int); create view v as select x from t; commit;\n---- create above / drop below ----\nbegin;\ndrop view v; drop table t;\ncommit;"},
	"tern outside":   {"1_a.sql", "---- tern: disable-tx ----\nbegin; create table t (x int); create view v as select x from t; commit;\n---- create above / drop below ----\ndrop view v; drop table t;"},
}

func TestAFileThatIsOneTransactionRunsInTheMigrationsOwn(t *testing.T) {
	t.Parallel()
	for name, files := range wrappedFiles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			p := d.program(two)
			tg := target(t, "app", "app", files...)
			if tg.Files[0].NoTransaction {
				t.Error("it runs outside a transaction")
			}
			p.up(tg)
			d.want("0 applied", "select (select count(*) from app.v) || ' ' || state from pgdbm.migrations")
			// The table and its record are of one transaction: had the file's COMMIT been sent, they would be of two.
			d.want("true", "select m.xmin = c.xmin from pgdbm.migrations m, pg_class c where c.oid = 'app.t'::regclass")
			if _, err := p.Down(t.Context(), tg, engine.DownOptions{Steps: 1}); err != nil {
				t.Fatal(err)
			}
			d.want("true", "select to_regclass('app.t') is null")
		})
	}
}

func TestAFileThatIsOneTransactionLeavesNothingWhenItFails(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	_, err := d.program().Up(t.Context(), target(t, "app", "app", "1_a.up.sql", "BEGIN;\ncreate table t (x int);\n/* ä */ COMMENT ON TABLE t IS 'ä';  select nothing from t;\nCOMMIT;\n"))
	if err == nil {
		t.Fatal("no error")
	}
	contains(t, err.Error(), "1_a.up.sql:3:44: ", `column "nothing" does not exist`)
	d.want("true", "select to_regclass('app.t') is null")

	_, err = d.program().Up(t.Context(), target(t, "app", "app", "1_a.up.sql", "BEGIN;\ncreate table t (x int primary key deferrable initially deferred);\ninsert into t values (1);\n  insert into nowhere values (1);\nCOMMIT;\n"))
	if err == nil {
		t.Fatal("no error")
	}
	contains(t, err.Error(), "1_a.up.sql:4:15: ")
}

func TestOtherTransactionControlOfOtherToolsFilesIsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{
		{"begin; select 1; commit;\nbegin; select 2; commit;", "2:1: second transaction in a migration, which has one"},
		{"begin; select 1; commit; start transaction; select 2; commit;", "1:26: second transaction"},
		{"begin;\nselect 1;\ncommit;\n  select 2;", "4:3: statement after the COMMIT that ends the migration's transaction"},
		{"begin;\nselect 1;\ncommit;\ncopy t from stdin;\n1\n\\.\n", "4:1: statement after the COMMIT"},
		{"select 1;\nbegin; select 2; commit;", "2:1: BEGIN in a migration"},
		{"select 1;\ncommit;", "2:1: COMMIT in a migration"},
		{"begin;\nselect 1;", "1:1: BEGIN without a COMMIT behind it"},
		{"begin;\nselect 1;\nrollback;", "3:1: ROLLBACK in a migration"},
		{"begin;\nselect 1;\ncommit and chain;", "3:1: COMMIT AND CHAIN in a migration"},
		{"begin;\nselect 1;\nprepare transaction 'x';", "3:1: PREPARE TRANSACTION in a migration"},
		{"begin; begin; select 1; commit;", "1:8: BEGIN in a migration"},
		{"begin isolation level serializable;\nselect 1;\ncommit;", "1:1: BEGIN with ISOLATION LEVEL SERIALIZABLE, which the migration's transaction does not have"},
		{"start transaction read only;\nselect 1;\ncommit;", "1:1: BEGIN with READ ONLY"},
		{"begin; commit;", "1:1: file has no statement"},
		{"begin;\ncreate index concurrently i on t (x);\ncommit;", "2:1: CREATE INDEX CONCURRENTLY cannot run in a transaction"},
		{"-- pgdbm:no-transaction\nbegin;\nselect 1;\ncommit;", "2:1: BEGIN in a migration, whose statements run on their own"},
	} {
		_, err := engine.Load("app", mapFS("001_x.up.sql", test.text))
		if err == nil {
			t.Errorf("%q was accepted", test.text)
			continue
		}
		contains(t, err.Error(), "migrate app/001_x.up.sql:"+test.want)
	}
	_, err := engine.Load("app", mapFS("001_x.sql", "-- +goose Up\nselect 1;\n-- +goose Down\nbegin;\nselect 1;\ncommit;\nselect 2;"))
	if err == nil {
		t.Fatal("a part that reverts was accepted")
	}
	contains(t, err.Error(), "migrate app/001_x.sql:7:1: statement after the COMMIT")
}

// golang-migrate sends a file at once, and one statement alone opens no transaction.
func TestAStatementAloneInGolangMigratesFileMayRunOutsideATransaction(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	tg := target(t, "app", "app", "1_a.up.sql", "create table t (x int);", "1_a.down.sql", "-- nothing\n",
		"2_b.up.sql", "-- an index\ncreate index concurrently i on t (x);", "2_b.down.sql", "DROP INDEX CONCURRENTLY i")
	p.up(tg)
	d.want("true", "select indisvalid from pg_index where indexrelid = 'app.i'::regclass")
	if _, err := p.Down(t.Context(), tg, engine.DownOptions{Steps: 1}); err != nil {
		t.Fatal(err)
	}
	d.want("true", "select to_regclass('app.i') is null")
	if tg.Files[0].Revertible() || !tg.Files[1].Revertible() {
		t.Error("a file without a statement reverts something, or one with a statement nothing")
	}
	for name, text := range map[string]string{
		"1_a.sql":    "create index concurrently i on t (x);",
		"1_a.up.sql": "create index concurrently i on t (x); select 1;",
	} {
		if _, err := engine.Load("app", mapFS(name, text)); err == nil || !strings.Contains(err.Error(), "CREATE INDEX CONCURRENTLY cannot run in a transaction") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Taking BEGIN and COMMIT out of a file that has run is a change of form only.
func TestTheTransactionOfAFileIsNoPartOfItsSemanticHash(t *testing.T) {
	t.Parallel()
	with, without := load(t, "app", "1_a.up.sql", "begin;\nselect 1;\ncommit;")[0], load(t, "app", "1_a.up.sql", "select 1;")[0]
	if with.SemanticHash != without.SemanticHash || with.RawHash == without.RawHash {
		t.Errorf("%+v, %+v", with, without)
	}
}

func FuzzFilesThatAreOneTransactionNeverPanic(f *testing.F) {
	for _, files := range wrappedFiles {
		f.Add(files[1])
	}
	for _, text := range []string{"begin", "begin;commit", ";begin;;commit;;", "begin;\\restrict x\nselect 1;end", "start transaction read only;commit and chain"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{"1_a.up.sql", "1_a.sql"} {
			files, err := engine.Load("app", mapFS(name, text))
			if err == nil && len(files[0].Source) > len(text) {
				t.Errorf("%q became %q", text, files[0].Source)
			}
		}
	})
}
