package pgdbm_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
)

func TestEachStatementIsLoggedAtDebugLevel(t *testing.T) {
	t.Parallel()
	var log logRecorder
	pool := openPool(t, pgdbm.Config{MaxConns: 4, Logger: slog.New(&log)})
	for i, kind := range sessionKinds {
		t.Run(kind.name, func(t *testing.T) {
			db := mustSchema(t, pool, fmt.Sprintf("schema %d", i))
			mustExec(t, db, `CREATE SCHEMA {{schema}}`)
			createNotes(t, db)
			kind.with(t, db, func(ctx context.Context, s session) {
				log.mu.Lock()
				log.texts = nil
				log.mu.Unlock()
				statements(ctx, t, s)
				for _, sql := range []string{
					`INSERT INTO {{tables.notes}} VALUES (1, $1)`,
					`SELECT id FROM {{tables.notes}} WHERE text = $1`,
					`SELECT text FROM {{tables.notes}} WHERE text = $1`,
					`batch of 3: UPDATE {{tables.notes}} SET text = $1; SELECT count(*) FROM {{tables.notes}}`,
					`COPY "` + db.Schema() + `"."notes"`,
				} {
					if n := log.said("DEBUG SQL", "schema="+db.Schema(), "sql="+sql, "duration="); n != 1 {
						t.Errorf("%q is logged %d times", sql, n)
					}
				}
				if n := log.said(""); n != 5 {
					t.Errorf("%d records: %q", n, log.texts)
				}
				_, _ = s.Exec(ctx, `INSERT INTO {{tables.notes}} VALUES (2, $1), (2, NULL)`, "SECRET")
				if n := log.said("sqlstate=23505"); n != 1 {
					t.Errorf("an error is logged %d times: %q", n, log.texts)
				}
			})
		})
	}
	for _, text := range log.texts {
		if shows(text) {
			t.Errorf("an argument is in the log: %s", text)
		}
	}
}

// statements uses each method that sends SQL, with SECRET as argument.
func statements(ctx context.Context, t *testing.T, s session) {
	t.Helper()
	mustExec(t, s, `INSERT INTO {{tables.notes}} VALUES (1, $1)`, "SECRET")
	rows, err := s.Query(ctx, `SELECT id FROM {{tables.notes}} WHERE text = $1`, "SECRET")
	if err != nil {
		t.Fatal(err)
	}
	rows.Close()
	rows.Close()
	if err := s.QueryRow(ctx, `SELECT text FROM {{tables.notes}} WHERE text = $1`, "SECRET").Scan(new(string)); err != nil {
		t.Error(err)
	}
	var b pgx.Batch
	b.Queue(`UPDATE {{tables.notes}} SET text = $1`, "SECRET")
	b.Queue(`SELECT count(*) FROM {{tables.notes}}`)
	b.Queue(`UPDATE {{tables.notes}} SET text = $1`, "SECRET")
	if err := s.SendBatch(ctx, &b).Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"id", "text"}, pgx.CopyFromRows([][]any{{9, "SECRET"}})); err != nil {
		t.Error(err)
	}
}

func TestErrorsAreLoggedByTheirStateAlone(t *testing.T) {
	t.Parallel()
	var log logRecorder
	db := notes(t, pgdbm.Config{Logger: slog.New(&log)})
	ctx := t.Context()
	for name, fail := range map[string]func(s session){
		"Exec":           func(s session) { _, _ = s.Exec(ctx, `SELECT $1::text::int`, "SECRET") },
		"Query":          func(s session) { rows, _ := s.Query(ctx, `SELECT $1::text::int`, "SECRET"); rows.Next(); rows.Close() },
		"Query, at once": func(s session) { rows, _ := s.Query(ctx, `SELECT nonsense`); rows.Close() },
		"QueryRow":       func(s session) { _ = s.QueryRow(ctx, `SELECT $1::text::int`, "SECRET").Scan(new(int)) },
		"SendBatch": func(s session) {
			var b pgx.Batch
			b.Queue(`SELECT $1::text::int`, "SECRET")
			_ = s.SendBatch(ctx, &b).Close()
		},
		"CopyFrom": func(s session) {
			_, _ = s.CopyFrom(ctx, pgx.Identifier{"notes"}, []string{"id", "text"}, pgx.CopyFromRows([][]any{{1, "SECRET"}, {1, "SECRET"}}))
		},
		"a bad argument": func(s session) { _, _ = s.Exec(ctx, `SELECT $1::int`, "SECRET") },
	} {
		for _, inTx := range []bool{false, true} {
			log.mu.Lock()
			log.texts = nil
			log.mu.Unlock()
			if inTx {
				tx := begin(t, db)
				fail(tx)
				_ = tx.Rollback(ctx)
			} else {
				fail(db)
			}
			if n := log.said("DEBUG SQL", "sqlstate="); n != 1 {
				t.Errorf("%s, in a transaction %v: %q", name, inTx, log.texts)
			}
			if shows(strings.Join(log.texts, "\n")) {
				t.Errorf("%s: an argument is in the log: %q", name, log.texts)
			}
		}
	}
}

// lockedBuffer is a bytes.Buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func TestNothingIsLoggedAtInfoLevel(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	db := notes(t, pgdbm.Config{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	statements(t.Context(), t, db)
	_ = db.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
		_, err := tx.Exec(ctx, `SELECT 1/0`)
		return err
	})
	if err := db.WithConn(t.Context(), func(ctx context.Context, c *pgdbm.Conn) error {
		_, err := c.Exec(ctx, `SET work_mem = '9MB'`)
		return err
	}); err != nil {
		t.Error(err)
	}
	ownerOf(db).Close()
	if out.b.Len() != 0 {
		t.Errorf("logged: %s", &out.b)
	}
}

// A pool without a logger of its own follows slog.SetDefault. Alone, because
// that is the process's.
func TestTheDefaultLoggerIsLookedUpWhenItIsNeeded(t *testing.T) {
	db := notes(t, pgdbm.Config{})
	var log logRecorder
	old := slog.Default()
	defer slog.SetDefault(old)
	slog.SetDefault(slog.New(&log))
	mustExec(t, db, `SELECT 'seen'`)
	if !slices.ContainsFunc(log.texts, func(s string) bool { return strings.Contains(s, "'seen'") }) {
		t.Errorf("logged %q", log.texts)
	}
}
