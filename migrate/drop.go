package migrate

import (
	"context"
	"fmt"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
)

// ErrNoSchema: the schema that is to be dropped does not exist.
var ErrNoSchema = engine.ErrNoSchema

// DropSchemaOptions changes what [DropSchema] does; nil is the same as its zero
// value.
type DropSchemaOptions struct {
	// Check finds out whether the schema could be dropped, and changes nothing.
	Check bool
	// Leftover drops the schema only when nothing is in it and of no module a
	// version is in effect there, and else returns an error. Of a schema that is
	// gone already it removes the rows of the ledger.
	Leftover bool
}

// DropSchemaResult is what [DropSchema] did.
type DropSchemaResult struct {
	Schema string
	// Modules are those that the ledger had in the schema.
	Modules []string
}

// DropSchema drops the schema of db with all that is in it, whether a module is
// in it or not, and removes what the ledger has of it, in one transaction. The
// error is [ErrRequired], and nothing happens, when it would take along what is
// not of the schema, such as views of other schemas and servers of an extension in
// it; when several modules live in it; when it is public or a tenant's, which
// tenant.Drop is for; or when another module requires one of it and finds it in no
// other schema. It is [ErrNoSchema] when
// there is no such schema.
//
// It waits for locks as migrations do; [ErrBlocked] says who was in the way.
func DropSchema(ctx context.Context, db *pgdbm.DB, o *DropSchemaOptions) (*DropSchemaResult, error) {
	var options engine.DropOptions
	if o != nil {
		options = engine.DropOptions(*o)
	}
	r, err := bridge.Reader(ctx, db)
	if err != nil {
		return nil, err
	}
	modules, err := r.DropSchema(ctx, db.Schema(), options)
	if err != nil {
		return nil, fmt.Errorf("drop schema %q: %w", db.Schema(), bridge.PublicError(err))
	}
	return &DropSchemaResult{db.Schema(), modules}, nil
}
