package main

import (
	"context"
	"fmt"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
	"github.com/pgdbm/pgdbm/tenant"
)

// tenantsError refuses to end a tenant's schema without the tenant.
type tenantsError struct{ operation, schema, id, prefix string }

func (e *tenantsError) Error() string {
	return fmt.Sprintf("%s schema %q: it is that of tenant %q", e.operation, e.schema, e.id)
}

func (e *tenantsError) hint() string {
	drop := "end the tenant with all that is its: pgdbm tenant drop " + doctor.Shell(e.id)
	if e.prefix != "" {
		drop += " --prefix " + e.prefix
	}
	return drop
}

// refuseTenants refuses a schema that is a tenant's.
func refuseTenants(ctx context.Context, pool *pgdbm.Pool, operation, schema string) error {
	all, err := tenant.All(ctx, pool)
	if err != nil {
		return err
	}
	for _, t := range all {
		if t.Schema == schema {
			return &tenantsError{operation, schema, t.ID, t.Prefix}
		}
	}
	return nil
}
