package statement

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// maxCached is how many bytes of SQL are worth keeping; a longer text is parsed
// and described anew each time.
const maxCached = 16 << 10

// Shape is a text of SQL, mostly a template, with what has been learned about it
// in any schema. It is safe for concurrent use.
type Shape struct {
	sql      string
	template *sqltemplate.Template
	base     atomic.Pointer[description] // nil until it is first run
	pure     atomic.Int32                // whether it only reads: 0 not known, 1 yes, -1 no
	parts    atomic.Pointer[script]      // nil until a namespace with a role asks
	// differs says that some namespace has a description of its own.
	differs atomic.Bool
	// name says that the text may be the name of a prepared statement, foreign
	// that it names tables of other modules.
	name, foreign bool
}

// Shape looks a text up, parsing it if it is new, and reports whether it can be
// expanded in the namespace.
func (c *Cache) Shape(ns *Namespace, sql string) (*Shape, error) {
	sh, err := c.shape(sql)
	if err != nil {
		return nil, err
	}
	if err := sh.fits(ns); err != nil {
		return nil, err
	}
	return sh, nil
}

func (c *Cache) shape(sql string) (*Shape, error) {
	if sh, ok := c.shapes.get(sql); ok {
		return sh, nil
	}
	t, err := parse(sql)
	if err != nil {
		return nil, err
	}
	return c.keep(&c.shapes, sql, t), nil
}

// literal is shape for a text in which nothing is a placeholder.
func (c *Cache) literal(sql string) *Shape {
	if sh, ok := c.literals.get(sql); ok {
		return sh
	}
	return c.keep(&c.literals, sql, nil)
}

func (c *Cache) keep(in *recent[string, *Shape], sql string, t *sqltemplate.Template) *Shape {
	// A text that a caller cut from a large buffer must not keep it alive.
	sh := &Shape{sql: strings.Clone(sql), template: t, name: isName(sql), foreign: t != nil && len(t.Modules()) > 0}
	if len(sql) <= maxCached {
		in.put(sh.sql, sh)
	}
	return sh
}

// parse returns the template of a text, or nil if there is nothing to expand.
func parse(sql string) (*sqltemplate.Template, error) {
	if !strings.Contains(sql, "{{") {
		return nil, nil
	}
	t, err := sqltemplate.Parse(sql)
	if err != nil {
		return nil, fmt.Errorf("pgdbm: template: %w", err)
	}
	if t.Static() {
		return nil, nil
	}
	return t, nil
}

// static reports whether the text is the same in every namespace.
func (sh *Shape) static() bool { return sh.template == nil }

// fits reports whether the namespace has a schema for every module named, and a
// role only what it may run.
func (sh *Shape) fits(ns *Namespace) error {
	if err := sh.escapes(ns); err != nil {
		return err
	}
	if !sh.foreign {
		return nil
	}
	_, err := sh.expand(ns)
	return err
}

func (sh *Shape) expand(ns *Namespace) (string, error) {
	if sh.static() {
		return sh.sql, nil
	}
	text, err := sh.template.Expand(ns.Names)
	if err != nil {
		return "", fmt.Errorf("pgdbm: template: %w", err)
	}
	return text, nil
}

// reads reports whether the text only reads; expanded is it as it goes to the
// server.
func (sh *Shape) reads(expanded string) bool {
	known := sh.pure.Load()
	if known == 0 {
		known = -1
		if pure(expanded) {
			known = 1
		}
		sh.pure.Store(known)
	}
	return known > 0
}

// isName reports whether a text is one word, which pgx takes for the name of a
// statement that the caller has prepared.
func isName(sql string) bool {
	return sql != "" && !strings.ContainsAny(sql, " \t\r\n;(") && !commands[strings.ToLower(sql)]
}

// commands are statements of one word.
var commands = words(`abort analyze begin checkpoint cluster commit end rollback vacuum`)
