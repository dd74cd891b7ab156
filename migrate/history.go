package migrate

import (
	"context"
	"time"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
)

// Entry is a row of the ledger.
type Entry struct {
	Module      string
	Schema      string
	Version     string
	File        string // as it was named when it ran
	State       State
	At          time.Time     // when it was applied, or failed last
	Duration    time.Duration // how long the file ran
	Actor       string        // session_user
	Application string        // application_name
	Tool        string        // name and version of the program
	Attempts    int           // how often it ran, failures included
	SQLState    string        // of a failed version
	Error       string        // of a failed version: why

	// StatementsDone of Statements are in effect: fewer than all only of a
	// file outside a transaction that has not ended.
	StatementsDone, Statements int

	RepairedAt   time.Time // when [Repair] last accepted a change of the file; else zero
	RepairedBy   string
	RepairReason string
}

// HistoryOptions narrows what [History] returns; nil is the same as its zero
// value.
type HistoryOptions struct {
	// Limit keeps the newest entries only. Zero: all.
	Limit int
	// AllSchemas includes the module's other schemas.
	AllSchemas bool
}

// History returns what the ledger has of a module in the schema of db, in the
// order in which it happened; nothing before the first migration. A version
// that failed has one entry, of its last run. It writes nothing.
func History(ctx context.Context, db *pgdbm.DB, m pgdbm.Module, o *HistoryOptions) ([]Entry, error) {
	r, t, err := bridge.Prepare(ctx, db, m)
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	filter := engine.Filter{Module: t.Module, Schema: t.Schema}
	if o != nil {
		filter.Limit = o.Limit
		if o.AllSchemas {
			filter.Schema = ""
		}
	}
	rows, err := r.History(ctx, filter)
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	entries := make([]Entry, len(rows))
	for i, e := range rows {
		entries[i] = entry(e)
	}
	return entries, nil
}

func entry(e engine.Entry) Entry {
	out := Entry{
		Module: e.Module, Schema: e.Schema, Version: e.Version, File: e.File, State: State(e.State),
		At: e.AppliedAt, Duration: e.Duration, Actor: e.Actor, Application: e.Application, Tool: e.Tool,
		Attempts: e.Attempts, SQLState: e.SQLState, Error: e.Message,
		StatementsDone: e.StatementsDone, Statements: e.StatementsTotal,
		RepairedBy: e.RepairedBy, RepairReason: e.RepairReason,
	}
	if e.RepairedAt != nil {
		out.RepairedAt = *e.RepairedAt
	}
	return out
}
