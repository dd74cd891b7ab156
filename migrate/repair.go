package migrate

import (
	"context"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
)

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
