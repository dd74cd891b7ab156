package migrate

import (
	"context"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
)

// RemoveOptions changes what [Remove] removes; nil is the same as its zero
// value.
type RemoveOptions struct {
	// KeepObjects removes the rows of the ledger and leaves the schema as it
	// is.
	KeepObjects bool
}

// RemoveResult is what [Remove] did.
type RemoveResult struct {
	Module string
	Schema string
	// Dropped says that the schema was dropped; not so when it was gone
	// already or to be kept.
	Dropped bool
}

// Remove ends module m in the schema of db, with all its data: it drops the
// schema and what is in it, and removes the module's rows from the ledger, in
// one transaction. The error is [ErrRequired], and nothing happens, when other
// modules live in the schema, when it is public, when dropping it would take along
// what is not of it, such as views of other schemas, when it is a tenant's, which
// tenant.Drop is for, or when another module requires m and this is m's only
// schema. With KeepObjects only the last of these counts: a tenant that has no rows
// of a module and has its objects cannot be migrated until they are recorded again,
// by [Baseline].
// It is [ErrNotRecorded] when the ledger has nothing of m there.
func Remove(ctx context.Context, db *pgdbm.DB, m pgdbm.Module, o *RemoveOptions) (*RemoveResult, error) {
	m.Requires = nil // it may end after what it required
	r, t, err := bridge.Prepare(ctx, db, m)
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	dropped, err := r.Remove(ctx, t, engine.RemoveOptions{KeepObjects: o != nil && o.KeepObjects})
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	return &RemoveResult{Module: t.Module, Schema: t.Schema, Dropped: dropped}, nil
}
