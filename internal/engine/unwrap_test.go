package engine_test

import (
	"errors"
	"testing"

	"github.com/pgdbm/pgdbm/internal/engine"
)

func TestATransactionAroundAWholeFileOfGolangMigrateIsTheEngines(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	tgt := target(t, "app", "app",
		"1_a.up.sql", "-- a comment\nBEGIN;\n\ncreate table a ();\n\nCOMMIT;\n-- the end\n", "1_a.down.sql", "begin transaction; drop table a; end;",
		"2_b.up.sql", "start transaction;\ncreate table b ();\ncreate table c ();\ncommit work",
	)
	if got := versions(p.up(tgt)); got != "1 2" {
		t.Errorf("applied %s", got)
	}
	d.want("3", "select count(*)::text from pg_tables where schemaname = 'app'")
	before := tgt.Files[0].SemanticHash
	if bare := load(t, "app", "1_a.up.sql", "create table a ();"); bare[0].SemanticHash != before {
		t.Error("the statements around a file count as its own")
	}
	if _, err := p.Down(t.Context(), tgt, engine.DownOptions{To: "1"}); !errors.Is(err, engine.ErrNoDown) {
		t.Errorf("got %v", err)
	}
	d.exec("drop table app.b, app.c; delete from pgdbm.migrations where version = '2'")
	if res, err := p.Down(t.Context(), tgt, engine.DownOptions{}); err != nil || len(res.Reverted) != 1 {
		t.Errorf("%+v, %v", res, err)
	}
	// Nothing stays of a file that fails, and the place is that in the file.
	_, err := p.Up(t.Context(), target(t, "app", "app", "1_a.up.sql", "BEGIN;\ncreate table x ();\n  select nothing;\nCOMMIT;\n"))
	var e *engine.Error
	if !errors.As(err, &e) || e.Line != 3 || e.Column != 10 {
		t.Errorf("got %v", err)
	}
	d.want("0", "select count(*)::text from pg_tables where schemaname = 'app'")
}

func TestOtherTransactionControlOfAFileIsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	for text, place := range map[string]string{
		"begin; create table a (); commit; begin; create table b (); commit;": "1:27: COMMIT",
		"begin; create table a (); rollback;":                                 "1:1: BEGIN",
		"create table a (); begin; create table b (); commit;":                "1:20: BEGIN",
		"begin; create table a (); commit; create table b ();":                "1:1: BEGIN",
		"begin isolation level serializable; create table a (); commit;":      "1:1: BEGIN",
		"begin; create table a (); commit and chain;":                         "1:1: BEGIN",
		"begin; commit;":             "1:1: BEGIN",
		"create table a (); commit;": "1:20: COMMIT",
		"-- pgdbm:no-transaction\nbegin; create table a (); commit;": "2:1: BEGIN",
	} {
		_, err := engine.Load("app", mapFS("1_a.up.sql", text))
		if err == nil {
			t.Errorf("%s: accepted", text)
			continue
		}
		contains(t, err.Error(), "migrate app/1_a.up.sql:"+place+" in a migration")
	}
	// Our own files begin nothing.
	if _, err := engine.Load("app", mapFS("1_a.sql", "begin; create table a (); commit;")); err == nil {
		t.Error("1_a.sql: accepted")
	}
}
