package migrate

import (
	"context"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
)

// Tool is another tool whose history [Adopt] takes over.
type Tool string

// The tools, each with the table that it uses unless told otherwise.
const (
	Goose         Tool = "goose"          // goose_db_version
	GolangMigrate Tool = "golang-migrate" // schema_migrations
	Tern          Tool = "tern"           // schema_version
	Dbmate        Tool = "dbmate"         // schema_migrations
	PythonPgdbm   Tool = "pgdbm-python"   // schema_migrations
)

// AdoptOptions says whose history [Adopt] takes over; nil is the same as its
// zero value.
type AdoptOptions struct {
	// From is the tool. Empty: the one whose table is found.
	From Tool

	// Table is the tool's table, with or without a schema. Empty: its usual
	// name. Without a schema it is looked for in that of the handle and in public.
	Table string

	// DryRun finds out what would be recorded and records nothing.
	DryRun bool
}

// AdoptResult is what [Adopt] did, or would do.
type AdoptResult struct {
	Module   string
	Schema   string
	From     Tool
	Table    string // that was read, quoted, with its schema
	Recorded []File // as baselined, by this call; their Duration is 0
}

// Adopt takes over from another tool: it records those files of m as in effect,
// without running them, that the tool's table says have been applied in the
// schema of db. The table is only read. Files in the formats of these tools are
// read as they are.
//
// It is refused with [ErrHistory] when the history and the files do not go
// together: what is recorded has no file, or a file before it is not recorded, or
// golang-migrate has left a version dirty. A squash file is recorded where the
// last of what it replaces has been applied, whether that still has files or not;
// where less has been, the files must be there. What this package has recorded
// already stays, so adopting again does nothing. Whether the schema is what the
// files say, [Verify] tells.
func Adopt(ctx context.Context, db *pgdbm.DB, m pgdbm.Module, o *AdoptOptions) (*AdoptResult, error) {
	if o == nil {
		o = new(AdoptOptions)
	}
	r, t, err := bridge.Prepare(ctx, db, m)
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	found, err := r.Adopt(ctx, t, engine.AdoptOptions{Tool: string(o.From), Table: o.Table, DryRun: o.DryRun})
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	res := &AdoptResult{Module: t.Module, Schema: t.Schema, From: Tool(found.Tool), Table: found.Table}
	for _, f := range found.Files {
		res.Recorded = append(res.Recorded, File{Version: f.Version, File: f.Name})
	}
	return res, nil
}
