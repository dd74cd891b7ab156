package engine_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// ladder are three versions that can be reverted, in the three forms.
var ladder = []string{
	"1_a.up.sql", "create table {{tables.a}} ();", "1_a.down.sql", "drop table {{tables.a}};",
	"2_b.sql", "create table b ()\n-- pgdbm:down\ndrop table b;",
	"3_c.sql", outsideHead + "create table c (x int);\ncreate index concurrently i on c (x);\n -- pgdbm:down\n-- pgdbm:no-transaction\ndrop index concurrently i;\ndrop table c;\n",
}

func reverted(res *engine.Result) string {
	var s []string
	for _, f := range res.Reverted {
		s = append(s, f.Version)
	}
	return strings.Join(s, " ")
}

func TestDownRevertsTheNewestVersions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		o        engine.DownOptions
		reverted string
		left     string
	}{
		{engine.DownOptions{}, "3", "a b"},
		{engine.DownOptions{Steps: 2}, "3 2", "a"},
		{engine.DownOptions{Steps: 9}, "3 2 1", ""},
		{engine.DownOptions{To: "2"}, "3", "a b"},
		{engine.DownOptions{To: "3"}, "", "a b c"},
		{engine.DownOptions{To: "0"}, "3 2 1", ""},
		{engine.DownOptions{To: "0", Steps: 2}, "3 2", "a"},
	} {
		d := newDatabase(t)
		p := d.program(two)
		tg := target(t, "app", "app", ladder...)
		p.up(tg)
		res, err := p.Down(t.Context(), tg, test.o)
		if err != nil || reverted(res) != test.reverted {
			t.Errorf("%+v: %q, %v; want %q", test.o, reverted(res), err, test.reverted)
		}
		d.want(test.left, "select coalesce(string_agg(tablename, ' ' order by tablename), '') from pg_tables where schemaname = 'app'")
		p.up(tg)
		d.want("a b c", "select string_agg(tablename, ' ' order by tablename) from pg_tables where schemaname = 'app'")
		d.want("3 3", "select count(*) || ' ' || sum(attempts) from pgdbm.migrations where state = 'applied'")
	}
}

func TestADownThatIsMissingIsKnownBeforeAnythingRuns(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	list := append([]string{"2_b.sql", "create table no_way_back ();"}, ladder[0:4]...)
	list = append(list, ladder[6:]...)
	tg := target(t, "app", "app", list...)
	if !tg.Files[0].Revertible() || tg.Files[1].Revertible() {
		t.Errorf("revertible: %v %v", tg.Files[0].Revertible(), tg.Files[1].Revertible())
	}
	p.up(tg)
	_, err := p.Down(t.Context(), tg, engine.DownOptions{Steps: 3})
	if !errors.Is(err, engine.ErrNoDown) || err.Error() != "migrate app/2_b.sql: version 2: cannot be reverted: it has no down" {
		t.Errorf("got %v", err)
	}
	_, err = p.Redo(t.Context(), tg, 2)
	if !errors.Is(err, engine.ErrNoDown) {
		t.Errorf("got %v", err)
	}
	d.want("3", "select count(*) from pgdbm.migrations where state = 'applied'")

	_, err = p.Down(t.Context(), target(t, "app", "app", ladder[:6]...), engine.DownOptions{Steps: 2})
	if !errors.Is(err, engine.ErrMissing) {
		t.Errorf("no file: %v", err)
	}
	changed := append([]string{}, ladder...)
	changed[7] = strings.Replace(changed[7], "create table c", "create table cc", 1)
	if _, err := p.Down(t.Context(), target(t, "app", "app", changed...), engine.DownOptions{}); !errors.Is(err, engine.ErrChanged) {
		t.Errorf("changed: %v", err)
	}
	if _, err := p.Down(t.Context(), tg, engine.DownOptions{To: "7"}); err == nil || err.Error() != "migrate app: version 7: not recorded" {
		t.Errorf("got %v", err)
	}
	p.MaxConns = 1
	if _, err := p.Down(t.Context(), tg, engine.DownOptions{}); !errors.Is(err, engine.ErrOneConnection) {
		t.Errorf("got %v", err)
	}
	d.want("3", "select count(*) from pgdbm.migrations where state = 'applied'")
}

func TestADownThatFailsLeavesItsVersionApplied(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	tg := target(t, "app", "app", "1_a.sql", "create table a ();\n-- pgdbm:down\ndrop table a;\ndrop table nope;",
		"2_b.sql", "create table b ();\n-- pgdbm:down\ndrop table b;")
	p.up(tg)
	res, err := p.Down(t.Context(), tg, engine.DownOptions{Steps: 2})
	if err == nil || err.Error() != `migrate app/1_a.sql:4:1: ERROR: table "nope" does not exist (SQLSTATE 42P01)` || reverted(res) != "2" {
		t.Errorf("got %v, reverted %q", err, reverted(res))
	}
	d.want("1 applied", "select string_agg(version || ' ' || state, ',') from pgdbm.migrations")
	d.want("a", "select string_agg(tablename, ' ') from pg_tables where schemaname = 'app'")
}

func TestADownOutsideATransactionGoesOnWhereItFailed(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	up := outsideHead + "create table a (x int);\ncreate index concurrently i on a (x);\n-- pgdbm:down\n-- pgdbm:no-transaction\ndrop index concurrently i;\n"
	tg := target(t, "app", "app", "1_a.sql", up+"drop table nope;")
	p.up(tg)
	_, err := p.Down(t.Context(), tg, engine.DownOptions{})
	if err == nil || !strings.HasPrefix(err.Error(), `migrate app/1_a.sql:7:1: ERROR: table "nope"`) {
		t.Fatalf("got %v", err)
	}
	d.want("running down 1 2", "select concat_ws(' ', state, direction, stmt_done, stmt_total) from pgdbm.migrations")
	if _, err := p.Up(t.Context(), tg); !errors.Is(err, engine.ErrInterrupted) {
		t.Errorf("up: %v", err)
	}
	tg = target(t, "app", "app", "1_a.sql", up+"drop table a;")
	if res, err := p.Down(t.Context(), tg, engine.DownOptions{}); err != nil || reverted(res) != "1" {
		t.Fatalf("reverted %q, %v", reverted(res), err)
	}
	d.want("0", "select count(*) from pgdbm.migrations")

	// When the first statement did not happen, nothing has changed.
	tg = target(t, "app", "app", "1_a.sql", up+"drop table a;")
	p.up(tg)
	d.exec("drop index app.i")
	if _, err := p.Down(t.Context(), tg, engine.DownOptions{}); err == nil {
		t.Fatal("no error")
	}
	d.want("applied 2 2 42704", "select concat_ws(' ', state, direction, stmt_done, stmt_total, error_sqlstate) from pgdbm.migrations")
	p.up(tg)
}

func TestSeveralProgramsRevertEachVersionOnce(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	tg := target(t, "app", "app", ladder...)
	d.program(two).up(tg)
	programs := make([]*program, 8)
	for i := range programs {
		programs[i] = d.program(two)
	}
	together(t, 8, func(i int) error {
		_, err := programs[i].Down(t.Context(), tg, engine.DownOptions{To: "1"})
		return err
	})
	d.want("1", "select string_agg(version, ' ') from pgdbm.migrations")
}

func TestRedoRevertsAndAppliesAgain(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	tg := target(t, "app", "app", ladder...)
	p.up(tg)
	more := target(t, "app", "app", append(ladder, "4_d.sql", "create table d ();")...)
	res, err := p.Redo(t.Context(), more, 2)
	if err != nil || reverted(res) != "3 2" || versions(res) != "2 3" {
		t.Errorf("reverted %q, applied %q, %v", reverted(res), versions(res), err)
	}
	d.want("a b c", "select string_agg(tablename, ' ' order by tablename) from pg_tables where schemaname = 'app'")
	if res, err := d.program().Redo(t.Context(), target(t, "other", "other", "1_a.sql", "select 1"), 0); err != nil || versions(res) != "" {
		t.Errorf("nothing to redo: %q, %v", versions(res), err)
	}
}

func TestUpEndsAtTheVersionThatIsGiven(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	tg := target(t, "app", "app", ladder...)
	tg.To = "02"
	plan, err := p.Plan(t.Context(), tg)
	if err != nil || len(plan.Pending) != 2 {
		t.Errorf("plan %+v, %v", plan, err)
	}
	if got := versions(p.up(tg)); got != "1 2" {
		t.Errorf("applied %s", got)
	}
	if got := versions(p.up(tg)); got != "" {
		t.Errorf("applied %s", got)
	}
	tg.To = "9"
	if _, err := p.Up(t.Context(), tg); err == nil || err.Error() != "migrate app: version 9: no file has it" {
		t.Errorf("got %v", err)
	}
}

func TestDownTakesThePrivilegeToDelete(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	role := d.role("nothing")
	quoted := sqltemplate.Quote(role)
	tg := target(t, "app", "app", ladder[:4]...)
	d.program().up(tg)
	d.exec("grant usage, create on schema app to " + quoted + "; grant usage on schema pgdbm to " + quoted +
		"; grant select, insert, update on pgdbm.migrations to " + quoted + "; alter table app.a owner to " + quoted)
	p := d.program(asRole(role))
	_, err := p.Down(t.Context(), tg, engine.DownOptions{})
	var privilege *engine.PrivilegeError
	if !errors.As(err, &privilege) {
		t.Fatalf("got %v", err)
	}
	d.grant(err)
	if _, err := p.Down(t.Context(), tg, engine.DownOptions{}); err != nil {
		t.Error(err)
	}
}

func TestLoadReadsWhatReverts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		list []string
		want string
	}{
		{[]string{"1_a.up.sql", "select 1", "1_b.down.sql", "select 1"}, "migrate app/1_b.down.sql: no file 1_b.up.sql that it would revert"},
		{[]string{"1_a.sql", "select 1", "1_a.down.sql", "select 1"}, "migrate app/1_a.down.sql: no file 1_a.up.sql that it would revert"},
		{[]string{"1_a.up.sql", "select 1;\n-- pgdbm:down\nselect 2;", "1_a.down.sql", "select 1"}, "migrate app/1_a.down.sql: 1_a.up.sql has a part pgdbm:down as well"},
		{[]string{"1_a.up.sql", "select 1;", "1_a.down.sql", "select 1;\n-- pgdbm:down\nselect 1"}, "migrate app/1_a.down.sql: directive pgdbm:down in a file that reverts another"},
		{[]string{"1_a.sql", "select 1;\n-- pgdbm:down\n"}, "migrate app/1_a.sql:1:1: file has no statement"},
		{[]string{"1_a.sql", "-- pgdbm:down\nselect 1;"}, "migrate app/1_a.sql:1:1: file has no statement"},
		{[]string{"1_a.sql", "select 1;\n-- pgdbm:down\nselect 1;\n-- pgdbm:down\n"}, "migrate app/1_a.sql:4:1: second directive pgdbm:down"},
		{[]string{"1_a.sql", "select 1; -- pgdbm:down\nselect 2;"}, "migrate app/1_a.sql:1:11: directive pgdbm:down takes a line of its own"},
		{[]string{"1_a.sql", "select 1;\n-- pgdbm:down all\nselect 2;"}, "migrate app/1_a.sql:2:1: directive pgdbm:down takes a line of its own"},
		{[]string{"1_a.sql", "select 1;\n-- é\n-- pgdbm:down\n  commit;"}, "migrate app/1_a.sql:4:3: COMMIT in a migration, which runs in a transaction of its own"},
	} {
		if _, err := engine.Load("app", mapFS(test.list...)); err == nil || err.Error() != test.want {
			t.Errorf("%q:\ngot  %v\nwant %s", test.list, err, test.want)
		}
	}
	files := load(t, "app", "1_a.sql", "-- pgdbm:no-templates\nselect '{{tables.';\n-- pgdbm:down\nselect '{{tables.';")
	if !files[0].Revertible() {
		t.Error("no down")
	}
	// What reverts may change after the file was applied.
	other := load(t, "app", "1_a.sql", "-- pgdbm:no-templates\nselect '{{tables.';\n")
	if files[0].SemanticHash != other[0].SemanticHash || files[0].RawHash != other[0].RawHash {
		t.Error("the part that reverts counts in the hashes")
	}
}
