package doctor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

var sessionChecks = []check{
	{[]string{"connection-headroom"}, headroom},
	{[]string{"several-pools", "unnamed-sessions"}, pools},
	{[]string{"long-transaction", "idle-in-transaction"}, transactions},
	{[]string{"blocked-session"}, blocked},
	{[]string{"prepared-transaction"}, prepared},
	{[]string{"limited-view"}, limitedView},
}

// clients are the sessions of programs. A user without the right to see others'
// sessions sees that they are there, and whose they are.
const clients = `(select * from pg_catalog.pg_stat_activity
	where datid is not null and coalesce(backend_type, 'client backend') = 'client backend')`

// headroom adds up the sessions under each limit.
func headroom(ctx context.Context, l *look) (found []Finding, err error) {
	type row struct {
		Kind, Name, Who string
		Used, Limit     int
	}
	rows, err := read[row](ctx, l, `with s as materialized `+clients+`, used as (
	select 'server' as kind, '' as name, (select count(*) from s) as used, pg_catalog.current_setting('max_connections')::int
		- pg_catalog.current_setting('superuser_reserved_connections')::int
		- coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0) as limit
	union all select 'database', d.datname::text, (select count(*) from s where s.datid = d.oid), d.datconnlimit
		from pg_catalog.pg_database d where d.datconnlimit >= 0 and d.datallowconn
	union all select 'role', r.rolname::text, (select count(*) from s where s.usesysid = r.oid), r.rolconnlimit
		from pg_catalog.pg_roles r where r.rolconnlimit >= 0 and r.rolcanlogin)
select u.kind, u.name, u.used::int as used, u.limit, coalesce((select pg_catalog.string_agg(t.text, ', ') from (
	select coalesce(nullif(s.application_name, ''), 'without a name') || ' ' || count(*) as text from s
	where u.kind = 'server' or u.kind = 'database' and s.datname = u.name or u.kind = 'role' and s.usename = u.name
	group by s.application_name order by count(*) desc, 1 limit 3) t), '') as who
from used u where u.used * 100 >= u.limit * $1::int and u.used > 0 order by u.kind desc, u.name`, l.o.Connections)
	for _, r := range rows {
		percent := 100.0
		if r.Limit > 0 {
			percent = 100 * float64(r.Used) / float64(r.Limit)
		}
		f := Finding{Code: "connection-headroom", Severity: used(percent),
			What: fmt.Sprintf("%d of %d sessions are taken, most by %s", r.Used, r.Limit, r.Who)}
		higher := max(2*r.Limit, 10)
		switch r.Kind {
		case "server":
			f.Where = "server"
			f.What = fmt.Sprintf("%d of the %d sessions that max_connections leaves to all are taken, most by %s", r.Used, r.Limit, r.Who)
			f.Fix = statements(fmt.Sprintf("ALTER SYSTEM SET max_connections = %d; -- and restart; or make the pools smaller", higher))
		case "database":
			f.Where = "database " + sqltemplate.Quote(r.Name)
			f.Fix = statements(fmt.Sprintf("ALTER DATABASE %s CONNECTION LIMIT %d;", sqltemplate.Quote(r.Name), higher))
		default:
			f.Where = "role " + sqltemplate.Quote(r.Name)
			f.Fix = statements(fmt.Sprintf("ALTER ROLE %s CONNECTION LIMIT %d;", sqltemplate.Quote(r.Name), higher))
		}
		found = append(found, f)
	}
	return found, err
}

// pools looks for programs that have several pools to one database. The server
// does not know of pools; but a pool does not open a session while another one of
// its own stands idle, unless it keeps a number of them open. A session that waits
// for notifications or holds a session's lock is in somebody's hands, although it
// stands idle.
func pools(ctx context.Context, l *look) (found []Finding, err error) {
	type row struct {
		App, Host, Database string
		N, Users            int
		Idle, Opened        int // sessions: while one stood idle, the other was opened; or 0
	}
	rows, err := read[row](ctx, l, `with s as materialized (
	select pid, datname::text as database, usename, application_name as app, coalesce(pg_catalog.host(client_addr), '') as host,
		state, state_change, backend_start from `+clients+` c
	where datname is not null and pid <> pg_catalog.pg_backend_pid()
		and application_name !~* '^(pgdbm |psql$|pg_|pgadmin|dbeaver|datagrip)'
		and query !~* '^\s*listen\M' and not exists (select from pg_catalog.pg_locks k where k.pid = c.pid and k.locktype = 'advisory'))
select app, host, database, count(*)::int as n, count(distinct usename)::int as users,
	case when min(state_change) filter (where state = 'idle') + pg_catalog.make_interval(secs => $1) < max(backend_start)
		then (pg_catalog.array_agg(pid order by backend_start desc))[1] else 0 end as opened,
	coalesce((pg_catalog.array_agg(pid order by state_change) filter (where state = 'idle'))[1], 0) as idle
from s group by 1, 2, 3 order by 1, 2, 3`, l.o.Overlap.Seconds())
	for _, r := range rows {
		f := Finding{Code: "several-pools", Severity: Warning, Where: application(r.App, r.Host) + " to database " + sqltemplate.Quote(r.Database)}
		list := fmt.Sprintf("SELECT pid, usename, backend_start, state, state_change FROM pg_stat_activity WHERE application_name = %s AND datname = %s ORDER BY backend_start;",
			literal(r.App), literal(r.Database))
		switch {
		case r.App == "":
			f.Code, f.Severity = "unnamed-sessions", Info
			f.What = count(r.N, "session") + " without an application_name: whose they are cannot be told"
		case r.Users > 1:
			f.What = fmt.Sprintf("%d sessions as %d users: a pool for each; one pool serves all schemas", r.N, r.Users)
		case r.Opened != 0:
			f.What = fmt.Sprintf("%d sessions; %d was opened while %d stood idle: more than one pool or process, or one with MinConns", r.N, r.Opened, r.Idle)
		case l.o.PoolSize > 0 && r.N > l.o.PoolSize:
			f.What = fmt.Sprintf("%d sessions, where one pool has %d: more than one pool or process", r.N, l.o.PoolSize)
		default:
			continue
		}
		f.Fix = statements(list)
		found = append(found, f)
	}
	return found, err
}

// session is a session that is in somebody's way.
type session struct {
	Pid                     int
	Login, App, Database    string
	State                   string
	TxSeconds, StateSeconds float64
	Blockers                []int32
	Gid                     string // of a prepared transaction that is one of them
}

func (s session) where() string {
	who := s.App
	if who == "" {
		who = s.Login
	}
	return fmt.Sprintf("session %d of %s in %s", s.Pid, who, sqltemplate.Quote(s.Database))
}

const sessionColumns = `pid, coalesce(usename::text, '') as login, coalesce(application_name, '') as app, coalesce(datname::text, '') as database, coalesce(state, '') as state,
	coalesce(extract(epoch from pg_catalog.clock_timestamp() - xact_start), 0)::float8 as tx_seconds,
	coalesce(extract(epoch from pg_catalog.clock_timestamp() - state_change), 0)::float8 as state_seconds`

// transactions never shows what is run: it may hold secrets.
func transactions(ctx context.Context, l *look) (found []Finding, err error) {
	rows, err := read[session](ctx, l, `select `+sessionColumns+`, '{}'::int[] as blockers, '' as gid from `+clients+` c
where xact_start is not null and application_name <> $1 order by xact_start`, ApplicationName)
	for _, s := range rows {
		tx, idle := seconds(s.TxSeconds), seconds(s.StateSeconds)
		switch {
		case (s.State == "idle in transaction" || s.State == "idle in transaction (aborted)") && idle >= l.o.IdleTx:
			found = append(found, Finding{Code: "idle-in-transaction", Severity: aged(idle, l.o.IdleTx), Where: s.where(),
				What: fmt.Sprintf("idle in a transaction for %s: it keeps its locks, and VACUUM from cleaning up", age(idle)),
				Fix:  statements(fmt.Sprintf("SELECT pg_terminate_backend(%d);", s.Pid))})
		case tx >= l.o.LongTx:
			found = append(found, Finding{Code: "long-transaction", Severity: aged(tx, l.o.LongTx), Where: s.where(),
				What: fmt.Sprintf("in a transaction for %s: it keeps its locks, and VACUUM from cleaning up", age(tx)),
				Fix:  statements(fmt.Sprintf("SELECT pg_cancel_backend(%d);", s.Pid))})
		}
	}
	return found, err
}

func blocked(ctx context.Context, l *look) (found []Finding, err error) {
	rows, err := read[session](ctx, l, `select * from (select `+sessionColumns+`,
	pg_catalog.pg_blocking_pids(pid) as blockers, coalesce((select p.gid from pg_catalog.pg_locks w join pg_catalog.pg_locks h on h.granted and h.pid is null
		and (w.locktype, w.database, w.relation, w.page, w.tuple, w.transactionid, w.classid, w.objid, w.objsubid)
			is not distinct from (h.locktype, h.database, h.relation, h.page, h.tuple, h.transactionid, h.classid, h.objid, h.objsubid)
		join pg_catalog.pg_locks x on x.virtualtransaction = h.virtualtransaction and x.locktype = 'transactionid' and x.granted and x.pid is null
		join pg_catalog.pg_prepared_xacts p on p.transaction = x.transactionid
		where w.pid = c.pid and not w.granted limit 1), '') as gid
	from `+clients+` c where wait_event_type = 'Lock') s
where pg_catalog.cardinality(blockers) > 0 and state_seconds >= $1 order by state_seconds desc`, l.o.Blocked.Seconds())
	for _, s := range rows {
		waited := seconds(s.StateSeconds)
		f := Finding{Code: "blocked-session", Severity: aged(waited, l.o.Blocked), Where: s.where(),
			What: fmt.Sprintf("waits for a lock of session %d, since %s", s.Blockers[0], age(waited)),
			Fix:  statements(fmt.Sprintf("SELECT pg_cancel_backend(%d); -- pg_terminate_backend if it is idle", s.Blockers[0]))}
		// A transaction that is prepared has no session: its number is 0.
		if i := slices.Index(s.Blockers, 0); i >= 0 {
			f.What = fmt.Sprintf("waits for a lock of a prepared transaction, since %s", age(waited))
			f.Fix = statements("SELECT gid, database, owner, prepared FROM pg_prepared_xacts ORDER BY prepared;")
			if s.Gid != "" {
				f.What = fmt.Sprintf("waits for a lock of the prepared transaction %s, since %s", literal(s.Gid), age(waited))
				f.Fix = statements(rollbackPrepared(s.Gid, s.Database))
			}
		}
		found = append(found, f)
	}
	return found, err
}

func rollbackPrepared(gid, database string) string {
	return fmt.Sprintf("ROLLBACK PREPARED %s; -- or COMMIT PREPARED; in database %s", literal(gid), sqltemplate.Quote(database))
}

// prepared finds what a transaction manager has forgotten; ordinary programs
// prepare none.
func prepared(ctx context.Context, l *look) (found []Finding, err error) {
	type row struct {
		Gid, Database, Owner string
		Seconds              float64
	}
	rows, err := read[row](ctx, l, `select gid, database::text as database, owner::text as owner,
	extract(epoch from pg_catalog.clock_timestamp() - prepared)::float8 as seconds from pg_catalog.pg_prepared_xacts order by prepared`)
	for _, r := range rows {
		d := seconds(r.Seconds)
		if d < min(l.o.LongTx, time.Minute) {
			continue
		}
		found = append(found, Finding{Code: "prepared-transaction", Severity: aged(d, l.o.LongTx),
			Where: fmt.Sprintf("%s of %s in %s", literal(r.Gid), r.Owner, sqltemplate.Quote(r.Database)),
			What:  fmt.Sprintf("prepared %s ago and neither committed nor rolled back: it keeps its locks, also over a restart", age(d)),
			Fix:   statements(rollbackPrepared(r.Gid, r.Database))})
	}
	return found, err
}

func limitedView(ctx context.Context, l *look) ([]Finding, error) {
	users, err := read[string](ctx, l, `select current_user::text where not pg_catalog.pg_has_role('pg_read_all_stats', 'usage')`)
	if err != nil || len(users) == 0 {
		return nil, err
	}
	return []Finding{{Code: "limited-view", Severity: Info, Where: "role " + sqltemplate.Quote(users[0]),
		What: "does not see what other users' sessions do, so findings about them are missing",
		Fix:  statements("GRANT pg_read_all_stats TO " + sqltemplate.Quote(users[0]) + ";")}}, nil
}
