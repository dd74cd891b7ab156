package engine_test

import (
	"testing"

	"github.com/pgdbm/pgdbm/internal/engine"
)

func TestFilesOfOtherToolsAreReadAsTheyAre(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"goose": "-- a title\n-- +goose Up\n-- +goose StatementBegin\ncreate function f() returns text language plpgsql as $$ begin return '{{x}}'; end $$;\n" +
			"-- +goose StatementEnd\ncreate table t (x int);\n\n-- +goose Down\n-- down\ndrop table t;\n-- +goose StatementBegin\ndrop function f();\n-- +goose StatementEnd\n",
		"goose without a down": "-- +goose Up\ncreate function f() returns text language sql as $$ select '{{x}}' $$; create table t (x int);\n-- +goose Down\n-- nothing\n",
		"goose outside":        "-- +goose NO TRANSACTION\n-- +goose Up\ncreate function f() returns text language sql as $$ select '{{x}}' $$; create table t (x int); create index concurrently i on t (x);\n-- +goose Down\ndrop index concurrently i; drop table t; drop function f();",
		"dbmate":               "-- migrate:up\ncreate function f() returns text language sql as $$ select '{{x}}' $$;\ncreate table t (x int);\n-- migrate:down\ndrop table t; drop function f();",
		"dbmate outside":       "--migrate:up transaction:false\ncreate function f() returns text language sql as $$ select '{{x}}' $$; create table t (x int);\ncreate index concurrently i on t (x);\n-- migrate:down  transaction:false\ndrop index concurrently i; drop table t; drop function f();",
		"tern":                 "create function f() returns text language sql as $$ select '{' || '{x}}' $$; create table t (x int);\n---- create above / drop below ----\ndrop table t; drop function f();\n",
		"tern outside":         "---- tern: disable-tx ----\ncreate function f() returns text language sql as $$ select '{' || '{x}}' $$; create table t (x int); create index concurrently i on t (x);\n---- create above / drop below ----\ndrop index concurrently i; drop table t; drop function f();\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t)
			p := d.program(two)
			tg := target(t, "app", "app", "00001_first.sql", text)
			p.up(tg)
			d.want("{{x}} 0", "select app.f() || ' ' || count(*) from app.t")
			d.want("applied", "select state from pgdbm.migrations")
			if name == "goose without a down" {
				return
			}
			if _, err := p.Down(t.Context(), tg, engine.DownOptions{Steps: 1}); err != nil {
				t.Fatal(err)
			}
			d.want("true true", "select (to_regclass('app.t') is null) || ' ' || (to_regproc('app.f') is null)")
		})
	}
}

func TestFilesOfOtherToolsAreRefusedWhereTheyCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{
		{"-- +goose Up\nselect 1;\n-- +goose ENVSUB ON\nselect '${X}';", `3:1: goose's "-- +goose ENVSUB ON" is not supported`},
		{"-- +goose up\nselect 1;", `1:1: goose's "-- +goose up" is not supported`},
		{"-- +goose Up\nselect 1;\n-- +goose Up\nselect 1;", "3:1: second -- +goose Up"},
		{"-- +goose Up\nselect 1;\n-- +goose Down\n-- +goose Down", "4:1: second -- +goose Down"},
		{"-- +goose Down\nselect 1;", "1:1: file has marks of goose and none of them begins the part that is to run"},
		{"-- +goose Down\nselect 1;\n-- +goose Up\nselect 2;", "3:1: second -- +goose Up"},
		{"select 1;\n-- +goose Up\nselect 1;", "1:1: statement before the part that is to run"},
		{"-- +goose Up\n-- +goose Down\nselect 1;", "1:1: file has no statement"},
		{"-- +goose Up\ncreate index concurrently i on t (x);", "2:1: CREATE INDEX CONCURRENTLY cannot run in a transaction"},
		{"-- +goose Up\nselect 1;\n-- +goose Down\n\nbegin;", "5:1: BEGIN without a COMMIT behind it"},
		{"-- +goose Up\nselect 1;\n-- pgdbm:down\nselect 2;", `3:1: unknown directive "pgdbm:down"`},
		{"-- migrate:up transaction:no\nselect 1;", `1:1: dbmate's "-- migrate:up transaction:no" is not supported`},
		{"-- migrate:up\nselect 1;\n-- migrate:sideways\nselect 1;", "3:1: dbmate's"},
		{"select 1;\n\nselect {{ .x }};\n---- create above / drop below ----\nselect 2;", "3:8: template of tern, which is not supported"},
		{"select 1;\n---- create above / drop below ----\n{{ template \"x\" . }}", "3:1: template of tern, which is not supported"},
		{"-- +migrate Up\nselect 1;", "1:1: file is in the format of sql-migrate, which is not supported"},
	} {
		_, err := engine.Load("app", mapFS("001_x.sql", test.text))
		if err == nil {
			t.Errorf("%q was accepted", test.text)
			continue
		}
		contains(t, err.Error(), "migrate app/001_x.sql:"+test.want)
	}
}

func TestHowAForeignFileIsReadIsPartOfItsHash(t *testing.T) {
	t.Parallel()
	hashes := map[string]bool{}
	for _, text := range []string{"select 1;", "-- +goose Up\nselect 1;", "-- +goose Up\n-- +goose NO TRANSACTION\nselect 1;", "-- migrate:up\nselect 1;"} {
		hashes[load(t, "app", "1_a.sql", text)[0].SemanticHash] = true
	}
	if len(hashes) != 4 {
		t.Errorf("%d hashes", len(hashes))
	}
}

func FuzzForeignFilesNeverPanic(f *testing.F) {
	for _, text := range []string{"-- +goose Up\nselect 1;\n-- +goose Down\nselect 2;", "-- migrate:up\n$$\n-- migrate:down", "---- create above / drop below ----\n{{"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		files, err := engine.Load("app", mapFS("1_a.sql", text))
		if err == nil && len(files) != 1 {
			t.Errorf("%d files", len(files))
		}
	})
}
