package pgdbm

import (
	"context"
	"fmt"

	"github.com/pgdbm/pgdbm/internal/engine"
)

// Isolate returns a handle as c describes it whose statements run as a role of
// the schema's own, so that one which names a table of another schema fails with
// SQLSTATE 42501. It creates the schema where it is missing, and the role, and
// grants it what is in the schema; with all of that in place it is one query. The
// role is c.Role, or one that is named after the schema and the database.
//
// A module attached to the handle migrates as the pool's user and then works as
// the role, which also may read the schemas of the modules in Requires; tables
// that a later migration makes are granted as they are made. Config.Isolate has
// [Attach] do all this for modules attached to a pool or a URL.
//
// What reads with its owner's rights is refused instead: a view, foreign key or
// rule in the schema that reaches into one which the module does not require, and
// a function that is SECURITY DEFINER. The error is then [ErrEscape].
//
// This guards against mistakes, not against attackers: SQL that somebody else may
// write can undo the role. The catalogs, with the names of all tables, stay open
// to all roles, and so do functions of other schemas where a role has USAGE.
//
// The pool's user must be able to create roles (CREATEROLE) and own the schema;
// else the error is a [*PrivilegeError] with what an administrator has to run.
func (p *Pool) Isolate(ctx context.Context, c HandleConfig) (*DB, error) {
	db, err := p.Handle(c)
	if err != nil {
		return nil, err
	}
	if err := p.core.runner(c.Schema).EnsureSchema(ctx, c.Schema); err != nil {
		return nil, fmt.Errorf("pgdbm: isolate: %w", publicError(err))
	}
	if db, err = db.isolate(ctx, nil); err != nil {
		return nil, fmt.Errorf("pgdbm: isolate: %w", err)
	}
	return db, nil
}

// isolate sees to it that the schema has a role, which may read other schemas as
// well, and returns the handle with it.
func (db *DB) isolate(ctx context.Context, reads []string) (*DB, error) {
	h := db.h
	role, err := h.core.runner(h.schema).Isolate(ctx, engine.Isolation{Schema: h.schema, Role: h.ns.Role, Reads: reads})
	if err != nil {
		return nil, publicError(err)
	}
	if role == h.ns.Role {
		return db, nil
	}
	return h.core.handle(h.schema, h.module, h.ns.aliases, role, h.limits)
}
