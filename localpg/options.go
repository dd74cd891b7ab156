package localpg

import "log/slog"

// Options change what [Start] and [Find] do. The zero value, and nil, are the
// defaults. They are read during the call only.
type Options struct {
	// BinDir is the folder of PostgreSQL's programs initdb and postgres. Empty:
	// see [Find].
	BinDir string

	// Fetch lets Start get PostgreSQL by [Fetch] when [Find] finds none anywhere.
	// When BinDir or PGDBM_POSTGRES_BIN names a folder, only that one counts.
	// Find itself ignores Fetch.
	Fetch bool

	// Shared lets Start join a server that runs already, of this user and with
	// the same folder of programs, Durable, TCP and Settings, which also was
	// started with Shared; otherwise one is started that others may join. It ends within a
	// second after the last of its users has stopped it or ended.
	Shared bool

	// TCP makes the server listen on a free port of 127.0.0.1 as well, where
	// the user postgres has a random password: see [Server.TCPURL].
	TCP bool

	// Durable keeps fsync, synchronous_commit, full_page_writes and autovacuum
	// on, and the data off memory-backed file systems.
	Durable bool

	// Settings are parameters for postgresql.conf. They win over those of this
	// package, except that Start refuses data_directory, port, listen_addresses
	// and unix_socket_directories.
	Settings map[string]string

	// CacheDir is where clusters are kept, for Start to copy one. The server's
	// user must be able to enter it. Empty: pgdbm in the user's cache folder, for
	// root /var/cache/pgdbm.
	CacheDir string

	// Logger gets what no caller is handed: a server that ended by itself and
	// leftovers that were removed. Nil discards it.
	Logger *slog.Logger
}

// withDefaults returns a copy whose Logger is set.
func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
