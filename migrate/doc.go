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
// Files in the formats of goose, dbmate and tern are known by their comments and
// read as they are; they have no placeholders. [Adopt] takes over what these tools
// have applied.
//
// What reverts 001_x.up.sql is in 001_x.down.sql; or one file has both, divided
// by a line
//
//	-- pgdbm:down
//
// The part that reverts is free to change after the file was applied.
//
// A repeatable file, R__name.sql, makes what can be made anew, such as a view or a
// function. It runs after all versions, and again whenever its statements have
// changed, so it begins with CREATE OR REPLACE, or drops what it makes. Repeatable
// files run in the order of their names; one that uses what another makes says so at
// its head:
//
//	-- pgdbm:after totals, taxes
//
// When a file drops what repeatable files have made, a view by CASCADE say, those
// that name it run again, with a warning in [UpResult]. Rows and privileges are not
// looked after.
//
// When two programs with the same versions start beside each other, the one that
// starts last has its text in effect: what both use should suit both. One whose
// versions are older than the database's applies none of them, and warns of those
// whose text is not in effect. A file that is no more leaves what it made, and its row. After [Down]
// all of them are applied again.
//
// A squash file stands for many files before it, which may then be deleted:
//
//	-- pgdbm:replaces 1-50
//
// Where none of these versions is recorded it runs in their place; where the last
// of them is, it is recorded without running. In a schema in between, the files
// that it replaces must still be there and run first. One of them that has not run
// where others have is out of order, as it would be without the squash file. No file
// may be numbered between them and it. The command pgdbm migrate squash writes and
// checks one.
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
// reason. [Remove] ends a module, [DropSchema] a schema.
//
// # Fleets
//
// [Fleet] does for one module in very many schemas, such as one for each
// tenant, what [Up] does in one. With nothing pending it is a single query.
// Else it takes the schemas that have the same to do together: the first by
// itself, to see what it takes, then twenty or so in one transaction, and
// several such transactions beside each other.
//
//	schemas, err := migrate.FleetSchemas(ctx, pool, billing.Module, "tenant_*")
//	if err != nil {
//		return err
//	}
//	res, err := migrate.Fleet(ctx, pool, billing.Module, schemas, &migrate.FleetOptions{MaxFailures: 10})
//	if partial := (*migrate.FleetError)(nil); errors.As(err, &partial) {
//		for _, e := range res.Failed {
//			log.Print(e.Schema, ": ", e)
//		}
//	}
//
// A transaction holds at most half of the locks that the server's table has
// room for, and waits at most two seconds for one. When it fails, its schemas
// are migrated one by one, as Up would. So are those of files that would leave
// something behind in the session, as SET, DO and SELECT may, or that have COPY
// data.
//
// If a pending file touches what the schemas share, one is migrated after the
// other, each file in a transaction of its own: else each would wait for the
// others, and all users of what is shared for all of them. That is decided from
// the text as it reads for one schema, and from the database's catalog. A file
// touches what is shared if it
//
//   - has a statement that is not about tables, views, indexes, sequences,
//     types, functions, or what belongs to these, such as CREATE EXTENSION,
//     CREATE ROLE or a GRANT on another schema;
//   - names an object of another schema as schema.object, as {{tables.other.x}}
//     becomes, also in a string or in the body of a function. The catalogs do
//     not count, nor do the types and functions of extensions;
//   - has a word anywhere outside qualified names that is a table or a function
//     of the schema public, whatever the word means there;
//   - sets search_path, or has EXECUTE in the body of a function or of DO.
//
// What existing triggers and functions do cannot be seen, and a harmless word
// may look like a shared table: FleetOptions.Mode overrides the choice.
package migrate
