package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

var connectionChecks = []check{
	{[]string{"pooler"}, pooler},
	{[]string{"tls-off"}, tlsOff},
}

// pooler finds out whether a pooler stands before the server, and whether it gives
// a session away while its client stays: then two clients see one session.
func pooler(ctx context.Context, l *look) ([]Finding, error) {
	var conns [2]*pgxpool.Conn
	var pids [2]uint32
	for i := range conns {
		c, err := l.pool.Pgx().Acquire(ctx)
		if err != nil {
			return nil, err
		}
		defer c.Release()
		conns[i] = c
	}
	through := false
	for i, c := range conns {
		// Exec is the simple protocol, which every pooler carries.
		res, err := c.Conn().PgConn().Exec(ctx, "select pg_catalog.pg_backend_pid()").ReadAll()
		if err != nil {
			return nil, err
		}
		if _, err := fmt.Sscan(string(res[0].Rows[0][0]), &pids[i]); err != nil {
			return nil, err
		}
		through = through || pids[i] != c.Conn().PgConn().PID()
	}
	if !through {
		return nil, nil
	}
	f := Finding{Code: "pooler", Severity: Info, Where: "the connection",
		What: "a pooler stands before the server and keeps a session for each client; migrations outside a transaction need --through-pooler, or a direct connection",
		Fix:  statements("SHOW POOL_MODE; -- on the pooler's own database, such as pgbouncer")}
	if pids[0] == pids[1] {
		f.What = "a pooler in transaction mode stands before the server: what a session keeps does not work through it, which is LISTEN, SET, temporary tables, session locks and migrations outside a transaction; those need a direct connection"
	}
	return []Finding{f}, nil
}

// tlsOff looks at its own connection, and at those that the server has from
// elsewhere.
func tlsOff(ctx context.Context, l *look) (found []Finding, err error) {
	c, err := l.pool.Pgx().Acquire(ctx)
	if err != nil {
		return nil, err
	}
	clear := inTheClear(c.Conn().PgConn())
	c.Release()
	if clear {
		found = append(found, Finding{Code: "tls-off", Severity: Warning, Where: "the connection",
			What: "goes to another machine without TLS: whoever is on the way reads it",
			Fix:  Fix{Command: l.command("PGSSLMODE=verify-full pgdbm doctor --only tls-off")}})
	}
	type row struct {
		App, Host, Login string
		N                int
	}
	rows, err := read[row](ctx, l, `select a.application_name as app, pg_catalog.host(a.client_addr) as host, coalesce(a.usename::text, '') as login, count(*)::int as n
from pg_catalog.pg_stat_activity a join pg_catalog.pg_stat_ssl s using (pid)
where not s.ssl and a.client_addr is not null and a.application_name <> $1
	and not a.client_addr <<= '127.0.0.0/8' and not a.client_addr <<= '::1'
group by 1, 2, 3 order by 1, 2, 3`, ApplicationName)
	for _, r := range rows {
		found = append(found, Finding{Code: "tls-off", Severity: Warning, Where: application(r.App, r.Host),
			What: fmt.Sprintf("%s as %s without TLS from another machine", count(r.N, "session"), r.Login),
			Fix:  statements("SELECT line_number, address, auth_method FROM pg_hba_file_rules WHERE type = 'host'; -- hostssl refuses them")})
	}
	return found, err
}

// inTheClear reports whether a connection leaves the machine without TLS.
func inTheClear(c *pgconn.PgConn) bool {
	if _, ok := c.Conn().(*tls.Conn); ok {
		return false
	}
	addr, ok := c.Conn().RemoteAddr().(*net.TCPAddr)
	return ok && !addr.IP.IsLoopback()
}
