package engine

import (
	"context"
	"fmt"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// createSchema makes a missing schema, under its lock.
func (r *Runner) createSchema(ctx context.Context, schema string, f *facts) error {
	if f.Recovery {
		return ErrReadOnly
	}
	if !f.MayCreate {
		return &PrivilegeError{Role: f.Role, Schema: schema, Statements: f.makeSchema(schema)}
	}
	s, results, err := r.locked(ctx, nil, schemaLock(schema), f.Version, factsQuery(schema))
	if err != nil {
		return err
	}
	defer s.close()
	if f, err = decodeFacts(results[0]); err != nil || f.Schema != nil {
		s.rollback(ctx)
		return err
	}
	if _, err := s.commit(ctx, []string{"create schema " + sqltemplate.Quote(schema)}); err != nil {
		s.rollback(ctx)
		switch {
		case lostRace(err):
			return nil
		case sqlState(err) == codeInsufficientRight:
			return &PrivilegeError{Role: f.Role, Schema: schema, Statements: f.makeSchema(schema), Err: err}
		}
		return fmt.Errorf("create schema %q: %w", schema, err)
	}
	return nil
}

// EnsureSchema creates the schema when it is missing, for a module without files. It is one round trip when it exists.
func (r *Runner) EnsureSchema(ctx context.Context, schema string) error {
	if err := sqltemplate.ValidateSchema(schema); err != nil {
		return err
	}
	f, _, err := r.read(ctx, schema)
	if err != nil || f.Schema != nil {
		return err
	}
	return r.createSchema(ctx, schema, f)
}
