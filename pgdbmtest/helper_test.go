package pgdbmtest_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/pgdbm/pgdbm"
)

func TestMain(m *testing.M) {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "PGDBM_") {
			_ = os.Unsetenv(name)
		}
	}
	os.Exit(m.Run())
}

// module is one with a table notes in it.
func module(name string) pgdbm.Module {
	return pgdbm.Module{Name: name, Files: fstest.MapFS{"001_notes.sql": {Data: []byte(
		`CREATE TABLE {{tables.notes}} (id int PRIMARY KEY, text text NOT NULL DEFAULT '');`)}}}
}

var diary = module("diary")

func attach(tb testing.TB, src pgdbm.Source, m pgdbm.Module) *pgdbm.Attached {
	tb.Helper()
	db, err := pgdbm.Attach(tb.Context(), src, m)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(db.Close)
	return db
}

func mustExec(tb testing.TB, q pgdbm.Querier, sql string, args ...any) {
	tb.Helper()
	if _, err := q.Exec(tb.Context(), sql, args...); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

func value[T any](tb testing.TB, q pgdbm.Querier, sql string, args ...any) T {
	tb.Helper()
	v, err := pgdbm.Value[T](tb.Context(), q, sql, args...)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return v
}

func count(tb testing.TB, q pgdbm.Querier) int {
	tb.Helper()
	return value[int](tb, q, `SELECT count(*) FROM {{tables.notes}}`)
}

// recorder is a test inside a test: it ends when told and says what was
// reported to it.
type recorder struct {
	testing.TB
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex // guards the fields below
	failed   bool
	log      strings.Builder
	cleanups []func()
}

func record(t *testing.T) *recorder {
	r := &recorder{TB: t}
	r.ctx, r.cancel = context.WithCancel(t.Context())
	return r
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Name() string { return r.TB.Name() + fmt.Sprintf("/recorded%p", r) }

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.log, format+"\n", args...)
}

func (r *recorder) Errorf(format string, args ...any) {
	r.Logf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) Error(args ...any) { r.Errorf("%s", fmt.Sprint(args...)) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(fatal{})
}

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

type fatal struct{}

// run runs f as the test's body, ends the test and returns its log.
func (r *recorder) run(f func(tb testing.TB)) string {
	func() {
		defer func() {
			if v := recover(); v != nil && v != (fatal{}) {
				panic(v)
			}
		}()
		f(r)
	}()
	r.cancel()
	for len(r.cleanups) > 0 {
		last := r.cleanups[len(r.cleanups)-1]
		r.cleanups = r.cleanups[:len(r.cleanups)-1]
		last()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}
