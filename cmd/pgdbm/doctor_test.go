package main

import (
	"bytes"
	"errors"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
	"github.com/pgdbm/pgdbm/docs"
)

func TestTheDoctorsPageHasEveryCode(t *testing.T) {
	t.Parallel()
	text, err := fs.ReadFile(docs.FS(), "doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		rows = append(rows, m[1])
	}
	if codes := doctor.Codes(); !slices.Equal(rows, codes) {
		t.Errorf("the page has %q, the doctor %q", rows, codes)
	}
}

func TestFindingsFitEightyColumnsAndStayPasteable(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("word ", 30)
	r := &doctor.Report{Database: "app", Findings: []doctor.Finding{
		{Code: "connection-headroom", Severity: doctor.Error, Where: long, What: long,
			Fix: doctor.Fix{SQL: []string{"ALTER TABLE a ALTER b TYPE bigint;", `SELECT 'Bolt & Co' AS "a name", ` + strings.Repeat("x, ", 30) + `y FROM t; -- and restart`}}},
		{Code: "module-pending", Severity: doctor.Warning, Where: "a", What: "b", Kind: "k",
			Fix: doctor.Fix{Command: "pgdbm migrate up --module a_rather_long_name --dir 'a folder/of migrations' --schema a_rather_long_name"}},
		{Code: "module-pending", Severity: doctor.Warning, Where: "c", What: "d", Kind: "k", Fix: doctor.Fix{Command: "x"}},
		{Code: "module-pending", Severity: doctor.Warning, Where: "e\x1b[2J", What: "f", Fix: doctor.Fix{Command: "x"}},
		{Code: "module-pending", Severity: doctor.Warning, Where: "g", What: "two\nlines", Kind: "other", Fix: doctor.Fix{Command: "x"}},
	}, Skipped: []doctor.Skipped{{Codes: []string{"schema-gone"}, Err: errors.New(long)}, {Codes: []string{"schema-unowned", "tenant-grant"}, Err: errors.New(long)}}}
	var out bytes.Buffer
	if err := writeDoctor(&out, r, newDoctorJSON(r), false); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for line := range strings.Lines(text) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > columns {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	for _, want := range []string{
		"     SQL  ALTER TABLE a ALTER b TYPE bigint;\n          SELECT 'Bolt & Co' AS \"a name\", x,",
		"y FROM t;\n          -- and restart\n",
		"     run  pgdbm migrate up --module a_rather_long_name --dir \\\n          'a folder/of migrations' --schema a_rather_long_name\n",
		"          and 1 more like it, which --json lists\n",
		"e\ufffd[2J",
		"          two lines\n",
		"\nnot looked for: schema-gone, schema-unowned, tenant-grant: word",
		"\ndatabase app: 1 error, 4 warnings\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "\nwarning   module-pending       c\n") {
		t.Error("one that is like another is shown")
	}
}

func TestFixesShowNoPassword(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                             "",
		"postgres://me@h/app":          "--url postgres://me@h/app",
		"postgres://me:s3cret@h/app":   `--url "${URL:?}"`,
		"postgres://h/app?password=s3": `--url "${URL:?}"`,
		"host=h password=s3cret":       `--url "${URL:?}"`,
		"postgres://h/app?p%61ssword=": `--url "${URL:?}"`,
		"host=h dbname=app":            `--url 'host=h dbname=app'`,
	} {
		f := doctorFlags{}
		f.url = url
		if got := f.targetFlags(); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}
