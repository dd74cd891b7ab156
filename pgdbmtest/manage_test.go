package pgdbmtest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/pgdbmtest"
)

func (f *foreign) list(t *testing.T) []pgdbmtest.Database {
	t.Helper()
	list, err := pgdbmtest.Databases(t.Context(), f.url)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func only(t *testing.T, list []pgdbmtest.Database, kind pgdbmtest.Kind) pgdbmtest.Database {
	t.Helper()
	var of []pgdbmtest.Database
	for _, d := range list {
		if d.Kind == kind {
			of = append(of, d)
		}
	}
	if len(of) != 1 {
		t.Fatalf("%d of kind %s in %+v", len(of), kind, list)
	}
	return of[0]
}

func TestDatabasesOfTestsAreListed(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, nil)
	if got := f.list(t); len(got) != 0 {
		t.Errorf("on a new server: %+v", got)
	}
	f.run(t, "fail")
	_, in, living := f.start(t, "hang")
	got := f.list(t)
	if d := only(t, got, pgdbmtest.KindTemplate); !d.Live || d.Since.IsZero() || d.Bytes < 1<<20 || d.URL != "" {
		t.Errorf("template: %+v", d)
	}
	kept := only(t, got, pgdbmtest.KindKept)
	if kept.Live || kept.Since.IsZero() || kept.Test != "TestChild" || !strings.HasSuffix(kept.Package, "/pgdbmtest.test") {
		t.Errorf("kept: %+v", kept)
	}
	i := slices.IndexFunc(got, func(d pgdbmtest.Database) bool { return d.Name == living })
	if i < 0 || !got[i].Live || got[i].Kind != pgdbmtest.KindTest {
		t.Errorf("the living test's: %+v", got)
	}
	conn, err := pgx.Connect(t.Context(), kept.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close(t.Context())
	in.Close()
}

func TestDropTakesOnlyWhatTestsDoNotUse(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, nil)
	f.run(t, "fail")
	_, in, living := f.start(t, "hang")
	list := f.list(t)
	for name, want := range map[string]string{
		living: "tests are using it",
		only(t, list, pgdbmtest.KindTemplate).Name: "tests are using it",
		"postgres":            "no such database of a test",
		"pgdbmt_0123456789ab": "no such database of a test",
	} {
		if err := pgdbmtest.Drop(t.Context(), f.url, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("drop %s: %v", name, err)
		}
	}
	if err := pgdbmtest.Drop(t.Context(), f.url, only(t, list, pgdbmtest.KindKept).Name); err != nil {
		t.Error(err)
	}
	in.Close()
}

func TestSweepByHandIsTheSameAsATestProcesss(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, nil)
	f.run(t, "fail")
	killed, _, dead := f.start(t, "hang")
	killed.Process.Kill()
	killed.Wait()
	waitUntil(t, func() bool {
		return !slices.ContainsFunc(f.list(t), func(d pgdbmtest.Database) bool { return d.Live })
	})
	names, err := pgdbmtest.Sweep(t.Context(), f.url, false)
	if err != nil || !slices.Contains(names, dead) {
		t.Errorf("%v, %v", names, err)
	}
	left := f.list(t)
	only(t, left, pgdbmtest.KindKept)
	only(t, left, pgdbmtest.KindTemplate)
	if len(left) != 2 {
		t.Errorf("%+v", left)
	}
	if _, err := pgdbmtest.Sweep(t.Context(), f.url, true); err != nil {
		t.Error(err)
	}
	if left := f.list(t); len(left) != 0 {
		t.Errorf("%+v", left)
	}
}

func TestTemplatesBeyondThirtyAreSweptTheLongestUnusedFirst(t *testing.T) {
	t.Parallel()
	f := foreignServer(t, nil)
	f.must(t, "pass")
	used := only(t, f.list(t), pgdbmtest.KindTemplate).Name
	for i := range 31 {
		name := "pgdbmt_0123456789" + string(rune('a'+i/16)) + string("0123456789abcdef"[i%16])
		for _, sql := range []string{
			"CREATE DATABASE " + name,
			"COMMENT ON DATABASE " + name + ` IS '{"used":"2020-01-01T00:00:00Z"}'`,
			"ALTER DATABASE " + name + " ALLOW_CONNECTIONS false IS_TEMPLATE true",
		} {
			if _, err := f.conn.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
	}
	names, err := pgdbmtest.Sweep(t.Context(), f.url, false)
	if err != nil || len(names) != 2 || slices.Contains(names, used) {
		t.Errorf("%v, %v", names, err)
	}
	if got := f.list(t); len(got) != 30 {
		t.Errorf("%d templates", len(got))
	}
}

func TestBadServerURLIsAnErrorWithoutThePassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "mysql://me:secret@h/x", "postgres://me:secret@127.0.0.1:1/x", "postgres:///x"} {
		if _, err := pgdbmtest.Databases(t.Context(), url); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
