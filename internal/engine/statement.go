package engine

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A statement is one of a file that runs outside a transaction.
type statement struct {
	message
	head   []string // its first words
	atomic bool     // it may run in a transaction, together with the record that it ran
	again  bool     // it sets something for the session, so that whoever resumes behind it runs it again
	object object   // what a concurrent operation leaves behind
}

// statements divides an expanded file into its statements, for files outside a transaction. Empty statements and
// meta-commands are none.
func (f *File) statements(expanded string) ([]statement, error) {
	messages, err := f.singleMessages(expanded)
	if err != nil {
		return nil, err
	}
	out := make([]statement, len(messages))
	for i, m := range messages {
		head := wordsOf(m.sql, 64)
		out[i] = statement{
			message: m,
			head:    head,
			atomic:  m.copy || mayRunInTransaction(head),
			again:   setsSession(head, m.sql),
			object:  parseObject(m.sql),
		}
	}
	return out, nil
}

// singleMessages divides an expanded file into one message for each statement.
func (f *File) singleMessages(expanded string) ([]message, error) {
	pieces, err := sqltemplate.Split(expanded)
	if err != nil {
		return nil, err
	}
	var out []message
	for _, p := range pieces {
		if !runs(p, expanded) {
			continue
		}
		m := message{start: p.Code, sql: expanded[p.Code:p.End], first: len(out)}
		if p.Kind == sqltemplate.CopyIn {
			m.sql, m.copy, m.data = expanded[p.Code:p.Data], true, []byte(expanded[p.Data:p.DataEnd])
		}
		out = append(out, m)
	}
	return out, nil
}

// mayRunInTransaction reports whether a statement is known to do the same inside a transaction block as outside. It
// is not for those that could be refused there, such as a procedure that commits.
func mayRunInTransaction(head []string) bool {
	if needsNoTransaction(head) != "" {
		return false
	}
	switch head[0] {
	case "insert", "update", "delete", "merge", "select", "with", "values", "truncate", "comment", "grant", "revoke",
		"refresh", "import", "security", "reassign":
		return true
	case "create", "alter", "drop":
		return !slices.Contains(head[1:min(2, len(head))], "subscription")
	}
	return false
}

// setsSession reports whether later statements of the file may depend on what the statement has set.
func setsSession(head []string, sql string) bool {
	switch head[0] {
	case "set", "reset":
		return true
	case "select":
		return strings.Contains(lowerASCII(sql), "set_config")
	}
	return false
}

// An object is what a concurrent operation works on and may leave half-made when it is interrupted.
type object struct {
	kind     objectKind
	name     string // index that is created, not quoted
	relation string // table of the index, or the index or table worked on, quoted as needed
	other    string // partition that is detached
	lenient  bool   // IF [NOT] EXISTS
}

type objectKind int

const (
	noObject objectKind = iota
	createdIndex
	droppedIndex
	rebuiltIndex // REINDEX INDEX CONCURRENTLY
	rebuiltTable
	rebuiltSchema
	rebuiltDatabase
	detachedPartition
)

// concurrentOnIndexes reports whether the server's lock_timeout must not end the statement: it would leave an invalid
// index behind.
func (o object) onIndexes() bool { return o.kind != noObject && o.kind != detachedPartition }

// parseObject recognises the concurrent operations. Their syntax is fixed, so a few words tell; a name in U&"" is none.
func parseObject(sql string) object {
	p := &nameParser{text: sql, lexer: sqltemplate.NewLexer(sql)}
	p.next()
	switch {
	case p.word("create"):
		return p.createIndex()
	case p.word("drop"):
		if p.word("index") && p.word("concurrently") {
			lenient := p.word("if") && p.word("exists")
			return object{kind: droppedIndex, relation: p.qualified(), lenient: lenient}.orNone()
		}
	case p.word("reindex"):
		return p.reindex()
	case p.word("alter"):
		if !p.word("table") {
			break
		}
		_ = p.word("if") && p.word("exists")
		_ = p.word("only")
		o := object{kind: detachedPartition, relation: p.qualified()}
		if p.word("detach") && p.word("partition") {
			if o.other = p.qualified(); o.other != "" && p.word("concurrently") {
				return o.orNone()
			}
		}
	}
	return object{}
}

func (o object) orNone() object {
	if o.relation == "" {
		return object{}
	}
	return o
}

// nameParser reads words and names of a statement.
type nameParser struct {
	text  string
	lexer *sqltemplate.Lexer
	tok   sqltemplate.Token
	ok    bool
}

func (p *nameParser) next() {
	for {
		p.tok, p.ok = p.lexer.Next()
		if !p.ok || p.tok.Kind != sqltemplate.Space && p.tok.Kind != sqltemplate.Comment {
			return
		}
	}
}

func (p *nameParser) current() string {
	if !p.ok {
		return ""
	}
	return p.text[p.tok.Start:p.tok.End]
}

// word takes the next token when it is the word.
func (p *nameParser) word(w string) bool {
	if p.tok.Kind != sqltemplate.Ident || lowerASCII(p.current()) != w {
		return false
	}
	p.next()
	return true
}

// name takes a name, as the catalogs have it; "" when there is none.
func (p *nameParser) name() string {
	text := p.current()
	switch p.tok.Kind {
	case sqltemplate.Ident:
		text = lowerASCII(text)
	case sqltemplate.QuotedIdent:
		if text[0] != '"' {
			return "" // U&
		}
		text = strings.ReplaceAll(text[1:len(text)-1], `""`, `"`)
	default:
		return ""
	}
	p.next()
	return cutName(text)
}

// cutName is what the server makes of a name that is too long.
func cutName(name string) string {
	const most = 63
	if len(name) <= most {
		return name
	}
	end := most
	for end > 0 && !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end]
}

// qualified takes a name of one or more parts and returns it quoted; "" when there is none.
func (p *nameParser) qualified() string {
	var parts []string
	for {
		part := p.name()
		if part == "" {
			return ""
		}
		parts = append(parts, sqltemplate.Quote(part))
		if p.current() != "." {
			return strings.Join(parts, ".")
		}
		p.next()
	}
}

func (p *nameParser) createIndex() object {
	p.word("unique")
	if !p.word("index") || !p.word("concurrently") {
		return object{}
	}
	o := object{kind: createdIndex, lenient: p.word("if") && p.word("not") && p.word("exists")}
	if o.name = p.name(); o.name == "" || !p.word("on") {
		return object{}
	}
	p.word("only")
	o.relation = p.qualified()
	return o.orNone()
}

func (p *nameParser) reindex() object {
	concurrently := false
	if p.current() == "(" {
		for p.ok && p.current() != ")" {
			concurrently = concurrently || lowerASCII(p.current()) == "concurrently"
			p.next()
		}
		p.next()
	}
	kinds := map[string]objectKind{"index": rebuiltIndex, "table": rebuiltTable, "schema": rebuiltSchema, "database": rebuiltDatabase}
	kind, ok := kinds[lowerASCII(p.current())]
	if !ok {
		return object{}
	}
	p.next()
	concurrently = p.word("concurrently") || concurrently
	o := object{kind: kind, relation: p.qualified()}
	if kind == rebuiltDatabase && o.relation == "" {
		o.relation = "database" // its name may be left out
	}
	if !concurrently {
		return object{}
	}
	return o.orNone()
}
