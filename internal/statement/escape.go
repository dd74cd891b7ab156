package statement

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// ErrEscape refuses a statement that reaches what no privilege keeps apart: the
// server would run it for any role.
var ErrEscape = errors.New("pgdbm: statement reaches beyond its schema")

// script is what a text is made of, as far as a role is concerned.
type script struct {
	statements int
	escape     string // what of it no role may run; mostly empty
	leaves     string // what of it stays with the session; mostly empty
	rewinds    bool   // it rolls back to a savepoint, and the role with it
	begins     bool   // it begins a transaction
	ends       bool   // it ends the transaction
	calls      bool   // it is a CALL or a DO, which may end the transaction
	opaque     bool   // it may set the role, seen or unseen
}

// script reads the text, once.
func (sh *Shape) script() *script {
	if s := sh.parts.Load(); s != nil {
		return s
	}
	s := readScript(sh.sql)
	sh.parts.Store(&s)
	return &s
}

// escapes returns an error for a text that no namespace with a role may run.
func (sh *Shape) escapes(ns *Namespace) error {
	if ns.Role == "" {
		return nil
	}
	return sh.script().escapes(ns)
}

func (s *script) escapes(ns *Namespace) error {
	switch {
	case ns.Role == "":
		return nil
	case s.escape != "":
		return fmt.Errorf("%w: schema %q: %s", ErrEscape, ns.Names.Schema(), s.escape)
	case s.leaves != "" && !ns.ownsSession:
		return fmt.Errorf("%w: schema %q: %s stays with the session, which others get next: use WithConn", ErrEscape, ns.Names.Schema(), s.leaves)
	}
	return nil
}

// readScript looks for what is the session's or the database's, and not a
// schema's. It finds mistakes: what is hidden in a function or in a string goes
// unseen.
func readScript(sql string) script {
	var r scriptReader
	lex := sqltemplate.NewLexer(sql)
	for {
		tok, ok := lex.Next()
		if !ok {
			break
		}
		switch tok.Kind {
		case sqltemplate.Space, sqltemplate.Comment:
		case sqltemplate.Semicolon:
			r.end()
		default:
			r.token(tok.Kind, sql[tok.Start:tok.End])
		}
	}
	r.end()
	if r.control != "" && r.statements > 1 {
		r.note(r.control + " among other statements: the role holds for one transaction")
	}
	return r.script
}

// scriptReader reads a script token by token.
type scriptReader struct {
	script
	control string // a statement that ends or begins a transaction
	reading        // the statement at hand
}

// reading is how far a statement has been read.
type reading struct {
	head    []string // its first words, behind EXPLAIN
	tokens  int      // as many as head has words while it goes on
	explain bool     // it begins with EXPLAIN
	options bool     // in parentheses behind that
	last    string   // the word before
	text    string   // the token before, and
	before  string   // the one before that
	depth   int      // of parentheses
	setting []int    // calls of set_config: the depths of their arguments
	unnamed bool     // the first argument of the last of them is next
	selects bool     // a cursor's query has begun
}

func (r *scriptReader) end() {
	if r.tokens > 0 {
		r.statements++
	}
	if head := r.head; len(head) > 0 {
		r.note(escapeOf(head))
		r.noteLeft(leftBy(head))
		r.ends = r.ends || controls(head) && head[0] != "begin" && head[0] != "start"
		r.rewinds = r.rewinds || rewinds(head)
		r.calls = r.calls || head[0] == "call" || head[0] == "do"
		r.begins = r.begins || head[0] == "begin" || head[0] == "start"
		r.opaque = r.opaque || slices.Contains([]string{"call", "do", "execute", "set", "reset"}, head[0])
		if r.control == "" && controls(head) {
			r.control = strings.ToUpper(head[0])
		}
	}
	r.reading = reading{}
}

func (r *scriptReader) token(kind sqltemplate.Kind, text string) {
	if r.explain && r.tokens == 0 && (r.depth > 0 || text == "(" && !r.options) {
		r.options = true
		r.count(text)
		return
	}
	word := ""
	switch kind {
	case sqltemplate.Ident, sqltemplate.QuotedIdent:
		word = strings.ToLower(strings.Trim(text, `"`))
		if r.beginsExplain(word, kind) {
			return
		}
		r.word(word)
		if len(r.head) == r.tokens && len(r.head) < 4 && (kind == sqltemplate.Ident || len(r.head) > 0) {
			r.head = append(r.head, word)
		}
	case sqltemplate.Punct:
		r.punct(text)
		r.count(text)
	}
	if r.unnamed && word != "set_config" && text != "(" {
		r.setName(kind, text)
	}
	if !(word == "local" || word == "global") || r.last != "into" {
		r.last = word
	}
	r.before, r.text = r.text, text
	r.tokens++
}

// beginsExplain reports whether a word is one that only says how to explain what
// follows, which EXPLAIN ANALYZE runs.
func (r *scriptReader) beginsExplain(word string, kind sqltemplate.Kind) bool {
	if r.tokens > 0 || kind != sqltemplate.Ident {
		return false
	}
	if !r.explain {
		r.explain = word == "explain"
		return r.explain
	}
	return word == "analyze" || word == "analyse" || word == "verbose"
}

func (r *scriptReader) word(word string) {
	switch {
	case word == "pg_temp":
		r.note("pg_temp: temporary tables are the session's, which others get next")
	case word == "pg_notify":
		r.note("pg_notify: channels are the database's")
	case r.last == "into" && (word == "temp" || word == "temporary"):
		r.note("INTO TEMPORARY: temporary tables are the session's, which others get next")
	case r.last == "with" && word == "hold" && len(r.head) > 0 && r.head[0] == "declare" && !r.selects:
		r.noteLeft("a cursor WITH HOLD")
	case word == "pg_settings" && len(r.head) > 0 && r.head[0] == "update":
		r.noteLeft("UPDATE of pg_settings")
	case strings.HasPrefix(word, "pg_advisory_") || strings.HasPrefix(word, "pg_try_advisory_"):
		if !strings.Contains(word, "_xact_") {
			r.noteLeft(word)
		}
	case word == "set_config":
		r.setting, r.unnamed, r.opaque = append(r.setting, r.depth+1), true, true
	}
	r.selects = r.selects || word == "for"
}

// setName reads the first argument of set_config.
func (r *scriptReader) setName(kind sqltemplate.Kind, text string) {
	r.unnamed = false
	if name := strings.ToLower(strings.Trim(text, "'")); kind == sqltemplate.String {
		r.note(setsReserved("set_config of", name))
	}
}

// setsReserved names a setting that is not a statement's to make.
func setsReserved(how, name string) string {
	switch name {
	case "role", "session_authorization":
		return how + " " + name + ": the role is the schema's"
	case "standard_conforming_strings":
		return how + " " + name + ": what is a string would be another thing then"
	}
	return ""
}

func (r *scriptReader) punct(text string) {
	last := len(r.setting) - 1
	if text != ")" || last < 0 || r.depth != r.setting[last] {
		return
	}
	r.setting = r.setting[:last]
	if r.last != "true" || r.before != "," && r.before != "=>" {
		r.noteLeft("set_config, whose third argument is not true,")
	}
}

func (r *scriptReader) count(text string) {
	switch text {
	case "(":
		r.depth++
	case ")":
		r.depth--
	}
}

func (s *script) note(escape string) {
	if s.escape == "" {
		s.escape = escape
	}
}

func (s *script) noteLeft(what string) {
	if s.leaves == "" {
		s.leaves = what
	}
}

// leftBy names what a statement that begins with these words leaves with the
// session.
func leftBy(head []string) string {
	second := ""
	if len(head) > 1 {
		second = head[1]
	}
	switch head[0] {
	case "set":
		if second == "local" || second == "transaction" || second == "constraints" {
			return ""
		}
		return "SET without LOCAL"
	case "prepare":
		if second == "transaction" {
			return ""
		}
		return "PREPARE"
	case "reset", "deallocate", "load":
		return strings.ToUpper(head[0])
	}
	return ""
}

// escapeOf names what a statement that begins with these words reaches.
func escapeOf(head []string) string {
	if controls(head) && slices.Contains(head, "chain") && !slices.Contains(head, "no") {
		return strings.ToUpper(head[0]) + " AND CHAIN: the role holds for one transaction"
	}
	switch head[0] {
	case "listen", "unlisten", "notify":
		return strings.ToUpper(head[0]) + ": channels are the database's"
	case "discard":
		return "DISCARD: the session is not the schema's"
	case "create":
		for _, w := range head[1:] {
			switch w {
			case "temp", "temporary":
				return "CREATE TEMPORARY: temporary tables are the session's, which others get next"
			}
			if !slices.Contains([]string{"or", "replace", "local", "global"}, w) {
				break
			}
		}
	case "set", "reset":
		rest := append(slices.Clone(head[1:]), "", "")
		if rest[0] == "local" || rest[0] == "session" && rest[1] != "authorization" {
			rest = rest[1:]
		}
		switch {
		case rest[0] == "session" && rest[1] == "authorization":
			return strings.ToUpper(head[0]) + " SESSION AUTHORIZATION: the role is the schema's"
		case setsReserved("", rest[0]) != "":
			return setsReserved(strings.ToUpper(head[0])+" of", rest[0])
		case strings.HasPrefix(rest[0], "u&"):
			return strings.ToUpper(head[0]) + " of a name in escapes, which may be the role"
		}
	}
	return ""
}

// rewinds reports whether a statement rolls back to a savepoint.
func rewinds(head []string) bool {
	return head[0] == "rollback" && slices.Contains(head[:min(len(head), 3)], "to")
}

// controls reports whether a statement begins or ends a transaction.
func controls(head []string) bool {
	switch head[0] {
	case "begin", "start", "commit", "end", "abort":
		return true
	case "rollback":
		return !rewinds(head)
	case "prepare":
		return len(head) > 1 && head[1] == "transaction"
	}
	return false
}
