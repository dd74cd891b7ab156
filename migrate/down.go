package migrate

import (
	"context"
	"time"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
)

// DownOptions says what [Down] reverts; nil is the same as its zero value.
type DownOptions struct {
	// Steps is how many versions are reverted, the newest first. Zero: one, or
	// with To as many as it takes.
	Steps int
	// To is the version that is the newest afterwards, "0" for none. Empty:
	// Steps decides.
	To string

	// These are as in [UpOptions].
	LockTimeout          time.Duration
	LockAttempts         int
	StatementTimeout     time.Duration
	StatementByStatement bool
	ThroughPooler        bool
}

func (o *DownOptions) up() *UpOptions {
	return &UpOptions{LockTimeout: o.LockTimeout, LockAttempts: o.LockAttempts, StatementTimeout: o.StatementTimeout,
		StatementByStatement: o.StatementByStatement, ThroughPooler: o.ThroughPooler}
}

// DownResult is what [Down] did.
type DownResult struct {
	Module   string
	Schema   string
	Reverted []File // by this call, the newest first
}

// Down reverts the newest versions of m in the schema of db, each in one
// transaction with the removal of its row from the ledger. What reverts
// x.up.sql is in x.down.sql, or behind a line "-- pgdbm:down" of the file.
// Before anything runs it is known that every version has such a part, has
// not changed since it was applied, and was not baselined; else the error is
// [ErrNoDown], [ErrMissing] or [ErrChanged]. After an error the result says
// what was reverted before it.
//
// Repeatable files are not reverted; the next [Up] applies them again, since
// what they made may be gone. Of a squash file that did not run, as what it
// replaces had, nothing is reverted but the record.
func Down(ctx context.Context, db *pgdbm.DB, m pgdbm.Module, o *DownOptions) (*DownResult, error) {
	r, t, err := bridge.Prepare(ctx, db, m)
	if err != nil {
		return &DownResult{Module: m.Name}, bridge.PublicError(err)
	}
	if o == nil {
		o = new(DownOptions)
	}
	o.up().apply(r, &t)
	res, err := r.Down(ctx, t, engine.DownOptions{Steps: o.Steps, To: o.To})
	return &DownResult{Module: t.Module, Schema: t.Schema, Reverted: ran(res.Reverted)}, bridge.PublicError(err)
}

// RedoOptions says what [Redo] repeats; nil is the same as its zero value.
type RedoOptions struct {
	// Steps is how many versions are repeated, the newest ones. Zero: one.
	Steps int

	// These are as in [UpOptions].
	LockTimeout          time.Duration
	LockAttempts         int
	StatementTimeout     time.Duration
	StatementByStatement bool
	ThroughPooler        bool
}

// RedoResult is what [Redo] did.
type RedoResult struct {
	Module   string
	Schema   string
	Reverted []File // the newest first
	Applied  []File // in order
}

// Redo reverts the newest versions of m in the schema of db, as [Down] does,
// and applies them again. Before anything runs it is known that they can be
// reverted and that [Up] would refuse nothing.
func Redo(ctx context.Context, db *pgdbm.DB, m pgdbm.Module, o *RedoOptions) (*RedoResult, error) {
	r, t, err := bridge.Prepare(ctx, db, m)
	if err != nil {
		return &RedoResult{Module: m.Name}, bridge.PublicError(err)
	}
	steps := 0
	if o != nil {
		steps = o.Steps
		(&DownOptions{LockTimeout: o.LockTimeout, LockAttempts: o.LockAttempts, StatementTimeout: o.StatementTimeout,
			StatementByStatement: o.StatementByStatement, ThroughPooler: o.ThroughPooler}).up().apply(r, &t)
	}
	res, err := r.Redo(ctx, t, steps)
	return &RedoResult{Module: t.Module, Schema: t.Schema, Reverted: ran(res.Reverted), Applied: ran(res.Applied)},
		bridge.PublicError(err)
}
