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
	ends       bool   // it ends the transaction
	calls      bool   // it is a CALL or a DO, which may end the transaction
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
	if e := sh.script().escape; e != "" {
		return fmt.Errorf("%w: schema %q: %s", ErrEscape, ns.Names.Schema(), e)
	}
	if e := sh.script().leaves; e != "" && !ns.ownsSession {
		return fmt.Errorf("%w: schema %q: %s stays with the session, which others get next: use WithConn", ErrEscape, ns.Names.Schema(), e)
	}
	return nil
}

// readScript looks for what is the session's or the database's, and not a
// schema's. It finds mistakes: what is hidden in a function or in a string goes
// unseen.
func readScript(sql string) script {
	var (
		s       script
		control string   // a statement that ends or begins a transaction
		head    []string // the first words of the statement
		words   int
		last    string // the word before
		setting bool   // set_config is called
		depth   int    // of parentheses, and that
		call    int    // of the last set_config's
		selects bool   // a cursor's query has begun
	)
	end := func() {
		if words > 0 {
			s.statements++
		}
		if len(head) > 0 {
			s.note(escapeOf(head))
			s.noteLeft(leftBy(head))
			s.ends = s.ends || controls(head) && head[0] != "begin" && head[0] != "start"
			s.rewinds = s.rewinds || rewinds(head)
			s.calls = s.calls || head[0] == "call" || head[0] == "do"
			if control == "" && controls(head) {
				control = strings.ToUpper(head[0])
			}
		}
		head, words, last, setting, depth, selects = nil, 0, "", false, 0, false
	}
	lex := sqltemplate.NewLexer(sql)
	for {
		tok, ok := lex.Next()
		if !ok {
			break
		}
		text := sql[tok.Start:tok.End]
		switch tok.Kind {
		case sqltemplate.Space, sqltemplate.Comment:
			continue
		case sqltemplate.Semicolon:
			end()
			continue
		case sqltemplate.Ident, sqltemplate.QuotedIdent:
			word := strings.ToLower(strings.Trim(text, `"`))
			switch {
			case word == "pg_temp":
				s.note("pg_temp: temporary tables are the session's, which others get next")
			case word == "pg_notify":
				s.note("pg_notify: channels are the database's")
			case last == "into" && (word == "temp" || word == "temporary"):
				s.note("INTO TEMPORARY: temporary tables are the session's, which others get next")
			case last == "with" && word == "hold" && len(head) > 0 && head[0] == "declare" && !selects:
				s.noteLeft("a cursor WITH HOLD")
			case strings.HasPrefix(word, "pg_advisory_") || strings.HasPrefix(word, "pg_try_advisory_"):
				if !strings.Contains(word, "_xact_") {
					s.noteLeft(word)
				}
			case word == "set_config":
				setting, call = true, depth+1
			}
			selects = selects || word == "for"
			if len(head) == words && len(head) < 4 && tok.Kind == sqltemplate.Ident {
				head = append(head, word)
			}
			last = word
		case sqltemplate.String:
			if name := strings.ToLower(strings.Trim(text, "'")); setting && (name == "role" || name == "session_authorization") {
				s.note("set_config of " + name + ": the role is the schema's")
			}
			last = ""
		case sqltemplate.Punct:
			switch text {
			case "(":
				depth++
			case ")":
				if setting && depth == call {
					setting = false
					if last == "false" {
						s.noteLeft("set_config for the session")
					}
				}
				depth--
			}
			last = ""
		default:
			last = ""
		}
		words++
	}
	end()
	if control != "" && s.statements > 1 {
		s.note(control + " among other statements: the role holds for one transaction")
	}
	return s
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
	second := ""
	if len(head) > 1 {
		second = head[1]
	}
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
		if second == "session" || second == "local" {
			second = strings.Join(head[2:], " ")
		}
		if strings.HasPrefix(second, "role") || strings.Contains(strings.Join(head, " "), "session authorization") {
			return strings.ToUpper(head[0]) + " ROLE: the role is the schema's"
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
