package pgdbm_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// soak is how long the soak test goes on; make soak asks for more.
var soak = flag.Duration("soak", 5*time.Second, "how long to run random statements, changes of tables and failures")

// Random statements in many schemas, while their tables change, calls are
// cancelled and server processes are killed: no row is another's, nothing is
// written twice, and at the end no connection and no goroutine is left (see
// TestMain).
func TestNothingGoesWrongUnderRandomChangesAndFailures(t *testing.T) {
	t.Parallel()
	const schemas, workers = 24, 16
	url := testdb.URL(t)
	pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 8, SchemasPerConn: 10, Logger: slog.New(slog.DiscardHandler)})
	s := &soaker{t: t, counts: make(map[string]int)}
	for i := range schemas {
		db := mustSchema(t, pool, fmt.Sprintf("tenant%d", i))
		// Some differ from the start.
		word, number := "text", "int"
		if i%3 == 0 {
			word = "{{types.word}}"
		}
		if i%4 == 0 {
			number = "bigint"
		}
		mustExec(t, db, `CREATE SCHEMA {{schema}}; CREATE TYPE {{types.word}} AS ENUM ('hot', 'cold');
			CREATE TABLE {{tables.items}} (id int PRIMARY KEY, owner text NOT NULL DEFAULT {{schema:literal}}, n `+number+`, word `+word+`, at timestamptz, data bytea);
			INSERT INTO {{tables.items}} (id, n, word, at) SELECT i, i, 'hot', '2026-01-01' FROM generate_series(1, 20) i;
			CREATE TABLE {{tables.log}} (token text NOT NULL, owner text NOT NULL DEFAULT {{schema:literal}})`)
		s.dbs = append(s.dbs, db)
	}
	ctx, stop := context.WithTimeout(t.Context(), *soak)
	defer stop()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for ctx.Err() == nil && !t.Failed() {
				s.step(ctx)
			}
		})
	}
	other := connect(t, url)
	wg.Go(func() {
		for ctx.Err() == nil && !t.Failed() {
			s.disturb(ctx, other)
		}
	})
	wg.Wait()
	s.checkLog()
	t.Logf("%v", s.counts)
	if n := s.counts["killed while stale"]; n > 2+s.counts["killed"]/20 {
		t.Errorf("%d single statements were stale", n)
	}
	for _, what := range []string{"SELECT", "InTx", "batch", "CopyFrom", "WithConn", "cancelled", "killed", "changed"} {
		if s.counts[what] == 0 {
			t.Errorf("nothing was %s", what)
		}
	}
}

type soaker struct {
	t      *testing.T
	dbs    []*pgdbm.DB
	tokens atomic.Int64

	mu      sync.Mutex // guards the fields below
	counts  map[string]int
	written map[string]string // token of a write that succeeded, and its schema
}

func (s *soaker) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

// soakStatement is one kind of use. It reports what it wrote to the log.
type soakStatement struct {
	name string
	run  func(ctx context.Context, s *soaker, db *pgdbm.DB, token string) error
}

// rightOwner is what every row must say.
func rightOwner(db *pgdbm.DB, owner string, id, wantID int) error {
	if owner != db.Schema() || id != wantID {
		return fmt.Errorf("%w: row %d of %s, for %d of %s", errWrongRow, id, owner, wantID, db.Schema())
	}
	return nil
}

var errWrongRow = errors.New("a wrong row")

func readRow(ctx context.Context, q pgdbm.Querier, db *pgdbm.DB, sql string, id int, args ...any) error {
	m, err := pgdbm.One[map[string]any](ctx, q, sql, args...)
	if err != nil {
		return err
	}
	owner, _ := m["owner"].(string)
	got, _ := m["id"].(int32)
	return rightOwner(db, owner, int(got), id)
}

const logInsert = `INSERT INTO {{tables.log}} (token) VALUES ($1)`

var soakStatements = []soakStatement{
	{"SELECT", func(ctx context.Context, s *soaker, db *pgdbm.DB, _ string) error {
		id := rand.IntN(20) + 1
		return readRow(ctx, db, db, `SELECT * FROM {{tables.items}} WHERE id = $1`, id, id)
	}},
	{"SELECT by name", func(ctx context.Context, s *soaker, db *pgdbm.DB, _ string) error {
		id := rand.IntN(20) + 1
		return readRow(ctx, db, db, `SELECT id, owner, word FROM {{tables.items}} WHERE id = @id AND word = @word`, id, pgx.NamedArgs{"id": id, "word": "hot"})
	}},
	{"UPDATE", func(ctx context.Context, s *soaker, db *pgdbm.DB, _ string) error {
		id := rand.IntN(20) + 1
		return readRow(ctx, db, db, `UPDATE {{tables.items}} SET n = $2, at = $3, data = $4, word = $5 WHERE id = $1 RETURNING *`, id,
			id, id, time.Now(), []byte{1, 2}, "hot")
	}},
	{"INSERT", func(ctx context.Context, s *soaker, db *pgdbm.DB, token string) error {
		_, err := db.Exec(ctx, logInsert, token)
		return err
	}},
	{"Each", func(ctx context.Context, s *soaker, db *pgdbm.DB, _ string) error {
		n := 0
		for owner, err := range pgdbm.Each[string](ctx, db, `SELECT owner FROM {{tables.items}} WHERE n >= $1 ORDER BY id`, 0) {
			if err != nil {
				return err
			}
			if err := rightOwner(db, owner, 0, 0); err != nil {
				return err
			}
			if n++; n == 7 {
				break
			}
		}
		return nil
	}},
	{"InTx", func(ctx context.Context, s *soaker, db *pgdbm.DB, token string) error {
		return db.InTxOptions(ctx, pgdbm.TxOptions{Retries: 5}, func(ctx context.Context, tx *pgdbm.Tx) error {
			id := rand.IntN(20) + 1
			if err := readRow(ctx, tx, db, `SELECT * FROM {{tables.items}} WHERE id = $1`, id, id); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, logInsert, token)
			return err
		})
	}},
	{"batch", func(ctx context.Context, s *soaker, db *pgdbm.DB, token string) error {
		var b pgx.Batch
		b.Queue(logInsert, token)
		for range 3 {
			id := rand.IntN(20) + 1
			b.Queue(`SELECT * FROM {{tables.items}} WHERE id = $1`, id).Query(func(rows pgx.Rows) error {
				m, err := pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
				if err != nil {
					return err
				}
				owner, _ := m["owner"].(string)
				got, _ := m["id"].(int32)
				return rightOwner(db, owner, int(got), id)
			})
		}
		err := db.SendBatch(ctx, &b).Close()
		if errors.Is(err, pgdbm.ErrStalePlan) {
			s.count("batches stale")
			return errNotWritten
		}
		return err
	}},
	{"CopyFrom", func(ctx context.Context, s *soaker, db *pgdbm.DB, token string) error {
		_, err := db.CopyFrom(ctx, pgx.Identifier{"log"}, []string{"token"}, pgx.CopyFromRows([][]any{{token}}))
		return err
	}},
	{"WithConn", func(ctx context.Context, s *soaker, db *pgdbm.DB, token string) error {
		return db.WithConn(ctx, func(ctx context.Context, c *pgdbm.Conn) error {
			if err := readRow(ctx, c, db, `SELECT id, owner FROM {{tables.items}} WHERE id = $1`, 3, 3); err != nil {
				return err
			}
			_, err := c.Exec(ctx, logInsert, token)
			return err
		})
	}},
}

// errNotWritten is a failure that may happen.
var errNotWritten = errors.New("not written")

func (s *soaker) step(ctx context.Context) {
	st := soakStatements[rand.IntN(len(soakStatements))]
	db := s.dbs[rand.IntN(len(s.dbs))]
	token := fmt.Sprintf("%s-%d", db.Schema(), s.tokens.Add(1))
	call, cancel := context.WithCancel(ctx)
	defer cancel()
	cancelled := rand.IntN(20) == 0
	if cancelled {
		defer time.AfterFunc(time.Duration(rand.IntN(int(time.Millisecond))), cancel).Stop()
	}
	err := st.run(call, s, db, token)
	switch {
	case err == nil:
		s.count(st.name)
		s.mu.Lock()
		if s.written == nil {
			s.written = make(map[string]string)
		}
		if st.name == "INSERT" || st.name == "InTx" || st.name == "batch" || st.name == "CopyFrom" || st.name == "WithConn" {
			s.written[token] = db.Schema()
		}
		s.mu.Unlock()
	case errors.Is(err, errWrongRow):
		s.t.Errorf("%s: %v", st.name, err)
	case errors.Is(err, errNotWritten):
	case call.Err() != nil:
		s.count("cancelled")
	case dead(err):
		s.count("killed")
	case errors.Is(err, pgdbm.ErrStalePlan) && st.name != "InTx":
		s.count("killed while stale") // of a single statement, nothing else excuses it
	case conflict(err):
		s.count("conflicts")
	default:
		s.t.Errorf("%s in %s: %v", st.name, db.Schema(), err)
	}
}

// dead reports whether the server's process was killed.
func dead(err error) bool {
	if pe := pgError(err); pe != nil {
		return pe.Code == "57P01"
	}
	for _, text := range []string{"unexpected EOF", "conn closed", "connection reset", "broken pipe", "closed network connection"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

// conflict reports whether a statement collided with a change that ran at the
// same moment: a deadlock.
func conflict(err error) bool {
	pe := pgError(err)
	return pe != nil && pe.Code == "40P01"
}

// disturb changes a table or kills a process.
func (s *soaker) disturb(ctx context.Context, conn *pgx.Conn) {
	schema := s.dbs[rand.IntN(len(s.dbs))].Schema()
	if rand.IntN(4) == 0 {
		_, err := conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY random() LIMIT 1) x`)
		if err != nil && ctx.Err() == nil {
			s.t.Error(err)
		}
		return
	}
	changes := []string{
		`ALTER TABLE ?.items ADD IF NOT EXISTS extra int DEFAULT 7`,
		`ALTER TABLE ?.items DROP IF EXISTS extra`,
		`ALTER TABLE ?.items ALTER n TYPE bigint`,
		`ALTER TABLE ?.items ALTER n TYPE int`,
		`ALTER TABLE ?.items ALTER n TYPE numeric`,
		`ALTER TABLE ?.items ALTER word TYPE ?.word USING word::text::?.word`,
		`ALTER TABLE ?.items ALTER word TYPE text`,
		`ALTER TABLE ?.items ALTER word TYPE varchar(10)`,
		`ALTER TABLE ?.items ADD IF NOT EXISTS mood ?.word DEFAULT 'cold'`,
		`ALTER TABLE ?.items DROP IF EXISTS mood`,
	}
	_, err := conn.Exec(ctx, strings.ReplaceAll(changes[rand.IntN(len(changes))], "?", schema))
	switch {
	case err == nil:
		s.count("changed")
	case ctx.Err() == nil && !conflict(err):
		s.t.Error(err)
	}
}

// checkLog checks that what succeeded was written once, in its schema, and
// nothing twice.
func (s *soaker) checkLog() {
	seen := make(map[string]bool)
	for _, db := range s.dbs {
		rows, err := pgdbm.All[struct{ Token, Owner string }](s.t.Context(), db, `SELECT token, owner FROM {{tables.log}}`)
		if err != nil {
			s.t.Error(err)
		}
		for _, row := range rows {
			schema, _, _ := strings.Cut(row.Token, "-")
			if row.Owner != db.Schema() || schema != db.Schema() || seen[row.Token] {
				s.t.Errorf("%s has %v, seen before: %v", db.Schema(), row, seen[row.Token])
			}
			seen[row.Token] = true
		}
	}
	for token, schema := range s.written {
		if !seen[token] {
			s.t.Errorf("%s lacks %s", schema, token)
		}
	}
}
