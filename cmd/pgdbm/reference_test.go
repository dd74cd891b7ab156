package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/scaffold"
	"github.com/pgdbm/pgdbm/docs"
)

var update = flag.Bool("update", false, "write docs/commands.md anew")

const referencePage = "commands.md"

// The page is what the commands say of themselves:
//
//	go test ./cmd/pgdbm -run Reference -update
func TestTheCommandReferenceFollowsTheCommands(t *testing.T) {
	t.Parallel()
	want := reference()
	if *update {
		if err := os.WriteFile("../../docs/"+referencePage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := fs.ReadFile(docs.FS(), referencePage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/commands.md differs from the commands: run go test ./cmd/pgdbm -run Reference -update")
	}
}

func reference() string {
	var b strings.Builder
	b.WriteString(`# Commands

Generated from the command's own help. Results go to stdout, all else to stderr.
Nothing asks without a terminal, or where ` + "`CI`" + ` is set. Colour follows
` + "`--color`" + `, else the terminal and ` + "`NO_COLOR`" + `. Shell completion: ` + "`pgdbm\ncompletion --help`" + `.

| Exit code | |
|---|---|
| 0 | ok |
| 1 | failed |
| 2 | usage |
| 3 | history or schema are not as the files say; ` + "`doctor`" + ` found an error |
| 4 | migrations are pending, with ` + "`--check`" + ` only |
| 5 | a lock was not to be had, or the time is up |
| 6 | some schemas of many failed |
| 130 | interrupted |
`)
	b.WriteString(`
## What --json prints

One object, on stdout. Its first field is ` + "`version`" + `, the number of the shape
of all of them: 1. It grows when a field goes or changes its meaning, not when
one is added. A field in parentheses is left out when it is empty. With
` + "`--all`" + ` a module is what the command prints of one, or ` + "`module`, `schema`" + `
and ` + "`no_files`" + `, its folder, where there are none yet. Where a command fails
before there is anything to tell of, it prints
` + strings.Join(fields(reflect.TypeFor[failure](), false), ", ") + `, as stderr has them.

| Command | Fields behind ` + "`version`" + ` |
|---|---|
`)
	for _, r := range shapes {
		commands := strings.Join(r.commands, ", ")
		switch {
		case r.with != "":
			commands += " with `" + r.with + "`"
		case commands == "dev":
			commands += ": an object in a line for each event"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", commands, strings.Join(fields(reflect.TypeOf(r.value), false), ", "))
	}
	root := newRoot()
	for _, c := range commands(root) {
		if c == root || strings.HasPrefix(c.CommandPath(), "pgdbm completion") || c.Name() == "help" {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n```text\n%s\n", c.CommandPath(), c.Short+".", c.UseLine())
		flags(&b, c)
		b.WriteString("```\n")
		if c.Long != "" {
			fmt.Fprintf(&b, "\n%s\n", c.Long)
		}
		if c.Example != "" {
			fmt.Fprintf(&b, "\n```text\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
		}
	}
	return b.String()
}

// fields are the names of a struct's fields in JSON, in parentheses those that may
// be left out.
func fields(t reflect.Type, optional bool) (names []string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		inner, kind := f.Type, ""
		pointer := inner.Kind() == reflect.Pointer
		if pointer {
			inner = inner.Elem()
		}
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous:
			names = append(names, fields(inner, optional || pointer)...)
			continue
		}
		switch inner.Kind() {
		case reflect.Slice:
			inner, kind = inner.Elem(), " list"
		case reflect.Map:
			inner, kind = inner.Elem(), " by name"
		}
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		text := "`" + name + "`" + kind
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
			text += " of {" + strings.Join(fields(inner, false), ", ") + "}"
		}
		if optional || options == "omitempty" {
			text = "(" + text + ")"
		}
		names = append(names, text)
	}
	return names
}

// flags lists a command's own flags, but for --help.
func flags(b *strings.Builder, c *cobra.Command) {
	c.InitDefaultHelpFlag()
	text := c.LocalNonPersistentFlags().FlagUsages()
	skipping, first := false, true
	for line := range strings.Lines(text) {
		isFlag := strings.HasPrefix(strings.TrimSpace(line), "-")
		if isFlag {
			skipping = strings.Contains(line, "--help ")
		}
		if skipping {
			continue
		}
		if first {
			b.WriteString("\n")
			first = false
		}
		b.WriteString(line)
	}
}

// Pages that answers name are there.
func TestAnswersNamePagesAndSkillsThatExist(t *testing.T) {
	t.Parallel()
	all, err := allSkills()
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, s := range all {
		names[s.Name] = true
	}
	for _, n := range nexts() {
		if _, err := fs.Stat(docs.FS(), strings.TrimPrefix(n.Page, "docs/")); err != nil {
			t.Error(err)
		}
		if !names[n.Skill] {
			t.Errorf("no skill %s", n.Skill)
		}
		words := strings.Fields(n.Command)
		if c, _, err := newRoot().Find(words[1:3]); err != nil || c.Name() != words[2] {
			t.Errorf("no command %s: %v", n.Command, err)
		}
		for i, w := range words {
			if w == "--module" {
				if _, err := scaffold.ParseName(words[i+1]); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
