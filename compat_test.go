package pgdbm_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/sqlcsample"
)

// poolMethods are those of *pgxpool.Pool that *DB has, to the letter.
type poolMethods interface {
	Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, tableName pgx.Identifier, columnNames []string, rowSrc pgx.CopyFromSource) (int64, error)
	Begin(ctx context.Context) (pgx.Tx, error)
	BeginTx(ctx context.Context, txOptions pgx.TxOptions) (pgx.Tx, error)
	Ping(ctx context.Context) error
}

var (
	_ poolMethods = (*pgxpool.Pool)(nil)
	_ poolMethods = (*pgdbm.DB)(nil)
	_ poolMethods = (*pgdbm.Attached)(nil)

	_ pgx.Tx = (*pgdbm.Tx)(nil)

	_ sqlcsample.DBTX = (*pgdbm.DB)(nil)
	_ sqlcsample.DBTX = (*pgdbm.Tx)(nil)
	_ sqlcsample.DBTX = (*pgdbm.Conn)(nil)
	_ sqlcsample.DBTX = (*pgdbm.Attached)(nil)

	_ pgdbm.Source = (*pgdbm.DB)(nil)
	_ pgdbm.Source = (*pgdbm.Pool)(nil)
	_ pgdbm.Source = (*pgdbm.Attached)(nil)
	_ pgdbm.Source = pgdbm.URL("")
	_ pgdbm.Source = pgdbm.Config{}
	_ pgdbm.Source = library{}
)

var authors = pgdbm.Module{Name: "library", Files: files("001_authors.sql",
	`CREATE TABLE {{tables.authors}} (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE, bio text);`)}

func TestCodeInTheShapeOfSqlcRunsOnEveryHandle(t *testing.T) {
	t.Parallel()
	pool := openPool(t, pgdbm.Config{MaxConns: 3})
	for _, kind := range sessionKinds {
		t.Run(kind.name, func(t *testing.T) {
			db := mustSchema(t, pool, kind.name)
			mustAttach(t, db, authors)
			kind.with(t, db, func(ctx context.Context, s session) { useSqlc(ctx, t, sqlcsample.New(s)) })
		})
	}
}

func useSqlc(ctx context.Context, t *testing.T, q *sqlcsample.Queries) {
	t.Helper()
	ann, err := q.CreateAuthor(ctx, sqlcsample.CreateAuthorParams{Name: "Ann", Bio: pgtype.Text{String: "writes", Valid: true}})
	if err != nil || ann.Name != "Ann" || ann.Bio.String != "writes" {
		t.Fatalf("CreateAuthor: %+v, %v", ann, err)
	}
	if n, err := q.CreateAuthors(ctx, []sqlcsample.CreateAuthorsParams{{Name: "Bob"}, {Name: "Cid"}}); err != nil || n != 2 {
		t.Errorf("CreateAuthors: %d, %v", n, err)
	}
	q.RenameAuthors(ctx, []sqlcsample.RenameAuthorsParams{{ID: ann.ID, Name: "Anna"}, {ID: -1, Name: "x"}}).Exec(func(i int, err error) {
		if err != nil {
			t.Errorf("RenameAuthors: %d: %v", i, err)
		}
	})
	if got, err := q.GetAuthor(ctx, ann.ID); err != nil || got.Name != "Anna" {
		t.Errorf("GetAuthor: %+v, %v", got, err)
	}
	if got := names(ctx, t, q); !slices.Equal(got, []string{"Anna", "Bob", "Cid"}) {
		t.Errorf("ListAuthors: %q", got)
	}
	if n, err := q.DeleteAuthor(ctx, ann.ID); err != nil || n != 1 {
		t.Errorf("DeleteAuthor: %d, %v", n, err)
	}
	if _, err := q.GetAuthor(ctx, ann.ID); !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("GetAuthor of nobody: %v", err)
	}
}

func names(ctx context.Context, t *testing.T, q *sqlcsample.Queries) (ns []string) {
	t.Helper()
	as, err := q.ListAuthors(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range as {
		ns = append(ns, a.Name)
	}
	return ns
}

func TestWithTxOfSqlcTakesATx(t *testing.T) {
	t.Parallel()
	db := mustAttach(t, openPool(t, pgdbm.Config{}), authors)
	ctx := t.Context()
	q := sqlcsample.New(db)
	tx, err := db.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.WithTx(tx).CreateAuthor(ctx, sqlcsample.CreateAuthorParams{Name: "gone"}); err != nil {
		t.Error(err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Error(err)
	}
	err = db.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
		_, err := q.WithTx(tx).CreateAuthor(ctx, sqlcsample.CreateAuthorParams{Name: "kept"})
		return err
	})
	if err != nil {
		t.Error(err)
	}
	// Beginning is pgx's way, the schema stays the handle's.
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		_, err := q.WithTx(tx).CreateAuthor(ctx, sqlcsample.CreateAuthorParams{Name: "begun"})
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if got := names(ctx, t, q); !slices.Equal(got, []string{"begun", "kept"}) {
		t.Errorf("got %q", got)
	}
}

func TestBeginFuncOfPgx(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{MaxConns: 1})
	ctx := t.Context()
	work := func(id int, result error) func(pgx.Tx) error {
		return func(tx pgx.Tx) error {
			// A nested one is a savepoint.
			err := pgx.BeginFunc(ctx, tx, func(sp pgx.Tx) error {
				_, err := sp.Exec(ctx, `INSERT INTO {{tables.notes}} VALUES ($1)`, id+100)
				return errors.Join(err, errStop)
			})
			if !errors.Is(err, errStop) {
				t.Errorf("nested: %v", err)
			}
			_, err = tx.Exec(ctx, `INSERT INTO {{tables.notes}} VALUES ($1)`, id)
			return errors.Join(err, result)
		}
	}
	if err := pgx.BeginFunc(ctx, db, work(1, nil)); err != nil {
		t.Error(err)
	}
	if err := pgx.BeginFunc(ctx, db, work(2, errStop)); !errors.Is(err, errStop) {
		t.Error(err)
	}
	if err := pgx.BeginTxFunc(ctx, db, pgx.TxOptions{IsoLevel: pgx.Serializable}, work(3, nil)); err != nil {
		t.Error(err)
	}
	if err := db.WithConn(ctx, func(ctx context.Context, c *pgdbm.Conn) error { return pgx.BeginFunc(ctx, c, work(4, nil)) }); err != nil {
		t.Error(err)
	}
	if recovered(func() { _ = pgx.BeginFunc(ctx, db, func(pgx.Tx) error { panic("in BeginFunc") }) }) == nil {
		t.Error("no panic")
	}
	wantIdle(t, db.Pool())
	ids, err := pgdbm.All[int](ctx, db, `SELECT id FROM {{tables.notes}} ORDER BY id`)
	if err != nil || !slices.Equal(ids, []int{1, 3, 4}) {
		t.Errorf("got %v, %v", ids, err)
	}
}

// jobs is a library that puts work into a table of its own within a
// transaction of its caller's, as job queues do. It knows nothing of pgdbm.
type jobs struct{ schema string }

func (j jobs) InsertTx(ctx context.Context, tx pgx.Tx, kinds ...string) (last int64, err error) {
	sp, err := tx.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer sp.Rollback(ctx)
	table := pgx.Identifier{j.schema, "jobs"}
	var b pgx.Batch
	for _, k := range kinds {
		b.Queue(`INSERT INTO `+table.Sanitize()+` (kind, args) VALUES ($1, '{"tables": "{{user}} {1}"}')`, k)
	}
	if err := sp.SendBatch(ctx, &b).Close(); err != nil {
		return 0, err
	}
	if _, err := sp.CopyFrom(ctx, table, []string{"kind", "args"}, pgx.CopyFromRows([][]any{{"copied", []byte("{}")}})); err != nil {
		return 0, err
	}
	err = sp.QueryRow(ctx, `SELECT max(id) FROM `+table.Sanitize()).Scan(&last)
	return last, errors.Join(err, sp.Commit(ctx))
}

func TestALibraryThatTakesAPgxTxWorksInATx(t *testing.T) {
	t.Parallel()
	db := notes(t, pgdbm.Config{})
	mustExec(t, db, `CREATE SCHEMA "Jobs"; CREATE TABLE "Jobs".jobs (id bigserial PRIMARY KEY, kind text, args jsonb)`)
	queue := jobs{"Jobs"}
	for i, result := range []error{nil, errStop} {
		err := db.InTx(t.Context(), func(ctx context.Context, tx *pgdbm.Tx) error {
			if err := insert(ctx, tx, i); err != nil {
				return err
			}
			last, err := queue.InsertTx(ctx, tx, "mail", "invoice")
			if err == nil && last != int64(3*(i+1)) {
				t.Errorf("last job %d", last)
			}
			return errors.Join(err, result)
		})
		if !errors.Is(err, result) {
			t.Error(err)
		}
	}
	if n := value[int](t, db, `SELECT count(*) FROM "Jobs".jobs`); n != 3 || count(t, db) != 1 {
		t.Errorf("%d jobs, %d notes", n, count(t, db))
	}
}
