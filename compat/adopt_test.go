package compat_test

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"

	gomigrate "github.com/golang-migrate/migrate/v4"
	gomigratepgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // "pgx" of database/sql
	"github.com/jackc/tern/v2/migrate"
	"github.com/pressly/goose/v3"

	"github.com/pgdbm/pgdbm"
	pgdbmmigrate "github.com/pgdbm/pgdbm/migrate"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

// A tool migrates a database with its own files.
type tool struct {
	table string
	files map[string]string // the last one comes after the adoption
	last  string
	run   func(ctx context.Context, url string, files fs.FS) error
}

var tools = map[pgdbmmigrate.Tool]tool{
	pgdbmmigrate.Goose: {
		table: "goose_db_version",
		files: map[string]string{
			"00001_a.sql": "-- +goose Up\n-- +goose StatementBegin\nCREATE TABLE a (x int);\n-- +goose StatementEnd\n-- +goose Down\nDROP TABLE a;",
			"00002_b.sql": "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE INDEX CONCURRENTLY i ON a (x);\n-- +goose Down\nDROP INDEX i;",
			"00003_c.sql": "-- +goose Up\nCREATE TABLE c (x text DEFAULT '{{x}}');\n-- +goose Down\nDROP TABLE c;",
		},
		last: "00003_c.sql",
		run: func(ctx context.Context, url string, files fs.FS) error {
			db, err := sql.Open("pgx", url)
			if err != nil {
				return err
			}
			defer db.Close()
			p, err := goose.NewProvider(goose.DialectPostgres, db, files)
			if err != nil {
				return err
			}
			_, err = p.Up(ctx)
			return err
		},
	},
	pgdbmmigrate.GolangMigrate: {
		table: "schema_migrations",
		files: map[string]string{
			"1_a.up.sql": "BEGIN;\n\nCREATE TABLE a (x int);\n\nCOMMIT;\n", "1_a.down.sql": "BEGIN;\nDROP TABLE a;\nCOMMIT;\n",
			"2_b.up.sql": "-- alone\nCREATE INDEX CONCURRENTLY i ON a (x);\n", "2_b.down.sql": "-- nothing\n",
			"3_c.up.sql": "BEGIN;\nCREATE TABLE c ();\nCOMMIT;\n", "3_c.down.sql": "START TRANSACTION; DROP TABLE c; END",
		},
		last: "3_c.up.sql",
		run: func(ctx context.Context, url string, files fs.FS) error {
			db, err := sql.Open("pgx", url)
			if err != nil {
				return err
			}
			driver, err := gomigratepgx.WithInstance(db, new(gomigratepgx.Config))
			if err != nil {
				return err
			}
			source, err := iofs.New(files, ".")
			if err != nil {
				return err
			}
			m, err := gomigrate.NewWithInstance("iofs", source, "pgx5", driver)
			if err != nil {
				return err
			}
			defer m.Close()
			return m.Up()
		},
	},
	pgdbmmigrate.Tern: {
		table: "schema_version",
		files: map[string]string{
			"001_a.sql": "CREATE TABLE a (x int);\n---- create above / drop below ----\nDROP TABLE a;\n",
			"002_b.sql": "ALTER TABLE a ADD y int;\n---- create above / drop below ----\nALTER TABLE a DROP y;\n",
			"003_c.sql": "CREATE TABLE c ();\n---- create above / drop below ----\nDROP TABLE c;\n",
		},
		last: "003_c.sql",
		run: func(ctx context.Context, url string, files fs.FS) error {
			conn, err := pgx.Connect(ctx, url)
			if err != nil {
				return err
			}
			defer conn.Close(ctx)
			m, err := migrate.NewMigrator(ctx, conn, "public.schema_version")
			if err != nil {
				return err
			}
			if err := m.LoadMigrations(files); err != nil {
				return err
			}
			return m.Migrate(ctx)
		},
	},
	// As dbmate's PostgreSQL driver makes its table.
	pgdbmmigrate.Dbmate: {
		table: "schema_migrations",
		files: map[string]string{
			"20200101000000_a.sql": "-- migrate:up\nCREATE TABLE a (x int);\n-- migrate:down\nDROP TABLE a;\n",
			"20200102000000_b.sql": "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY i ON a (x);\n-- migrate:down\nDROP INDEX i;\n",
			"20200103000000_c.sql": "-- migrate:up\nCREATE TABLE c ();\n-- migrate:down\nDROP TABLE c;\n",
		},
		last: "20200103000000_c.sql",
		run: byHand(`CREATE TABLE a (x int); CREATE INDEX i ON a (x);
			CREATE TABLE public.schema_migrations (version varchar(128) PRIMARY KEY);
			INSERT INTO schema_migrations VALUES ('20200102000000'), ('20200101000000')`),
	},
	// As the Python pgdbm makes its table.
	pgdbmmigrate.PythonPgdbm: {
		table: "schema_migrations",
		files: map[string]string{
			"001_a.sql": "CREATE TABLE {{tables.a}} (x int);", "002_b.sql": "ALTER TABLE {{tables.a}} ADD y int;", "003_c.sql": "CREATE TABLE {{tables.c}} ();",
		},
		last: "003_c.sql",
		run: byHand(`CREATE TABLE a (x int, y int);
			CREATE TABLE schema_migrations (id serial PRIMARY KEY, filename varchar(255) NOT NULL, checksum varchar(64) NOT NULL,
				module_name varchar(100), applied_at timestamp DEFAULT current_timestamp, applied_by varchar(100) DEFAULT current_user,
				execution_time_ms integer, UNIQUE (filename, module_name));
			INSERT INTO schema_migrations (filename, checksum, module_name) VALUES ('001_a.sql', 'x', 'app'), ('002_b.sql', 'y', 'app'), ('001_z.sql', 'z', 'other')`),
	},
}

func byHand(statements string) func(context.Context, string, fs.FS) error {
	return func(ctx context.Context, url string, _ fs.FS) error {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, statements, pgx.QueryExecModeSimpleProtocol)
		return err
	}
}

// inPublic is an empty database whose search_path is as the tools expect it.
func inPublic(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(pgdbmtest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("options", "-csearch_path=public")
	u.RawQuery = q.Encode()
	return u.String()
}

// database has been migrated by the tool with all files but the last.
func (f tool) database(t *testing.T) (*pgdbm.DB, pgdbm.Module) {
	t.Helper()
	url := inPublic(t)
	before, all := fstest.MapFS{}, fstest.MapFS{}
	for name, text := range f.files {
		all[name] = &fstest.MapFile{Data: []byte(text)}
		if number, _, _ := strings.Cut(f.last, "_"); !strings.HasPrefix(name, number) {
			before[name] = all[name]
		}
	}
	if err := f.run(t.Context(), url, before); err != nil {
		t.Fatal(err)
	}
	pool, err := pgdbm.Open(t.Context(), pgdbm.Config{URL: url, MaxConns: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	db, err := pool.Schema("public")
	if err != nil {
		t.Fatal(err)
	}
	return db, pgdbm.Module{Name: "app", Schema: "public", Files: all}
}

func rows(t *testing.T, db *pgdbm.DB, table string) string {
	t.Helper()
	text, err := pgdbm.Value[string](t.Context(), db, fmt.Sprintf(`SELECT string_agg(t::text, ' ' ORDER BY t::text) FROM public.%s t`, table))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestADatabaseOfEachToolIsAdoptedAndItsTableLeftAlone(t *testing.T) {
	t.Parallel()
	for name, f := range tools {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			db, m := f.database(t)
			before := rows(t, db, f.table)
			dry, err := pgdbmmigrate.Adopt(t.Context(), db, m, &pgdbmmigrate.AdoptOptions{DryRun: true})
			if err != nil || len(dry.Recorded) != 2 || dry.From != name || dry.Table != "public."+f.table {
				t.Fatalf("dry run: %+v, %v", dry, err)
			}
			if there, err := pgdbm.Value[bool](t.Context(), db, `SELECT to_regnamespace('pgdbm') IS NOT NULL`); err != nil || there {
				t.Errorf("a dry run has written: %v", err)
			}
			for i, want := range []int{2, 0} {
				res, err := pgdbmmigrate.Adopt(t.Context(), db, m, &pgdbmmigrate.AdoptOptions{From: name})
				if err != nil || len(res.Recorded) != want {
					t.Fatalf("%d: %+v, %v", i, res, err)
				}
			}
			up, err := pgdbmmigrate.Up(t.Context(), db, m, nil)
			if err != nil || len(up.Applied) != 1 || up.Applied[0].File != f.last {
				t.Fatalf("up: %+v, %v", up, err)
			}
			if after := rows(t, db, f.table); after != before {
				t.Errorf("%s was %s, is %s", f.table, before, after)
			}
			if _, err := db.Exec(t.Context(), `SELECT FROM public.c`); err != nil {
				t.Error(err)
			}
		})
	}
}

// Files that are one transaction of their own work with the tools themselves, more or less by accident: what a tool
// accepts, pgdbm does too, on a database that the tool has migrated and on an empty one.
func TestFilesWithATransactionOfTheirOwnAreTakenAsTheToolTakesThem(t *testing.T) {
	t.Parallel()
	for name, files := range map[pgdbmmigrate.Tool]map[string]string{
		pgdbmmigrate.GolangMigrate: {
			"1_a.up.sql": "BEGIN;\nCREATE TABLE a (x int);\nCOMMIT;", "2_b.up.sql": "BEGIN WORK;\nCREATE TABLE b ();\nEND;", "3_c.up.sql": "begin;\nCREATE TABLE c ();\ncommit;",
		},
		pgdbmmigrate.Goose: {
			"1_a.sql": "-- +goose NO TRANSACTION\n-- +goose Up\nBEGIN;\nCREATE TABLE a (x int);\nCOMMIT;\n",
			"2_b.sql": "-- +goose Up\nBEGIN;\nCREATE TABLE b ();\nCOMMIT;\n",
			"3_c.sql": "-- +goose Up\nBEGIN;\nCREATE TABLE c ();\nCOMMIT;\n-- +goose Down\nBEGIN;\nDROP TABLE c;\nCOMMIT;\n",
		},
		pgdbmmigrate.Tern: {
			"001_a.sql": "---- tern: disable-tx ----\nBEGIN;\nCREATE TABLE a (x int);\nCOMMIT;\n",
			"002_b.sql": "BEGIN;\nCREATE TABLE b ();\nCOMMIT;\n---- create above / drop below ----\nBEGIN;\nDROP TABLE b;\nCOMMIT;\n",
			"003_c.sql": "BEGIN;\nCREATE TABLE c ();\nCOMMIT;\n---- create above / drop below ----\nDROP TABLE c;\n",
		},
	} {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			f := tools[name]
			f.files, f.last = files, map[pgdbmmigrate.Tool]string{pgdbmmigrate.GolangMigrate: "3_c.up.sql", pgdbmmigrate.Goose: "3_c.sql", pgdbmmigrate.Tern: "003_c.sql"}[name]
			db, m := f.database(t)
			before := rows(t, db, f.table)
			if res, err := pgdbmmigrate.Adopt(t.Context(), db, m, nil); err != nil || len(res.Recorded) != 2 {
				t.Fatalf("adopt: %+v, %v", res, err)
			}
			if up, err := pgdbmmigrate.Up(t.Context(), db, m, nil); err != nil || len(up.Applied) != 1 {
				t.Fatalf("up: %+v, %v", up, err)
			}
			if after := rows(t, db, f.table); after != before {
				t.Errorf("%s was %s, is %s", f.table, before, after)
			}
			fresh, err := db.Pool().Schema("fresh")
			if err != nil {
				t.Fatal(err)
			}
			if up, err := pgdbmmigrate.Up(t.Context(), fresh, m, nil); err != nil || len(up.Applied) != 3 {
				t.Fatalf("up of an empty schema: %+v, %v", up, err)
			}
			for _, schema := range []string{"public", "fresh"} {
				if n, err := pgdbm.Value[int](t.Context(), db, `SELECT count(*) FROM pg_tables WHERE schemaname = $1 AND tablename IN ('a', 'b', 'c')`, schema); err != nil || n != 3 {
					t.Errorf("%s has %d tables, %v", schema, n, err)
				}
			}
		})
	}
}
