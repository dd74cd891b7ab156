package engine_test

import (
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pgdbm/pgdbm/internal/engine"
)

func names(files []*engine.File) string {
	var s []string
	for _, f := range files {
		s = append(s, f.Version+"="+f.Name)
	}
	return strings.Join(s, " ")
}

func TestLoadOrdersVersionsAsNumbers(t *testing.T) {
	t.Parallel()
	files := load(t, "app", "10_a.sql", "select 1", "1_z.sql", "select 1", "2_b.sql", "select 1",
		"V9__v.sql", "select 1", "20260101120000_stamp.sql", "select 1", "000_zero.sql", "select 1")
	want := "0=000_zero.sql 1=1_z.sql 2=2_b.sql 9=V9__v.sql 10=10_a.sql 20260101120000=20260101120000_stamp.sql"
	if got := names(files); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLoadFindsTheFolderThatHoldsTheFiles(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		paths []string
		want  string // names, or the error when it begins with "migrate"
	}{
		{"root", []string{"001_a.sql", "README.md"}, "1=001_a.sql"},
		{"root before folders", []string{"001_a.sql", "more/002_b.sql"}, "1=001_a.sql"},
		{"only folder", []string{"migrations/001_a.sql", "docs/x.md", "embed.go"}, "1=001_a.sql"},
		{"hidden files and folders", []string{"migrations/001_a.sql", ".git/003_c.sql", "migrations/._001_a.sql"}, "1=001_a.sql"},
		{"two folders", []string{"a/001_a.sql", "b/001_a.sql"}, "migrate app: folders a and b both hold *.sql files, the root holds none"},
		{"none", []string{"README.md"}, "migrate app: no *.sql file in the root or in a folder of it"},
		{"too deep", []string{"a/b/001_a.sql"}, "migrate app: no *.sql file in the root or in a folder of it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := make(fstest.MapFS)
			for _, p := range test.paths {
				m[p] = &fstest.MapFile{Data: []byte("select 1")}
			}
			files, err := engine.Load("app", m)
			got := names(files)
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestLoadRefusesNamesOfNoKnownForm(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"init.sql", "001.sql", "001-x.sql", "1_.sql", "1__.sql", "V1_x.sql", "v1__x.sql", "V1__.sql", "V1.1__x.sql",
		"V1_1__x.sql", "R_view.sql", "R__.sql", "r__view.sql", "R__a view.sql", "R__a,b.sql", "R__v.up.sql", "U1__x.sql", "B1__x.sql", "001_x.SQL", "001_x.Up.sql", "001_x.DOWN.sql", "001_x.undo.sql", "002_x.down.sql",
		"-1_x.sql", "+1_x.sql", " 1_x.sql", "1a_x.sql", "٣_x.sql", "1_a\nb.sql", "x_001.sql",
	} {
		_, err := engine.Load("app", mapFS("001_ok.sql", "select 1", name, "select 1"))
		if err == nil {
			t.Errorf("%q was accepted", name)
			continue
		}
		var e *engine.Error
		if !errors.As(err, &e) || e.File != name || e.Module != "app" {
			t.Errorf("%q: got %#v", name, err)
		}
	}
	_, err := engine.Load("app", mapFS("first.sql", "select 1"))
	want := "migrate app/first.sql: name is none of 001_x.sql, 001_x.up.sql, V1__x.sql, 20060102150405_x.sql, R__x.sql"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLoadRefusesVersionsThatOverflow(t *testing.T) {
	t.Parallel()
	files := load(t, "app", "9223372036853727230_x.sql", "select 1")
	if files[0].Version != "9223372036853727230" {
		t.Errorf("got version %s", files[0].Version)
	}
	_, err := engine.Load("app", mapFS("9223372036854775808_x.sql", "select 1"))
	want := "migrate app/9223372036854775808_x.sql: version 9223372036854775808 is higher than 9223372036853727230"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLoadNamesBothFilesOfOneVersion(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"001_a.sql", "1_b.sql"}, {"001_a.sql", "001_b.sql"}, {"V1__c.sql", "0001_a.sql"}} {
		_, err := engine.Load("app", mapFS(pair[0], "select 1", pair[1], "select 1"))
		if err == nil {
			t.Fatalf("%v: accepted", pair)
		}
		contains(t, err.Error(), pair[0], pair[1], "version 1 ")
	}
}

func TestLoadRefusesWhatCannotRunInItsTransaction(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{
		{"create table t ();\nbegin;", "2:1: BEGIN in a migration, which runs in a transaction of its own"},
		{"select 1;\n  -- why\n  COMMIT;", "3:3: COMMIT in a migration"},
		{"/* x */ start transaction;", "1:9: START TRANSACTION in a migration"},
		{"end", "1:1: END in a migration"},
		{"abort;", "1:1: ABORT in a migration"},
		{"rollback;", "1:1: ROLLBACK in a migration"},
		{"rollback work;", "1:1: ROLLBACK in a migration"},
		{"rollback and chain;", "1:1: ROLLBACK in a migration"},
		{"rollback prepared 'x';", "1:1: ROLLBACK in a migration"},
		{"commit and chain;", "1:1: COMMIT in a migration"},
		{"commit prepared 'x';", "1:1: COMMIT in a migration"},
		{"prepare transaction 'x';", "1:1: PREPARE TRANSACTION in a migration"},
		{"begin isolation level serializable; select 1; commit;", "1:1: BEGIN in a migration"},
		{"create index concurrently i on t (x);", "1:1: CREATE INDEX CONCURRENTLY cannot run in a transaction, and the file has no directive pgdbm:no-transaction"},
		{"create unique index concurrently if not exists i on t (x);", "1:1: CREATE INDEX CONCURRENTLY cannot"},
		{"drop index concurrently i;", "1:1: DROP INDEX CONCURRENTLY cannot"},
		{"reindex index concurrently i;", "1:1: REINDEX CONCURRENTLY cannot"},
		{"reindex (concurrently) table t;", "1:1: REINDEX CONCURRENTLY cannot"},
		{"reindex (verbose) database d;", "1:1: REINDEX DATABASE cannot"},
		{"reindex schema s;", "1:1: REINDEX SCHEMA cannot"},
		{"vacuum;", "1:1: VACUUM cannot"},
		{"vacuum (analyze) t;", "1:1: VACUUM cannot"},
		{"create database d;", "1:1: CREATE DATABASE cannot"},
		{"drop database d;", "1:1: DROP DATABASE cannot"},
		{"create tablespace s location '/x';", "1:1: CREATE TABLESPACE cannot"},
		{"drop tablespace s;", "1:1: DROP TABLESPACE cannot"},
		{"alter system set work_mem = '1MB';", "1:1: ALTER SYSTEM cannot"},
		{"alter database d set tablespace s;", "1:1: ALTER DATABASE SET TABLESPACE cannot"},
		{"alter table t detach partition p concurrently;", "1:1: DETACH PARTITION CONCURRENTLY cannot"},
		{"cluster;", "1:1: CLUSTER cannot"},
		{"cluster verbose;", "1:1: CLUSTER cannot"},
		{"cluster (verbose)", "1:1: CLUSTER cannot"},
		{"discard all;", "1:1: DISCARD ALL cannot"},
		{"create subscription s connection '' publication p;", "1:1: CREATE SUBSCRIPTION cannot"},
		{"select 1;\n-- pgdbm:no-transaction\nselect 1;", "2:1: directive pgdbm:no-transaction after the first statement"},
		{"-- pgdbm:no-transaction\nbegin;\nselect 1;\ncommit;", "2:1: BEGIN in a migration, whose statements run on their own"},
		{"-- pgdbm:no-transaction\nset local lock_timeout = '1s';", "2:1: SET LOCAL outside a transaction, where it has no effect"},
		{"-- pgdbm:no-transaction\ncreate index concurrently on t (x);", "2:1: CREATE INDEX CONCURRENTLY without a name"},
		{"-- pgdbm:no-transaction\ncreate unique index concurrently if not exists on t (x);", "2:1: CREATE INDEX CONCURRENTLY without a name"},
		{"-- pgdbm:no-transaction\ncreate index concurrently if not exists U&\"i\" on t (x);", "2:1: CREATE INDEX CONCURRENTLY with a name in U&"},
		{"-- pgdbm:no-transaction\nselect 1;\ndiscard all;", "3:1: DISCARD in a file outside a transaction"},
		{"-- pgdbm:no-transaction\ncreate local temporary table t ();", "2:1: temporary object in a file outside a transaction"},
		{"-- pgdbm:no-transaction\nselect 1;\n\\gexec\n", `3:1: psql's meta-command \gexec`},
		{"-- pgdbm:lock-timeout\nselect 1;", `1:1: directive pgdbm:lock-timeout: "" is no time such as 500ms, 2s, 5min or 1h`},
		{"-- pgdbm:lock-timeout 5\nselect 1;", `directive pgdbm:lock-timeout: "5" is no time`},
		{"-- pgdbm:statement-timeout 999999h\nselect 1;", "is more than 596h31m23.647s"},
		{"select 1;\n-- pgdbm:statement-timeout 5min", "2:1: directive pgdbm:statement-timeout after the first statement"},
		{"-- pgdbm:no-transactions\nselect 1;", `unknown directive "pgdbm:no-transactions"`},
		{"select 1;\ncreate extension pgcrypto;", "2:1: CREATE EXTENSION without SCHEMA"},
		{"create extension if not exists pgcrypto with version '1.3' cascade;", "1:1: CREATE EXTENSION without SCHEMA"},
		{"select 1;\n\\connect other\n", `2:1: psql's meta-command \connect is not SQL`},
		{"select 1 \\gexec\n", `psql's meta-command \gexec`},
		{"", "1:1: file has no statement"},
		{" \n-- nothing yet\n;;", "file has no statement"},
		{"select 1;\x00", "1:10: byte 0x00 is not text in UTF-8"},
		{"select '\xff';", "1:9: byte 0xff is not text in UTF-8"},
		{"select 'open", "1:8: "},
		{"create table {{tables.bad-name}} ();", "1:"},
		{"select 1;\n-- pgdbm down\nselect 2;", "2:1: comment is no directive: what was meant is -- pgdbm:down"},
		{"select 1;\n/* pgdbm:down */\nselect 2;", "2:1: comment is no directive: what was meant is -- pgdbm:down"},
		{"select 1;\n--- PGDBM:DOWN\nselect 2;", "2:1: comment is no directive: what was meant is -- pgdbm:down"},
		{"select 1;\n  -- Down:\nselect 2;", "2:3: comment is no directive: what was meant is -- pgdbm:down"},
		{"select 1;\n-- migrate down\nselect 2;", "2:1: comment is no directive: what was meant is -- pgdbm:down"},
		{"/* pgdbm:lock-timeout 5s */ select 1;", "1:1: comment is no directive: what was meant is -- pgdbm:lock-timeout 5s"},
		{"-- +migrate Up\nselect 1;", "1:1: file is in the format of sql-migrate"},
	} {
		_, err := engine.Load("app", mapFS("001_x.sql", test.text))
		if err == nil {
			t.Errorf("%q was accepted", test.text)
			continue
		}
		contains(t, err.Error(), test.want, "migrate app/001_x.sql:")
	}
}

func TestLoadAcceptsWhatOnlyLooksLikeTransactionControlOrADirective(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"savepoint s; rollback to s; rollback work to savepoint s; rollback transaction to s; release s;",
		"create function f() returns int language plpgsql as $$ begin return 1; end $$;",
		"create function f() returns int begin atomic select 1; select 2; end; select 3;",
		"do $$ begin perform 1; end $$;",
		"insert into t values ('begin; commit; rollback');",
		"-- begin\n/* commit; */ select 1;",
		"create table \"begin\" (\"commit\" int);",
		"prepare p as select 1;",
		"create index i on t (concurrently);",
		"create rule r as on delete to t do also (select 1; select 2);",
		"cluster t using i;", "cluster verbose t;",
		"reindex table t;",
		"create extension pgcrypto schema public;",
		"alter database d set work_mem = '1MB';",
		"insert into notes values ('-- pgdbm:no-transaction'), ('\\connect x');",
		"refresh materialized view concurrently v;",
		"\\restrict abc\nselect 1;\n\\unrestrict abc\n",
		"-- pgdbm:no-templates\nselect '{{';",
		"-- down\nselect 1;",
		"select 1; -- scale it down\n-- pgdbm downs nothing\n-- see pgdbm:down\nselect '-- pgdbm down';",
		"--pgdbm: lock-timeout 5s\nselect 1;",
	} {
		if _, err := engine.Load("app", mapFS("001_x.sql", text)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestLoadReportsAFileSystemThatFails(t *testing.T) {
	t.Parallel()
	_, err := engine.Load("app", brokenFS{})
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

type brokenFS struct{}

func (brokenFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}

func FuzzFileNamesAreParsedOrRefused(f *testing.F) {
	for _, name := range []string{"001_x.sql", "V1__x.sql", "20260101120000_x.sql", "1__.sql", "9223372036854775808_x.sql", "x.sql"} {
		f.Add(name)
	}
	form := regexp.MustCompile(`^V?0*([0-9]+)_`)
	f.Fuzz(func(t *testing.T, name string) {
		n, err := engine.ParseName(name)
		if err != nil {
			return
		}
		match := form.FindStringSubmatch(name)
		if n < 0 || match == nil || !strings.HasSuffix(name, ".sql") {
			t.Fatalf("%q was read as version %d", name, n)
		}
	})
}
