package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// templated makes a template of a dump of one schema: where its name stands the
// handle's is to stand. The statement that creates the schema goes, and so do
// those of without.
func templated(text, schema string, without ...string) (string, error) {
	pieces, err := sqltemplate.Split(text)
	if err != nil {
		return "", err
	}
	var statements []string
	for _, p := range pieces {
		s := text[p.Code:p.End]
		if strings.HasPrefix(s, "CREATE SCHEMA "+schema) || slices.Contains(without, s) {
			continue
		}
		s, err := templatedStatement(ownDefaults.ReplaceAllString(s, "$1$2"), schema)
		if err != nil {
			return "", err
		}
		statements = append(statements, s)
	}
	return strings.Join(statements, "\n\n") + "\n", nil
}

// ownDefaults finds the role in default privileges. It is the private server's
// only one, and stands for whoever applies the file.
var ownDefaults = regexp.MustCompile(`^(ALTER DEFAULT PRIVILEGES )FOR ROLE \S+ (IN SCHEMA )`)

func templatedStatement(s, schema string) (string, error) {
	var b strings.Builder
	lexer := sqltemplate.NewLexer(s)
	for tok, ok := lexer.Next(); ok; tok, ok = lexer.Next() {
		t := s[tok.Start:tok.End]
		switch {
		case !strings.Contains(t, schema):
		case t == schema || t == `"`+schema+`"`:
			t = "{{schema}}"
		case t == "'"+schema+"'":
			t = "{{schema:literal}}"
		default:
			// In a string, or in the body of a function.
			t = strings.NewReplacer(`"`+schema+`"`, "{{schema}}", "'"+schema+"'", "{{schema:literal}}", schema+".", "{{schema}}.").Replace(t)
		}
		b.WriteString(t)
	}
	if err := lexer.Err(); err != nil {
		return "", err
	}
	if out := b.String(); !strings.Contains(out, schema) {
		return out, nil
	}
	first, _, _ := strings.Cut(s, "\n")
	return "", fmt.Errorf("the name of the schema stands where no placeholder can: %.200s", first)
}
