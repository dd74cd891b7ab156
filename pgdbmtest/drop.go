package pgdbmtest

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	dropLimit = 30 * time.Second
	leaveTime = 2 * time.Second // for the sessions of what is over
	maxDrops  = 32              // queued; each keeps its files until its turn
)

// drop is a database to be dropped.
type drop struct {
	name     string
	own      bool // of this run, whose test is over: nobody's session is in it by right
	template bool // which others may be building or using
	swept    bool // left by a run that is dead
}

// dropper drops databases off the tests' path, one after the other. Its
// goroutine ends when there is nothing to drop.
type dropper struct {
	admin *pgxpool.Pool

	mu      sync.Mutex // guards the fields below
	changed *sync.Cond // the queue got shorter, or idle
	queue   []drop
	running bool
	making  int // clones that are being made: drops give way to them
	waiting int // for the queue to be done with
	swept   int // of the queue
}

func newDropper(admin *pgxpool.Pool) *dropper {
	d := &dropper{admin: admin}
	d.changed = sync.NewCond(&d.mu)
	return d
}

// add queues a drop. For one of this run's own it waits while the queue is full.
func (d *dropper) add(item drop) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for item.own && len(d.queue) >= maxDrops {
		d.changed.Wait()
	}
	d.queue = append(d.queue, item)
	if item.swept {
		d.swept++
	}
	if !d.running {
		d.running = true
		go d.work()
	}
}

// wait returns when all that was queued has been dropped.
func (d *dropper) wait() { d.waitUntil(func() bool { return !d.running }) }

// waitSwept returns when all that dead runs left has been dropped.
func (d *dropper) waitSwept() { d.waitUntil(func() bool { return d.swept == 0 }) }

func (d *dropper) waitUntil(done func() bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if done() {
		return
	}
	d.waiting++
	defer func() { d.waiting-- }()
	d.changed.Broadcast()
	for !done() {
		d.changed.Wait()
	}
}

func (d *dropper) work() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.queue) > 0 {
		if d.making > 0 && d.waiting == 0 && len(d.queue) < maxDrops/2 {
			d.changed.Wait()
			continue
		}
		item := d.queue[0]
		d.queue = d.queue[1:]
		d.changed.Broadcast()
		d.mu.Unlock()
		// What fails stays for the sweep of a later run.
		_ = dropDatabase(d.admin, item)
		d.mu.Lock()
		if item.swept {
			d.swept--
			d.changed.Broadcast()
		}
	}
	d.running = false
	d.changed.Broadcast()
}

// giveWay lets n more clones be made before drops go on, or n fewer.
func (d *dropper) giveWay(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.making += n
	d.changed.Broadcast()
}

// dropDatabase drops without FORCE what may be somebody's, and not at all what
// has sessions: the server would wait for them, in steps of 100 ms.
func dropDatabase(admin *pgxpool.Pool, item drop) error {
	ctx, cancel := context.WithTimeout(context.Background(), dropLimit)
	defer cancel()
	conn, err := admin.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	sql := "DROP DATABASE IF EXISTS " + pgx.Identifier{item.name}.Sanitize()
	if item.template {
		for _, key := range []int64{lockKey(item.name), useKey(item.name)} {
			var free bool
			err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", key).Scan(&free)
			if err != nil || !free {
				return err
			}
			defer unlock(conn.Conn(), key)
		}
		unseal := "ALTER DATABASE " + pgx.Identifier{item.name}.Sanitize() + " IS_TEMPLATE false"
		if _, err := conn.Exec(ctx, unseal, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	empty, err := awaitEmpty(ctx, conn.Conn(), item.name, leaveTime)
	switch {
	case err != nil:
		return err
	case !empty && item.own:
		sql += " WITH (FORCE)"
	case !empty:
		return nil
	}
	if _, err = conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	return dropRoles(ctx, conn.Conn(), item.name)
}

// dropRoles drops the roles that were made for schemas of a database, which would
// outlive it: roles are the server's.
func dropRoles(ctx context.Context, conn *pgx.Conn, database string) error {
	rows, err := conn.Query(ctx, `SELECT r.rolname FROM pg_shdescription d JOIN pg_roles r ON r.oid = d.objoid
		WHERE d.classoid = 'pg_authid'::regclass AND d.description LIKE 'pgdbm: % of database "' || $1 || '"'`, database)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, name := range names {
		if err != nil {
			break
		}
		_, err = conn.Exec(ctx, "DROP ROLE "+pgx.Identifier{name}.Sanitize(), pgx.QueryExecModeSimpleProtocol)
	}
	return err
}

// awaitEmpty waits until a database has no sessions, and reports whether it has
// come to that.
func awaitEmpty(ctx context.Context, conn *pgx.Conn, name string, limit time.Duration) (bool, error) {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		var sessions int
		err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name).Scan(&sessions)
		if err != nil || sessions == 0 {
			return err == nil, err
		}
		if time.Now().After(deadline) {
			return false, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}
