package pgdbm_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
)

// inCode is a module whose migrations are of both kinds.
func inCode(calls *[]string) pgdbm.Module {
	call := func(s string) { *calls = append(*calls, s) }
	return pgdbm.Module{
		Name:  "words",
		Files: files("1_words.sql", "CREATE TABLE {{tables.words}} (w text, n int);", "10_index.sql", "CREATE INDEX words_n ON {{tables.words}} (n);"),
		Go: []pgdbm.GoMigration{
			{Version: 3, Name: "count", Conn: func(ctx context.Context, c *pgdbm.Conn) error {
				call("count in " + c.Schema())
				_, err := c.Exec(ctx, "UPDATE {{tables.words}} SET n = length(w) WHERE n IS NULL")
				if err == nil {
					_, err = c.Exec(ctx, "VACUUM {{tables.words}}")
				}
				return err
			}},
			{Version: 2, Name: "fill", Tx: func(ctx context.Context, tx *pgdbm.Tx) error {
				call("fill in " + tx.Schema())
				_, err := tx.CopyFrom(ctx, pgx.Identifier{"words"}, []string{"w"}, pgx.CopyFromRows([][]any{{"one"}, {"three"}}))
				return err
			}, DownTx: func(ctx context.Context, tx *pgdbm.Tx) error {
				call("empty")
				_, err := tx.Exec(ctx, "TRUNCATE {{tables.words}}")
				return err
			}},
		},
	}
}

func TestGoMigrationsRunAmongTheFiles(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := openPool(t, pgdbm.Config{Logger: slog.New(slog.DiscardHandler)})
	var calls []string
	m := inCode(&calls)
	for _, schema := range []string{"one", "Two"} {
		db, err := pool.Schema(schema)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pgdbm.Attach(ctx, db, m); err != nil {
			t.Fatal(err)
		}
		if _, err := pgdbm.Attach(ctx, db, m); err != nil {
			t.Fatal(err)
		}
		if n, err := pgdbm.Value[int](ctx, db, "SELECT sum(n) FROM {{tables.words}}"); err != nil || n != 8 {
			t.Errorf("sum %d, %v", n, err)
		}
		entries, err := migrate.History(ctx, db, m, nil)
		var names []string
		for _, e := range entries {
			names = append(names, e.File)
		}
		if want := "1_words.sql 2_fill.go 3_count.go 10_index.sql"; err != nil || strings.Join(names, " ") != want {
			t.Errorf("history %q, %v", names, err)
		}
	}
	if want := "[fill in one count in one fill in Two count in Two]"; fmt.Sprint(calls) != want {
		t.Errorf("calls %v, want %s", calls, want)
	}
}

func TestGoMigrationsCanBeReverted(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, err := openPool(t, pgdbm.Config{Logger: slog.New(slog.DiscardHandler)}).Schema("words")
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	m := inCode(&calls)
	if _, err := migrate.Up(ctx, db, m, &migrate.UpOptions{To: "2"}); err != nil {
		t.Fatal(err)
	}
	if res, err := migrate.Redo(ctx, db, m, nil); err != nil || len(res.Applied) != 1 || res.Applied[0].File != "2_fill.go" {
		t.Fatalf("%+v, %v", res, err)
	}
	if want := "[fill in words empty fill in words]"; fmt.Sprint(calls) != want {
		t.Errorf("calls %v, want %s", calls, want)
	}
	if _, err := migrate.Up(ctx, db, m, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := migrate.Down(ctx, db, m, &migrate.DownOptions{To: "1"}); !errors.Is(err, migrate.ErrNoDown) {
		t.Errorf("got %v", err)
	}
}

func TestVerifyTriesGoMigrationsToo(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, err := openPool(t, pgdbm.Config{Logger: slog.New(slog.DiscardHandler)}).Schema("words")
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	m := inCode(&calls)
	if _, err := migrate.Up(ctx, db, m, &migrate.UpOptions{To: "2"}); err != nil {
		t.Fatal(err)
	}
	if v, err := migrate.Verify(ctx, db, m, nil); err != nil || !v.OK() {
		t.Errorf("got %+v, %v", v, err)
	}
	if len(calls) != 2 || !strings.HasPrefix(calls[1], "fill in pgdbm_verify_") {
		t.Errorf("calls %v", calls)
	}
	if n, err := pgdbm.Value[int](ctx, db, "SELECT count(*) FROM {{tables.words}}"); err != nil || n != 2 {
		t.Errorf("%d rows, %v", n, err)
	}
	if _, err := migrate.Up(ctx, db, m, nil); err != nil {
		t.Fatal(err)
	}
	v, err := migrate.Verify(ctx, db, m, nil)
	if err != nil || v.OK() || v.NotCompared == nil || !strings.Contains(v.NotCompared.Error(), "words/3_count.go") {
		t.Errorf("outside a transaction: %+v, %v", v, err)
	}
}

func TestAGoMigrationThatFailsIsRolledBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db, err := openPool(t, pgdbm.Config{Logger: slog.New(slog.DiscardHandler)}).Schema("m")
	if err != nil {
		t.Fatal(err)
	}
	ours := errors.New("no such planet")
	for _, c := range []struct {
		name string
		fn   func(ctx context.Context, tx *pgdbm.Tx) error
		want error
	}{
		{"own error", func(ctx context.Context, tx *pgdbm.Tx) error {
			if _, err := tx.Exec(ctx, "CREATE TABLE {{tables.t}} ()"); err != nil {
				return err
			}
			return ours
		}, ours},
		{"swallowed error", func(ctx context.Context, tx *pgdbm.Tx) error {
			tx.Exec(ctx, "CREATE TABLE {{tables.t}} ()")
			tx.Exec(ctx, "SELECT 1/0")
			return nil
		}, pgx.ErrTxCommitRollback},
		{"commit", func(ctx context.Context, tx *pgdbm.Tx) error { return tx.Commit(ctx) }, pgdbm.ErrTxNotOwner},
		{"rollback", func(ctx context.Context, tx *pgdbm.Tx) error { return tx.Rollback(ctx) }, pgdbm.ErrTxNotOwner},
		{"a second connection", func(ctx context.Context, tx *pgdbm.Tx) error { return db.Ping(ctx) }, pgdbm.ErrNestedAcquire},
		{"commit in SQL", func(ctx context.Context, tx *pgdbm.Tx) error {
			_, err := tx.Exec(ctx, "COMMIT")
			return err
		}, nil},
	} {
		m := pgdbm.Module{Name: "m", Go: []pgdbm.GoMigration{{Version: 1, Name: "x", Tx: c.fn}}}
		_, err := migrate.Up(ctx, db, m, nil)
		var me *pgdbm.MigrationError
		if !errors.As(err, &me) || me.File != "1_x.go" || me.Version != "1" || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: got %v", c.name, err)
		}
		if there, err := db.TableExists(ctx, "t"); err != nil || there {
			t.Errorf("%s: table is there, %v", c.name, err)
		}
		status, err := migrate.Status(ctx, db, m, nil)
		if err != nil || status.Versions[0].State != migrate.Failed {
			t.Errorf("%s: status %+v, %v", c.name, status, err)
		}
	}
	m := pgdbm.Module{Name: "m", Go: []pgdbm.GoMigration{{Version: 1, Name: "x", Conn: func(ctx context.Context, c *pgdbm.Conn) error {
		_, err := c.Exec(ctx, "VACUUM nothing")
		return err
	}}}}
	var pe *pgconn.PgError
	if _, err := migrate.Up(ctx, db, m, nil); !errors.As(err, &pe) || pe.Code != "42P01" {
		t.Errorf("outside: %v", err)
	}
	m.Go[0].Conn = func(ctx context.Context, c *pgdbm.Conn) error { return ours } // half-way, for all that is known
	if _, err := migrate.Up(ctx, db, m, nil); !errors.Is(err, ours) {
		t.Errorf("outside: %v", err)
	}
	if status, err := migrate.Status(ctx, db, m, nil); err != nil || status.Versions[0].State != migrate.Running || !status.Pending() || status.Problem != nil {
		t.Errorf("outside: status %+v, %v", status, err)
	}
	m.Go[0].Conn = func(ctx context.Context, c *pgdbm.Conn) error { return nil }
	if _, err := migrate.Up(ctx, db, m, nil); err != nil {
		t.Error(err)
	}
}

func TestGoMigrationsThatCannotBeAreErrors(t *testing.T) {
	t.Parallel()
	db, err := openPool(t, pgdbm.Config{Logger: slog.New(slog.DiscardHandler)}).Schema("m")
	if err != nil {
		t.Fatal(err)
	}
	tx := func(context.Context, *pgdbm.Tx) error { return nil }
	conn := func(context.Context, *pgdbm.Conn) error { return nil }
	one := files("1_a.sql", "SELECT 1")
	for want, g := range map[string]pgdbm.GoMigration{
		"one of Tx and Conn":               {Version: 2, Name: "a"},
		"module m: Go migration 3: one of": {Version: 3, Name: "a", Tx: tx, Conn: conn},
		"both set":                         {Version: 2, Name: "a", Tx: tx, DownTx: tx, DownConn: conn},
		"does not match":                   {Version: 2, Name: "A b", Tx: tx},
		"is negative":                      {Version: -2, Name: "a", Tx: tx},
		"version 1 is also that of 1_a":    {Version: 1, Name: "x", Tx: tx},
	} {
		_, err := migrate.Up(t.Context(), db, pgdbm.Module{Name: "m", Files: one, Go: []pgdbm.GoMigration{g}}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
