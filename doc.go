// Package pgdbm lets many modules of one program share one PostgreSQL
// connection pool, each bound to its own schema, and lets the same module run
// alone with a pool of its own.
//
// # Three patterns, one call
//
// A service that owns its database is standalone: it calls [Attach] with a
// [URL] or a [Config]. A process with several modules or tenants opens one
// pool with [Open] and calls [AttachAll], or binds handles with [Pool.Schema].
// A package that other programs import takes a [Source] and calls [Attach]:
// its caller decides whether it gets a pool of its own or the host's.
//
//	app, err := pgdbm.Attach(ctx, pgdbm.URL(url), pgdbm.Module{Name: "billing", Files: migrations})
//	if err != nil {
//		return err
//	}
//	defer app.Close()
//	n, err := pgdbm.Value[int](ctx, app, `SELECT count(*) FROM {{tables.invoices}}`)
//
// # Templates
//
// SQL names tables as {{tables.users}}, types as {{types.mood}} and so on;
// the handle's schema is put in, always quoted. Queries never depend on
// search_path, so the same text behaves alike in every mode. Package
// [github.com/pgdbm/pgdbm/sqltemplate] has the rules.
//
// A query is one round trip in any number of schemas, and through a pooler. Where
// tables change under a statement it is run again; in a transaction, which the
// server has ended then, it returns [ErrStalePlan].
//
// # Ownership
//
// Whoever opened a pool closes it. A [DB] has no Close; [DB.Pool] is a view
// whose Close does nothing; [Attached.Close] closes the pool only when
// [Attach] opened it; a pool given to [Borrow] is never closed.
//
// # Errors
//
// Errors of the server reach the caller as pgx returns them, so errors.As
// finds *pgconn.PgError and errors.Is finds pgx.ErrNoRows, inside and outside
// transactions. A failed migration is a [*MigrationError] with file, line and
// column. No error and no log line holds a password or a query's arguments.
package pgdbm
