// Package migrate applies and inspects the migrations of modules: it is what
// [pgdbm.Attach] does, by hand, for programs that migrate in a step of their
// own or want to know where a database stands.
//
//	res, err := migrate.Up(ctx, db, billing.Module, nil)
//	if err != nil {
//		return err // a *pgdbm.MigrationError, with file, line and column
//	}
//	for _, f := range res.Applied {
//		fmt.Println(f.File, f.Duration)
//	}
//
// Every function takes a handle, which says the schema, and the module, and
// returns a typed result. A failed migration is an error, never a status. The
// functions are safe for concurrent use, in one process and in several: a
// migration is applied once, by whoever comes first, and nobody fails on
// account of the others.
//
// # Ledger
//
// What has been applied is recorded in the table pgdbm.migrations of the same
// database, keyed by module, schema and version. Each file runs in one
// transaction together with its row, under an advisory lock of that
// transaction, so a crash at any point leaves nothing half-recorded, also
// behind a transaction pooler.
//
// # Files
//
// Files are named 001_name.sql, 001_name.up.sql, V1__name.sql or 20060102150405_name.sql and run
// in numeric order. They are sent to the server whole. A file that begins or
// ends a transaction of its own is refused when it is loaded.
//
// What reverts 001_x.up.sql is in 001_x.down.sql; or one file has both, divided
// by a line
//
//	-- pgdbm:down
//
// The part that reverts is free to change after the file was applied.
//
// Migrations in Go, [pgdbm.GoMigration], run among the files by their versions.
//
// A statement waits two seconds for the locks of other sessions, since all who
// come after it wait behind it. Then the file's transaction is rolled back and
// tried again after a pause, up to ten times; the log says who was in the way.
// [UpOptions] changes that, and so does a file's head:
//
//	-- pgdbm:lock-timeout 500ms
//	-- pgdbm:statement-timeout 5min
//
// # Outside a transaction
//
// A file with the line
//
//	-- pgdbm:no-transaction
//
// at its head runs statement by statement, for CREATE INDEX CONCURRENTLY and
// whatever else takes no transaction around it. Each statement that ran is
// recorded, those that may run in a transaction together with their record, so
// that running again goes on at the statement that failed; those behind it may
// be changed meanwhile. An invalid index that an interrupted run has left is
// dropped first, and the new one must be valid. Other statements that take no
// transaction, a procedure that commits for instance, may run a second time
// after a crash.
//
// Such a file takes two connections: the other one holds the lock, in a
// transaction that no concurrent index waits for. It takes a direct connection,
// too: behind a pooler it is refused unless [UpOptions] allows it.
//
// # Databases that went their own way
//
// [Baseline] records what another tool has applied. [Verify] tells where files,
// ledger and schema disagree, and [Repair] accepts a changed file, with the
// reason. [Remove] ends a module.
package migrate
