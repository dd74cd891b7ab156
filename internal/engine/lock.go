package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// A lock is an advisory lock of the database, known by its key; what names it in logs and errors.
type lock struct {
	key  int64
	what string
}

// The two locks that are not a schema's use a first part that no schema's lock has.
var (
	ledgerLock    = lock{lockKey("pgdbm.ledger", ""), "ledger"}
	extensionLock = lock{lockKey("pgdbm.extensions", ""), "extensions"}
)

func schemaLock(schema string) lock {
	return lock{lockKey("pgdbm", schema), fmt.Sprintf("schema %q", schema)}
}

// workLock is held for the session by whoever runs statements outside a transaction. A process that is killed leaves its
// statement running in the server, and its schema's lock free: this lock is free only when the statement has ended.
func workLock(schema string) lock {
	return lock{lockKey("pgdbm.work", schema), fmt.Sprintf("statement in schema %q", schema)}
}

// lockKey is the same in every version of every program: it must never change.
func lockKey(space, name string) int64 {
	sum := sha256.Sum256([]byte(space + "\x00" + name))
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

// tryLock is the statement that takes the lock or does not, at once.
func (l lock) tryLock() string {
	return fmt.Sprintf("select pg_catalog.pg_try_advisory_xact_lock('%d'::bigint)", l.key)
}

// awaitLock is the statement that waits for the lock of a key.
func awaitLock(key int64) string {
	return fmt.Sprintf("select pg_catalog.pg_advisory_xact_lock('%d'::bigint)", key)
}

// readerLock keeps two schemas that read a third from changing its privileges at once: one of the two would fail.
func readerLock(schema string) string { return awaitLock(lockKey("pgdbm.reader", schema)) }

// tenantLock keeps two programs from making, renaming or dropping a tenant of one id at once.
func tenantLock(id string) string { return awaitLock(lockKey("pgdbm.tenant", id)) }

// trySession is as tryLock, for the session.
func (l lock) trySession() string {
	return fmt.Sprintf("select pg_catalog.pg_try_advisory_lock('%d'::bigint)", l.key)
}

// holder is the statement that names who holds the lock.
func (l lock) holder() string {
	return fmt.Sprintf(`select l.pid, coalesce(a.application_name, '')
from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.classid = '%d'::oid and l.objid = '%d'::oid
and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())`,
		uint32(uint64(l.key)>>32), uint32(uint64(l.key)))
}

// polling says how a lock is waited for.
type polling struct {
	first, max  time.Duration // sleeps double from first to max, each shortened at random by up to a half
	reportAfter time.Duration // when the wait is first logged; then each time it has doubled
	ping        time.Duration // how often a connection that only holds a lock is looked after
}

var defaultPolling = polling{first: 25 * time.Millisecond, max: time.Second, reportAfter: 5 * time.Second, ping: time.Second}

// times returns how to poll.
func (r *Runner) times() polling {
	p := r.polling
	if p == (polling{}) {
		return defaultPolling
	}
	if p.ping == 0 {
		p.ping = defaultPolling.ping
	}
	return p
}

// A wait is one wait for one lock. Waits share no state.
type wait struct {
	lock
	polling
	log    *slog.Logger
	began  time.Time
	delay  time.Duration
	report time.Duration
	holder string // who held the lock at the last try, "" when nobody is known
}

func (r *Runner) newWait(l lock) *wait {
	p := r.times()
	return &wait{lock: l, polling: p, log: r.Logger, began: time.Now(), delay: p.first, report: p.reportAfter}
}

// sleep pauses after a failed try. No connection may be held meanwhile.
func (w *wait) sleep(ctx context.Context) error {
	if waited := time.Since(w.began); waited >= w.report {
		w.log.WarnContext(ctx, "waiting for migration lock", "lock", w.what, "holder", w.holder, "waited", waited)
		w.report = 2 * waited
	}
	timer := time.NewTimer(w.delay/2 + rand.N(w.delay/2+1))
	defer timer.Stop()
	w.delay = min(2*w.delay, w.max)
	select {
	case <-ctx.Done():
		return w.fail(ctx.Err())
	case <-timer.C:
		return nil
	}
}

// fail is the error of a wait that ended without the lock.
func (w *wait) fail(err error) error {
	if w.holder == "" {
		return fmt.Errorf("%s: %w: %w", w.what, ErrLocked, err)
	}
	return fmt.Errorf("%s: %w (%s): %w", w.what, ErrLocked, w.holder, err)
}

// noteHolder keeps what the holder statement returned. The lock may have been freed since: then the last holder stays.
func (w *wait) noteHolder(res *pgconn.Result) {
	if len(res.Rows) == 0 {
		return
	}
	w.holder = describeHolder(res.Rows[0])
}
