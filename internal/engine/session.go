package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Acquire takes one connection. It is never called while the caller still holds the one before, so a pool of a single
// connection serves. release gives the connection back, or closes it when discard is true; it is called once.
type Acquire func(ctx context.Context) (conn *pgx.Conn, release func(discard bool), err error)

// cleanupTimeout bounds what is done after the caller's context has ended.
const cleanupTimeout = 5 * time.Second

// A session is a held connection. It speaks the simple protocol only: one message carries many statements, and leaves
// no portal open that would pin a snapshot and no prepared statement that a pooler would lose.
type session struct {
	conn    *pgx.Conn
	pg      *pgconn.PgConn // of conn
	release func(discard bool)
	dirty   bool // a file ran on it: its session state may be anything
}

func (r *Runner) acquire(ctx context.Context) (*session, error) {
	conn, release, err := r.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return &session{conn: conn, pg: conn.PgConn(), release: release}, nil
}

// exec runs the statements in one round trip. On an error it returns the results of those before the failed one.
func (s *session) exec(ctx context.Context, statements ...string) ([]*pgconn.Result, error) {
	results, err := s.pg.Exec(ctx, strings.Join(statements, ";\n")).ReadAll()
	if err != nil && len(results) > 0 && results[len(results)-1].Err != nil {
		results = results[:len(results)-1]
	}
	return results, err
}

// rollback ends the transaction even when the caller's context has ended, so that its locks are free afterwards.
func (s *session) rollback(ctx context.Context, after ...string) []*pgconn.Result {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if s.pg.IsClosed() {
		// pgconn is cancelling the statement in the background: wait, so that the server is told before we return.
		select {
		case <-s.pg.CleanupDone():
		case <-ctx.Done():
		}
		return nil
	}
	results, err := s.exec(ctx, append([]string{"rollback"}, after...)...)
	if err != nil {
		s.dirty = true
		return nil
	}
	return results[1:]
}

// close gives the connection back, or has it closed when it is not as it was.
func (s *session) close() {
	s.release(s.dirty || s.pg.IsClosed() || s.pg.TxStatus() != 'I')
}

// begin is how every writing transaction starts. A pool's or role's timeouts are made for queries and would end a long
// migration; files are read by the rules of standard_conforming_strings.
func begin(serverVersion int) []string {
	statements := []string{
		"begin isolation level read committed read write",
		"set local lock_timeout = 0",
		"set local statement_timeout = 0",
		"set local idle_in_transaction_session_timeout = 0",
		"set local standard_conforming_strings = on",
	}
	if serverVersion >= 170000 {
		statements = append(statements, "set local transaction_timeout = 0")
	}
	return statements
}

// locked returns a session in a transaction that holds the lock, and the results of reads, which ran once it was held.
// It polls until then; while it sleeps it has neither a transaction nor a connection. The session is s unless that is
// nil or has to be given up; in every case s is no longer the caller's.
func (r *Runner) locked(ctx context.Context, s *session, l lock, serverVersion int, reads ...string) (*session, []*pgconn.Result, error) {
	if r.InTransaction {
		if s != nil {
			s.close()
		}
		return nil, nil, ErrInTransaction
	}
	prelude := append(begin(serverVersion), l.tryLock())
	script := append(prelude, reads...)
	w := r.newWait(l)
	for {
		if s == nil {
			var err error
			if s, err = r.acquire(ctx); err != nil {
				if ctx.Err() != nil && w.holder != "" {
					err = w.fail(err)
				}
				return nil, nil, err
			}
		}
		results, err := s.exec(ctx, script...)
		if err == nil && string(results[len(prelude)-1].Rows[0][0]) == "t" {
			return s, results[len(prelude):], nil
		}
		if err != nil {
			s.rollback(ctx)
			s.close()
			return nil, nil, err
		}
		if res := s.rollback(ctx, l.holder()); len(res) > 0 {
			w.noteHolder(res[0])
		}
		s.close()
		s = nil
		if r.onWait != nil {
			r.onWait()
		}
		if err := w.sleep(ctx); err != nil {
			return nil, nil, err
		}
	}
}

// commit runs the statements and commits, then runs those of after, all in one message. It returns the results of the
// statements. Its error is about them and the commit; one that leaves open whether the commit happened wraps
// [ErrCommitUnknown].
func (s *session) commit(ctx context.Context, statements []string, after ...string) ([]*pgconn.Result, error) {
	results, err := s.exec(ctx, slices.Concat(statements, []string{"commit"}, after)...)
	if len(results) > len(statements) {
		if tag := results[len(statements)].CommandTag.String(); tag != "COMMIT" {
			return results, fmt.Errorf("transaction ended with %s", tag)
		}
		return results[:len(statements)], nil
	}
	if s.pg.IsClosed() && !pgconn.SafeToRetry(err) {
		err = fmt.Errorf("%w: %w", ErrCommitUnknown, err)
	}
	return results, err
}

// scrub undoes what a file may have set for the session. Closing the connection does as much, but not behind a
// transaction pooler, whose other clients would inherit it. DISCARD ALL would do it too, alone in a message only, and
// it would drop statements that the pooler has prepared.
var scrub = append([]string{"reset session authorization", "reset role"}, scrubSession...)

// scrubSession is scrub but for the role.
var scrubSession = []string{
	"reset all",
	"discard temp",
	"unlisten *",
	"select pg_catalog.pg_advisory_unlock_all()",
}

// literal quotes s as a string constant of ASCII characters only, which reads the same under every setting of
// standard_conforming_strings and client_encoding, so that nothing a file has set can change it.
func literal(s string) string {
	var b strings.Builder
	b.WriteString("E'")
	for _, c := range s {
		switch {
		case c == '\'':
			b.WriteString("''")
		case c == '\\':
			b.WriteString(`\\`)
		case c == 0:
			b.WriteByte('?') // no text of the server holds one
		case c < 0x80:
			b.WriteRune(c)
		case c <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			fmt.Fprintf(&b, `\U%08x`, c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

// textArray is an array constant of the values.
func textArray(values []string) string {
	if len(values) == 0 {
		return "array[]::text[]"
	}
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = literal(v)
	}
	return "array[" + strings.Join(quoted, ", ") + "]"
}
