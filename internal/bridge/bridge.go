// Package bridge lets package migrate reach what package pgdbm does not
// export: how a handle's connections are taken and its modules resolved.
// Package pgdbm fills it in when it is initialised.
package bridge

import (
	"context"

	"github.com/pgdbm/pgdbm/internal/engine"
)

// Prepare makes an engine run of a *pgdbm.DB and a pgdbm.Module: it validates
// and loads the module and resolves what it requires.
var Prepare func(ctx context.Context, db, module any) (*engine.Runner, engine.Target, error)

// PublicError turns the engine's error types into those of package pgdbm.
var PublicError func(error) error
