package main

import (
	"strings"
	"testing"
)

func TestTablesFitEightyColumnsAndCutNoNameOrURL(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 63)
	for _, c := range []struct {
		head []string
		rows [][]string
		want string
	}{
		{[]string{"A", "BC"}, [][]string{{"1", ""}, {"22", "3"}}, "A   BC\n1\n22  3\n"},
		{nil, [][]string{{"über", "1"}, {"a", "2"}}, "über  1\na     2\n"},
		{[]string{"NAME", "WHAT"}, [][]string{{"n", strings.Repeat("word ", 20) + "end"}},
			"NAME  WHAT\nn     " + strings.TrimRight(strings.Repeat("word ", 15), " ") + "\n      " + strings.Repeat("word ", 5) + "end\n"},
		{[]string{"ONE", "TWO", "THREE"}, [][]string{{"a b", long, "c"}}, "ONE  TWO" + strings.Repeat(" ", 62) + "THREE\na b  " + long + "  c\n"},
		{[]string{"ONE", "TWO", "THREE"}, [][]string{{"a", long + long[:10], "c"}},
			"ONE  TWO" + strings.Repeat(" ", 67) + "THREE\na    " + long + "xxxxx" + "  c\n     xxxxx\n"},
		{[]string{"NAME", "URL"}, [][]string{{long, long}, {"n", "u"}}, "NAME  URL\n" + long + "\n      " + long + "\nn     u\n"},
		{[]string{"NAME", "AT", "URL"}, [][]string{{"n", "2026-11-26 02:42:05", long}},
			"NAME  AT         URL\nn     2026-11-2  " + long + "\n      6\n      02:42:05\n"},
		{[]string{"NAME", "AT", "URL"}, [][]string{{"n", "2026-11-26 02:42:05", long + long}},
			"NAME  AT                   URL\nn     2026-11-26 02:42:05  " + long + long + "\n"},
		{[]string{"NAME", "OWNER", "SIZE", "WHAT"}, [][]string{{"n", "pg_database_owner", "0.0 MB", "a " + long}},
			"NAME  OWNER              SIZE    WHAT\nn     pg_database_owner  0.0 MB\n          a " + long + "\n"},
	} {
		var out strings.Builder
		if err := writeTable(&out, c.head, c.rows); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != c.want {
			t.Errorf("got\n%swant\n%s", got, c.want)
		}
	}
}

func TestAColumnOfNamesStaysWhole(t *testing.T) {
	t.Parallel()
	owner := strings.Repeat("x", 100)
	var out strings.Builder
	if err := writeTable(&out, []string{"SCHEMA", "OWNER", "SIZE", "MODULES"}, [][]string{{"s", owner, "0 kB", "shop (1), bills (2)"}}, 1); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), " "+owner+" ") {
		t.Error(out.String())
	}
}

func TestSizesOfSmallThingsAreNotZero(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[int64]string{0: "0 kB", 8192: "8 kB", 10<<20 - 1<<10: "10239 kB", 10 << 20: "10.0 MB", 1 << 30: "1024.0 MB"} {
		if got := sizeText(bytes); got != want {
			t.Errorf("%d: %s, want %s", bytes, got, want)
		}
	}
}
