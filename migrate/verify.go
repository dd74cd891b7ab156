package migrate

import (
	"context"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
)

// VerifyOptions says what [Verify] compares with; nil is the same as its zero
// value.
type VerifyOptions struct {
	// Against is the handle of a schema that is as it should be: of a tenant
	// to compare others with, or of a database that was migrated for the
	// purpose. Nil: what the files make.
	Against *pgdbm.DB
}

// Difference is an object that is not as it should be.
type Difference struct {
	Kind string // "table", "column", "index", "constraint", "function" and so on
	Name string // with its table's name before it, when it has one
	Want string // its definition by the files or the reference; "" when it should not be there
	Have string // its definition in the schema; "" when it is missing
}

// VerifyResult is how a schema, its history and the module's files stand to
// each other.
type VerifyResult struct {
	Module   string
	Schema   string
	Versions []Version // in numeric order
	Warnings []Warning
	// Problems are what is wrong with the history: files that changed, that
	// are missing, and so on.
	Problems []error
	// Differences are what is wrong with the schema, sorted by kind and name.
	Differences []Difference
	// NotCompared is why the schema was not compared; nil when it was.
	NotCompared error
}

// OK reports whether nothing is wrong. Pending files are not wrong.
func (v *VerifyResult) OK() bool {
	return len(v.Problems) == 0 && len(v.Differences) == 0 && v.NotCompared == nil
}

// Verify compares the module's files with the ledger, and the catalogs of the
// schema of db with what the files make, object by object. Comments, owners,
// privileges and the order of columns do not count. In a schema that several
// modules share, and in public, objects that the files do not know of are none
// of the module's business. Neither is the table of another tool whose history was
// adopted.
//
// To know what the files make, it runs those that are recorded in a schema of
// another name, in a transaction that is rolled back. So it writes nothing
// that stays; but sequences advance, and files that load much data take their
// time. Tables of required modules are copied for it, without rows, so that it
// locks none that others write. Where that does not do, since files need the rows,
// types or functions of others or are in Go, tables that they refer to are locked
// as long as it takes; it waits for a lock 10 milliseconds, then steps back and
// tries again, and reports [ErrBlocked] in NotCompared in the end.
// VerifyOptions.Against avoids all that.
func Verify(ctx context.Context, db *pgdbm.DB, m pgdbm.Module, o *VerifyOptions) (*VerifyResult, error) {
	r, t, err := bridge.Prepare(ctx, db, m)
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	var against engine.VerifyOptions
	if o != nil && o.Against != nil {
		if against.Against, err = bridge.Reader(ctx, o.Against); err != nil {
			return nil, bridge.PublicError(err)
		}
		against.AgainstSchema = o.Against.Schema()
	}
	v, err := r.Verify(ctx, t, against)
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	res := &VerifyResult{Module: t.Module, Schema: t.Schema, Versions: versionsOf(v.Plan), Warnings: warnings(v.Plan.Warnings),
		NotCompared: bridge.PublicError(v.NotCompared)}
	for _, p := range v.Plan.Problems {
		res.Problems = append(res.Problems, bridge.PublicError(p))
	}
	for _, d := range v.Differences {
		res.Differences = append(res.Differences, Difference(d))
	}
	return res, nil
}
