package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// An outside run applies a file that runs outside a transaction, or reverts it. Two connections take part. That of the
// migration holds the schema's lock, in a transaction that has no snapshot and no transaction number, so that nothing
// waits for it that waits for old transactions. The other runs the statements.
type outside struct {
	*migration
	file       *File
	up         *File // when file reverts it
	statements []statement
	work       *session
	began      time.Time

	done     int    // statements in effect, as the ledger has it
	resumed  bool   // an earlier run may have begun the statement after those
	attempts int    // of the file, as the ledger has it
	restored int64  // the lock_timeout that an operation on indexes suspends
	pid      uint32 // of the server's process that runs the statements; 0 when unknown
}

// outsidePossible reports why a file that runs outside a transaction cannot run here.
func (r *Runner) outsidePossible(f *File, facts *facts) error {
	switch {
	case !f.NoTransaction:
		return nil
	case r.MaxConns == 1:
		return ErrOneConnection
	case facts.pooled && !r.ThroughPooler:
		return ErrPooled
	}
	return nil
}

// applyOutside runs a file from the statement at which the ledger ends. It gives up the migration's session.
func (m *migration) applyOutside(ctx context.Context, f *File) error {
	o := &outside{migration: m, file: f, began: time.Now()}
	if e := m.plan.step(f.Version).Entry; e != nil && e.State == Running {
		o.done, o.resumed = e.StatementsDone, true
	}
	err := o.apply(ctx)
	m.abandon(ctx)
	return err
}

func (o *outside) apply(ctx context.Context) error {
	expanded, err := o.file.template.Expand(o.target.Names)
	if err != nil {
		return o.located(o.file, err)
	}
	if o.file.call != nil {
		o.statements = []statement{{head: []string{""}}}
	} else if o.statements, err = o.file.statements(expanded); err != nil {
		return o.located(o.file, fmt.Errorf("expanded text: %w", err))
	}
	if len(o.statements) != o.file.Statements {
		return o.located(o.file, fmt.Errorf("expanded text has %d statements, the file %d", len(o.statements), o.file.Statements))
	}
	if err := o.acquireWork(ctx); err != nil {
		return err
	}
	defer o.endWork(ctx)
	switch err := o.guarded(ctx); {
	case errors.Is(err, errBeside):
		o.endWork(ctx)
		return o.waitForWork(ctx, err.Error())
	case err != nil:
		return err
	}
	if o.up == nil {
		o.noteApplied(ctx, o.file, time.Since(o.began))
		return o.noteVanished(ctx, o.file)
	}
	o.noteReverted(ctx, o.file, time.Since(o.began))
	return nil
}

// errBeside says that another session is at work on an index of the schema, perhaps for a process that was killed. To
// build one it may be waiting for the transaction that holds our lock to end, if it has seen that at a moment when it
// had a snapshot. So nobody may wait for it who holds the lock: neither would ever go on.
var errBeside = errors.New("another session works on an index")

// guarded runs the statements, for as long as the lock is there.
func (o *outside) guarded(ctx context.Context) error {
	ctx, stop := o.guard(ctx)
	defer stop()
	if err := o.begin(ctx); err != nil {
		return lockLost(ctx, err)
	}
	err := o.run(ctx)
	if err == nil || errors.Is(err, errBeside) {
		return err
	}
	err = lockLost(ctx, err)
	o.noteFailure(ctx, err)
	return err
}

// secondConnection bounds the wait for the second connection: two programs of one small pool may hold the first each.
const secondConnection = 3 * time.Second

// acquireWork takes the connection for the statements. When none is free, or a statement of a killed process is still
// running, it lets go of everything, sleeps and returns errAgain.
func (o *outside) acquireWork(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, secondConnection)
	s, err := o.runner.acquire(limited)
	cancel()
	if err != nil {
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			return o.waitForWork(ctx, "no second connection is free")
		}
		return o.located(o.file, fmt.Errorf("second connection: %w", err))
	}
	s.dirty = true // it gets settings for the session, and the file may make others
	o.work = s
	if o.runner.ThroughPooler {
		return nil
	}
	l := workLock(o.target.Schema)
	settings := append(outsideSettings(o.facts.Version, o.target.Schema, o.statementTimeout(o.file)),
		"select pg_catalog.pg_backend_pid()", l.trySession())
	results, err := s.exec(ctx, settings...)
	if err != nil {
		o.endWork(ctx)
		return o.located(o.file, err)
	}
	if pid := string(results[len(results)-2].Rows[0][0]); pid != strconv.FormatUint(uint64(s.pg.PID()), 10) {
		o.endWork(ctx)
		return o.located(o.file, ErrPooled)
	}
	o.pid = s.pg.PID()
	if string(results[len(results)-1].Rows[0][0]) == "t" {
		return nil
	}
	holder := ""
	if results, err := s.exec(ctx, l.holder()); err == nil && len(results[0].Rows) > 0 {
		holder = describeHolder(results[0].Rows[0])
	}
	o.endWork(ctx)
	return o.waitForWork(ctx, holder)
}

// waitForWork sleeps without a connection, and returns errAgain unless the context has ended.
func (o *outside) waitForWork(ctx context.Context, holder string) error {
	o.abandon(ctx)
	if o.workWait == nil {
		o.workWait = o.runner.newWait(workLock(o.target.Schema))
	}
	o.workWait.holder = holder
	if o.runner.onWait != nil {
		o.runner.onWait()
	}
	if err := o.workWait.sleep(ctx); err != nil {
		return o.located(o.file, err)
	}
	return errAgain
}

// outsideSettings are what a session needs that runs statements outside a transaction. A lock_timeout stays off: it
// would leave an invalid index behind.
func outsideSettings(serverVersion int, schema string, statementTimeout time.Duration) []string {
	settings := []string{
		"set " + pathOf(schema),
		"set lock_timeout = 0",
		fmt.Sprintf("set statement_timeout = %d", timeoutValue(statementTimeout)),
		"set idle_in_transaction_session_timeout = 0",
		"set default_transaction_isolation = 'read committed'",
		"set default_transaction_read_only = off",
		"set standard_conforming_strings = on",
		"set idle_session_timeout = 0",
	}
	if serverVersion >= 170000 {
		settings = append(settings, "set transaction_timeout = 0")
	}
	return settings
}

// endWork gives the connection back, with nothing left set in its session where a pooler keeps that.
func (o *outside) endWork(ctx context.Context) {
	if o.work == nil {
		return
	}
	o.work.rollback(ctx, scrub...)
	o.work.close()
	o.work = nil
}

// begin makes the schema and records that the file has begun.
func (o *outside) begin(ctx context.Context) error {
	if _, err := o.work.exec(ctx, begin(o.facts.Version)...); err != nil {
		return o.located(o.file, err)
	}
	err := o.enterSchemaOn(ctx, o.work)
	if err == nil {
		var results []*pgconn.Result
		results, err = o.work.commit(ctx, []string{o.recordBegun()})
		if err == nil && len(results[0].Rows) == 0 {
			return errAgain // a killed process has got further than the plan says
		}
		if err == nil {
			o.attempts, err = strconv.Atoi(string(results[0].Rows[0][0]))
		}
	}
	if err == nil {
		return nil
	}
	o.work.rollback(ctx)
	if sqlState(err) == codeInsufficientRight {
		err = o.refused(err)
	}
	if errors.Is(err, errSchemaRace) {
		return err
	}
	return o.located(o.file, err)
}

// run runs the statements that are left.
func (o *outside) run(ctx context.Context) error {
	for i := range o.statements[:o.done] {
		if s := &o.statements[i]; s.again {
			if _, err := o.work.send(ctx, s.message); err != nil {
				return o.misplaced(s, err)
			}
		}
	}
	for o.done < len(o.statements) {
		s := &o.statements[o.done]
		if err := o.runOne(ctx, s); err != nil {
			return o.misplaced(s, err)
		}
		o.done++
		o.resumed = false
	}
	return nil
}

// runOne runs a statement, again when others block it and that does no harm: a procedure that commits may have got
// half-way.
func (o *outside) runOne(ctx context.Context, s *statement) error {
	r := retry{of: o.file}
	for raced := 0; ; {
		w := o.runner.watchBlockers(ctx, o.pid, o.lockTimeout(o.file))
		var err error
		if s.atomic {
			err = o.runAtomic(ctx, s)
		} else {
			err = o.runBare(ctx, s)
		}
		blockers := w.stop()
		if err != nil && o.runner.ThroughPooler && o.overtaken(ctx) {
			return fmt.Errorf("%w: a killed process has got further", errBeside)
		}
		if raced < mostRaces && o.racedOrphan(s, err) {
			raced++
			continue
		}
		if err == nil || !s.atomic && !s.object.onIndexes() {
			return err
		}
		again, err := o.again(ctx, &r, err, blockers)
		if !again {
			return err
		}
	}
}

// overtaken reports whether the ledger says that more is done than this run has: the last message of a killed process
// was still under way.
func (o *outside) overtaken(ctx context.Context) bool {
	if o.work.pg.TxStatus() != 'I' {
		return false
	}
	results, err := o.work.exec(ctx, fmt.Sprintf("select stmt_done from %s where module = %s and target_schema = %s and version = %s",
		ledgerTable, literal(o.target.Module), literal(o.target.Schema), literal(o.file.Version)))
	return err == nil && len(results[0].Rows) == 1 && string(results[0].Rows[0][0]) != strconv.Itoa(o.done)
}

// mostRaces bounds how often a statement is begun anew because of what ended beside it.
const mostRaces = 5

// racedOrphan reports whether err is due to a statement on indexes that a killed process has left running, behind a
// pooler, where nothing tells of it: the server reports its progress as ended before it has committed, and an index
// that was not there may be by the time its table is free.
func (o *outside) racedOrphan(s *statement, err error) bool {
	if !s.object.onIndexes() {
		return false
	}
	switch sqlState(err) {
	case codeInternal:
		return strings.Contains(err.Error(), "tuple concurrently")
	case codeDuplicateTable:
		return o.resumed && s.object.kind == createdIndex
	}
	return false
}

// misplaced is the error of a statement, with its place in the file.
func (o *outside) misplaced(s *statement, err error) error {
	if errors.Is(err, errBeside) {
		return err
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if o.file.call != nil {
		return o.located(o.file, err)
	}
	line, column := o.file.locate(o.target.Names, s.message, s.first, err)
	if sqlState(err) == codeInsufficientRight {
		err = o.refused(err)
	}
	e := o.located(o.file, err)
	e.Line, e.Column = line, column
	return e
}

// runAtomic runs a statement in a transaction together with its record, so that both are in effect or neither.
func (o *outside) runAtomic(ctx context.Context, s *statement) error {
	prelude := []string{"begin isolation level read committed read write"}
	if o.runner.ThroughPooler {
		prelude = append(begin(o.facts.Version), searchPath(o.target.Schema))
	}
	// Unless the file has set one itself.
	prelude = append(prelude, fmt.Sprintf("select pg_catalog.set_config('lock_timeout', '%d', true) where pg_catalog.current_setting('lock_timeout') = '0'",
		timeoutValue(o.lockTimeout(o.file))))
	if _, err := o.work.exec(ctx, prelude...); err != nil {
		return err
	}
	_, err := o.work.send(ctx, s.message)
	if err == nil {
		err = o.target.staysInside(ctx, o.work)
	}
	if err == nil {
		err = o.record(ctx, o.work, "")
	}
	if err != nil {
		o.work.rollback(ctx)
	}
	return err
}

// record writes that one more statement is in effect, and commits.
func (o *outside) record(ctx context.Context, s *session, begin string) error {
	statements := append(o.ownRole(o.file), o.recordProgress(o.done+1))
	if begin != "" {
		statements = append([]string{begin}, statements...)
	}
	recorded := len(statements) - 1
	if o.up == nil {
		statements = append(statements, o.forgetVanished(o.file)...)
	}
	results, err := s.commit(ctx, statements)
	if err == nil && results[recorded].CommandTag.RowsAffected() != 1 {
		return errors.New("ledger row is gone")
	}
	if err == nil {
		o.dropped = append(o.dropped, results[recorded+1:]...)
	}
	return err
}

// runBare runs a statement that takes no transaction around it, and records it afterwards. A crash between the two
// makes it run again: what can be looked up is looked up first. What reaches beyond a schema that is confined is in
// effect before anybody can look, and so it is not recorded: until it is gone, the next run refuses it again.
func (o *outside) runBare(ctx context.Context, s *statement) error {
	if o.resumed {
		if err := o.target.staysInside(ctx, o.work); err != nil {
			return err
		}
	}
	done, err := o.prepare(ctx, s)
	if err != nil {
		return err
	}
	if !done {
		if o.file.call != nil {
			err = o.callGo(ctx, o.work, o.file)
		} else {
			_, err = o.work.send(ctx, s.message)
		}
		if err != nil && !(o.resumed && tookEffect(s, err)) {
			return err
		}
		if err := o.restore(ctx, s); err != nil {
			return err
		}
	}
	if err := o.verify(ctx, s); err != nil {
		return err
	}
	if o.work.pg.TxStatus() != 'I' {
		return ErrTransactionEnded
	}
	if err := o.target.staysInside(ctx, o.work); err != nil {
		return err
	}
	return o.record(ctx, o.work, "begin isolation level read committed read write")
}

// tookEffect reports whether the error of a statement that may have run before says that it did.
func tookEffect(s *statement, err error) bool {
	switch sqlState(err) {
	case "42P04", codeDuplicateObject: // duplicate database; tablespace, subscription
		return s.head[0] == "create"
	case "3D000", "42704": // undefined database; object
		return s.head[0] == "drop"
	}
	return false
}
