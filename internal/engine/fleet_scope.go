package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// chooseMode decides whether schemas may share transactions and run beside each other. They may not when a pending
// file touches what they share: each would wait for the others, and everybody else for all of them.
//
// It is decided by the words of the files as they read for one schema, and by what the server knows of these words. A
// file touches what is shared if it
//   - has a statement that is not about tables, views, indexes, sequences, types, functions and what belongs to these:
//     CREATE EXTENSION, ROLE, SCHEMA, SERVER, PUBLICATION and so on;
//   - names an object of another schema of the database, pg_catalog and information_schema excepted, as schema.object,
//     also in strings and in the bodies of functions. Types and functions of extensions do not count;
//   - has a word, outside qualified names, that is a table or function of schema public, which is in the search path,
//     whatever the word means there. Those of extensions do not count;
//   - sets search_path, or has a body or DO block with EXECUTE, which may name anything;
//   - is Go code, or runs outside a transaction.
//
// So it errs towards being careful. What a trigger or a function that exists already does, it cannot see.
func (run *fleetRun) chooseMode(ctx context.Context, todo []tenant) error {
	switch run.Mode {
	case FleetCareful:
		run.result.Careful = "as asked for"
		return nil
	case FleetBatched:
		return nil
	}
	sample := todo[0]
	names, err := run.names(sample.schema)
	if err != nil {
		return nil // the schema fails on its own account, and the others by themselves
	}
	found := &scope{schema: sample.schema, qualified: make(map[[2]string]string), bare: make(map[string]string)}
	seen := make(map[*File]bool)
	for _, t := range todo {
		for _, f := range t.pending {
			if seen[f] {
				continue
			}
			seen[f] = true
			if f.call != nil || f.NoTransaction {
				run.result.Careful = f.Name + " runs outside a transaction"
				if f.call != nil {
					run.result.Careful = f.Name + " is Go code"
				}
				return nil
			}
			expanded, err := f.template.Expand(names)
			if err != nil {
				return f.located(run.Module, "", err)
			}
			if err := found.file(f.Name, expanded); err != nil {
				return f.located(run.Module, "", fmt.Errorf("expanded text: %w", err))
			}
		}
	}
	run.result.Careful, err = run.shared(ctx, found)
	return err
}

func (run *fleetRun) careful() bool { return run.result.Careful != "" }

// shared asks the server which of the names are those of shared objects, and says one.
func (run *fleetRun) shared(ctx context.Context, found *scope) (string, error) {
	if found.reason != "" || len(found.qualified)+len(found.bare) == 0 {
		return found.reason, nil
	}
	s, err := run.runner.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer s.close()
	results, err := s.exec(ctx, found.query())
	if err != nil {
		return "", err
	}
	if len(results[0].Rows) == 0 {
		return "", nil
	}
	schema, name := string(results[0].Rows[0][0]), string(results[0].Rows[0][1])
	file := found.qualified[[2]string{schema, name}]
	if file == "" {
		file = found.bare[name]
	}
	return fmt.Sprintf("%s names %s.%s", file, schema, name), nil
}

// A scope collects the names that the text of files has outside its own schema.
type scope struct {
	schema    string
	reason    string               // why the files are known to touch what is shared, whatever the server says
	qualified map[[2]string]string // schema and name, though either may be something else; the file
	bare      map[string]string    // other words; the file
}

// query selects those names that are shared objects.
func (sc *scope) query() string {
	var schemas, names, words []string
	for q := range sc.qualified {
		schemas, names = append(schemas, q[0]), append(names, q[1])
	}
	if sc.schema != "public" {
		for w := range sc.bare {
			words = append(words, w)
		}
	}
	// An object of an extension is a member that its owner created for all.
	const ofExtension = `exists (select from pg_catalog.pg_depend d where d.classid = '%s'::regclass and d.objid = o.oid and d.deptype = 'e')`
	relation := `exists (select from pg_catalog.pg_class o where o.relnamespace = n.oid and o.relname = q.name::name and o.relkind <> 'c' and not ` +
		fmt.Sprintf(ofExtension, "pg_catalog.pg_class") + `)`
	function := `exists (select from pg_catalog.pg_proc o where o.pronamespace = n.oid and o.proname = q.name::name and not ` +
		fmt.Sprintf(ofExtension, "pg_catalog.pg_proc") + `)`
	member := `(exists (select from pg_catalog.pg_proc o where o.pronamespace = n.oid and o.proname = q.name::name and ` +
		fmt.Sprintf(ofExtension, "pg_catalog.pg_proc") + `) or exists (select from pg_catalog.pg_type o where o.typnamespace = n.oid and o.typname = q.name::name and ` +
		fmt.Sprintf(ofExtension, "pg_catalog.pg_type") + `))`
	return fmt.Sprintf(`select q.schema, q.name from rows from (pg_catalog.unnest(%[1]s), pg_catalog.unnest(%[2]s)) q (schema, name)
join pg_catalog.pg_namespace n on n.nspname = q.schema::name
where %[4]s or %[5]s or not %[6]s
union all
select n.nspname, q.name from pg_catalog.unnest(%[3]s) q (name)
join pg_catalog.pg_namespace n on n.nspname = 'public'
where %[4]s or %[5]s
order by 1, 2 limit 1`, textArray(schemas), textArray(names), textArray(words), relation, function, member)
}

func (sc *scope) because(file, format string, args ...any) {
	if sc.reason == "" {
		sc.reason = file + " " + fmt.Sprintf(format, args...)
	}
}

// file collects the names of an expanded file.
func (sc *scope) file(name, expanded string) error {
	pieces, err := sqltemplate.Split(expanded)
	if err != nil {
		return err
	}
	for _, p := range pieces {
		end := p.End
		switch p.Kind {
		case sqltemplate.Blank, sqltemplate.Meta:
			continue
		case sqltemplate.CopyIn:
			end = p.Data
		}
		words := lexWords(expanded[p.Code:end])
		if what := sc.outside(words); what != "" {
			sc.because(name, "has %s", what)
		}
		sc.words(name, words, definesFunction(words))
	}
	return nil
}

// A word is a token that means something: an identifier without quotes, folded as the server folds it, or another
// token as it is written.
type word struct {
	kind sqltemplate.Kind
	text string
}

func (w word) ident() bool { return w.kind == sqltemplate.Ident || w.kind == sqltemplate.QuotedIdent }

// is reports whether the word is the keyword.
func (w word) is(keyword string) bool { return w.kind == sqltemplate.Ident && w.text == keyword }

// lexWords returns the words of a text, up to where it does not lex.
func lexWords(text string) []word {
	var words []word
	lexer := sqltemplate.NewLexer(text)
	for tok, ok := lexer.Next(); ok; tok, ok = lexer.Next() {
		w := word{tok.Kind, text[tok.Start:tok.End]}
		switch tok.Kind {
		case sqltemplate.Space, sqltemplate.Comment, sqltemplate.CopyData, sqltemplate.MetaCommand:
			continue
		case sqltemplate.Ident:
			w.text = lowerASCII(w.text)
		case sqltemplate.QuotedIdent:
			if strings.HasPrefix(w.text, `"`) {
				w.text = strings.ReplaceAll(strings.Trim(w.text, `"`), `""`, `"`)
			}
		}
		words = append(words, w)
	}
	return words
}

// words collects names from code: a statement, or the inside of a dollar-quoted string.
func (sc *scope) words(file string, words []word, function bool) {
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w.kind == sqltemplate.DollarString:
			sc.body(file, w.text)
		case w.kind == sqltemplate.String:
			sc.text(file, w.text)
		case !w.ident():
		case strings.HasPrefix(w.text, `U&"`) || strings.HasPrefix(w.text, `u&"`):
			sc.because(file, "has a name in Unicode escapes")
		case i+2 < len(words) && words[i+1].text == "." && words[i+2].ident():
			sc.pair(file, w.text, words[i+2].text)
			for i += 2; i+2 < len(words) && words[i+1].text == "." && words[i+2].ident(); i += 2 {
			}
		case w.is("search_path") && !function:
			sc.because(file, "sets search_path")
		default:
			sc.bare[w.text] = file
		}
	}
}

// pair notes a qualified name; it may also be a column of a table or a field of a record.
func (sc *scope) pair(file, schema, name string) {
	switch schema {
	case sc.schema, "pg_catalog", "information_schema":
	default:
		sc.qualified[[2]string{schema, name}] = file
	}
}

// body looks into a dollar-quoted string, which is mostly the body of a function or of DO.
func (sc *scope) body(file, quoted string) {
	tag := strings.IndexByte(quoted[1:], '$') + 2
	words := lexWords(quoted[tag : len(quoted)-tag])
	for i, w := range words {
		switch {
		case w.is("execute"):
			sc.because(file, "has EXECUTE in a body")
		case i+1 < len(words) && (w.is("create") || w.is("alter") || w.is("drop")) && slices.Contains(sharedKinds, words[i+1].text):
			sc.because(file, "has %s in a body", strings.ToUpper(w.text+" "+words[i+1].text))
		}
	}
	sc.words(file, words, false)
}

// text looks into a string for what may become a name, as in nextval('s.q') and 't'::regclass.
func (sc *scope) text(file, quoted string) {
	start, end := strings.IndexByte(quoted, '\''), strings.LastIndexByte(quoted, '\'')
	words := lexWords(quoted[start+1 : end])
	if len(words) == 1 && words[0].ident() {
		sc.bare[words[0].text] = file
	}
	for i := range words {
		if i+2 < len(words) && words[i].ident() && words[i+1].text == "." && words[i+2].ident() {
			sc.pair(file, words[i].text, words[i+2].text)
		}
	}
}

// sharedKinds are objects that are in no schema, as far as two words can tell.
var sharedKinds = []string{"access", "cast", "database", "default", "event", "extension", "group", "language", "owned", "publication",
	"role", "schema", "server", "subscription", "system", "tablespace", "user"}

// schemaKinds are objects in a schema, or of a table.
var schemaKinds = []string{"aggregate", "collation", "column", "constraint", "conversion", "domain", "function", "index", "materialized",
	"operator", "policy", "procedure", "routine", "rule", "sequence", "statistics", "table", "text", "trigger", "type", "view"}

// prefixes stand between CREATE and the kind of object.
var prefixes = []string{"or", "replace", "global", "local", "temp", "temporary", "unlogged", "recursive", "unique", "constraint",
	"materialized"}

// ownStatements are about the objects that they name and nothing else.
var ownStatements = []string{"analyze", "call", "copy", "delete", "do", "explain", "insert", "lock", "merge", "refresh", "release",
	"reset", "rollback", "savepoint", "select", "set", "table", "truncate", "update", "values", "with"}

// definesFunction reports whether a statement may set search_path for a function alone.
func definesFunction(words []word) bool {
	if len(words) == 0 || !words[0].is("create") && !words[0].is("alter") {
		return false
	}
	kind := namedKind(words)
	return kind == "function" || kind == "procedure" || kind == "routine"
}

// namedKind is what a CREATE, ALTER or DROP statement is about.
func namedKind(words []word) string {
	i := 1
	for i < len(words)-1 && words[0].is("create") && slices.Contains(prefixes, words[i].text) {
		i++
	}
	if i < len(words) && words[i].kind == sqltemplate.Ident {
		return words[i].text
	}
	return ""
}

// outside names what a statement does that is not about objects in the schema; "" when it does no such thing, as far as
// its keywords tell.
func (sc *scope) outside(words []word) string {
	if len(words) == 0 || words[0].kind == sqltemplate.Semicolon || words[0].text == "(" {
		return ""
	}
	for i := range words[:len(words)-1] {
		next := words[i+1]
		switch {
		case words[i].is("session") && next.is("authorization"):
			return "SESSION AUTHORIZATION"
		case next.is("schema") && (words[i].is("on") || words[i].is("in") || words[i].is("set")) && !sc.own(words[i+2:]):
			return strings.ToUpper(words[i].text) + " SCHEMA"
		}
	}
	command := words[0].text
	switch command {
	case "create", "alter", "drop":
		if kind := namedKind(words); !slices.Contains(schemaKinds, kind) {
			return strings.ToUpper(command + " " + kind)
		}
	case "comment", "grant", "revoke":
		on := slices.IndexFunc(words, func(w word) bool { return w.is("on") })
		if on < 0 || on+1 == len(words) || words[on+1].is("foreign") ||
			slices.Contains(sharedKinds, words[on+1].text) && !words[on+1].is("schema") {
			return strings.ToUpper(command)
		}
	default:
		if !slices.Contains(ownStatements, command) {
			return strings.ToUpper(command)
		}
	}
	return ""
}

// own reports whether words begin with the schema's name, and with no list of names.
func (sc *scope) own(words []word) bool {
	return len(words) > 0 && words[0].ident() && words[0].text == sc.schema && (len(words) == 1 || words[1].text != ",")
}
