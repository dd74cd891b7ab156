package pgdbmtest

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
)

// elsewhere is a schema that no code can have guessed, and that must be quoted.
const elsewhere = "Elsewhere"

// EachSource runs fn once for each way in which a dual-mode library may be given
// its database, as parallel subtests with a database each: alone, by "url" and
// by "config"; and in a host, by its "pool", by a "handle" of a schema that is
// not the module's own, and "borrowed", by a pool that stands on the host's
// pgxpool.Pool. fn passes src to the library, tests it and closes what the
// library gave it.
//
// The databases hold what m requires, migrated, but not m: the library itself
// attaches it.
func EachSource(t *testing.T, m pgdbm.Module, fn func(t *testing.T, src pgdbm.Source), requires ...pgdbm.Module) {
	t.Helper()
	Config{}.EachSource(t, m, fn, requires...)
}

// EachSource is [EachSource] as c says. Its Seed comes before the module.
func (c Config) EachSource(t *testing.T, m pgdbm.Module, fn func(t *testing.T, src pgdbm.Source), requires ...pgdbm.Module) {
	t.Helper()
	each := func(name string, source func(t *testing.T) pgdbm.Source) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fn(t, source(t))
		})
	}
	each("url", func(t *testing.T) pgdbm.Source {
		return pgdbm.URL(c.URL(t, requires...))
	})
	each("config", func(t *testing.T) pgdbm.Source {
		cfg := pgdbm.Config{MaxConns: defaultConns, Logger: Logger(t, nil)}
		if c.Pool != nil {
			c.Pool(&cfg)
		}
		cfg.URL = c.URL(t, requires...)
		return cfg
	})
	each("pool", func(t *testing.T) pgdbm.Source {
		return c.New(t, requires...)
	})
	each("handle", func(t *testing.T) pgdbm.Source {
		db, err := c.New(t, requires...).Schema(elsewhere)
		if err != nil {
			t.Fatal(err)
		}
		return db
	})
	each("borrowed", func(t *testing.T) pgdbm.Source {
		cfg, err := pgxpool.ParseConfig(c.URL(t, requires...))
		if err != nil {
			t.Fatal(err)
		}
		cfg.MaxConns = defaultConns
		host, err := pgxpool.NewWithConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(host.Close)
		p, err := pgdbm.Borrow(host)
		if err != nil {
			t.Fatal(err)
		}
		return p
	})
}
