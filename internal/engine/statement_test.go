package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// hardCases are texts that are easily divided in the wrong place. Each runs as a migration, and each of its statements
// is judged by a server.
var hardCases = []struct {
	name string
	text string
	want []string // how the statements begin and end: "BEGIN...END", or the whole
}{
	{"escape string with a quote", `select E'a\';b'; select e'\\'; select 2;`, []string{`select E'a\';b';`, `select e'\\';`, `select 2;`}},
	{"backslash at the end of a plain string", `select 'a\'; select 'b';`, []string{`select 'a\';`, `select 'b';`}},
	{"doubled quotes", `select 'it''s;', ''';'''; select 2`, []string{`select 'it''s;', ''';''';`, `select 2`}},
	{"string continued on the next line", "select 'a;'\n  'b;' -- it's\n 'c;'; select 2;", []string{"select 'a;'...'c;';", "select 2;"}},
	{"unicode string", `select U&'\0041;', u&'d!0061t;' uescape '!'; select 2;`, []string{`select U&...'!';`, "select 2;"}},
	{"national and bit strings", `select N'a;', B'101', X'1F'; select 2;`, []string{`select N'a;', B'101', X'1F';`, "select 2;"}},
	{"nested comments", "/* a; /* b; */ c; */ select /* /* ; */ */ 1; -- d;\nselect 2; /* e; */", []string{"select /* /* ; */ */ 1;", "select 2;"}},
	{"quotes in comments", "-- it's\nselect 1; /* \" ' $$ */ select 2;", []string{"select 1;", "select 2;"}},
	{"semicolon in a quoted name", `create table "a;b" ("c;""d" int); drop table "a;b";`, []string{`create table "a;b" ("c;""d" int);`, `drop table "a;b";`}},
	{"apostrophe in a quoted name", `create table "it's" (x int); insert into "it's" values (1); drop table "it's";`, []string{`create table "it's" (x int);`, `insert into "it's" values (1);`, `drop table "it's";`}},
	{"unicode name", `select 1 as U&"a;\0062"; select 2;`, []string{`select 1 as U&"a;\0062";`, "select 2;"}},
	{"dollars in a name", "create table a$b$c (x int); create table a$b$d (x int);", []string{"create table a$b$c (x int);", "create table a$b$d (x int);"}},
	{"dollar quotes with tags", "select $$a;'b$$; select $x$ $$;$y$ $x$; select $é1$;$é1$;", []string{"select $$a;'b$$;", "select $x$ $$;$y$ $x$;", "select $é1$;$é1$;"}},
	{"function with a quoted body", "create function f1() returns int language plpgsql as $f$ begin /* ; */ return 1; end; $f$; select f1();", []string{"create function f1()...$f$;", "select f1();"}},
	{"function with a body in quotes", "create function f2() returns int language sql as 'select 1; select ''2;''::text; select 3;'; select f2();", []string{"create function f2()...;'", "select f2();"}},
	{"BEGIN ATOMIC", "create function f3() returns int begin atomic select 1; select 2; end; select f3();", []string{"create function f3()...end;", "select f3();"}},
	{"BEGIN ATOMIC with CASE", "create or replace function f4(i int) returns int begin atomic select case when i = 1 then case i when 1 then 2 end end as \"end\"; select 3; end; select f4(1);",
		[]string{"create or replace function f4...end;", "select f4(1);"}},
	{"BEGIN ATOMIC in a procedure", "create table t5 (x int); create procedure p5() language sql begin atomic insert into t5 values (1); insert into t5 values (2); end; call p5();",
		[]string{"create table t5 (x int);", "create procedure p5()...end;", "call p5();"}},
	{"BEGIN ATOMIC that is empty", "create procedure p6() begin atomic end; call p6();", []string{"create procedure p6() begin atomic end;", "call p6();"}},
	{"rule with several commands", "create table t7 (x int); create rule r7 as on delete to t7 do also (select 1; select ';)'; insert into t7 values ((2)););\nselect 2;",
		[]string{"create table t7 (x int);", "create rule r7...;);", "select 2;"}},
	{"rule that replaces", "create table t8 (x int); create table u8 (x int); create or replace rule r8 as on insert to t8 do instead (insert into u8 values (new.x); delete from u8 where x = 9);",
		[]string{"create table t8 (x int);", "create table u8 (x int);", "create or replace rule r8...9);"}},
	{"words that are names", "create table t9 (\"begin\" int, atomic int); select atomic from t9; select 1 as \"case\";", []string{"create table t9...;", "select atomic from t9;", `select 1 as "case";`}},
	{"DO", "do $$ begin perform 1; perform 2; end $$; do 'begin perform ''a;''; end';", []string{"do $$...$$;", "do 'begin...';"}},
	{"operators before comments", "select 1*--;\n2; select 3+/*;*/4; select 5 /*/* ; */*/ - 6;", []string{"select 1*--;\n2;", "select 3+/*;*/4;", "select 5...6;"}},
	{"empty statements", ";; select 1;; ; select 2;;", []string{"select 1;", "select 2;"}},
	{"no last semicolon", "select 1;\nselect 2 -- end", []string{"select 1;", "select 2 -- end"}},
	{"carriage returns", "select 'a'\r\n'b';\r\n-- c;\r\nselect 2;\r\n", []string{"select 'a'\n'b';", "select 2;"}},
	{"byte order mark", "\ufeffselect 1; select 2;", []string{"select 1;", "select 2;"}},
	{"COPY with data", "create table c1 (a int, b text);\ncopy c1 from stdin;\n1\tit's; $$\n2\t\\N\n\\.\ncopy c1 (a) from stdin with (format csv);\n3\n\\.\nselect count(*) from c1;",
		[]string{"create table c1...;", "copy c1 from stdin;\n", "copy c1 (a) from stdin with (format csv);\n", "select count(*) from c1;"}},
	{"COPY without rows", "create table c2 (a int);\nCOPY c2 FROM STDIN; -- none;\n\\.\nselect 1;", []string{"create table c2 (a int);", "COPY c2 FROM STDIN; -- none;\n", "select 1;"}},
	{"COPY with what looks like SQL", "create table c3 (a text);\ncopy c3 from stdin;\nselect 'x;\n\\restrict\n/* ; \n\\.\nselect 1;", []string{"create table c3 (a text);", "copy c3 from stdin;\n", "select 1;"}},
	{"restrict lines of pg_dump", "-- dump;\n\\restrict a;b'c\n\nset work_mem = '5MB';\n\n\\unrestrict a;b'c\n", []string{"set work_mem = '5MB';"}},
	{"placeholders", "create table {{tables.ph}} (x int); select '{{tables.ph}};'::text, $$ {{schema}}; $$; comment on table /*{{tables.ph}}*/ ph is 'a;b';",
		[]string{`create table "s"."ph" (x int);`, `select '"s"."ph";'::text, $$ "s"; $$;`, `comment on table "s"."ph" is 'a;b';`}},
	{"concurrent index", "create table i1 (x int); create unique index concurrently \"i;1\" on i1 (x) where x > 1; drop index concurrently if exists \"i;1\";",
		[]string{"create table i1 (x int);", "create unique index...1;", `drop index concurrently if exists "i;1";`}},
	{"XML, arrays and casts", "select array[1,2]::int[], '{\";\"}'::text[], '1'::int; select 2;", []string{"select array...int;", "select 2;"}},
	{"procedure that commits", "create table t10 (x int); create procedure p10() language plpgsql as $$ begin insert into t10 values (1); commit; insert into t10 values (2); rollback; end $$; call p10();",
		[]string{"create table t10 (x int);", "create procedure p10()...$$;", "call p10();"}},
}

func matches(statement, pattern string) bool {
	begin, end, ok := strings.Cut(pattern, "...")
	if !ok {
		return statement == pattern
	}
	return strings.HasPrefix(statement, begin) && strings.HasSuffix(strings.TrimSuffix(statement, ";"), strings.TrimSuffix(end, ";"))
}

func TestHardStatementsAreDividedAsTheServerReadsThem(t *testing.T) {
	t.Parallel()
	if len(hardCases) < 25 {
		t.Errorf("%d cases", len(hardCases))
	}
	d := newDatabase(t)
	conn, err := pgconn.Connect(t.Context(), d.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	names, err := sqltemplate.NewNames("s", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range hardCases {
		f := load(t, "app", "1_x.sql", withHead(c.text))[0]
		statements, err := engine.Statements(f, names)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(statements) != f.Statements || !slices.EqualFunc(statements, c.want, matches) {
			t.Errorf("%s: got %d of %d\n%q\nwant\n%q", c.name, len(statements), f.Statements, statements, c.want)
		}
		for _, s := range statements {
			// A Parse message takes one statement: two are refused, and so is half of one.
			_, err := conn.Prepare(t.Context(), "", s, nil)
			var pgErr *pgconn.PgError
			if errors.As(err, &pgErr) && pgErr.Code == "42601" {
				t.Errorf("%s: %q: %v", c.name, s, err)
			} else if err != nil && pgErr == nil {
				t.Fatal(err)
			}
		}
	}
}

// withHead puts the directive first, behind a byte order mark.
func withHead(text string) string {
	if rest, ok := strings.CutPrefix(text, "\ufeff"); ok {
		return "\ufeff" + outsideHead + rest
	}
	return outsideHead + text
}

func TestHardStatementsRunInAndOutsideATransaction(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program(two)
	in, out := []string{}, []string{}
	for i, c := range hardCases {
		name := fmt.Sprintf("%d_x.sql", i+1)
		out = append(out, name, withHead(c.text))
		if !strings.Contains(c.text, "concurrently") && !strings.Contains(c.text, "commit") {
			in = append(in, name, c.text)
		}
	}
	if got := len(p.up(target(t, "outside", "s", out...)).Applied); got != len(hardCases) {
		t.Errorf("%d applied outside", got)
	}
	if got := len(p.up(target(t, "inside", "s2", in...)).Applied); got != len(in)/2 {
		t.Errorf("%d applied inside", got)
	}
	p.StatementByStatement = true
	if got := len(p.up(target(t, "single", "s3", in...)).Applied); got != len(in)/2 {
		t.Errorf("%d applied one by one", got)
	}
	d.want("0", "select count(*) from pgdbm.migrations where stmt_done <> stmt_total")
	for _, schema := range []string{"s", "s2", "s3"} {
		c := d.connect()
		var n, rows int
		if err := c.QueryRow(t.Context(), "select (select count(*) from "+pgx.Identifier{schema, "c1"}.Sanitize()+"), (select count(*) from "+
			pgx.Identifier{schema, "c3"}.Sanitize()+")").Scan(&n, &rows); err != nil || n != 3 || rows != 3 {
			t.Errorf("%s: %d and %d rows, %v", schema, n, rows, err)
		}
	}
}

func TestConcurrentOperationsAreRecognised(t *testing.T) {
	t.Parallel()
	const created, dropped, index, table, schema, database, detached = "1", "2", "3", "4", "5", "6", "7"
	for sql, want := range map[string]string{
		"create index concurrently I on T (x)":                                            created + ` i "t"`,
		"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS \"I x\" ON ONLY s.\"T\"\"u\" (x)": created + ` I x "s"."T""u"`,
		"create /* ; */ index -- c\n concurrently i on \"a\".\"b\" using gin (x);":        created + ` i "a"."b"`,
		"create index concurrently " + strings.Repeat("é", 40) + " on t (x)":              created + " " + strings.Repeat("é", 31) + ` "t"`,
		"create index i on t (concurrently)":                                              "",
		"create index concurrently on t (x)":                                              "",
		"drop index concurrently if exists a.b":                                           dropped + `  "a"."b"`,
		"drop index concurrently i":                                                       dropped + `  "i"`,
		"drop index i":                                                                    "",
		"reindex index concurrently i":                                                    index + `  "i"`,
		"reindex (verbose, concurrently) table s.t":                                       table + `  "s"."t"`,
		"reindex schema concurrently s":                                                   schema + `  "s"`,
		"reindex (concurrently true) database":                                            database + `  database`,
		"reindex table t":                                                                 "",
		"reindex system concurrently d":                                                   "",
		"alter table p detach partition s.q concurrently":                                 detached + `  "p" "s"."q"`,
		"alter table if exists only p detach partition q concurrently":                    detached + `  "p" "q"`,
		"alter table p detach partition q":                                                "",
		"alter table p detach partition q finalize":                                       "",
		"alter table p add column concurrently int":                                       "",
		"refresh materialized view concurrently v":                                        "",
		`create index concurrently U&"x" on t (x)`:                                        "",
		"": "",
	} {
		if got := engine.Object(sql); got != want {
			t.Errorf("%s:\ngot  %q\nwant %q", sql, got, want)
		}
	}
}

func FuzzFilesAreDividedOrRefused(f *testing.F) {
	for _, c := range hardCases {
		f.Add(c.text)
		f.Add(withHead(c.text))
	}
	for _, text := range []string{
		"-- pgdbm:lock-timeout 2s\nselect 1;\n-- pgdbm:down\n-- pgdbm:no-transaction\nvacuum;", "-- pgdbm:down", "\t-- pgdbm:down\nselect 1",
		"-- pgdbm:no-templates\nselect '{{';\n-- pgdbm:down\nselect '{{'",
	} {
		f.Add(text)
	}
	names, err := sqltemplate.NewNames("s", map[string]string{"app": "s", "other": "o"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		files, err := engine.Load("app", mapFS("1_a.sql", text))
		if err != nil {
			var e *engine.Error
			if !errors.As(err, &e) || e.File != "1_a.sql" {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		statements, err := engine.Statements(files[0], names)
		if err != nil {
			return // it names a module that is not there
		}
		if len(statements) != files[0].Statements {
			t.Fatalf("%q: %d statements in the expanded text, %d in the file", text, len(statements), files[0].Statements)
		}
		for _, s := range statements {
			engine.Object(s)
			if strings.TrimSpace(s) == "" {
				t.Fatalf("%q: empty statement", text)
			}
		}
	})
}
