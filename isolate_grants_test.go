package pgdbm_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// A view works with its owner's rights on what is under it.
func TestARoleWritesNoOthersTablesThroughAView(t *testing.T) {
	asLogins(t, func(t *testing.T, url string) {
		pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 4, Isolate: true})
		shared := mustAttach(t, pool, pgdbm.Module{Name: "shared", Files: notesModule.Files})
		mustExec(t, shared, `INSERT INTO {{tables.notes}} (text) VALUES ('kept')`)
		files := fstest.MapFS{"001_x.sql": {Data: []byte(`CREATE TABLE {{tables.mine}} (id int, text text);
			CREATE VIEW {{tables.theirs}} AS SELECT id, text FROM {{tables.shared.notes}};
			CREATE VIEW {{tables.own}} AS SELECT * FROM {{tables.mine}}`)}}
		module := pgdbm.Module{Name: "reads", Files: files, Requires: []string{"shared"}}
		check := func(db pgdbm.Querier, views ...string) {
			t.Helper()
			for _, view := range views {
				if n := value[int](t, db, `SELECT count(*) FROM `+view+` WHERE text = 'kept'`); n != 1 {
					t.Errorf("%s: %d rows", view, n)
				}
				for _, sql := range []string{`UPDATE ` + view + ` SET text = 'x'`, `DELETE FROM ` + view, `INSERT INTO ` + view + ` (text) VALUES ('x')`} {
					_, err := db.Exec(t.Context(), sql)
					wantState(t, err, "42501")
				}
			}
			mustExec(t, db, `INSERT INTO {{tables.own}} VALUES (1, 'x')`)
		}
		for range 2 {
			check(mustAttach(t, pool, module), "{{tables.theirs}}")
		}
		// One that a later migration adds, on a view that is there already.
		files["002_more.sql"] = &fstest.MapFile{Data: []byte(`CREATE VIEW {{tables.more}} AS SELECT * FROM {{tables.theirs}} WHERE text <> ''`)}
		check(mustAttach(t, pool, module), "{{tables.theirs}}", "{{tables.more}}")
		if got := value[string](t, shared, `SELECT string_agg(text, ',') FROM {{tables.notes}}`); got != "kept" {
			t.Errorf("the required module has %q", got)
		}
	})
}

func TestARuleThatWritesWhatTheModuleRequiresIsRefused(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 4, Isolate: true})
	mustAttach(t, pool, pgdbm.Module{Name: "shared", Files: notesModule.Files})
	m := pgdbm.Module{Name: "reads", Requires: []string{"shared"}, Files: fstest.MapFS{"001_x.sql": {Data: []byte(
		`CREATE TABLE {{tables.mine}} (id int); CREATE RULE r AS ON INSERT TO {{tables.mine}} DO ALSO DELETE FROM {{tables.shared.notes}}`)}}}
	if _, err := pgdbm.Attach(t.Context(), pool, m); !errors.Is(err, pgdbm.ErrEscape) {
		t.Errorf("got %v", err)
	}
}

func TestAnIsolatedSchemasSequencesCanBeSet(t *testing.T) {
	asLogins(t, func(t *testing.T, url string) {
		pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 2})
		db := isolated(t, pool, "a")[0]
		if got := value[int](t, db, `SELECT setval('a.notes_id_seq', 100)`); got != 100 {
			t.Errorf("%d", got)
		}
	})
}

// Each login that makes tables has default privileges of its own.
func TestIsolateGrantsAlsoWhatAnotherLoginMakesLater(t *testing.T) {
	t.Parallel()
	admin, login := testdb.Login(t, "CREATEROLE NOINHERIT")
	first := openPool(t, pgdbm.Config{URL: login, MaxConns: 2})
	a := isolated(t, first, "a")[0]
	second := openPool(t, pgdbm.Config{URL: admin, MaxConns: 2})
	for range 2 {
		db, err := second.Isolate(t.Context(), pgdbm.HandleConfig{Schema: "a"})
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, mustSchema(t, second, "a"), `DROP TABLE IF EXISTS {{tables.later}}; CREATE TABLE {{tables.later}} (id int)`)
		mustExec(t, db, `INSERT INTO {{tables.later}} VALUES (1)`)
		mustExec(t, a, `SELECT FROM {{tables.later}}`)
	}
}

func TestIsolateGrantsAgainWhatWasRevoked(t *testing.T) {
	t.Parallel()
	admin, _ := testdb.Login(t, "")
	pool := openPool(t, pgdbm.Config{URL: admin, MaxConns: 2})
	db := isolated(t, pool, "a")[0]
	plain := mustSchema(t, pool, "a")
	role := roleOf(t, admin, "a")
	for _, lost := range []string{`REVOKE DELETE ON a.notes FROM "` + role + `"`, `REVOKE UPDATE ON SEQUENCE a.notes_id_seq FROM "` + role + `"`,
		`REVOKE EXECUTE ON FUNCTION a.count() FROM PUBLIC, "` + role + `"`} {
		mustExec(t, plain, lost)
		if _, err := pool.Isolate(t.Context(), pgdbm.HandleConfig{Schema: "a"}); err != nil {
			t.Fatal(err)
		}
		mustExec(t, db, `SELECT {{functions.count}}(), setval('a.notes_id_seq', 9)`)
		mustExec(t, db, `DELETE FROM {{tables.notes}}`)
	}
}

// A copy of a schema brings the privileges of the first one's role along.
func TestIsolateTakesFromOtherSchemasRolesWhatTheyMayDo(t *testing.T) {
	asLogins(t, func(t *testing.T, url string) {
		pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 2})
		dbs := isolated(t, pool, "a", "b")
		plain := mustSchema(t, pool, "b")
		var role string
		if err := dbs[0].QueryRow(t.Context(), `SELECT current_user`).Scan(&role); err != nil {
			t.Fatal(err)
		}
		mustExec(t, plain, strings.ReplaceAll(`GRANT USAGE ON SCHEMA b TO r; GRANT ALL ON ALL TABLES IN SCHEMA b TO r; GRANT ALL ON ALL SEQUENCES IN SCHEMA b TO r;
			ALTER DEFAULT PRIVILEGES IN SCHEMA b GRANT SELECT ON TABLES TO r`, "TO r", `TO "`+role+`"`))
		mustExec(t, dbs[0], `SELECT FROM b.notes`)
		if _, err := pool.Isolate(t.Context(), pgdbm.HandleConfig{Schema: "b"}); err != nil {
			t.Fatal(err)
		}
		_, err := dbs[0].Exec(t.Context(), `SELECT FROM b.notes`)
		wantState(t, err, "42501")
		mustExec(t, plain, `CREATE TABLE b.later (id int); GRANT USAGE ON SCHEMA b TO "`+role+`"`)
		_, err = dbs[0].Exec(t.Context(), `SELECT FROM b.later`)
		wantState(t, err, "42501")
		mustExec(t, dbs[1], `SELECT FROM b.notes, b.later`)
	})
}
