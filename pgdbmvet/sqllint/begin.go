package sqllint

import (
	"slices"
	"strings"
)

// commands are the words by which statements begin, in PostgreSQL 14 to 18.
const commands = "abort|alter|analyse|analyze|begin|call|checkpoint|close|cluster|comment|commit|copy|create|deallocate|declare|delete|discard|do|" +
	"drop|end|execute|explain|fetch|grant|import|insert|listen|load|lock|merge|move|notify|prepare|reassign|refresh|reindex|release|reset|revoke|" +
	"rollback|savepoint|security|select|set|show|start|table|truncate|unlisten|update|vacuum|values|with|("

// kinds are what CREATE, ALTER and DROP are about.
const kinds = "access|aggregate|cast|collation|conversion|database|default|domain|event|extension|foreign|function|group|index|language|large|" +
	"materialized|operator|owned|policy|procedural|procedure|publication|role|routine|rule|schema|sequence|server|statistics|subscription|system|" +
	"table|tablespace|text|transform|trigger|type|user|view"

// kindPrefixes may stand before a kind.
var kindPrefixes = []string{"or", "replace", "global", "local", "temp", "temporary", "unlogged", "unique", "recursive", "constraint", "trusted"}

// begins looks at how a statement begins. A word that is mistyped there is what can be told without reading all of SQL.
func (l *linter) begins(s *statement) {
	if len(s.tokens) == 0 {
		return
	}
	known, n := s.is(commands), 1
	if s.is("create|alter|drop") {
		for n < len(s.tokens) && s.is("create") && slices.Contains(kindPrefixes, s.tokens[n].text) {
			n++
		}
		kind := statement{tokens: s.tokens, at: n, end: s.end}
		known = kind.is(kinds)
		n = min(n+1, len(s.tokens))
	}
	if !known {
		var words []string
		for _, t := range s.tokens[:n] {
			if t.kind == word {
				t.text = strings.ToUpper(t.text)
			}
			words = append(words, t.text)
		}
		l.say("unknown-statement", s.start, strings.Join(words, " "))
	}
}
