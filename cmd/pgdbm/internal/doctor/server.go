package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

var serverChecks = []check{
	{[]string{"server-version"}, serverVersion},
	{[]string{"standby"}, standby},
	{[]string{"autovacuum-off", "fsync-off"}, settings},
	{[]string{"wraparound"}, wraparound},
	{[]string{"lock-table"}, lockTable},
	{[]string{"collation-version"}, collation},
	{[]string{"replication-slot"}, slots},
}

// The versions of PostgreSQL that pgdbm is tested with.
const oldest, newest = 14, 18

func serverVersion(_ context.Context, l *look) ([]Finding, error) {
	f := Finding{Code: "server-version", Where: "server", Fix: statements("SELECT version();")}
	switch major := l.version / 10000; {
	case major < oldest:
		f.Severity, f.What = Error, fmt.Sprintf("PostgreSQL %d; pgdbm needs %d or newer", major, oldest)
	case major > newest:
		f.Severity, f.What = Info, fmt.Sprintf("PostgreSQL %d; pgdbm is tested up to %d", major, newest)
	default:
		return nil, nil
	}
	return []Finding{f}, nil
}

// standby says what a look at one cannot show.
func standby(ctx context.Context, l *look) ([]Finding, error) {
	if !l.recovery {
		return nil, nil
	}
	type row struct {
		Paused bool
		Behind float64 // seconds, of what has arrived and is not replayed
	}
	rows, err := read[row](ctx, l, `select pg_catalog.pg_get_wal_replay_pause_state() <> 'not paused' as paused,
	case when pg_catalog.pg_last_wal_receive_lsn() <= pg_catalog.pg_last_wal_replay_lsn() then 0
		else coalesce(extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp()), 0) end::float8 as behind`)
	if err != nil {
		return nil, err
	}
	f := Finding{Code: "standby", Severity: Info, Where: "server",
		What: "is a standby: the sessions of its primary are not to be seen here, nor its prepared transactions; what writes, also to end a finding, has to run on the primary",
		Fix:  statements("SELECT sender_host, sender_port, status FROM pg_stat_wal_receiver; -- the primary")}
	if behind := seconds(rows[0].Behind); behind >= time.Second {
		f.What += ". It is " + age(behind) + " behind"
	}
	if rows[0].Paused {
		f.Severity, f.What = Warning, "is a standby whose replay is paused: what its primary writes does not arrive, and its WAL is kept"
		f.Fix = statements("SELECT pg_wal_replay_resume();")
	}
	return []Finding{f}, nil
}

func settings(ctx context.Context, l *look) (found []Finding, err error) {
	names, err := read[string](ctx, l, `select name from pg_catalog.pg_settings
where name in ('autovacuum', 'track_counts', 'fsync', 'full_page_writes') and setting = 'off' order by name`)
	for _, name := range names {
		f := Finding{Code: "autovacuum-off", Severity: Warning, Where: "server",
			What: name + " is off: tables grow, plans go stale, and transaction numbers run out",
			Fix:  statements(fmt.Sprintf("ALTER SYSTEM SET %s = on;", name), "SELECT pg_reload_conf();")}
		if name == "fsync" || name == "full_page_writes" {
			f.Code, f.What = "fsync-off", name+" is off: a crash of the machine may destroy all data; right for tests only"
		}
		found = append(found, f)
	}
	return found, err
}

// failsafe is when VACUUM drops all else to save the server.
const failsafe = 1_600_000_000

func wraparound(ctx context.Context, l *look) (found []Finding, err error) {
	type row struct {
		Database       string
		Connect        bool
		Age, Multixact int64
	}
	rows, err := read[row](ctx, l, `select datname::text as database, datallowconn as connect,
	pg_catalog.age(datfrozenxid)::bigint as age, pg_catalog.mxid_age(datminmxid)::bigint as multixact
from pg_catalog.pg_database where greatest(pg_catalog.age(datfrozenxid), pg_catalog.mxid_age(datminmxid)) >= $1 order by 1`, l.o.XIDAge)
	for _, r := range rows {
		f := Finding{Code: "wraparound", Severity: Warning, Where: "database " + sqltemplate.Quote(r.Database),
			What: fmt.Sprintf("%d million transactions since it was last frozen; the server refuses to write at some 2100", max(r.Age, r.Multixact)/1_000_000),
			Fix:  Fix{Command: "vacuumdb --freeze --dbname=" + Shell(r.Database)}}
		if max(r.Age, r.Multixact) >= failsafe {
			f.Severity = Error
		}
		if !r.Connect {
			f.Fix.Command = "vacuumdb --freeze --all"
		}
		found = append(found, f)
	}
	return found, err
}

// lockTable compares the tables with the locks that the server has room for:
// pg_dump takes one on each of them in one transaction.
func lockTable(ctx context.Context, l *look) ([]Finding, error) {
	type row struct{ Tables, Room, PerTx int }
	rows, err := read[row](ctx, l, `select (select count(*) from pg_catalog.pg_class where relkind in ('r', 'p'))::int as tables,
	pg_catalog.current_setting('max_locks_per_transaction')::int as per_tx, pg_catalog.current_setting('max_locks_per_transaction')::int
	* (pg_catalog.current_setting('max_connections')::int + pg_catalog.current_setting('max_prepared_transactions')::int) as room`)
	if err != nil || rows[0].Tables <= rows[0].Room {
		return nil, err
	}
	r := rows[0]
	return []Finding{{Code: "lock-table", Severity: Warning, Where: "database " + sqltemplate.Quote(l.database),
		What: fmt.Sprintf("%d tables, and room for %d locks: pg_dump and whatever locks all tables ends with \"out of shared memory\"", r.Tables, r.Room),
		Fix:  statements(fmt.Sprintf("ALTER SYSTEM SET max_locks_per_transaction = %d; -- and restart", r.PerTx*(2*r.Tables/r.Room+1)))}}, nil
}

// collation compares the version of the locale's rules that indexes were built by
// with the system's. PostgreSQL before 15 does not record it.
func collation(ctx context.Context, l *look) ([]Finding, error) {
	if l.version < 150000 {
		return nil, nil
	}
	type row struct{ Have, Now string }
	rows, err := read[row](ctx, l, `select datcollversion as have, pg_catalog.pg_database_collation_actual_version(oid) as now from pg_catalog.pg_database
where datname = pg_catalog.current_database() and datcollversion <> pg_catalog.pg_database_collation_actual_version(oid)`)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	db := sqltemplate.Quote(l.database)
	return []Finding{{Code: "collation-version", Severity: Error, Where: "database " + db,
		What: fmt.Sprintf("was made with version %s of its locale, and the system has %s: indexes on text may be in the wrong order", rows[0].Have, rows[0].Now),
		Fix:  statements(fmt.Sprintf("REINDEX DATABASE %s;", db), fmt.Sprintf("ALTER DATABASE %s REFRESH COLLATION VERSION;", db))}}, nil
}

func slots(ctx context.Context, l *look) (found []Finding, err error) {
	type row struct {
		Name, Status string
		Bytes        int64
	}
	rows, err := read[row](ctx, l, `select * from (select slot_name::text as name, coalesce(wal_status, '') as status,
	coalesce(pg_catalog.pg_wal_lsn_diff(case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
		else pg_catalog.pg_current_wal_lsn() end, restart_lsn), 0)::bigint as bytes
	from pg_catalog.pg_replication_slots where not active) s where bytes >= $1 or status = 'lost' order by 1`, l.o.RetainedWAL)
	for _, r := range rows {
		f := Finding{Code: "replication-slot", Severity: Warning, Where: "slot " + literal(r.Name),
			What: fmt.Sprintf("nobody reads it, and it keeps %d MB of WAL from being removed", r.Bytes>>20),
			Fix:  statements(fmt.Sprintf("SELECT pg_drop_replication_slot(%s);", literal(r.Name)))}
		if r.Status == "lost" {
			f.What = "the WAL that its reader needs is gone"
		}
		found = append(found, f)
	}
	return found, err
}
