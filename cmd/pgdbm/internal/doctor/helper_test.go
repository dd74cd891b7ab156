package doctor_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
	"github.com/pgdbm/pgdbm/localpg"
)

// healthy are the settings of a server that nothing is wrong with, on data that
// nobody needs.
var healthy = map[string]string{
	"autovacuum": "on", "autovacuum_naptime": "1d", "fsync": "on", "full_page_writes": "on", "max_connections": "100", "max_prepared_transactions": "4",
}

// ward is a server on which tests make things that are wrong.
var ward = sync.OnceValues(func() (*localpg.Server, error) {
	return localpg.Start(context.Background(), &localpg.Options{Fetch: true, Settings: healthy})
})

func shared(t *testing.T) *localpg.Server {
	t.Helper()
	s, err := ward()
	return orSkip(t, s, err)
}

func orSkip(t *testing.T, s *localpg.Server, err error) *localpg.Server {
	t.Helper()
	if err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	return s
}

// start returns a server of the test's own.
func start(t *testing.T, settings map[string]string) *localpg.Server {
	t.Helper()
	s, err := localpg.Start(t.Context(), &localpg.Options{Fetch: true, Settings: settings})
	orSkip(t, s, err)
	t.Cleanup(func() { s.Stop(context.Background()) })
	return s
}

var databases atomic.Int64

// create makes a database and returns its name and URL.
func create(t *testing.T, s *localpg.Server, options string) (name, url string) {
	t.Helper()
	name = fmt.Sprintf("d%d", databases.Add(1))
	execute(t, s.URL(""), "CREATE DATABASE "+name+" "+options)
	return name, s.URL(name)
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func execute(t *testing.T, url string, statements ...string) {
	t.Helper()
	conn := connect(t, url)
	defer conn.Close(context.Background())
	for _, sql := range statements {
		if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

func open(t *testing.T, c pgdbm.Config) *pgdbm.Pool {
	t.Helper()
	if c.ApplicationName == "" {
		c.ApplicationName = doctor.ApplicationName
	}
	c.Logger = slog.New(slog.DiscardHandler)
	pool, err := pgdbm.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// look returns the report of a database.
func look(t *testing.T, url string, o doctor.Options) *doctor.Report {
	t.Helper()
	pool := open(t, pgdbm.Config{URL: url, MaxConns: 4})
	defer pool.Close()
	return lookThrough(t, pool, o)
}

func lookThrough(t *testing.T, pool *pgdbm.Pool, o doctor.Options) *doctor.Report {
	t.Helper()
	r, err := doctor.Look(t.Context(), pool, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range r.Skipped {
		t.Errorf("%s: %v", strings.Join(s.Codes, ", "), s.Err)
	}
	return r
}

// find returns the findings of a code whose place or text has a part.
func find(r *doctor.Report, code, part string) (found []doctor.Finding) {
	for _, f := range r.Findings {
		if f.Code == code && (strings.Contains(f.Where, part) || strings.Contains(f.What, part)) {
			found = append(found, f)
		}
	}
	return found
}

// one is the only finding of that kind.
func one(t *testing.T, r *doctor.Report, code, part string, severity doctor.Severity) doctor.Finding {
	t.Helper()
	found := find(r, code, part)
	if len(found) != 1 {
		t.Fatalf("%d findings %s of %q: %+v", len(found), code, part, r.Findings)
	}
	if f := found[0]; f.Severity != severity || f.Where == "" || f.What == "" || (len(f.Fix.SQL) == 0) == (f.Fix.Command == "") {
		t.Fatalf("%+v, want severity %s", f, severity)
	}
	return found[0]
}

func module(name string, files ...string) pgdbm.Module {
	fsys := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		fsys[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return pgdbm.Module{Name: name, Files: fsys}
}

var shop = module("shop", "001_shop.sql", `
CREATE TABLE {{tables.customers}} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
CREATE TABLE {{tables.orders}} (id serial PRIMARY KEY, customer bigint NOT NULL REFERENCES {{tables.customers}});
CREATE INDEX ON {{tables.orders}} (customer);`)

func attach(t *testing.T, url string, ms ...pgdbm.Module) *pgdbm.Pool {
	t.Helper()
	pool := open(t, pgdbm.Config{URL: url, MaxConns: 4, ApplicationName: "shop"})
	if _, err := pgdbm.AttachAll(t.Context(), pool, ms...); err != nil {
		t.Fatal(err)
	}
	return pool
}

func databaseOf(t *testing.T, url string) (name string) {
	t.Helper()
	if err := connect(t, url).QueryRow(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	return name
}
