package main

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/docs"
	"github.com/pgdbm/pgdbm/pgdbmvet/sqllint"
)

const lintPage = "lint.md"

// The page is what the rules say of themselves; -update writes it.
func TestTheLintPageFollowsTheRules(t *testing.T) {
	t.Parallel()
	want := lintText()
	if *update {
		if err := os.WriteFile("../../docs/"+lintPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := fs.ReadFile(docs.FS(), lintPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/lint.md differs from the rules: run go test ./cmd/pgdbm -run Lint -update")
	}
}

func lintText() string {
	var b strings.Builder
	b.WriteString(`# Lint

Generated from the rules. ` + "`pgdbm migrate lint`" + ` reads migrations without a
server, and names what holds up the users of a table, writes it anew or fails
half-way. A table that the same file creates has no users yet; what earlier
files have made of a column is known. What reverts is not judged. The block of
a DO is read, the body of a function and what EXECUTE runs are not.

What is meant as it is says so, above the statement or at its end:

` + "```text" + `
-- pgdbm:allow drop-column nobody has read it since March
` + "```" + `

The locks are those that a server takes: a test asks it. Where the lock is
` + "`ACCESS EXCLUSIVE`" + ` nobody can use the table while it is held, and whoever comes
later waits behind the statement while it waits; with ` + "`SHARE`" + ` and ` + "`SHARE ROW\nEXCLUSIVE`" + ` nobody can write.

The rules are for PostgreSQL 14 to 18, and say where these differ. With
` + "`--postgres 14`" + `, the oldest version that the files run on, what it does not
know is found too.

Not looked for, since the engine does it: timeouts (each file has a
` + "`lock_timeout`" + ` and is tried again), ` + "`IF NOT EXISTS`" + ` everywhere (a file is undone
whole, or goes on at the statement that failed, and invalid indexes are built
anew), transactions that stay open. Not looked for, since the lock is short and
no row is read: foreign keys that are NOT VALID, columns with a constant
default, indexes renamed. Not known without a server: of what kind a constraint
is that is dropped, how big a table is, whether a CHECK fits a partition's
bounds.
`)
	for _, r := range sqllint.Rules() {
		fmt.Fprintf(&b, "\n## %s\n\n", r.Name)
		facts := strings.ToUpper(r.Severity.String()[:1]) + r.Severity.String()[1:]
		if r.Lock != "" {
			facts += ", `" + r.Lock + "`"
		}
		if r.Rewrites {
			facts += ", writes the table anew"
		}
		b.WriteString(paragraph(facts + ": " + r.Says + ". " + r.Why))
		b.WriteString("\n" + paragraph("Instead: "+r.Safe))
	}
	return b.String()
}

// paragraph breaks a text at 79 columns.
func paragraph(text string) string { return strings.Join(foldAtSpaces(text, 79), "\n") + "\n" }
