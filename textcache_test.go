package pgdbm_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// offline is a pool that never connects, for what needs no server.
func offline(t *testing.T) *pgdbm.Pool {
	t.Helper()
	theirs, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/none?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(theirs.Close)
	pool, err := pgdbm.Borrow(theirs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func TestTheTextCacheIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	t.Parallel()
	db := mustSchema(t, offline(t), "s")
	cache := pgdbm.NewTextCache()
	const hot = `SELECT * FROM {{tables.hot}}`
	for i := range 5 * pgdbm.CachedTexts {
		sql := fmt.Sprintf(`SELECT %d FROM {{tables.t}}`, i)
		want := fmt.Sprintf(`SELECT %d FROM "s"."t"`, i)
		if got, err := cache.Expand(db, sql); err != nil || got != want {
			t.Fatalf("got %s, %v", got, err)
		}
		if i%(pgdbm.CachedTexts/4) == 0 {
			if i > 0 && !cache.Has(db, hot) {
				t.Errorf("after %d others, a text in use is gone", i)
			}
			if got, err := cache.Expand(db, hot); err != nil || got != `SELECT * FROM "s"."hot"` {
				t.Errorf("got %s, %v", got, err)
			}
		}
		if i%1000 == 0 {
			if templates, texts := cache.Len(); templates > 2*pgdbm.CachedTexts || texts > 2*pgdbm.CachedTexts {
				t.Fatalf("%d templates, %d texts", templates, texts)
			}
		}
	}
	if cache.Has(db, `SELECT 0 FROM {{tables.t}}`) {
		t.Error("the oldest text is still there")
	}
	if templates, texts := cache.Len(); templates < pgdbm.CachedTexts || texts < pgdbm.CachedTexts {
		t.Errorf("%d templates, %d texts are kept", templates, texts)
	}
}

func TestManySchemasShareTheTemplatesOfTheTextCache(t *testing.T) {
	t.Parallel()
	pool := offline(t)
	cache := pgdbm.NewTextCache()
	const sql = `SELECT * FROM {{tables.t}}`
	for i := range 100 {
		db := mustSchema(t, pool, fmt.Sprintf("s%d", i))
		for range 2 {
			if got, err := cache.Expand(db, sql); err != nil || got != fmt.Sprintf(`SELECT * FROM "s%d"."t"`, i) {
				t.Errorf("got %s, %v", got, err)
			}
		}
	}
	if templates, texts := cache.Len(); templates != 1 || texts != 100 {
		t.Errorf("%d templates, %d texts", templates, texts)
	}
}

func TestSomeTextsAreNotCached(t *testing.T) {
	t.Parallel()
	db := mustSchema(t, offline(t), "s")
	cache := pgdbm.NewTextCache()
	for name, sql := range map[string]string{
		"without a placeholder": `SELECT 1`,
		"too long":              `SELECT '` + strings.Repeat("x", pgdbm.MaxCachedText) + `' FROM {{tables.t}}`,
	} {
		want := strings.ReplaceAll(sql, "{{tables.t}}", `"s"."t"`)
		if got, err := cache.Expand(db, sql); err != nil || got != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{`SELECT {{tables}}`, `SELECT {{tables.other.t}}`} {
		if _, err := cache.Expand(db, bad); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	if templates, texts := cache.Len(); templates != 0 || texts != 0 {
		t.Errorf("%d templates, %d texts", templates, texts)
	}
}

func TestTheTextCacheIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	pool := offline(t)
	cache := pgdbm.NewTextCache()
	all(t, func(i int) error {
		db, err := pool.Schema(fmt.Sprintf("s%d", i%3))
		if err != nil {
			return err
		}
		for j := range 2 * pgdbm.CachedTexts {
			sql := fmt.Sprintf(`SELECT %d FROM {{tables.t}}`, j)
			want := fmt.Sprintf(`SELECT %d FROM "s%d"."t"`, j, i%3)
			if got, err := cache.Expand(db, sql); err != nil || got != want {
				return fmt.Errorf("got %s, %w", got, err)
			}
		}
		return nil
	})
}

// Alone, because it counts the process's allocations.
func TestAHandleAllocatesNoMoreThanThePool(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	pool := openPool(t, pgdbm.Config{URL: testdb.URL(t), MaxConns: 1})
	db := mustSchema(t, pool, "s")
	mustExec(t, db, `CREATE SCHEMA {{schema}}; CREATE TABLE {{tables.t}} AS SELECT 1 AS id`)
	ctx := context.Background()
	measure := func(queryRow func(context.Context, string, ...any) pgx.Row, sql string) float64 {
		var id int
		return testing.AllocsPerRun(500, func() {
			if err := queryRow(ctx, sql, 1).Scan(&id); err != nil {
				t.Fatal(err)
			}
		})
	}
	raw := measure(pool.Pgx().QueryRow, `SELECT id FROM "s"."t" WHERE id = $1`)
	templated := measure(db.QueryRow, `SELECT id FROM {{tables.t}} WHERE id = $1`)
	plain := measure(db.QueryRow, `SELECT id FROM "s"."t" WHERE id = $1`)
	t.Logf("allocations of a query: pool %v, handle %v, handle without template %v", raw, templated, plain)
	if templated > raw+1 || plain > raw+1 {
		t.Errorf("allocations of a query: pool %v, handle %v, handle without template %v", raw, templated, plain)
	}
}
