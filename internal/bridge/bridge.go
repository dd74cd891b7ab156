// Package bridge lets packages migrate and pgdbmtest reach what package pgdbm
// does not export: how a handle's connections are taken and its modules
// resolved. Package pgdbm fills it in when it is initialised.
package bridge

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/internal/engine"
)

// LedgerFormat is the number of the ledger's shape that this program writes.
const LedgerFormat = engine.LedgerFormat

// Prepare makes an engine run of a *pgdbm.DB and a pgdbm.Module: it validates
// and loads the module and resolves what it requires.
var Prepare func(ctx context.Context, db, module any) (*engine.Runner, engine.Target, error)

// Reader makes an engine run of a *pgdbm.DB, for reading.
var Reader func(ctx context.Context, db any) (*engine.Runner, error)

// PrepareFleet makes an engine runner of a *pgdbm.Pool, and validates and loads
// a pgdbm.Module. isolates says that the pool's modules work as roles of their own.
var PrepareFleet func(pool, module any) (r *engine.Runner, files []*engine.File, isolates bool, err error)

// PublicError turns the engine's error types into those of package pgdbm.
var PublicError func(error) error

// Held is a transaction for the handles of a pool to live in.
type Held struct {
	// Tx runs their statements; its Begin is how their transactions begin.
	Tx pgx.Tx
	// Hold takes Tx's connection until release is called, for reading.
	Hold func(ctx context.Context) (conn *pgx.Conn, release func(), err error)
	// Logger is the handles' logger.
	Logger *slog.Logger
}

// InTransaction returns a view, a *pgdbm.Pool, of the *pgdbm.Pool pool whose
// handles all live in held.
var InTransaction func(pool any, held *Held) any

// Budgeted tells the registry of pools that somebody else sees to it that the
// *pgdbm.Pool pool and the like do not exceed the server's connections.
var Budgeted func(pool any)

// TenantRunner makes an engine runner of a *pgdbm.Pool, for tenants: what
// statements are known of other schemas stays. makes says that it is to make a
// schema.
var TenantRunner func(pool any, makes bool) (*engine.Runner, error)

// LoadModules validates and loads a []pgdbm.Module and returns it in the order of
// the modules' dependencies.
var LoadModules func(modules any) ([]LoadedModule, error)

// LoadedModule is a module that has been validated and read.
type LoadedModule struct {
	Name       string
	Files      []*engine.File // none: it has no migrations
	Requires   []string
	Extensions []string
}
