package statement

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"unique"

	"github.com/jackc/pgx/v5"
)

// session is what is known about one connection. It belongs to whoever holds
// the connection.
type session struct {
	mode          pgx.QueryExecMode
	tracer        pgx.QueryTracer
	batchTracer   pgx.BatchTracer
	prepareTracer pgx.PrepareTracer
	pooler        pooler

	role  role
	named named
	seen  *seen             // nil until a statement runs
	given map[string]*Shape // statements that the caller has given names

	// touched are the namespaces that it has worked in, up to one more than
	// limit. last spares the look-up for the next query in the same one.
	touched map[unique.Handle[string]]struct{}
	last    unique.Handle[string]
	limit   int
	made    int // schemas made on it, which count too

	builder  pgx.ExtendedQueryBuilder
	text     []byte
	rowsSlab []plainRows
}

// pooler says whether something stands between a connection and its server.
type pooler uint8

const (
	unknown pooler = iota
	direct
	pooled
)

// sessionKey finds a session in its connection's custom data.
const sessionKey = "pgdbm.statement"

// session returns that of a connection. Pools that share the connection share
// it, too.
func (c *Cache) session(conn *pgx.Conn) *session {
	data := conn.PgConn().CustomData()
	if s, ok := data[sessionKey].(*session); ok {
		return s
	}
	// The configuration of this very connection: a hook may have changed it.
	cfg := conn.Config()
	s := &session{mode: cfg.DefaultQueryExecMode, tracer: cfg.Tracer, limit: c.budget}
	s.batchTracer, _ = cfg.Tracer.(pgx.BatchTracer)
	s.prepareTracer, _ = cfg.Tracer.(pgx.PrepareTracer)
	if s.limit > 0 {
		// So that connections made together do not end together.
		s.limit -= rand.N(s.limit/10 + 1)
	}
	data[sessionKey] = s
	return s
}

// shares reports whether statements of the connection are this package's to
// describe and name; other modes are left to pgx.
func (s *session) shares() bool {
	return s.mode == pgx.QueryExecModeCacheStatement || s.mode == pgx.QueryExecModeCacheDescribe
}

// Prepared tells the cache that the caller has prepared a statement by a name.
func (c *Cache) Prepared(conn *pgx.Conn, name string, sh *Shape) {
	s := c.session(conn)
	if s.given == nil {
		s.given = make(map[string]*Shape)
	}
	s.given[name] = sh
}

// script is what is run for a text, which may be the name of a statement.
func (s *session) script(sh *Shape) *script {
	if behind := s.given[sh.sql]; behind != nil {
		return behind.script()
	}
	return sh.script()
}

// isNamed reports whether sql may be the name of a statement that the caller has
// prepared, which pgx alone can run.
func (s *session) isNamed(sql string) bool { return isName(sql) || s.given[sql] != nil }

// forgetNames forgets all statements that have names, for one is no longer there:
// DEALLOCATE ALL and DISCARD ALL drop all that a connection has.
func (s *session) forgetNames() {
	for s.named.last != nil {
		s.named.drop(s.named.last)
	}
	if s.role.name != "" {
		s.named.garbage = append(s.named.garbage, s.role.name)
		s.role.name = ""
	}
}

// touch counts a namespace against the connection's budget.
func (s *session) touch(ns *Namespace) {
	if s.limit <= 0 || ns.id == s.last {
		return
	}
	s.last = ns.id
	if s.touched == nil {
		s.touched = make(map[unique.Handle[string]]struct{})
	}
	if len(s.touched) <= s.limit {
		s.touched[ns.id] = struct{}{}
	}
}

// Spent reports whether a connection has worked in so many schemas that it
// should be closed: the server's caches of their tables never shrink.
func Spent(conn *pgx.Conn) bool {
	s, ok := conn.PgConn().CustomData()[sessionKey].(*session)
	return ok && s.limit > 0 && len(s.touched)+s.made > s.limit
}

// Made counts a schema that was made on the connection.
func (c *Cache) Made(conn *pgx.Conn) { c.session(conn).made++ }

// backendSQL asks who really answers. A pooler gives its clients a process
// number of its own making.
const backendSQL = `SELECT pg_catalog.pg_backend_pid()`

// detect finds out whether a pooler stands between the connection and the
// server, once, in a round trip by the simple protocol.
func (c *Cache) detect(ctx context.Context, conn *pgx.Conn, s *session) error {
	if s.pooler != unknown {
		return nil
	}
	backend, err := askOne(ctx, conn, backendSQL)
	if err == nil {
		c.answered(conn, s, backend)
	}
	return err
}

// askOne returns the one value that sql selects, by the simple protocol.
func askOne(ctx context.Context, conn *pgx.Conn, sql string) (string, error) {
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return "", fmt.Errorf("pgdbm: %s: no row", sql)
	}
	return string(results[0].Rows[0][0]), nil
}

func (c *Cache) answered(conn *pgx.Conn, s *session, backend string) {
	s.pooler = direct
	if backend != strconv.FormatUint(uint64(conn.PgConn().PID()), 10) {
		s.pooler = pooled
		c.sawPooler()
	}
}

// Answered tells the cache which process answered on a connection, as
// pg_backend_pid() has it.
func (c *Cache) Answered(conn *pgx.Conn, backend string) { c.answered(conn, c.session(conn), backend) }

// Direct reports whether nothing stands between a connection and its server, as
// far as that can be found out.
func (c *Cache) Direct(ctx context.Context, conn *pgx.Conn) bool {
	s := c.session(conn)
	return c.detect(ctx, conn, s) == nil && s.pooler == direct
}

// Check refuses a connection whose mode is not safe behind the pooler that it
// goes through.
func (c *Cache) Check(ctx context.Context, conn *pgx.Conn) error {
	s := c.session(conn)
	if s.mode != pgx.QueryExecModeDescribeExec {
		return nil
	}
	return c.refuse(ctx, conn, s)
}

func (c *Cache) refuse(ctx context.Context, conn *pgx.Conn, s *session) error {
	if err := c.detect(ctx, conn, s); err != nil {
		return err
	}
	if s.pooler == pooled {
		return ErrDescribeExec
	}
	return nil
}
