package migrate_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
)

func TestAdoptRefusesWhatDoesNotGoTogether(t *testing.T) {
	t.Parallel()
	const goose = `CREATE TABLE public.goose_db_version (id serial PRIMARY KEY, version_id bigint NOT NULL, is_applied boolean NOT NULL, tstamp timestamp DEFAULT now());
		INSERT INTO public.goose_db_version (version_id, is_applied) VALUES (0, true), `
	const golang = `CREATE TABLE app.schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); INSERT INTO app.schema_migrations VALUES `
	for _, test := range []struct {
		name, tables string
		options      *migrate.AdoptOptions
		want         string
		unlike       bool // ErrHistory
	}{
		{"no table", ``, nil, "migrate app: no history of another tool: no table goose_db_version, schema_migrations, schema_version in schema app or public", false},
		{"no table of the tool", ``, &migrate.AdoptOptions{From: migrate.Dbmate}, "no history of dbmate: no table schema_migrations in schema app or public", false},
		{"no schema", `DROP SCHEMA app`, nil, `schema "app" does not exist`, false},
		{"a version without a file", goose + `(1, true), (4, true)`, nil, "goose's table public.goose_db_version: history does not match the files: 4 is recorded and has no file", true},
		{"a gap", goose + `(2, true)`, nil, "1_a.sql is not recorded, and a later one is", true},
		{"one taken back", goose + `(1, true), (2, true), (1, false)`, nil, "1_a.sql is not recorded, and a later one is", true},
		{"nothing applied", goose + `(1, true), (1, false)`, nil, "nothing is recorded", true},
		{"dirty", golang + `(2, true)`, nil, "golang-migrate's table app.schema_migrations: history does not match the files: version 2 is dirty", true},
		{"two histories", golang + `(2, false);` + goose + `(1, true)`, nil, "several histories, of which one is to be named: golang-migrate's table app.schema_migrations, goose's table public.goose_db_version", false},
		{"another tool's table", golang + `(2, false)`, &migrate.AdoptOptions{From: migrate.Dbmate}, "no history of dbmate: found is golang-migrate's table app.schema_migrations", false},
		{"another tool's table of another name", goose + `(1, true)`, &migrate.AdoptOptions{From: migrate.Dbmate}, "no history of dbmate: found is goose's table public.goose_db_version", false},
		{"another tool's table beside an unknown one", goose + `(1, true); CREATE TABLE app.schema_migrations (id uuid)`, &migrate.AdoptOptions{From: migrate.Dbmate},
			"no history of dbmate: found is app.schema_migrations, with the columns of no known tool, goose's table public.goose_db_version", false},
		{"an unknown table", `CREATE TABLE app.schema_version (id uuid)`, nil, "no history of another tool: found is app.schema_version, with the columns of no known tool", false},
		{"an unknown tool", goose + `(1, true)`, &migrate.AdoptOptions{From: "flyway"}, `unknown tool "flyway"; known are goose, golang-migrate`, false},
		{"a table that is not there", goose + `(1, true)`, &migrate.AdoptOptions{Table: "other.versions"}, "no table versions in schema other", false},
		{"another module's Python", `CREATE TABLE app.schema_migrations (filename varchar(255), checksum varchar(64), module_name varchar(100));
			INSERT INTO app.schema_migrations VALUES ('1_a.sql', '', 'other')`, nil, "pgdbm-python's table app.schema_migrations: history does not match the files: nothing is recorded", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db := handle(t, "app")
			m := pgdbm.Module{Name: "app", Files: files("1_a.sql", createA, "2_b.sql", createB)}
			for _, sql := range []string{`CREATE SCHEMA app`, test.tables} {
				if _, err := db.Pool().Pgx().Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			for _, dry := range []bool{true, false} {
				var o migrate.AdoptOptions
				if test.options != nil {
					o = *test.options
				}
				o.DryRun = dry
				res, err := migrate.Adopt(t.Context(), db, m, &o)
				if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, migrate.ErrHistory) != test.unlike {
					t.Errorf("got %+v, %v", res, err)
				}
			}
			if history, err := migrate.History(t.Context(), db, m, nil); err != nil || len(history) > 0 {
				t.Errorf("recorded: %+v, %v", history, err)
			}
		})
	}
}

func TestAdoptTakesATableOfAnotherName(t *testing.T) {
	t.Parallel()
	db := handle(t, "app")
	m := pgdbm.Module{Name: "app", Files: files("1_a.sql", createA, "2_b.sql", createB)}
	for _, sql := range []string{`CREATE SCHEMA app`, `CREATE SCHEMA "Old"`, `CREATE TABLE "Old"."Versions" (version integer)`, `INSERT INTO "Old"."Versions" VALUES (1)`} {
		if _, err := db.Pool().Pgx().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	res, err := migrate.Adopt(t.Context(), db, m, &migrate.AdoptOptions{Table: "Old.Versions"})
	if err != nil || res.From != migrate.Tern || res.Table != `"Old"."Versions"` || len(res.Recorded) != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	status, err := migrate.Status(t.Context(), db, m, nil)
	if err != nil || status.Versions[0].State != migrate.Baselined || status.Versions[1].State != migrate.Pending {
		t.Errorf("%+v, %v", status, err)
	}
}

func TestAHistoryIsAdoptedOnceByAllWhoDoItAtOnce(t *testing.T) {
	t.Parallel()
	db := handle(t, "app")
	m := pgdbm.Module{Name: "app", Files: files("1_a.sql", createA, "2_b.sql", createB)}
	for _, sql := range []string{`CREATE SCHEMA app`, `CREATE TABLE app.schema_migrations (version varchar(128) PRIMARY KEY)`,
		`INSERT INTO app.schema_migrations VALUES ('001'), ('2')`} {
		if _, err := db.Pool().Pgx().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	recorded := 0
	for range 6 {
		wait.Go(func() {
			res, err := migrate.Adopt(t.Context(), db, m, nil)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			recorded += len(res.Recorded)
		})
	}
	wait.Wait()
	if recorded != 2 {
		t.Errorf("%d recorded", recorded)
	}
}
