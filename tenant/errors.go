package tenant

import (
	"errors"

	"github.com/pgdbm/pgdbm/internal/engine"
)

// Errors that callers branch on; each is found with errors.Is.
var (
	// ErrExists: there is a tenant of this id, or its schema is there.
	ErrExists = engine.ErrTenantExists
	// ErrNotFound: there is no tenant of this id.
	ErrNotFound = engine.ErrTenantNotFound
	// ErrSuspended: the tenant is suspended.
	ErrSuspended = engine.ErrTenantSuspended
	// ErrNotReady: the tenant is being created or dropped, by somebody who is at it
	// or has been interrupted.
	ErrNotReady = engine.ErrTenantNotReady
	// ErrRequired: objects of other schemas depend on the tenant's, or a module of
	// another schema requires one that is in the tenant's alone, or text in it holds
	// its schema's name where it cannot be renamed.
	ErrRequired = engine.ErrRequired
	// ErrSchemaGone: the tenant's schema was dropped, not with [Tenants.Drop], which
	// ends the tenant still.
	ErrSchemaGone = errors.New("its schema is gone")
	// ErrDiffers: the tenant to be cloned has other tables or versions than the
	// modules' files make.
	ErrDiffers = engine.ErrTenantsDiffer
)
