package engine

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// check refuses what cannot run where the file is to run, and what is not meant for this engine. It also counts the
// statements.
func (f *File) check() error {
	if err := f.checkDirectives(); err != nil {
		return err
	}
	if err := f.checkComments(); err != nil {
		return err
	}
	f.verbatim = true
	f.authorization = f.mentions("authorization")
	f.traceless = !f.mentions("set_config", "pg_advisory", "pg_temp")
	for _, p := range f.pieces {
		if runs(p, f.Source) {
			f.Statements++
		}
		var err error
		switch p.Kind {
		case sqltemplate.Meta:
			f.verbatim = false
			err = f.checkMeta(p)
		case sqltemplate.CopyIn:
			f.verbatim = false
		case sqltemplate.Statement:
			err = f.checkStatement(p)
		}
		if err != nil {
			return err
		}
	}
	if f.Statements == 0 {
		return at(0, "file has no statement")
	}
	return nil
}

// runs reports whether the server completes a statement for the piece of text: not for an empty one.
func runs(p sqltemplate.Piece, text string) bool {
	return p.Kind == sqltemplate.CopyIn || p.Kind == sqltemplate.Statement && text[p.Code:p.End] != ";"
}

func (f *File) checkDirectives() error {
	directives, err := sqltemplate.Directives(f.Source)
	if err != nil {
		return err
	}
	for _, d := range directives {
		switch {
		case d.Name == allowDirective: // for the lint, wherever it stands
		case !slices.Contains(directiveNames, d.Name):
			return at(d.Offset, "unknown directive %q", "pgdbm:"+d.Name)
		case !d.Head:
			return at(d.Offset, "directive pgdbm:%s after the first statement, where it has no effect", d.Name)
		}
		var err error
		switch d.Name {
		case "no-transaction":
			if f.Repeatable() {
				return at(d.Offset, "directive pgdbm:no-transaction in a repeatable file")
			}
			f.NoTransaction = true
		case "lock-timeout":
			f.lockTimeout, err = parseTimeout(d.Args)
		case "statement-timeout":
			f.statementTimeout, err = parseTimeout(d.Args)
		case "after":
			if err := f.parseAfter(d); err != nil {
				return err
			}
		case "replaces":
			if err := f.parseReplaces(d); err != nil {
				return err
			}
		}
		if err != nil {
			return at(d.Offset, "directive pgdbm:%s: %w", d.Name, err)
		}
	}
	return nil
}

// allowDirective tells the lint that a statement may be as it is.
const allowDirective = "allow"

// directiveNames are what a file's head may say.
var directiveNames = []string{"no-templates", "no-transaction", "lock-timeout", "statement-timeout", "after", "replaces"}

var timeoutForm = regexp.MustCompile(`^([0-9]{1,9}) ?(ms|s|min|h)$`)

// parseTimeout reads a time as PostgreSQL writes it. The unit is required: the server's own default, milliseconds, is
// seldom what is meant.
func parseTimeout(text string) (*time.Duration, error) {
	units := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour}
	match := timeoutForm.FindStringSubmatch(text)
	if match == nil {
		return nil, fmt.Errorf("%q is no time such as 500ms, 2s, 5min or 1h", text)
	}
	n, err := strconv.Atoi(match[1])
	if err != nil {
		return nil, err
	}
	d := time.Duration(n) * units[match[2]]
	if d > maxTimeout {
		return nil, fmt.Errorf("%s is more than %s", text, maxTimeout)
	}
	return &d, nil
}

// maxTimeout is what the server's settings hold: milliseconds in 31 bits.
const maxTimeout = (1<<31 - 1) * time.Millisecond

// checkComments refuses comments that mean a directive and are none.
func (f *File) checkComments() error {
	if f.format != "" {
		return nil
	}
	directives, err := sqltemplate.Directives(f.Source)
	if err != nil {
		return err
	}
	lexer, head := sqltemplate.NewLexer(f.Source), true
	for tok, ok := lexer.Next(); ok; tok, ok = lexer.Next() {
		if tok.Kind != sqltemplate.Comment {
			head = head && tok.Kind == sqltemplate.Space
			continue
		}
		if len(directives) > 0 && directives[0].Offset == tok.Start {
			directives = directives[1:]
			continue
		}
		if name := missedDirective(f.Source[tok.Start:tok.End], head); name != "" {
			return at(tok.Start, "comment is no directive: what was meant is -- pgdbm:%s", name)
		}
	}
	return lexer.Err()
}

// What a comment looks like that means a directive and fails to be one, and a line that seems to begin the part for down.
var (
	missedForm = regexp.MustCompile(`(?i)^[-/*+@\s]*pgdbm[-:=.\s]+(down|no-templates|no-transaction|(?:lock|statement)-timeout\b[\s0-9a-z]*?|replaces\b[\s0-9-]*?|after\s+[^\s,]+(?:\s*,\s*[^\s,]+)*?)\s*(?:\*/)?$`)
	downForm   = regexp.MustCompile(`(?i)^--[-+@\s]*(?:migrate\s*)?down:?\s*$`)
)

// missedDirective returns the directive that a comment means. What reverts must not run with what it reverts.
func missedDirective(comment string, head bool) string {
	if match := missedForm.FindStringSubmatch(comment); match != nil {
		return lowerASCII(match[1])
	}
	if !head && downForm.MatchString(comment) { // at a file's head it may be a title
		return "down"
	}
	return ""
}

// checkMeta lets pass only what pg_dump writes around its output, which means nothing to the server.
func (f *File) checkMeta(p sqltemplate.Piece) error {
	text := f.Source[p.Code:p.End]
	command, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	if command = strings.TrimSpace(command); command != `\restrict` && command != `\unrestrict` {
		return at(p.Code, "psql's meta-command %s is not SQL", command)
	}
	return nil
}

// words returns the first n tokens of a statement without semicolons: unquoted names in lower case, else as written.
func (f *File) words(p sqltemplate.Piece, n int) []string { return wordsOf(f.Source[p.Code:p.End], n) }

func wordsOf(text string, n int) []string {
	lexer := sqltemplate.NewLexer(text)
	var words []string
	for tok, ok := lexer.Next(); ok && len(words) < n; tok, ok = lexer.Next() {
		switch tok.Kind {
		case sqltemplate.Space, sqltemplate.Comment, sqltemplate.Semicolon:
		case sqltemplate.Ident:
			words = append(words, lowerASCII(text[tok.Start:tok.End]))
		default:
			words = append(words, text[tok.Start:tok.End])
		}
	}
	return words
}

// leavesTrace reports whether a statement may change the session beyond its transaction. Those that define and write
// data do not, short of calling a function that sets a setting for the session; all others are taken to.
func leavesTrace(head []string) bool {
	switch head[0] {
	case "create":
		return createsTemporary(head) || slices.Contains(head[1:min(5, len(head))], "extension")
	case "set":
		return !begins(head, "set", "local")
	case "alter", "drop", "comment", "grant", "revoke", "insert", "update", "delete", "truncate", "copy":
		return false
	}
	return true
}

// createsTemporary recognises CREATE [OR REPLACE] [LOCAL | GLOBAL] {TEMPORARY | TEMP}.
func createsTemporary(head []string) bool {
	rest := head[1:]
	if begins(rest, "or", "replace") {
		rest = rest[2:]
	}
	if begins(rest, "local") || begins(rest, "global") {
		rest = rest[1:]
	}
	return begins(rest, "temp") || begins(rest, "temporary")
}

func (f *File) checkStatement(p sqltemplate.Piece) error {
	head := f.words(p, 64)
	if len(head) == 0 {
		return nil // an empty statement
	}
	f.traceless = f.traceless && !leavesTrace(head)
	if command := transactionControl(head); command != "" {
		return at(p.Code, "%s in a migration, %s", command, f.whyNoControl())
	}
	if command := needsNoTransaction(head); command != "" && !f.NoTransaction {
		return at(p.Code, "%s cannot run in a transaction, and the file has no directive pgdbm:no-transaction", command)
	}
	if f.NoTransaction {
		if err := checkOutside(head); err != nil {
			return at(p.Code, "%w", err)
		}
	}
	if begins(head, "create", "extension") && !slices.Contains(head, "schema") {
		return at(p.Code, "CREATE EXTENSION without SCHEMA")
	}
	return nil
}

// checkOutside refuses what would silently do nothing outside a transaction, and what a run that goes on after a crash
// would not find again.
func checkOutside(head []string) error {
	switch {
	case begins(head, "discard"):
		return errors.New("DISCARD in a file outside a transaction, whose session has the migration's settings and lock")
	case head[0] == "create" && createsTemporary(head):
		return errors.New("temporary object in a file outside a transaction, which may go on in another session")
	case begins(head, "set", "local"):
		return errors.New("SET LOCAL outside a transaction, where it has no effect")
	case head[0] == "create" && concurrentIndex(head):
		i := slices.Index(head, "concurrently")
		if begins(head[i+1:], "on") || begins(head[i+1:], "if", "not", "exists", "on") {
			return errors.New("CREATE INDEX CONCURRENTLY without a name for the index")
		}
		if slices.ContainsFunc(head[i+1:min(i+5, len(head))], func(w string) bool { return strings.HasPrefix(lowerASCII(w), `u&"`) }) {
			return errors.New("CREATE INDEX CONCURRENTLY with a name in U&")
		}
	}
	return nil
}

func begins(words []string, prefix ...string) bool {
	return len(words) >= len(prefix) && slices.Equal(words[:len(prefix)], prefix)
}

func (f *File) whyNoControl() string {
	if f.NoTransaction {
		return "whose statements run on their own"
	}
	return "which runs in a transaction of its own"
}

// transactionControl names the command when the statement begins or ends a transaction. Savepoints do not.
func transactionControl(head []string) string {
	switch head[0] {
	case "begin", "commit", "end", "abort":
		return strings.ToUpper(head[0])
	case "rollback":
		rest := head[1:]
		if begins(rest, "work") || begins(rest, "transaction") {
			rest = rest[1:]
		}
		if begins(rest, "to") {
			return ""
		}
		return "ROLLBACK"
	case "start", "prepare":
		if begins(head[1:], "transaction") {
			return strings.ToUpper(head[0]) + " TRANSACTION"
		}
	}
	return ""
}

// NeedsNoTransaction names the command when PostgreSQL would refuse a statement inside a transaction, as far as its words
// tell.
func NeedsNoTransaction(statement string) string {
	head := wordsOf(statement, 64)
	if len(head) == 0 {
		return ""
	}
	return needsNoTransaction(head)
}

// needsNoTransaction is as NeedsNoTransaction. Where it depends on more than words, as with DROP SUBSCRIPTION and what is
// partitioned, the server is left to say so.
func needsNoTransaction(head []string) string {
	second := ""
	if len(head) > 1 {
		second = head[1]
	}
	command := strings.ToUpper(head[0] + " " + second)
	switch head[0] {
	case "vacuum":
		return "VACUUM"
	case "create", "drop":
		switch {
		case second == "database" || second == "tablespace":
			return command
		case command == "CREATE SUBSCRIPTION" && createsSlot(head):
			return command
		case concurrentIndex(head):
			return strings.ToUpper(head[0]) + " INDEX CONCURRENTLY"
		}
	case "alter":
		switch {
		case second == "system":
			return command
		case second == "database" && containsRun(head, "set", "tablespace"):
			return "ALTER DATABASE SET TABLESPACE"
		case second == "table" && slices.Contains(head, "detach") && slices.Contains(head, "concurrently"):
			return "DETACH PARTITION CONCURRENTLY"
		case second == "subscription" && len(head) > 4:
			return altersSubscription(head[3:])
		}
	case "reindex":
		rest := skipParentheses(head[1:])
		switch {
		case slices.Contains(head, "concurrently") && option(head, "concurrently") != off:
			return "REINDEX CONCURRENTLY"
		case begins(rest, "schema"), begins(rest, "database"), begins(rest, "system"):
			return "REINDEX " + strings.ToUpper(rest[0])
		}
	case "cluster":
		if rest := skipParentheses(head[1:]); len(rest) == 0 || len(rest) == 1 && rest[0] == "verbose" {
			return "CLUSTER"
		}
	case "discard":
		if second == "all" {
			return command
		}
	}
	return ""
}

// createsSlot reports whether CREATE SUBSCRIPTION makes a replication slot, as it does unless its options say otherwise.
func createsSlot(head []string) bool {
	slot := option(head, "create_slot")
	return slot == on || slot == unset && option(head, "connect") != off
}

// altersSubscription names what follows ALTER SUBSCRIPTION and a name when no transaction may hold it.
func altersSubscription(rest []string) string {
	command := "ALTER SUBSCRIPTION " + strings.ToUpper(rest[0]+" "+rest[1])
	switch {
	case begins(rest, "refresh"):
		return command
	case rest[1] == "publication" && option(rest, "refresh") != off:
		return command
	case begins(rest, "set", "(") && option(rest, "failover") != unset:
		return "ALTER SUBSCRIPTION SET (failover)"
	case begins(rest, "set", "(") && option(rest, "two_phase") == off:
		return "ALTER SUBSCRIPTION SET (two_phase)"
	}
	return ""
}

// What an option in parentheses says.
const (
	unset = iota
	on
	off
)

// option reads one that is on or off: NAME, NAME VALUE or NAME = VALUE.
func option(words []string, name string) int {
	for i, w := range words {
		if w != name || i == 0 || words[i-1] != "(" && words[i-1] != "," {
			continue
		}
		rest := words[i+1:]
		if begins(rest, "=") {
			rest = rest[1:]
		}
		if len(rest) > 0 && slices.Contains([]string{"false", "off", "0"}, lowerASCII(strings.Trim(rest[0], "'"))) {
			return off
		}
		return on
	}
	return unset
}

// concurrentIndex recognises CREATE [UNIQUE] INDEX CONCURRENTLY and DROP INDEX CONCURRENTLY.
func concurrentIndex(head []string) bool {
	rest := head[1:]
	if begins(rest, "unique") {
		rest = rest[1:]
	}
	return begins(rest, "index", "concurrently")
}

func containsRun(words []string, run ...string) bool {
	for i := range words {
		if begins(words[i:], run...) {
			return true
		}
	}
	return false
}

// skipParentheses drops a list of options in parentheses.
func skipParentheses(words []string) []string {
	if !begins(words, "(") {
		return words
	}
	if end := slices.Index(words, ")"); end >= 0 {
		return words[end+1:]
	}
	return words
}
