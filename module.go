package pgdbm

import (
	"fmt"
	"io/fs"
	"slices"

	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// Module is a part of a program that has tables of its own: its name, its
// migrations, and what it needs. A Module is a plain value and is never
// changed.
type Module struct {
	// Name identifies the module's migration history in the database. It
	// matches [a-z][a-z0-9_]{0,62} and is not pg_*, information_schema, public
	// or pgdbm. Required; it must never change.
	Name string

	// Schema is where the module's tables live unless the source says
	// otherwise. Empty: Name.
	Schema string

	// Files hold the migrations: the *.sql of the root, or, when there are
	// none, of its only folder that has some, so that an embed.FS made with
	// //go:embed migrations/*.sql works as it is. Nil: the module has no
	// migrations.
	Files fs.FS

	// Go are migrations written in Go. They run among those of Files, in the
	// order of their versions. With Files nil they are all there is.
	Go []GoMigration

	// Requires names modules whose tables this one's SQL names, as
	// {{tables.other.x}}. Their schemas are found in the ledger, so they must
	// have been attached before.
	Requires []string

	// Extensions are created, once per database, before the migrations run: in
	// schema public, or where they are already. Their dependencies come along.
	Extensions []string
}

// loaded is a module that has been validated and read.
type loaded struct {
	Module
	files []*engine.File
}

func (m Module) load() (*loaded, error) {
	if m.Name == "" {
		return nil, fmt.Errorf("module without a name")
	}
	if err := sqltemplate.ValidateModule(m.Name); err != nil {
		return nil, err
	}
	if m.Schema != "" {
		if err := sqltemplate.ValidateSchema(m.Schema); err != nil {
			return nil, fmt.Errorf("module %s: %w", m.Name, err)
		}
	}
	for i, r := range m.Requires {
		if err := sqltemplate.ValidateModule(r); err != nil {
			return nil, fmt.Errorf("module %s: requires: %w", m.Name, err)
		}
		if r == m.Name || slices.Contains(m.Requires[:i], r) {
			return nil, fmt.Errorf("module %s: requires %s: itself or named twice", m.Name, r)
		}
	}
	l := &loaded{Module: m}
	var err error
	if m.Files != nil {
		if l.files, err = engine.Load(m.Name, m.Files); err != nil {
			return nil, publicError(err)
		}
	}
	if len(m.Go) > 0 {
		if l.files, err = m.addGo(l.files); err != nil {
			return nil, publicError(err)
		}
	}
	return l, nil
}

// migrates reports whether the module has migrations; without, it has no
// ledger rows either.
func (l *loaded) migrates() bool { return l.Files != nil || len(l.Go) > 0 }
