package pgdbmtest_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pgdbm/pgdbm/pgdbmtest"
)

func TestContentsTellWhatHasComeGoneAndChanged(t *testing.T) {
	t.Parallel()
	shops(t, func(t *testing.T, h handle) {
		pgdbmtest.Load(t, h, fstest.MapFS{
			"people.csv":    text("id,name,born\n1,Ann,2020-01-01\n2,Bob,\n3,Cy,\n"),
			"orders.csv":    text("id,buyer\n1,1\n"),
			"Odd Lines.csv": text("orders_id,\"a \"\"b\"\"\"\n1,x\n1,x\n,x\n"),
		})
		before := pgdbmtest.Capture(t, h)
		before.Unchanged(t)
		mustExec(t, h, `UPDATE {{tables.people}} SET born = NULL, mood = 'sad' WHERE id = 1`)
		mustExec(t, h, `DELETE FROM {{tables.people}} WHERE id = 2`)
		mustExec(t, h, `INSERT INTO {{tables.people}} (id, name, tags) OVERRIDING SYSTEM VALUE VALUES (4, '', '{a}')`)
		mustExec(t, h, `DELETE FROM {{tables."Odd Lines"}} WHERE ctid = (SELECT min(ctid) FROM {{tables."Odd Lines"}})`)
		mustExec(t, h, `INSERT INTO {{tables."Odd Lines"}} VALUES (NULL, 'x')`)
		const want = `- Odd Lines: orders_id="1" a "b"="x"
+ Odd Lines: orders_id=NULL a "b"="x"
~ people: id="1" born="2020-01-01" -> NULL mood="happy" -> "sad"
- people: id="2" name="Bob" born=NULL code=NULL mood="happy" tags=NULL grid=NULL data=NULL raw=NULL key=NULL shout="BOB" boss=NULL mentor=NULL
+ people: id="4" name="" born=NULL code=NULL mood="happy" tags="{a}" grid=NULL data=NULL raw=NULL key=NULL shout="" boss=NULL mentor=NULL`
		if got := before.Diff(t); got != want {
			t.Errorf("diff is\n%s\nnot\n%s", got, want)
		}
		if got := pgdbmtest.Capture(t, h, "orders").Diff(t); got != "" {
			t.Errorf("another table: %s", got)
		}
		mustExec(t, h, `ALTER TABLE {{tables.orders}} ADD more int`)
		if got := before.Diff(t); !strings.Contains(got, "orders: columns are id, buyer, total, more, were id, buyer, total") {
			t.Errorf("diff is\n%s", got)
		}
	})
}

func TestUnchangedFailsTheTestWithTheDifference(t *testing.T) {
	t.Parallel()
	db := pgdbmtest.Tx(t, diary)
	log := record(t).run(func(tb testing.TB) {
		before := pgdbmtest.Capture(tb, db, "notes")
		mustExec(t, db, `INSERT INTO {{tables.notes}} SELECT n, repeat('x', 1000) FROM generate_series(1, 60) n`)
		before.Unchanged(tb)
	})
	for _, want := range []string{"tables have changed:\n+ notes: id=\"1\" text=\"xxx", "... (1000 characters)", "and 10 more"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
	if len(log) > 10_000 {
		t.Errorf("%d bytes", len(log))
	}
	log = record(t).run(func(tb testing.TB) { pgdbmtest.Capture(tb, db, "nothing") })
	if !strings.Contains(log, `capture: table "nothing" in schema "diary": no such table`) {
		t.Errorf("log: %s", log)
	}
}

// json.dumps refuses them, and sets have a row once.
func TestPythonBugSnapshotsOfDatesAndDuplicates(t *testing.T) {
	t.Parallel()
	db := pgdbmtest.Tx(t, shop)
	mustExec(t, db, `INSERT INTO {{tables.people}} (name, born, key, raw, data) VALUES ('Ann', '2020-01-01', '6ba7b810-9dad-11d1-80b4-00c04fd430c8', '\xff', '{"b": 1}')`)
	mustExec(t, db, `INSERT INTO {{tables."Odd Lines"}} VALUES (NULL, 'x'), (NULL, 'x')`)
	before := pgdbmtest.Capture(t, db)
	before.Unchanged(t)
	mustExec(t, db, `INSERT INTO {{tables."Odd Lines"}} VALUES (NULL, 'x')`)
	if got := before.Diff(t); got != `+ Odd Lines: orders_id=NULL a "b"="x"` {
		t.Errorf("diff is %q", got)
	}
}
