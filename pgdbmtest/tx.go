package pgdbmtest

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
)

// txConns bounds the pool of a database that tests share. Fewer are open: the
// budget sees to that.
const txConns = 1000

// Tx returns a handle that lives in one transaction, which is rolled back when
// the test ends, on a database that such tests share. It is bound to the schema
// of the first module, without modules to public; the others' handles come from
// its Pool, by Schema or by pgdbm.Attach, and live in the same transaction.
//
// The handle behaves as one of [New], with these differences, which all come
// from its being one connection:
//
//   - Begin, BeginTx and InTx set a savepoint; options are ignored. While it is
//     open, only what it returned may be used, else the error is [ErrBusy].
//   - A statement while another one's rows are open, or from another goroutine
//     at the same time, is [ErrBusy] too.
//   - Nothing commits: deferred constraints are not checked, LISTEN hears
//     nothing, now() stands still, and sequences go on after the rollback.
//   - A statement whose context ends takes the connection with it, and the handle.
//   - Modules cannot be migrated.
//   - A test that inserts a key which another has inserted waits for its end.
//
// As outside a transaction, a statement that fails undoes itself alone.
func Tx(tb testing.TB, modules ...pgdbm.Module) *pgdbm.DB {
	tb.Helper()
	return Config{}.Tx(tb, modules...)
}

// Tx is [Tx] as c says. Its Pool function changes the pool that the tests with
// these modules share, and only where it does not exist yet.
func (c Config) Tx(tb testing.TB, modules ...pgdbm.Module) *pgdbm.DB {
	tb.Helper()
	s, t := c.begin(tb, 1, modules)
	d, err := t.txDatabase(tb.Context(), c)
	if err != nil {
		tb.Fatalf("pgdbmtest: %v", err)
	}
	s.wake(d)
	conn, err := d.pool.Pgx().Acquire(tb.Context())
	if err != nil {
		tb.Fatalf("pgdbmtest: %v", err)
	}
	tx, err := conn.BeginTx(tb.Context(), pgx.TxOptions{BeginQuery: "BEGIN; SAVEPOINT " + testSavepoint})
	if err != nil {
		conn.Release()
		tb.Fatalf("pgdbmtest: %v", err)
	}
	g := &guard{conn: conn.Conn()}
	tb.Cleanup(func() { d.end(tb, conn, g) })

	root := &heldTx{Tx: tx, guard: g}
	pool := bridge.InTransaction(d.pool, &bridge.Held{Tx: root, Hold: g.hold, Logger: Logger(tb, slog.LevelWarn)}).(*pgdbm.Pool)
	h := pgdbm.HandleConfig{Schema: "public", Aliases: map[string]string{}}
	for i, m := range modules {
		schema := m.Schema
		if schema == "" {
			schema = m.Name
		}
		h.Aliases[m.Name] = schema
		if i == 0 {
			h.Schema = schema
		}
	}
	db, err := pool.Handle(h)
	if err != nil {
		tb.Fatalf("pgdbmtest: %v", err)
	}
	return db
}

// txDatabase is a clone that tests share, each in a transaction of its own.
type txDatabase struct {
	template *template
	name     string
	pool     *pgdbm.Pool
	retired  atomic.Bool
}

// txDatabase returns the template's, which the first caller makes.
func (t *template) txDatabase(ctx context.Context, conf Config) (*txDatabase, error) {
	t.sharing.Lock()
	defer t.sharing.Unlock()
	if t.tx != nil {
		return t.tx, nil
	}
	c, err := t.take(ctx, -1)
	if err != nil {
		return nil, err
	}
	t.server.cool(&c)
	cfg := pgdbm.Config{Logger: slog.New(slog.DiscardHandler)} // each test has its own
	if conf.Pool != nil {
		conf.Pool(&cfg)
	}
	cfg.URL = t.server.url(c.name, t.searchPath)
	cfg.MaxConns = txConns
	pool, err := pgdbm.Open(ctx, cfg)
	if err != nil {
		t.server.drops.add(drop{name: c.name, own: true})
		return nil, err
	}
	bridge.Budgeted(pool)
	t.tx = &txDatabase{template: t, name: c.name, pool: pool}
	return t.tx, nil
}

// end rolls the test's transaction back and gives the connection to the next.
func (d *txDatabase) end(tb testing.TB, conn *pgxpool.Conn, g *guard) {
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	clean := false
	defer func() { d.template.server.rest(d, conn, clean) }()
	if left := g.close(); left != "" {
		tb.Errorf("pgdbmtest: not closed at the end of the test: %s", left)
		return
	}
	pg := conn.Conn().PgConn()
	if pg.IsClosed() {
		return
	}
	_, err := pg.Exec(ctx, "ROLLBACK TO "+testSavepoint+"; ROLLBACK; SELECT pg_catalog.pg_advisory_unlock_all()").ReadAll()
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && (refused.Code == "3B001" || refused.Code == "25P01") {
		// There is no such savepoint, or no transaction.
		tb.Error("pgdbmtest: the test has ended its transaction by SQL")
		d.retire()
	}
	clean = err == nil && !g.prepared
}

// retire gives the tests to come another database.
func (d *txDatabase) retire() {
	d.template.sharing.Lock()
	defer d.template.sharing.Unlock()
	if d.template.tx == d {
		d.template.tx = nil
		d.retired.Store(true)
		for d.template.server.wake(d) {
		}
		// Tests that are in it go on: it is dropped after the last one.
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), startLimit)
			defer cancel()
			_ = d.pool.Shutdown(ctx)
			d.template.server.drops.add(drop{name: d.name, own: true})
		}()
	}
}

var _ pgx.Tx = (*heldTx)(nil)
