package sqllint

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// Options change what [Run] looks for; nil is the same as the zero value.
type Options struct {
	// Tenant says that the module lives in very many schemas, as one for each
	// tenant: what does not scale is found as well.
	Tenant bool

	// Postgres is the oldest major version that the files are to run on, from
	// 14. What only later ones know is found then. 0 does not look for that.
	Postgres int
}

// Finding is a place that a rule has found.
type Finding struct {
	File         string // its path in the file system
	Line, Column int    // from 1, in characters
	Rule         string
	Severity     Severity
	Text         string
}

// String returns FILE:LINE:COLUMN: SEVERITY: TEXT (RULE).
func (f Finding) String() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s (%s)", f.File, f.Line, f.Column, f.Severity, f.Text, f.Rule)
}

// Run reads the migrations of a module, in the order in which they run, and
// returns what it found in them, by file and place. The files are those that a
// Module has in its Files, in any format that it may. An error says, with the
// place, which file is none or cannot be read as SQL.
func Run(fsys fs.FS, o *Options) ([]Finding, error) {
	if o == nil {
		o = new(Options)
	}
	texts, err := engine.Texts(fsys)
	if err != nil {
		return nil, fmt.Errorf("lint: %w", err)
	}
	l := &linter{Options: *o, known: newCatalog()}
	for _, t := range texts {
		if err := l.file(t); err != nil {
			return nil, fmt.Errorf("lint: %s: %w", t.Path, err)
		}
	}
	return l.findings, nil
}

// A linter goes through the files of a module.
type linter struct {
	Options
	known    *catalog
	findings []Finding

	// Of the file at hand:
	text      engine.Text
	made      map[string]bool // tables, and other objects, that it creates
	locked    []lock          // tables with users that it locks against readers or writers
	notValid  map[string]bool // table and constraint that it adds NOT VALID
	enumAdded []enumValue     // that it adds
	temporary map[string]bool // tables of the session
	secured   []name          // tables whose row level security it enables
	dropped   []dropped
	found     []foundAt
}

// A lock is one that is held until the file ends.
type lock struct {
	table  name
	offset int // of the statement
}

// lock notes that a table is locked by the statement at an offset.
func (l *linter) lock(table name, offset int) {
	l.locked = append(l.locked, lock{table, offset})
}

// dropped is an object that may yet be created anew in the same file.
type dropped struct {
	key     string
	finding foundAt
}

type foundAt struct {
	offset int
	rule   string
	what   string
}

// sayOf notes that a rule has found something about a table or another object, or a column or a constraint of it.
func (l *linter) sayOf(rule string, offset int, n name, column string) {
	what := n.String()
	if column != "" {
		what += "." + column
	}
	l.say(rule, offset, what)
}

// say notes that a rule has found something; what, if not empty, says more.
func (l *linter) say(rule string, offset int, what string) {
	l.found = append(l.found, foundAt{offset, rule, what})
}

func (l *linter) file(t engine.Text) error {
	l.text, l.found, l.locked, l.secured, l.dropped = t, nil, nil, nil, nil
	l.temporary = map[string]bool{}
	l.made, l.notValid, l.enumAdded = map[string]bool{}, map[string]bool{}, nil
	pieces, err := sqltemplate.Split(t.Source)
	if err != nil {
		return err
	}
	var statements []*statement
	for _, p := range pieces {
		if p.Kind != sqltemplate.Statement && p.Kind != sqltemplate.CopyIn {
			continue
		}
		if p.Kind == sqltemplate.CopyIn {
			p.End = p.Data
		}
		s := newStatement(t.Source, p)
		statements = append(statements, s)
		if command := engine.NeedsNoTransaction(t.Source[p.Code:p.End]); command != "" && !t.NoTransaction {
			l.say("needs-no-transaction", s.start, command)
		}
		l.check(s)
	}
	l.severalTables()
	l.ending()
	allowed, err := l.allowances(statements)
	if err != nil {
		return err
	}
	slices.SortStableFunc(l.found, func(a, b foundAt) int { return cmp.Compare(a.offset, b.offset) })
	for _, f := range slices.Compact(l.found) {
		if allowed(f) {
			continue
		}
		r, _ := ruleNamed(f.rule)
		line, column := sqltemplate.Position(t.Source, f.offset)
		text := r.Says
		if f.what != "" {
			text += ": " + f.what
		}
		l.findings = append(l.findings, Finding{t.Path, line, column, r.Name, r.Severity, text})
	}
	return nil
}

// hasUsers reports whether others may use the table: the file has not just created it.
func (l *linter) hasUsers(n name) bool { return !l.made[n.key()] }

// ending looks at what only the end of the file tells.
func (l *linter) ending() {
	for _, n := range l.secured {
		if !l.known.policies[n.key()] {
			l.sayOf("row-security", n.start, n, "")
		}
	}
	for _, d := range l.dropped {
		l.found = append(l.found, d.finding)
	}
	for key := range l.made {
		l.known.tables[key] = true
	}
}

// gone notes that an object is dropped, unless the file goes on to create it anew.
func (l *linter) gone(n name, rule string, offset int) {
	l.dropped = append(l.dropped, dropped{n.key(), foundAt{offset, rule, n.String()}})
}

// again notes that an object is created.
func (l *linter) again(n name) {
	if !l.text.NoTransaction { // where others see that it is gone
		l.dropped = slices.DeleteFunc(l.dropped, func(d dropped) bool { return d.key == n.key() })
	}
}

// severalTables looks at what the file has locked. Tables that one statement names are taken to belong together.
func (l *linter) severalTables() {
	if l.text.NoTransaction {
		return // each lock ends with its statement
	}
	first := map[string]bool{}
	for _, k := range l.locked {
		switch {
		case k.offset == l.locked[0].offset:
			first[k.table.key()] = true
		case !first[k.table.key()]:
			l.say("several-tables", k.offset, l.locked[0].table.String()+", "+k.table.String())
			return
		}
	}
}

// allowances reads the directives pgdbm:allow, and returns whether one of them is for a finding.
func (l *linter) allowances(statements []*statement) (func(foundAt) bool, error) {
	directives, err := sqltemplate.Directives(l.text.Source)
	if err != nil {
		return nil, err
	}
	allowed := map[*statement][]string{}
	of := func(offset int) *statement {
		for _, s := range statements {
			if offset < s.end || offset >= s.end && !strings.Contains(l.text.Source[s.end:offset], "\n") {
				return s
			}
		}
		return nil
	}
	for _, d := range directives {
		if d.Name != "allow" {
			continue
		}
		rule, reason, _ := strings.Cut(d.Args, " ")
		s := of(d.Offset)
		switch _, known := ruleNamed(rule); {
		case !known || rule == "bad-allow":
			l.say("bad-allow", d.Offset, fmt.Sprintf("there is no rule %q", rule))
		case strings.TrimSpace(reason) == "":
			l.say("bad-allow", d.Offset, "there is no reason")
		case s == nil:
			l.say("bad-allow", d.Offset, "no statement follows")
		default:
			allowed[s] = append(allowed[s], rule)
		}
	}
	return func(f foundAt) bool {
		for s, rules := range allowed {
			if f.offset >= s.start && f.offset < s.end && slices.Contains(rules, f.rule) {
				return true
			}
		}
		return false
	}, nil
}
