package statement

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func namespace(t *testing.T, schema string) *Namespace {
	t.Helper()
	ns, err := New(0, nil).Namespace(schema, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

func (g *recent[K, V]) len() int {
	n := 0
	count := func(any, any) bool { n++; return true }
	if m := g.young.Load(); m != nil {
		m.Range(count)
	}
	if m := g.old.Load(); m != nil {
		m.Range(count)
	}
	return n
}

func TestTheTextsAreBoundedAndThoseInUseAreKept(t *testing.T) {
	t.Parallel()
	ns, cache := namespace(t, "s"), New(0, nil)
	const hot = `SELECT * FROM {{tables.hot}}`
	has := func(sql string) bool {
		_, ok := cache.texts.get(textKey{sql, ns.id})
		return ok
	}
	for i := range 5 * generation {
		sql := fmt.Sprintf(`SELECT %d FROM {{tables.t}}`, i)
		want := fmt.Sprintf(`SELECT %d FROM "s"."t"`, i)
		if got, err := cache.Expand(ns, sql); err != nil || got != want {
			t.Fatalf("got %s, %v", got, err)
		}
		if i%(generation/4) == 0 {
			if i > 0 && !has(hot) {
				t.Errorf("after %d others, a text in use is gone", i)
			}
			if got, err := cache.Expand(ns, hot); err != nil || got != `SELECT * FROM "s"."hot"` {
				t.Errorf("got %s, %v", got, err)
			}
		}
		if i%1000 == 0 {
			if shapes, texts := cache.shapes.len(), cache.texts.len(); shapes > 2*generation || texts > 2*generation {
				t.Fatalf("%d shapes, %d texts", shapes, texts)
			}
		}
	}
	if has(`SELECT 0 FROM {{tables.t}}`) {
		t.Error("the oldest text is still there")
	}
	if shapes, texts := cache.shapes.len(), cache.texts.len(); shapes < generation || texts < generation {
		t.Errorf("%d shapes, %d texts are kept", shapes, texts)
	}
}

func TestManySchemasShareTheShapes(t *testing.T) {
	t.Parallel()
	cache := New(0, nil)
	const sql = `SELECT * FROM {{tables.t}}`
	for i := range 100 {
		ns := namespace(t, fmt.Sprintf("s%d", i))
		for range 2 {
			if got, err := cache.Expand(ns, sql); err != nil || got != fmt.Sprintf(`SELECT * FROM "s%d"."t"`, i) {
				t.Errorf("got %s, %v", got, err)
			}
		}
	}
	if shapes, texts := cache.shapes.len(), cache.texts.len(); shapes != 1 || texts != 100 {
		t.Errorf("%d shapes, %d texts", shapes, texts)
	}
}

func TestSomeTextsAreNotKept(t *testing.T) {
	t.Parallel()
	ns, cache := namespace(t, "s"), New(0, nil)
	for name, sql := range map[string]string{
		"without a placeholder": `SELECT 1`,
		"too long":              `SELECT '` + strings.Repeat("x", maxCached) + `' FROM {{tables.t}}`,
	} {
		want := strings.ReplaceAll(sql, "{{tables.t}}", `"s"."t"`)
		if got, err := cache.Expand(ns, sql); err != nil || got != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{`SELECT {{tables}}`, `SELECT {{tables.other.t}}`} {
		if _, err := cache.Expand(ns, bad); err == nil {
			t.Errorf("%s: no error", bad)
		}
		if _, err := cache.Shape(ns, bad); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	if texts := cache.texts.len(); texts != 0 {
		t.Errorf("%d texts", texts)
	}
}

func TestTheTextsAreSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	cache := New(0, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		ns := namespace(t, fmt.Sprintf("s%d", i%3))
		wg.Go(func() {
			for j := range 2 * generation {
				sql := fmt.Sprintf(`SELECT %d FROM {{tables.t}}`, j)
				want := fmt.Sprintf(`SELECT %d FROM "s%d"."t"`, j, i%3)
				if got, err := cache.Expand(ns, sql); err != nil || got != want {
					t.Errorf("got %s, %v", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestANameIsOneWordThatIsNoStatement(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]bool{
		"get_user": true, "stmt-1": true, "": false, "SELECT 1": false, "COMMIT": false, "begin;": false, "VACUUM": false,
		"rollback": false, "f()": false,
	} {
		if got := isName(sql); got != want {
			t.Errorf("%q: %v", sql, got)
		}
	}
}
