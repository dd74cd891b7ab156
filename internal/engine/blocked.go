package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

const (
	defaultLockTimeout  = 2 * time.Second
	defaultLockAttempts = 10
)

// lockTimeout is how long a statement of the file may wait for a lock; 0 is for ever. While it waits, whoever comes
// after it waits too, so it is better to step back and to try again.
func (m *migration) lockTimeout(f *File) time.Duration {
	switch {
	case f != nil && f.lockTimeout != nil:
		return *f.lockTimeout
	case m.runner.LockTimeout < 0:
		return 0
	case m.runner.LockTimeout > 0:
		return min(m.runner.LockTimeout, maxTimeout)
	}
	return defaultLockTimeout
}

func (m *migration) statementTimeout(f *File) time.Duration {
	if f.statementTimeout != nil {
		return *f.statementTimeout
	}
	return min(max(0, m.runner.StatementTimeout), maxTimeout)
}

// timeoutValue is a time as the server's settings have it: in milliseconds, of which 0 means none.
func timeoutValue(d time.Duration) int64 {
	if d > 0 {
		return max(1, d.Milliseconds())
	}
	return 0
}

// wasBlocked reports whether err says that another session was in the way.
func wasBlocked(err error) bool {
	switch sqlState(err) {
	case codeLockNotAvailable, codeDeadlock:
		return true
	}
	return false
}

// A retry counts the attempts of one file, or of one statement of a file outside a transaction.
type retry struct {
	of    *File
	tries int
}

// again reports whether what failed with err is to be tried once more, after a pause. When it is not, the error is
// err, or says that the attempts are used up.
func (m *migration) again(ctx context.Context, r *retry, err error, blockers []blocker) (bool, error) {
	return m.stepBack(ctx, r, err, func(pause time.Duration, most int) {
		m.runner.Logger.LogAttrs(ctx, slog.LevelWarn, "migration blocked, trying again", slog.String("module", m.target.Module),
			slog.String("schema", m.target.Schema), slog.String("version", r.of.Version), slog.String("file", r.of.Name),
			slog.Int("attempt", r.tries), slog.Int("attempts", most), slog.Duration("pause", pause),
			slog.String("sqlstate", sqlState(err)), slog.String("blocked_by", describeBlockers(blockers, true)))
	}, blockers...)
}

// stepBack is again with something to do before the pause, or nil.
func (m *migration) stepBack(ctx context.Context, r *retry, err error, note func(pause time.Duration, most int), blockers ...blocker) (bool, error) {
	if !wasBlocked(err) {
		return false, err
	}
	r.tries++
	most := m.runner.LockAttempts
	if most <= 0 {
		most = defaultLockAttempts
	}
	if r.tries >= most {
		return false, blockedError(err, r.tries, blockers)
	}
	limit := min(50*time.Millisecond<<min(r.tries-1, 10), 2*time.Second)
	pause := limit/2 + rand.N(limit/2+1)
	if note != nil {
		note(pause, most)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, blockedError(fmt.Errorf("%w: %w", ctx.Err(), err), r.tries, blockers)
	case <-timer.C:
		return true, nil
	}
}

// retryOr is errAgain after a pause when the file's transaction is to be tried once more, else the error to end with.
func (m *migration) retryOr(ctx context.Context, f *File, err error, blockers []blocker) error {
	if m.retry.of != f {
		m.retry = retry{of: f}
	}
	again, err := m.again(ctx, &m.retry, err, blockers)
	if again {
		return errAgain
	}
	return err
}

// blockedError adds to err who was in the way, and keeps its place.
func blockedError(err error, tries int, blockers []blocker) error {
	wrap := func(err error) error {
		return fmt.Errorf("%w in %d attempts by %s: %w", ErrBlocked, tries, describeBlockers(blockers, false), err)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		e.Err = wrap(e.Err)
		return e
	}
	return wrap(err)
}

// A blocker is a session that held what ours waited for.
type blocker struct {
	pid         string
	application string
	state       string // "idle in transaction", for instance
	words       string // how its query, perhaps its last one, begins
}

func describeBlockers(blockers []blocker, withQuery bool) string {
	if len(blockers) == 0 {
		return "an unknown session"
	}
	var all []string
	for _, b := range blockers {
		if b.pid == "0" {
			all = append(all, "a prepared transaction")
			continue
		}
		s := "pid " + b.pid
		if b.application != "" {
			s += ", application " + b.application
		}
		if b.state != "" {
			s += ", " + b.state
		}
		if withQuery && b.words != "" {
			s += ": " + b.words
		}
		all = append(all, s)
	}
	return strings.Join(all, "; ")
}

// A watch looks who blocks a session while it waits, since afterwards nobody can tell.
type watch struct {
	cancel   context.CancelFunc
	ended    chan struct{}
	blockers []blocker // read after ended; of the last look that found any
}

// watchBlockers looks at the session of the server's process pid, by short queries on another connection: the first one
// comes only after a part of the lock timeout, and without a free connection there is none. stop must be called.
func (r *Runner) watchBlockers(ctx context.Context, pid uint32, lockTimeout time.Duration) *watch {
	if lockTimeout <= 0 || r.MaxConns == 1 || pid == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{cancel: cancel, ended: make(chan struct{})}
	every := min(max(lockTimeout/4, 5*time.Millisecond), 500*time.Millisecond)
	ticker := time.NewTicker(every)
	go func() { // ends with ctx, which stop cancels
		defer close(w.ended)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if found := r.lookForBlockers(ctx, pid); len(found) > 0 {
				w.blockers = found
			}
		}
	}()
	return w
}

// stop ends the watch and returns who blocked last.
func (w *watch) stop() []blocker {
	if w == nil {
		return nil
	}
	w.cancel()
	<-w.ended
	return w.blockers
}

func (r *Runner) lookForBlockers(ctx context.Context, pid uint32) []blocker {
	limited, cancel := context.WithTimeout(ctx, time.Second)
	s, err := r.acquire(limited)
	cancel()
	if err != nil {
		return nil
	}
	defer s.close()
	// The look itself is not cut off when the watch ends: that would cost the connection.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	results, err := s.exec(ctx, blockersQuery(pid))
	if err != nil {
		return nil
	}
	var found []blocker
	for _, row := range results[0].Rows {
		found = append(found, blocker{string(row[0]), string(row[1]), string(row[2]), firstWords(string(row[3]))})
	}
	return found
}

// blockersQuery selects who blocks a process that waits for a lock. pg_blocking_pids is expensive: it is called only
// for one that does.
func blockersQuery(pid uint32) string {
	return `select b.pid, coalesce(a.application_name, ''), coalesce(a.state, ''), coalesce(pg_catalog.left(a.query, 300), '')
from pg_catalog.pg_stat_activity w
cross join lateral (select distinct pid from pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) u (pid)) b
left join pg_catalog.pg_stat_activity a on a.pid = b.pid
where w.pid = ` + strconv.FormatUint(uint64(pid), 10) + ` and w.wait_event_type = 'Lock' order by b.pid`
}

// firstWords returns how a query begins, up to its first value: those may be secret.
func firstWords(query string) string {
	const most = 6
	lexer := sqltemplate.NewLexer(query)
	var words []string
	for tok, ok := lexer.Next(); ok && len(words) < most; tok, ok = lexer.Next() {
		switch tok.Kind {
		case sqltemplate.Space, sqltemplate.Comment:
		case sqltemplate.Ident, sqltemplate.QuotedIdent, sqltemplate.Punct, sqltemplate.Operator:
			words = append(words, query[tok.Start:tok.End])
		default:
			return strings.Join(words, " ")
		}
	}
	return strings.Join(words, " ")
}
