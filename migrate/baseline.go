package migrate

import (
	"context"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
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
