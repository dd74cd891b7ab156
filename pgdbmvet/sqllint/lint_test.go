package sqllint_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pgdbm/pgdbm/pgdbmvet/sqllint"
)

func lint(t *testing.T, o *sqllint.Options, sql string) string {
	t.Helper()
	found, err := sqllint.Run(fstest.MapFS{"001_before.sql": {Data: []byte(before)}, "002_x.sql": {Data: []byte(sql)}}, o)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var got []string
	for _, f := range found {
		if f.File != "002_x.sql" {
			if o == nil {
				t.Errorf("%v", f)
			}
			continue
		}
		got = append(got, fmt.Sprintf("%s:%d:%d", f.Rule, f.Line, f.Column))
	}
	return strings.Join(got, " ")
}

func TestEachFileHasItsFindingsAndNoOther(t *testing.T) {
	t.Parallel()
	safe := 0
	for _, c := range cases {
		if c.want == "" {
			safe++
		}
		if got := lint(t, nil, c.sql); got != c.want {
			t.Errorf("%s\n\tgot  %s\n\twant %s", c.sql, got, c.want)
		}
	}
	if len(cases) < 200 || safe < 100 {
		t.Errorf("%d files, %d of them safe", len(cases), safe)
	}
}

func TestWhatDoesNotScaleIsFoundForTenants(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"CREATE TYPE {{types.n}} AS ENUM ('a');":                                                                   "tenant-enum:1:1",
		"CREATE TABLE {{tables.n}} (id bigint REFERENCES {{tables.shared.plans}});":                                "shared-foreign-key:1:49",
		"ALTER TABLE {{tables.t}} ADD FOREIGN KEY (x) REFERENCES {{tables.shared.plans}} NOT VALID;":               "shared-foreign-key:1:57",
		"CREATE TABLE {{tables.n}} (id bigint REFERENCES {{tables.t}}, FOREIGN KEY (id) REFERENCES {{tables.u}});": "",
	} {
		if got := lint(t, &sqllint.Options{Tenant: true}, sql); got != want {
			t.Errorf("%s: got %s, want %s", sql, got, want)
		}
		if got := lint(t, nil, sql); got != "" {
			t.Errorf("%s: got %s", sql, got)
		}
	}
}

// files runs the lint over files in their order and returns what it found in the last one.
func files(t *testing.T, o *sqllint.Options, texts ...string) string {
	t.Helper()
	fsys := fstest.MapFS{}
	for i, text := range texts {
		fsys[fmt.Sprintf("%03d_x.sql", i+1)] = &fstest.MapFile{Data: []byte(text)}
	}
	found, err := sqllint.Run(fsys, o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found {
		if f.File == fmt.Sprintf("%03d_x.sql", len(texts)) {
			got = append(got, fmt.Sprintf("%s:%d:%d", f.Rule, f.Line, f.Column))
		}
	}
	return strings.Join(got, " ")
}

// Whether the server reads all rows, a test asks it.
func TestAColumnMayBecomeNotNullWhereItIsKnownToHoldNoNull(t *testing.T) {
	t.Parallel()
	const table, add, validate = "CREATE TABLE {{tables.t}} (x int, y int)", "ALTER TABLE {{tables.t}} ADD CONSTRAINT c CHECK (x IS NOT NULL) NOT VALID", "ALTER TABLE {{tables.t}} VALIDATE CONSTRAINT c"
	const set = "ALTER TABLE {{tables.t}} ALTER x SET NOT NULL"
	for _, c := range []struct {
		want  string
		files []string
	}{
		{"", []string{table, add, validate, set + "; ALTER TABLE {{tables.t}} DROP CONSTRAINT c;"}},
		{"set-not-null:1:26", []string{table, add, validate, set + ", DROP CONSTRAINT c"}}, // which drops first
		{"set-not-null:1:26", []string{table, add, validate, "ALTER TABLE {{tables.t}} DROP CONSTRAINT c", set}},
		{"set-not-null:1:26", []string{table, add, set}},
		{"set-not-null:1:26", []string{table, add, validate, "ALTER TABLE {{tables.t}} ALTER y SET NOT NULL"}},
		{"set-not-null:1:26", []string{table, "ALTER TABLE {{tables.t}} ADD CONSTRAINT c CHECK (x IS NOT NULL OR y > 0) NOT VALID", validate, set}},
		{"", []string{table, "ALTER TABLE {{tables.t}} ADD CONSTRAINT c CHECK (x IS NOT NULL AND y > 0) NOT VALID", validate, set}},
		{"", []string{table, add, validate, set, set}},
		{"set-not-null:1:26", []string{table, add, validate, set, "ALTER TABLE {{tables.t}} DROP CONSTRAINT c", "ALTER TABLE {{tables.t}} ALTER x DROP NOT NULL", set}},
		{"", []string{"CREATE TABLE {{tables.t}} (x int NOT NULL)", set}},
		{"", []string{table, "ALTER TABLE {{tables.t}} ADD CONSTRAINT c NOT NULL x NOT VALID", validate, set}},
		{"set-not-null:1:26", []string{table, "ALTER TABLE {{tables.t}} ADD CONSTRAINT c NOT NULL x"}},
		{"set-not-null:1:26", []string{table, outside + "CREATE UNIQUE INDEX CONCURRENTLY k ON {{tables.t}} (x)", "ALTER TABLE {{tables.t}} ADD CONSTRAINT p PRIMARY KEY USING INDEX k"}},
		{"", []string{table, outside + "CREATE UNIQUE INDEX CONCURRENTLY k ON {{tables.t}} (x)", add, validate, "ALTER TABLE {{tables.t}} ADD CONSTRAINT p PRIMARY KEY USING INDEX k"}},
	} {
		if got := files(t, nil, c.files...); got != c.want {
			t.Errorf("%q: got %s, want %s", c.files, got, c.want)
		}
	}
}

func TestTheOldestVersionTellsWhatIsTooNew(t *testing.T) {
	t.Parallel()
	for _, c := range newer {
		for version := 14; version <= 18; version++ {
			got := files(t, &sqllint.Options{Postgres: version}, before, c.sql)
			if found := strings.Contains(got, "too-new:1:1"); found != (version < c.since) {
				t.Errorf("%d: %s: %s", version, c.sql, got)
			}
		}
		if got := files(t, nil, before, c.sql); strings.Contains(got, "too-new") {
			t.Errorf("%s: %s", c.sql, got)
		}
	}
	const key = "ALTER TABLE {{tables.p}} ADD CONSTRAINT f FOREIGN KEY (x) REFERENCES {{tables.u}} NOT VALID"
	for version, want := range map[int]string{0: "partitioned:1:26", 17: "partitioned:1:26", 18: ""} {
		if got := files(t, &sqllint.Options{Postgres: version}, before, key); got != want {
			t.Errorf("%d: got %s, want %s", version, got, want)
		}
	}
	if got := files(t, &sqllint.Options{Postgres: 14}, before, "ALTER TABLE {{tables.t}} ADD n bigint GENERATED ALWAYS AS (x * 2) STORED"); got != "add-column-rewrite:1:26" {
		t.Error(got)
	}
}

func TestFilesThatCannotBeReadAreAnErrorWithItsPlace(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"x.sql": "select 1", "1_x.sql": "select '", "2_y.sql": "select \xff"} {
		if found, err := sqllint.Run(fstest.MapFS{name: {Data: []byte(text)}}, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, %v", found, err)
		}
	}
	if _, err := sqllint.Run(fstest.MapFS{}, nil); err == nil {
		t.Error("no files: no error")
	}
}

func TestEachRuleIsFoundSomewhereAndExplained(t *testing.T) {
	t.Parallel()
	all := ""
	for _, c := range cases {
		all += " " + c.want
	}
	for i, r := range sqllint.Rules() {
		if i > 0 && sqllint.Rules()[i-1].Name >= r.Name {
			t.Errorf("%s is not in order", r.Name)
		}
		if r.Says == "" || r.Why == "" || r.Safe == "" {
			t.Errorf("%s is not explained", r.Name)
		}
		if r.Name != "tenant-enum" && r.Name != "shared-foreign-key" && r.Name != "too-new" && !strings.Contains(all, " "+r.Name+":") {
			t.Errorf("%s is in no file", r.Name)
		}
	}
}

func FuzzRunFindsPlacesInsideTheFile(f *testing.F) {
	for _, c := range cases {
		f.Add(c.sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		found, err := sqllint.Run(fstest.MapFS{"001_before.sql": {Data: []byte(before)}, "002_x.sql": {Data: []byte(sql)}}, &sqllint.Options{Tenant: true, Postgres: 14})
		if err != nil {
			return
		}
		lines := strings.Split(strings.ReplaceAll(strings.TrimPrefix(sql, "\ufeff"), "\r\n", "\n"), "\n")
		for _, f := range found {
			if f.File == "002_x.sql" && (f.Line < 1 || f.Line > len(lines) || f.Column < 1 || f.Column > len([]rune(lines[f.Line-1]))) {
				t.Errorf("%v in %q", f, sql)
			}
		}
	})
}
