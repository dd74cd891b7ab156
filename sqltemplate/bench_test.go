package sqltemplate_test

import (
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

const twoTables = "SELECT o.id, o.total, u.name FROM {{tables.orders}} o JOIN {{tables.users}} u ON u.id = o.user_id WHERE o.id = $1"

func BenchmarkAppendTwoTables(b *testing.B) {
	n, tpl := names(b, "tenant_00042", nil), parse(b, twoTables)
	dst := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = tpl.Append(dst[:0], n)
	}
}

func BenchmarkAppendOtherModule(b *testing.B) {
	n := names(b, "tenant_00042", map[string]string{"billing": "billing", "audit": "audit"})
	tpl := parse(b, "SELECT 1 FROM {{tables.billing.orders}}, {{tables.users}}")
	dst := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = tpl.Append(dst[:0], n)
	}
}

func BenchmarkExpandTwoTables(b *testing.B) {
	n, tpl := names(b, "tenant_00042", nil), parse(b, twoTables)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = tpl.Expand(n)
	}
}

func BenchmarkParseTwoTables(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = sqltemplate.Parse(twoTables)
	}
}

func BenchmarkSplit(b *testing.B) {
	src := strings.Repeat("-- a table\nCREATE TABLE t (id int PRIMARY KEY, name text NOT NULL DEFAULT 'it''s');\n\n"+
		"CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;\n", 1000)
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		if _, err := sqltemplate.Split(src); err != nil {
			b.Fatal(err)
		}
	}
}
