package statement

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// A namespace with a role has its statements run as that role: set_config goes
// before the statement in the same message, and holds until the end of the
// transaction, which is that of the message where there is no other. So nothing
// is left on the connection, and a pooler has nothing to carry over.
const roleSQL = `SELECT pg_catalog.set_config('role', $1, true)`

// noRole is what set_config takes for the session's own user.
const noRole = "none"

// ownRoleSQL asks for the role that a session has by itself, as a pool's settings
// may give it one.
const ownRoleSQL = `SELECT pg_catalog.current_setting('role')`

// roleOIDs are the types of roleSQL's parameter.
var roleOIDs = []uint32{pgtype.TextOID}

// ErrRole says that a statement was not run, since its role could not be taken.
var ErrRole = errors.New("pgdbm: role cannot be taken")

// role is what a connection knows of the role of its transaction.
type role struct {
	known   bool   // current is in effect
	current string // empty: the session's own user
	mixed   bool   // it has changed within the transaction
	raw     bool   // the caller has had the connection and may do anything with it,
	kept    bool   // also after the transaction
	uses    int    // of roleSQL, until it gets a name
	name    string // it has got; mostly empty
	own     string // the session's; empty: not asked yet
}

// roleSetting is the namespace's role as set_config takes it.
func (s *session) roleSetting(ns *Namespace) string { return cmp.Or(ns.Role, s.role.own) }

// learnOwnRole asks for the session's own role before it gets another one, in a
// round trip once a connection.
func (s *session) learnOwnRole(ctx context.Context, conn *pgx.Conn) error {
	if s.role.own != "" || conn.PgConn().TxStatus() == 'E' {
		return nil
	}
	own, err := askOne(ctx, conn, ownRoleSQL)
	if err == nil {
		s.role.own = cmp.Or(own, noRole)
	}
	return err
}

// alone reports whether the namespace has a role, which no transaction has for it:
// each message must set it.
func alone(conn *pgx.Conn, ns *Namespace) bool {
	return ns.Role != "" && conn.PgConn().TxStatus() == 'I'
}

// switches reports whether a statement in the namespace has to set the role
// first.
func (s *session) switches(conn *pgx.Conn, ns *Namespace) bool {
	r := &s.role
	switch conn.PgConn().TxStatus() {
	case 'I':
		r.known, r.mixed = false, false
		return ns.Role != ""
	case 'E': // nothing runs but a rollback, and the role cannot be set
		return false
	}
	if r.known && !r.raw && !r.kept {
		return r.current != ns.Role
	}
	// What the caller has set by himself stays, where nobody else has.
	return ns.Role != "" || r.mixed
}

// startAs starts a pipeline that sets the role of the namespace first, where it
// is not in effect. sync is the pipeline's Sync, and reads the answer to that.
func (c *Cache) startAs(ctx context.Context, conn *pgx.Conn, s *session, ns *Namespace) (p *pgconn.Pipeline, sync func() error) {
	if !s.switches(conn, ns) {
		p = conn.PgConn().StartPipeline(ctx)
		return p, p.Sync
	}
	if err := s.learnOwnRole(ctx, conn); err != nil {
		p = conn.PgConn().StartPipeline(ctx)
		return p, func() error { return err }
	}
	prepares := c.nameRole(ctx, conn, s)
	name := s.role.name
	if prepares {
		name = s.named.name()
	}
	p = conn.PgConn().StartPipeline(ctx)
	value := [][]byte{[]byte(s.roleSetting(ns))}
	if prepares {
		p.SendPrepare(name, roleSQL, roleOIDs)
	}
	if name != "" {
		p.SendQueryPrepared(name, value, nil, nil)
	} else {
		p.SendQueryParams(roleSQL, value, roleOIDs, nil, nil)
	}
	return p, func() error {
		if err := p.Sync(); err != nil {
			return err
		}
		if err := s.tookRole(p, prepares, name); err != nil {
			s.role.known = false
			if noSuchName(err) {
				s.forgetNames()
				err = roleDropped{err}
			}
			return fmt.Errorf("%w: role %q of schema %q: %w", ErrRole, s.roleSetting(ns), ns.Names.Schema(), err)
		}
		s.role.known, s.role.current, s.role.mixed = true, ns.Role, true
		return nil
	}
}

// tookRole reads the answers to what set the role.
func (s *session) tookRole(p *pgconn.Pipeline, prepares bool, name string) error {
	if prepares {
		if _, err := next[*pgconn.StatementDescription](p); err != nil {
			return err
		}
		s.role.name = name
	}
	reader, err := next[*pgconn.ResultReader](p)
	if err != nil {
		return err
	}
	_, err = reader.Close()
	return err
}

// roleDropped says that the named statement that sets the role is no longer there.
// Nothing of the message has run.
type roleDropped struct{ error }

func (e roleDropped) Unwrap() error { return e.error }

// retake runs f, which sends a message for a role, again if the statement that
// sets the role was dropped.
func retake(conn *pgx.Conn, f func() error) error {
	idle := conn.PgConn().TxStatus() == 'I'
	again, err := mayRetake(f(), idle)
	if again {
		return f()
	}
	return err
}

// mayRetake reports whether what failed may be run again, since the statement that
// sets the role was dropped. In a transaction, which has failed with it, the error
// says that the transaction may be.
func mayRetake(err error, idle bool) (bool, error) {
	_, dropped := errors.AsType[roleDropped](err)
	if dropped && !idle {
		return false, asStale(err)
	}
	return dropped, err
}

// nameRole reports whether this use of roleSQL should give it a name.
func (c *Cache) nameRole(ctx context.Context, conn *pgx.Conn, s *session) bool {
	s.role.uses++
	if s.role.name != "" || s.role.uses < promoteAt || s.mode != pgx.QueryExecModeCacheStatement || conn.PgConn().TxStatus() == 'E' {
		return false
	}
	_ = c.detect(ctx, conn, s) // when it fails, so will the statement, and say why
	return s.pooler == direct
}

// Begun tells the cache that a transaction has just begun on a connection, in
// which the role of the namespace is in effect.
func (c *Cache) Begun(conn *pgx.Conn, ns *Namespace) {
	r := &c.session(conn).role
	r.known, r.current, r.mixed, r.raw = true, ns.Role, false, false
}

// RolledBack tells the cache that the connection's transaction was rolled back to
// a savepoint, and the role to what it was there.
func (c *Cache) RolledBack(conn *pgx.Conn) {
	if conn == nil { // a transaction that never began
		return
	}
	if r := &c.session(conn).role; r.mixed {
		r.known = false
	}
}

// switched reports whether roles play a part in what the namespace is about to do
// on the connection.
func (s *session) switched(ns *Namespace) bool {
	return ns.Role != "" || s.role.mixed || s.role.current != ""
}

// rewinding returns an error for a text that more follow upon in the same message,
// and after which the role is another one: it ends the transaction, or rolls back
// to a savepoint from before the role was set.
func (s *session) rewinding(conn *pgx.Conn, ns *Namespace, sh *Shape, more bool) error {
	sc := s.script(sh)
	if sc != sh.script() { // a name, of which nothing is known yet
		if err := sc.escapes(ns); err != nil {
			return err
		}
	}
	if more && ns.Role != "" && sc.ends {
		return fmt.Errorf("%w: schema %q: statements after the end of the transaction, for which the role holds", ErrEscape, ns.Names.Schema())
	}
	if more && (s.role.mixed || s.switches(conn, ns)) && conn.PgConn().TxStatus() != 'I' && sc.rewinds {
		return fmt.Errorf("%w: schema %q: ROLLBACK TO among other statements, in a transaction of several roles", ErrEscape, ns.Names.Schema())
	}
	return nil
}

// rewound notes that a text has been run after which the role may be another one.
func (s *session) rewound(sh *Shape) {
	r, sc := &s.role, s.script(sh)
	if r.mixed && sc.rewinds {
		r.known = false
	}
	if r.current != "" && sc.opaque {
		r.known, r.mixed = false, true
	}
}

// mayCommit reports whether the statement may end the transaction that it runs in,
// if that is not one that the caller has begun: what it does after that would have
// no role.
func (sh *Shape) mayCommit(conn *pgx.Conn, ns *Namespace) bool {
	return alone(conn, ns) && sh.script().calls
}

// CheckBatch refuses what of a batch that pgx sends would change the role, and
// notes what the batch does to it.
func (c *Cache) CheckBatch(conn *pgx.Conn, ns *Namespace, b *pgx.Batch) error {
	s := c.session(conn)
	if !s.switched(ns) {
		return nil
	}
	shapes := make([]*Shape, len(b.QueuedQueries))
	for i, q := range b.QueuedQueries {
		if RewritesFreely(q.Arguments) {
			return fmt.Errorf("%w: schema %q: a QueryRewriter in a batch that is left to pgx", ErrEscape, ns.Names.Schema())
		}
		sh, err := c.Shape(ns, q.SQL)
		if err == nil {
			err = s.rewinding(conn, ns, sh, i < len(b.QueuedQueries)-1)
		}
		if err != nil {
			return err
		}
		shapes[i] = sh
	}
	for _, sh := range shapes {
		s.rewound(sh)
	}
	return nil
}

// Lent tells the cache that the caller has got the connection itself, for the
// length of a transaction or for good.
func (c *Cache) Lent(conn *pgx.Conn, good bool) {
	if conn == nil {
		return
	}
	r := &c.session(conn).role
	r.raw, r.kept = true, r.kept || good
}

// TakeRole sets the role of a namespace in the transaction that is open, where
// it is not in effect, for what pgx then does itself.
func (c *Cache) TakeRole(ctx context.Context, conn *pgx.Conn, ns *Namespace) error {
	s := c.session(conn)
	if conn.PgConn().TxStatus() == 'I' || !s.switches(conn, ns) {
		return nil
	}
	return retake(conn, func() error {
		p, sync := c.startAs(ctx, conn, s, ns)
		err := sync()
		if closeErr := p.Close(); err == nil {
			err = closeErr
		}
		return err
	})
}

// RoleText is SQL that sets the namespace's role for the rest of a transaction.
func (ns *Namespace) RoleText() string {
	// A role's name holds no quote and no backslash.
	return "SELECT pg_catalog.set_config('role', '" + cmp.Or(ns.Role, noRole) + "', true)"
}

// RollsBack reports whether the text is a rollback to a savepoint.
func (sh *Shape) RollsBack() bool { return sh.script().rewinds }

// CheckScript refuses a text of several statements of which one changes the role
// for those after it, in a transaction that this package does not follow.
func (sh *Shape) CheckScript(ns *Namespace) error {
	if sc := sh.script(); sc.statements > 1 && (sc.rewinds || sc.ends) {
		return fmt.Errorf("%w: schema %q: statements after ROLLBACK or COMMIT, in a transaction of several roles", ErrEscape, ns.Names.Schema())
	}
	return nil
}

// execScript runs a text of several statements as the role of the namespace, in
// one message and so in one transaction.
func (c *Cache) execScript(ctx context.Context, conn *pgx.Conn, ns *Namespace, text string) (pgconn.CommandTag, error) {
	before := ns.RoleText() + ";\n"
	tag, err := conn.Exec(ctx, before+text)
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		// Its place is one in the text that the caller knows.
		pe.Position = max(0, pe.Position-int32(utf8.RuneCountInString(before)))
	}
	return tag, err
}
