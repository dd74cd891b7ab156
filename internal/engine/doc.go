// Package engine reads migration files, plans them against the ledger of a database and runs them.
//
// It is the ground that packages pgdbm and migrate stand on, and is no API for programs.
//
// # The ledger
//
// One table per database, pgdbm.migrations, has one row for each version of a module in a schema. It is named with its
// schema in every statement, and read as JSON, so that programs of different versions share it: a column that this
// program does not know is ignored, one that a newer format added and that is missing reads as unknown.
//
// # Locks
//
// A schema is migrated under an advisory lock that its transaction takes first and that ends with it, so there is no
// lock to lose or to leave behind, through a transaction pooler too. Nobody waits for a lock inside the server: who
// does not get it at once ends the transaction, gives the connection back, sleeps and tries again.
//
// # Transactions
//
// A file, its ledger row and the creation of its schema commit together or not at all. After any crash, running again
// continues where the ledger ends. A statement waits for the locks of others for a short time only; then the whole
// transaction is rolled back and tried again.
//
// # Outside a transaction
//
// A file that asks for it runs statement by statement, and its row says how far it is. A statement that may run in a
// transaction commits together with that record. Before another one runs, what an interrupted run of it has left is
// cleared away, or its effect recognised. Meanwhile the connection that has the schema's lock only holds it: in a
// transaction without snapshot, number or locks on relations, for which nothing waits that waits for old transactions.
// The connection that runs the statements has a lock of its own, for the session, which outlives a process that is
// killed for as long as its statement does.
//
// # Connections
//
// One at a time is enough, so a pool of one serves, save for files outside a transaction, which take two. A connection that ran a file is closed and not given back. Before
// that the next file of the same run may use it, when no statement of those before sets anything for the session; what
// other files may have set is undone, since behind a transaction pooler the server's side lives on.
package engine
