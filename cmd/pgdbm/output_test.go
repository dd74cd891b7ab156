package main

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTablesFitEightyColumnsAndLoseNothing(t *testing.T) {
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
		{[]string{"ONE", "TWO"}, [][]string{{long, long}}, ""},
	} {
		var out strings.Builder
		if err := writeTable(&out, c.head, c.rows); err != nil {
			t.Fatal(err)
		}
		got := out.String()
		if c.want != "" && got != c.want {
			t.Errorf("got\n%swant\n%s", got, c.want)
		}
		for line := range strings.Lines(got) {
			if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > columns {
				t.Errorf("too wide: %s", line)
			}
		}
		if n := strings.Count(got, "x"); c.want == "" && n != 126 {
			t.Errorf("%d of 126 characters in\n%s", n, got)
		}
	}
}
