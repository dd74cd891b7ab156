// Package tenant keeps tenants: a schema for each, listed in the database, made
// in one transaction, found by an id, suspended, renamed, cloned and dropped.
//
// A [Tenants] stands on a pool and on the modules that each tenant has:
//
//	ts, err := tenant.New(pool, tenant.Config{Modules: []pgdbm.Module{Shop}, Isolate: true})
//	_, err = ts.Create(ctx, "Acme & Co")
//	db, err := ts.DB(ctx, "Acme & Co")
//
// The tenants are rows of the table pgdbm.tenants, beside the ledger of migrations.
// Programs that share a database each have their own, by [Config.Prefix].
package tenant
