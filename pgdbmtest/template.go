package pgdbmtest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
)

// keyFormat changes when this package makes templates in another way.
const keyFormat = "pgdbmtest 1"

// template is a database that clones are made of: migrated, seeded, and sealed
// against connections.
type template struct {
	server     *server
	name       string
	searchPath string

	building sync.Mutex // guards built: one goroutine builds, the others wait
	built    bool

	mu      sync.Mutex // guards the fields below
	ready   []clone    // that nobody has
	making  int
	made    int // numbers the names
	waiters []chan clone

	sharing sync.Mutex // guards tx
	tx      *txDatabase
}

// clone is a new database, or why there is none. One that was made ahead has a
// pool with one connection, since connecting takes as long as a small copy.
type clone struct {
	name   string
	pool   *pgdbm.Pool // may be nil
	logger *testLog    // of pool
	err    error
}

// template returns the template of the configuration, which the first caller
// builds where the server has none.
func (s *server) template(ctx context.Context, c Config, modules []pgdbm.Module, log *slog.Logger) (*template, error) {
	modules = slices.SortedFunc(slices.Values(modules), func(a, b pgdbm.Module) int { return strings.Compare(a.Name, b.Name) })
	key, err := c.key(s.facts, modules)
	if err != nil {
		return nil, err
	}
	name := "pgdbmt_" + key
	s.mu.Lock()
	t := s.templates[name]
	if t == nil {
		t = &template{server: s, name: name}
		s.templates[name] = t
	}
	s.mu.Unlock()

	t.building.Lock()
	defer t.building.Unlock()
	if t.built {
		return t, nil
	}
	if err := t.ensure(ctx, c, modules, log); err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	t.built = true
	return t, nil
}

// key is twelve hex digits that differ when anything that shapes the database
// does: modules, seed, the library and the server.
func (c Config) key(facts []string, modules []pgdbm.Module) (string, error) {
	h := sha256.New()
	put(h, keyFormat, fmt.Sprint(bridge.LedgerFormat), libraryVersion(), c.SeedKey, fmt.Sprint(c.Seed != nil))
	put(h, facts...)
	for _, m := range modules {
		put(h, "module", m.Name, m.Schema, fmt.Sprint(m.Files != nil), fmt.Sprint(len(m.Requires)))
		put(h, m.Requires...)
		put(h, m.Extensions...)
		for _, g := range m.Go {
			// What the function does nobody can read: the program that has it stands for it.
			put(h, "go", fmt.Sprint(g.Version), g.Name, executable())
		}
		if m.Files == nil {
			continue
		}
		if err := putFiles(h, m.Files); err != nil {
			return "", fmt.Errorf("module %s: %w", m.Name, err)
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

// executable is a hash of the test's program.
var executable = sync.OnceValue(func() string {
	path, err := os.Executable()
	if err != nil {
		return err.Error()
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	sum := sha256.Sum256(program)
	return hex.EncodeToString(sum[:])
})

// put writes parts so that no two lists of them write the same bytes.
func put(h hash.Hash, parts ...string) {
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	h.Write([]byte{0xff})
}

// putFiles writes what may be a migration: the *.sql of the root and its folders.
func putFiles(h hash.Hash, fsys fs.FS) error {
	for _, pattern := range []string{"*.sql", "*/*.sql"} {
		names, err := fs.Glob(fsys, pattern)
		if err != nil {
			return err
		}
		for _, name := range names {
			text, err := fs.ReadFile(fsys, name)
			if err != nil {
				return err
			}
			put(h, name, string(text))
		}
	}
	return nil
}

// libraryVersion is the version of this module in the test program.
var libraryVersion = sync.OnceValue(func() string {
	const path = "github.com/pgdbm/pgdbm"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, d := range info.Deps {
		if d.Path == path {
			return d.Version
		}
	}
	return info.Main.Version
})

// ensure finds the sealed template or builds it, under a lock that all
// processes take. An unsealed one is what a builder that died left: while it
// lives, it has the lock.
func (t *template) ensure(ctx context.Context, c Config, modules []pgdbm.Module, log *slog.Logger) error {
	conn, err := t.server.admin.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	key := lockKey(t.name)
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", key); err != nil {
		return err
	}
	defer unlock(conn.Conn(), key)

	var sealed bool
	var comment string
	err = conn.QueryRow(ctx, `SELECT datistemplate AND NOT datallowconn, coalesce(shobj_description(oid, 'pg_database'), '')
		FROM pg_database WHERE datname = $1`, t.name).Scan(&sealed, &comment)
	if err == nil && sealed {
		if err := t.read(comment); err != nil {
			return err
		}
		return t.use(ctx, conn.Conn())
	}
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if err == nil {
		if err := t.discard(ctx, conn.Conn()); err != nil {
			return fmt.Errorf("drop what was left half-built: %w", err)
		}
	}
	if err := t.build(ctx, conn.Conn(), c, modules, log); err != nil {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropLimit)
		defer cancel()
		_ = t.discard(cleanup, conn.Conn()) // else the next builder does it
		return err
	}
	return t.server.use(ctx, t.name)
}

// use keeps the template from being dropped. The caller has its builder's lock,
// without which nobody drops it.
func (t *template) use(ctx context.Context, conn *pgx.Conn) error {
	if err := t.comment(ctx, conn); err != nil {
		return err
	}
	return t.server.use(ctx, t.name)
}

// lockKey is the advisory lock of a template's builder, and of who drops it.
func lockKey(name string) int64 {
	sum := sha256.Sum256([]byte(name))
	return int64(binary.BigEndian.Uint64(sum[:]))
}

// useKey is the advisory lock that the runs share which use a template.
func useKey(name string) int64 { return lockKey("use " + name) }

// unlock frees a lock also where the context has ended. When that fails the
// connection is closed, and the lock goes with it.
func unlock(conn *pgx.Conn, key int64) {
	ctx, cancel := context.WithTimeout(context.Background(), dropLimit)
	defer cancel()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", key); err != nil {
		_ = conn.Close(ctx)
	}
}

func (t *template) identifier() string { return pgx.Identifier{t.name}.Sanitize() }

func (t *template) read(comment string) error {
	var n note
	if err := json.Unmarshal([]byte(comment), &n); err != nil {
		return fmt.Errorf("comment on database %s: %w", t.name, err)
	}
	t.searchPath = n.SearchPath
	return nil
}

func (t *template) discard(ctx context.Context, conn *pgx.Conn) error {
	if _, err := awaitEmpty(ctx, conn, t.name, leaveTime); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+t.identifier())
	return err
}

func (t *template) build(ctx context.Context, conn *pgx.Conn, c Config, modules []pgdbm.Module, log *slog.Logger) error {
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+t.identifier()+" TEMPLATE template0"+t.server.fileCopy); err != nil {
		return err
	}
	if err := t.fill(ctx, c, modules, log); err != nil {
		return err
	}
	if empty, err := awaitEmpty(ctx, conn, t.name, startLimit); err != nil || !empty {
		return errors.Join(err, errors.New("sessions of the migrations or the seed do not end"))
	}
	return t.seal(ctx, conn)
}

// fill migrates and seeds the database and learns its search_path.
func (t *template) fill(ctx context.Context, c Config, modules []pgdbm.Module, log *slog.Logger) error {
	pool, err := pgdbm.Open(ctx, pgdbm.Config{URL: t.server.url(t.name, ""), MaxConns: defaultConns, Logger: log})
	if err != nil {
		return err
	}
	defer pool.Close()
	if len(modules) > 0 {
		if _, err := pgdbm.AttachAll(ctx, pool, modules...); err != nil {
			return err
		}
	}
	if c.Seed != nil {
		if err := c.Seed(ctx, pool); err != nil {
			return fmt.Errorf("seed: %w", err)
		}
	}
	schemas, err := extensionSchemas(ctx, pool)
	if err != nil {
		return err
	}
	for i, name := range schemas {
		schemas[i] = pgx.Identifier{name}.Sanitize()
	}
	t.searchPath = strings.Join(schemas, ",")
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	return pool.Shutdown(ctx)
}

func extensionSchemas(ctx context.Context, pool *pgdbm.Pool) ([]string, error) {
	rows, err := pool.Pgx().Query(ctx, `SELECT DISTINCT n.nspname::text FROM pg_catalog.pg_extension e
		JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE n.nspname <> 'pg_catalog' ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// seal is what makes the database a template, all of it or nothing.
func (t *template) seal(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := t.comment(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "ALTER DATABASE "+t.identifier()+" ALLOW_CONNECTIONS false IS_TEMPLATE true")
		return err
	})
}

// comment writes down what a run must know that finds the template, and that it
// is used now.
func (t *template) comment(ctx context.Context, q execer) error {
	return commentOn(ctx, q, t.name, note{SearchPath: t.searchPath, Used: now()})
}

type execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

func now() string { return time.Now().UTC().Format(time.RFC3339Nano) }

func commentOn(ctx context.Context, q execer, database string, n note) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	literal := "'" + strings.ReplaceAll(string(text), "'", "''") + "'"
	_, err = q.Exec(ctx, "COMMENT ON DATABASE "+pgx.Identifier{database}.Sanitize()+" IS "+literal)
	return err
}

// take returns a clone, one that is ready or the next that gets made. After it
// this many are to be ready; 0 leaves it to the server.
func (t *template) take(ctx context.Context, prefetch int) (clone, error) {
	spare := t.server.spare(prefetch)
	t.mu.Lock()
	if n := len(t.ready); n > 0 {
		c := t.ready[0]
		t.ready = t.ready[1:]
		t.refillLocked(spare)
		t.mu.Unlock()
		return c, nil
	}
	ch := make(chan clone, 1)
	t.waiters = append(t.waiters, ch)
	t.refillLocked(spare)
	t.mu.Unlock()
	select {
	case c := <-ch:
		return c, c.err
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiters = slices.DeleteFunc(t.waiters, func(o chan clone) bool { return o == ch })
	select {
	case c := <-ch: // at the same moment
		if c.err == nil {
			t.ready = append(t.ready, c)
		}
	default:
	}
	return clone{}, ctx.Err()
}

// refillLocked starts to make clones for those who wait, and some to spare.
func (t *template) refillLocked(spare int) {
	for t.making < t.server.workers && t.making+len(t.ready) < len(t.waiters)+spare {
		t.making++
		t.made++
		go t.makeClone(fmt.Sprintf("%s_%s_%d", t.name, t.server.run, t.made), spare)
	}
}

// makeClone ends when its clone is handed over or put aside.
func (t *template) makeClone(name string, spare int) {
	t.server.drops.giveWay(1)
	defer t.server.drops.giveWay(-1)
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	_, err := t.server.admin.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE "+t.identifier()+t.server.fileCopy,
		pgx.QueryExecModeSimpleProtocol)
	c := clone{name: name, err: err}
	if !t.deliver(c, spare, false) {
		t.warm(ctx, &c)
		t.deliver(c, spare, true)
	}
}

// deliver hands a clone to who waits longest. When nobody does, a failed one is
// of no interest and another is put aside if this is the last try; else the result
// is false.
func (t *template) deliver(c clone, spare int, last bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case len(t.waiters) > 0:
		t.waiters[0] <- c
		t.waiters = t.waiters[1:]
	case c.err != nil: // the next who needs one tries again
		t.making--
		return true
	case !last:
		return false
	default:
		t.ready = append(t.ready, c)
	}
	t.making--
	t.refillLocked(min(spare, t.server.spare(spare)))
	return true
}

// warm opens the pool of a clone, if there is room for a connection. Without
// one, the test opens it itself and hears the error.
func (t *template) warm(ctx context.Context, c *clone) {
	if !t.server.warm.keep() {
		return
	}
	log := new(testLog)
	pool, err := pgdbm.Open(ctx, pgdbm.Config{URL: t.server.url(c.name, t.searchPath), MaxConns: defaultConns, Logger: log.logger(slog.LevelWarn)})
	if err == nil {
		bridge.Budgeted(pool)
		c.pool, c.logger = pool, log
		return
	}
	t.server.warm.end()
}

// surplus takes the clones that nobody waits for, those just being made
// included.
func (t *template) surplus() []clone {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		t.mu.Lock()
		if t.making == 0 || len(t.waiters) > 0 {
			clones := t.ready
			t.ready = nil
			t.mu.Unlock()
			return clones
		}
		t.mu.Unlock()
		<-tick.C
	}
}
