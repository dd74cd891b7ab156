package migrate

import (
	"context"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
)

// BaselineOptions says what [Baseline] records; nil is the same as its zero
// value.
type BaselineOptions struct {
	// To is the version with which to end; a file must have it. Empty: the
	// last.
	To string
}

// BaselineResult is what [Baseline] did.
type BaselineResult struct {
	Module   string
	Schema   string
	Recorded []File // as baselined, by this call; their Duration is 0
}

// Baseline records the files of m up to a version as in effect in the schema
// of db without running them: for a database that another tool or a hand has
// migrated so far. Versions that are recorded already stay as they are. The
// schema must exist; whether it holds what the files say, [Verify] tells.
func Baseline(ctx context.Context, db *pgdbm.DB, m pgdbm.Module, o *BaselineOptions) (*BaselineResult, error) {
	r, t, err := bridge.Prepare(ctx, db, m)
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	to := ""
	if o != nil {
		to = o.To
	}
	files, err := r.Baseline(ctx, t, to)
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	res := &BaselineResult{Module: t.Module, Schema: t.Schema}
	for _, f := range files {
		res.Recorded = append(res.Recorded, File{Version: f.Version, File: f.Name})
	}
	return res, nil
}

// RepairOptions says what [Repair] accepts, and why.
type RepairOptions struct {
	// Versions are those to accept. None: all whose files differ.
	Versions []string
	// Reason is recorded. Required.
	Reason string
	// By is who is recorded as having accepted. Empty: the session's user.
	By string
}

// Repaired is a version that [Repair] accepted as its file is now.
type Repaired struct {
	Version string
	File    string
	// Was is [Changed] or [Cosmetic].
	Was State
	// Schemas are those of this database that had it recorded as here.
	Schemas []string
}

// RepairResult is what [Repair] did.
type RepairResult struct {
	Module   string
	Schema   string
	Repaired []Repaired
}

// Repair accepts that files differ from what was applied, after a deliberate
// change: it records their hashes, with who, when and why. Nothing runs. It
// does so in all schemas of the database where the module has that version
// recorded with the statements that it has in the schema of db, since one
// module's schemas must agree.
func Repair(ctx context.Context, db *pgdbm.DB, m pgdbm.Module, o *RepairOptions) (*RepairResult, error) {
	r, t, err := bridge.Prepare(ctx, db, m)
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	if o == nil {
		o = new(RepairOptions)
	}
	repaired, err := r.Repair(ctx, t, engine.RepairOptions{Versions: o.Versions, Reason: o.Reason, By: o.By})
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	res := &RepairResult{Module: t.Module, Schema: t.Schema}
	for _, p := range repaired {
		was := Cosmetic
		if p.Semantic {
			was = Changed
		}
		res.Repaired = append(res.Repaired, Repaired{Version: p.File.Version, File: p.File.Name, Was: was, Schemas: p.Schemas})
	}
	return res, nil
}

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
// modules live in the schema, when it is public, when objects of other schemas
// depend on it, or when another module requires m and this is m's only schema.
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
