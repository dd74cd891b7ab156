package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/choose"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/demo"
)

type shape struct {
	commands []string
	with     string // flags with which it is so
	value    any
}

// shapes are what commands print with --json, behind the version. The reference has
// them, and what scripts print is compared with them.
var shapes = []shape{
	{[]string{"choose"}, "", choose.Answer{}},
	{[]string{"db create", "db drop", "db reset"}, "", databaseChange{}},
	{[]string{"db info"}, "", infoJSON{}},
	{[]string{"db ping"}, "", pingJSON{}},
	{[]string{"demo"}, "", demo.Report{}},
	{[]string{"dev"}, "", devEvent{}},
	{[]string{"doctor"}, "", doctorJSON{}},
	{[]string{"init"}, "", initJSON{}},
	{[]string{"migrate adopt"}, "", adoptJSON{}},
	{[]string{"migrate baseline", "migrate down", "migrate redo", "migrate up"}, "", changeJSON{}},
	{[]string{"migrate dump"}, "", dumpJSON{}},
	{[]string{"migrate history"}, "", historyJSON{}},
	{[]string{"migrate lint"}, "", lintJSON{}},
	{[]string{"migrate new"}, "", newFileJSON{}},
	{[]string{"migrate plan"}, "", planJSON{}},
	{[]string{"migrate remove"}, "", removeJSON{}},
	{[]string{"migrate repair"}, "", repairJSON{}},
	{[]string{"migrate squash"}, "", squashJSON{}},
	{[]string{"migrate status"}, "", statusJSON{}},
	{[]string{"migrate verify"}, "", verifyJSON{}},
	{[]string{"migrate adopt", "migrate plan", "migrate status", "migrate up", "migrate verify"}, "--all", allJSON{}},
	{[]string{"migrate plan"}, "--schemas", fleetPlanJSON{}},
	{[]string{"migrate up"}, "--schemas", fleetJSON{}},
	{[]string{"new app", "new library", "new service", "new tests"}, "", scaffoldJSON{}},
	{[]string{"schema clean"}, "", cleanJSON{}},
	{[]string{"schema clone"}, "", cloneJSON{}},
	{[]string{"schema create", "schema drop"}, "", schemaChange{}},
	{[]string{"schema deps"}, "", needsJSON{}},
	{[]string{"schema diff"}, "", diffJSON{}},
	{[]string{"schema list"}, "", schemasJSON{}},
	{[]string{"server fetch"}, "", fetchJSON{}},
	{[]string{"server start"}, "", startJSON{}},
	{[]string{"server status"}, "", serversJSON{}},
	{[]string{"skills install"}, "", installJSON{}},
	{[]string{"skills list"}, "", skillsJSON{}},
	{[]string{"tenant adopt", "tenant clone", "tenant rename", "tenant resume", "tenant suspend"}, "", tenantChange{}},
	{[]string{"tenant create"}, "", createdTenants{}},
	{[]string{"tenant drop"}, "", tenantDropped{}},
	{[]string{"tenant list"}, "", tenantsJSON{}},
	{[]string{"tenant migrate"}, "", tenantsMigrated{}},
	{[]string{"tenant migrate"}, "--check", tenantsPending{}},
	{[]string{"test ls"}, "", databasesJSON{}},
	{[]string{"test sweep"}, "", sweptJSON{}},
	{[]string{"version"}, "", versionReport{}},
}

func TestEveryJSONHasItsShapeInTheReference(t *testing.T) {
	t.Parallel()
	there := make(map[string]bool)
	for _, c := range commands(newRoot()) {
		path := strings.TrimPrefix(c.CommandPath(), "pgdbm ")
		there[path] = c.Flags().Lookup("json") != nil
		listed := slices.ContainsFunc(shapes, func(s shape) bool { return s.with == "" && slices.Contains(s.commands, path) })
		if there[path] != listed {
			t.Errorf("%s: has --json: %v, in shapes: %v", path, there[path], listed)
		}
	}
	for _, s := range shapes {
		for _, path := range s.commands {
			if !there[path] {
				t.Errorf("%s: no such command with --json", path)
			}
		}
	}
}

// scriptMain is main for scripts: what --json prints must have the shape that the
// reference has.
func scriptMain() {
	words := os.Args[1:]
	if !slices.Contains(words, "--json") || isTerminal(os.Stdout) || slices.Contains(words, "dev") || strings.HasPrefix(words[0], "__") {
		main()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var out bytes.Buffer
	code := run(ctx, words, &out, os.Stderr)
	stop()
	if _, err := os.Stdout.Write(out.Bytes()); err != nil {
		code = exitFailed
	}
	if err := checkShape(strings.TrimPrefix(commandOf(words), "pgdbm "), out.Bytes()); err != nil {
		fmt.Fprintf(os.Stderr, "not the documented shape: %v\n", err)
		code = 70
	}
	os.Exit(code)
}

// checkShape returns what is not as one of the command's shapes has it.
func checkShape(command string, text []byte) error {
	if len(text) == 0 {
		return nil // help, or it was not to be said
	}
	if !bytes.HasPrefix(text, fmt.Appendf(nil, "{\n  \"version\": %d,\n", jsonVersion)) {
		return fmt.Errorf("the first field is not version: %.80s", text)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		return err
	}
	delete(got, "version")
	err := fmt.Errorf("%q has none", command)
	if slices.ContainsFunc(shapes, func(s shape) bool { return slices.Contains(s.commands, command) }) && compareShape(reflect.TypeFor[failure](), got) == nil {
		return nil
	}
	for _, s := range shapes {
		if !slices.Contains(s.commands, command) {
			continue
		}
		if err = compareShape(reflect.TypeOf(s.value), got); err == nil {
			return nil
		}
	}
	return err
}

func compareShape(want reflect.Type, got any) error {
	kind := want.Kind()
	switch {
	case kind == reflect.Interface:
		return nil
	case kind == reflect.Pointer:
		return compareShape(want.Elem(), got)
	case want == reflect.TypeFor[time.Time]():
		text, _ := got.(string)
		_, err := time.Parse(time.RFC3339, text)
		return err
	case kind == reflect.Struct:
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%v instead of an object", got)
		}
		known, err := compareFields(want, object, false)
		for name := range object {
			if err == nil && !slices.Contains(known, name) {
				err = fmt.Errorf("unknown field %s", name)
			}
		}
		return err
	case kind == reflect.Map:
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%v instead of an object", got)
		}
		for name, value := range object {
			if err := compareShape(want.Elem(), value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	case kind == reflect.Slice:
		list, ok := got.([]any)
		if !ok {
			return fmt.Errorf("%v instead of a list", got)
		}
		for i, value := range list {
			if err := compareShape(want.Elem(), value); err != nil {
				return fmt.Errorf("%d: %w", i, err)
			}
		}
		return nil
	}
	ok := false
	switch got.(type) {
	case string:
		ok = kind == reflect.String
	case bool:
		ok = kind == reflect.Bool
	case float64:
		ok = kind >= reflect.Int && kind <= reflect.Float64
	}
	if !ok {
		return fmt.Errorf("%v instead of a %s", got, kind)
	}
	return nil
}

// compareFields returns the names of the struct's fields. Those of one that is
// embedded by a pointer may be missing.
func compareFields(want reflect.Type, object map[string]any, optional bool) (known []string, err error) {
	for f := range want.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous:
			inner, pointer := f.Type, f.Type.Kind() == reflect.Pointer
			if pointer {
				inner = inner.Elem()
			}
			names, err := compareFields(inner, object, optional || pointer)
			if err != nil {
				return nil, err
			}
			known = append(known, names...)
			continue
		}
		known = append(known, name)
		value, there := object[name]
		if !there {
			if !optional && options != "omitempty" {
				return nil, fmt.Errorf("field %s is missing", name)
			}
			continue
		}
		if err := compareShape(f.Type, value); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return known, nil
}

func TestAnotherShapeIsNoticed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`"dropped": []`:                       "",
		`"dropped": ["a"]`:                    "",
		`"dropped": null`:                     "dropped: <nil> instead of a list",
		`"dropped": [1]`:                      "dropped: 0: 1 instead of a string",
		`"dropt": []`:                         "field dropped is missing",
		"\"dropped\": [],\n  \"more\": false": "unknown field more",
	} {
		err := checkShape("test sweep", []byte("{\n  \"version\": 1,\n  "+text+"\n}\n"))
		if got := fmt.Sprint(err); err == nil && want != "" || err != nil && got != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if err := checkShape("test sweep", []byte("{\n  \"dropped\": []\n}\n")); err == nil {
		t.Error("no version")
	}
	if err := checkShape("test drop", []byte("{\n  \"version\": 1,\n  \"x\": 1\n}\n")); err == nil {
		t.Error("a command that has no --json")
	}
}
