package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A migration is one run over the files that are pending in one schema.
type migration struct {
	runner        *Runner
	target        Target
	result        *Result
	serverVersion int

	// session ran the file before, and the next one may run on it; else it is nil. It is dirty, so that it ends closed.
	session *session
	facts   *facts // as read under the lock, as are plan and objects
	plan    *Plan
	objects []schemaObject // that a repeatable file may have made

	dropped  []*pgconn.Result // of forgetVanished, for a file
	vanished bool             // a file has dropped some of them, so that more is pending than was

	retry    retry     // of the file that others block
	blockers []blocker // who was in the way of the last try of a change
	workWait *wait     // for statements that a killed process has left running
}

// run applies files until none is pending.
func (m *migration) run(ctx context.Context) error {
	defer m.end()
	for races := 0; ; {
		pending, err := m.lock(ctx)
		if err != nil || len(pending) == 0 {
			m.abandon(ctx)
			return err
		}
		err = m.apply(ctx, pending[0])
		if errors.Is(err, errSchemaRace) && races < 3 {
			races++
			continue
		}
		if errors.Is(err, errAgain) {
			continue
		}
		if err != nil || len(pending) == 1 && !m.vanished {
			return err
		}
		m.vanished = false
	}
}

// end gives up the session.
func (m *migration) end() {
	if m.session != nil {
		m.session.close()
		m.session = nil
	}
}

// abandon rolls back and gives up the session.
func (m *migration) abandon(ctx context.Context) {
	if m.session != nil {
		m.session.rollback(ctx)
		m.end()
	}
}

// lock opens a transaction that holds the schema's lock and returns what is pending now that nobody else can change
// it. Until the lock is obtained, no session is held.
func (m *migration) lock(ctx context.Context) ([]*File, error) {
	// Behind a savepoint, so that what is read stays locked no longer: a REINDEX CONCURRENTLY would wait for it.
	script := []string{"savepoint reads", factsQuery(m.target.Schema)}
	script = append(script, m.target.reads()...)
	reads := len(script)
	watched := slices.ContainsFunc(m.target.Files, (*File).Repeatable)
	if watched {
		script = append(script, objectsQuery([]string{m.target.Schema}))
	}
	script = append(script, "rollback to reads", "release reads", searchPath(m.target.Schema),
		lockTimeoutSetting(m.lockTimeout(nil)))
	held := m.session
	m.session = nil
	s, results, err := m.runner.locked(ctx, held, schemaLock(m.target.Schema), m.serverVersion, script...)
	if err != nil {
		return nil, err
	}
	m.session = s
	if m.facts, err = decodeFacts(results[1]); err != nil {
		return nil, err
	}
	if watched {
		objects, err := decodeObjects(results[reads])
		if err != nil {
			return nil, err
		}
		m.objects = objects[m.target.Schema]
	}
	if m.plan, err = m.target.plan(results[2:reads]); err != nil {
		return nil, err
	}
	return m.plan.Pending, m.plan.Err()
}

// errSchemaRace: somebody who takes no lock of ours created the schema at the same moment.
var errSchemaRace = errors.New("schema was created by another session")

// errAgain: the file has not begun; the lock is to be taken anew.
var errAgain = errors.New("to be tried again")

// apply runs the file and commits, or rolls back and records the failure.
func (m *migration) apply(ctx context.Context, f *File) error {
	if f.NoTransaction {
		return m.applyOutside(ctx, f)
	}
	if err := m.enterSchema(ctx); err != nil {
		m.abandon(ctx)
		return m.retryOr(ctx, f, err, nil)
	}
	if err := m.setTimeouts(ctx, f); err != nil {
		m.abandon(ctx)
		return m.located(f, err)
	}
	m.session.dirty = true // the file may set anything for the session, so that it is of use to no other program
	began := time.Now()
	w := m.runner.watchBlockers(ctx, m.facts.PID, m.lockTimeout(f))
	err := m.send(ctx, f)
	took := time.Since(began)
	if err == nil {
		err = m.commit(ctx, f, took)
	}
	blockers := w.stop()
	if err != nil {
		m.abandon(ctx)
		if err = m.retryOr(ctx, f, err, blockers); !errors.Is(err, errAgain) {
			m.runner.noteFailure(ctx, m.target, f, took, err)
		}
		return err
	}
	if !f.traceless {
		m.end()
	}
	m.noteApplied(ctx, f, took)
	return m.noteVanished(ctx, f)
}

func lockTimeoutSetting(d time.Duration) string {
	return fmt.Sprintf("set local lock_timeout = %d", timeoutValue(d))
}

// setTimeouts sets those of the file that differ from what holds for all.
func (m *migration) setTimeouts(ctx context.Context, f *File) error {
	var settings []string
	if f.lockTimeout != nil {
		settings = append(settings, lockTimeoutSetting(m.lockTimeout(f)))
	}
	if d := m.statementTimeout(f); d != 0 {
		settings = append(settings, fmt.Sprintf("set local statement_timeout = %d", timeoutValue(d)))
	}
	if len(settings) == 0 {
		return nil
	}
	_, err := m.session.exec(ctx, settings...)
	return err
}

// noteApplied tells the caller and the log.
func (m *migration) noteApplied(ctx context.Context, f *File, took time.Duration) {
	applied := AppliedFile{f.Version, f.Name, took, f.recordOnly}
	m.result.Applied = append(m.result.Applied, applied)
	if m.runner.Applied != nil {
		m.runner.Applied(applied)
	}
	m.runner.Logger.LogAttrs(ctx, slog.LevelInfo, "migration applied", slog.String("module", m.target.Module),
		slog.String("schema", m.target.Schema), slog.String("version", f.Version), slog.String("file", f.Name),
		slog.Duration("duration", took))
}

// searchPath makes the target schema the first of the path, so that unqualified names of files that were written for
// other tools land in it. The schema need not exist yet.
func searchPath(schema string) string { return "set local " + pathOf(schema) }

func pathOf(schema string) string {
	statement := "search_path to " + sqltemplate.Quote(schema)
	if schema != "public" {
		statement += ", public"
	}
	return statement
}

// enterSchema creates the target schema when it is missing. CREATE SCHEMA IF NOT EXISTS would take the privilege to
// create schemas even for one that exists.
func (m *migration) enterSchema(ctx context.Context) error { return m.enterSchemaOn(ctx, m.session) }

func (m *migration) enterSchemaOn(ctx context.Context, s *session) error {
	if m.facts.Schema != nil {
		return nil
	}
	if m.target.existing {
		return absentError(m.target.Schema)
	}
	_, err := s.exec(ctx, "create schema "+sqltemplate.Quote(m.target.Schema))
	switch {
	case err == nil:
		return nil
	case sqlState(err) == codeInsufficientRight:
		return m.refused(err)
	case lostRace(err):
		return fmt.Errorf("%w: %w", errSchemaRace, err)
	default:
		return fmt.Errorf("create schema %q: %w", m.target.Schema, err)
	}
}

// refused is the error for a statement that the role may not run, when it is known what would allow it; else err.
func (m *migration) refused(err error) error {
	schema, statements := m.facts.lacking(m.target.Schema, true)
	if m.facts.Schema == nil && len(statements) == 0 {
		schema, statements = m.target.Schema, m.facts.makeSchema(m.target.Schema)
	}
	if len(statements) == 0 {
		return err
	}
	return &PrivilegeError{Role: m.facts.Role, Schema: schema, Statements: statements, Err: err}
}

// send expands the file and runs it inside the session's transaction, which it must leave open. Its error is an
// [*Error] that says where in the file.
func (m *migration) send(ctx context.Context, f *File) error {
	if f.recordOnly {
		return nil
	}
	if f.call != nil {
		if err := m.callGo(ctx, m.session, f); err != nil {
			return m.located(f, err)
		}
		return m.stillOpen(f)
	}
	expanded, err := f.template.Expand(m.target.Names)
	if err != nil {
		return m.located(f, err)
	}
	divide := f.messages
	if m.runner.StatementByStatement || m.facts.Citus {
		divide = f.singleMessages
	}
	messages, err := divide(expanded)
	if err != nil {
		return m.located(f, fmt.Errorf("expanded text: %w", err))
	}
	for _, msg := range messages {
		done, err := m.session.send(ctx, msg)
		if err != nil {
			line, column := f.locate(m.target.Names, msg, msg.first+done, err)
			if sqlState(err) == codeInsufficientRight {
				err = m.refused(err)
			}
			e := m.located(f, err)
			e.Line, e.Column = line, column
			return e
		}
	}
	return m.stillOpen(f)
}

func (m *migration) stillOpen(f *File) error {
	if m.session.pg.TxStatus() != 'T' {
		return m.located(f, ErrTransactionEnded)
	}
	return nil
}

// commit records the file and ends its transaction. The role is put back first: the file may have set another.
func (m *migration) commit(ctx context.Context, f *File, took time.Duration) error {
	return m.commitWith(ctx, f, append([]string{m.runner.recordApplied(m.target, f, took)}, m.forgetVanished(f)...)...)
}

// commitWith commits what the file did together with the record of it, unless it reaches beyond a schema that is
// confined.
func (m *migration) commitWith(ctx context.Context, f *File, record ...string) error {
	statements := append([]string{"set local statement_timeout = 0"}, m.ownRole(f)...)
	if m.target.Confined != nil {
		if _, err := m.session.exec(ctx, statements...); err != nil {
			return m.located(f, err)
		}
		if err := m.target.staysInside(ctx, m.session); err != nil {
			return m.located(f, err)
		}
		statements = nil
	}
	before := len(statements)
	statements = append(statements, record...)
	var after []string
	if !f.traceless {
		after = scrub
	}
	results, err := m.session.commit(ctx, statements, after...)
	if err == nil {
		m.dropped = append(m.dropped, results[before+1:]...)
		return nil
	}
	if sqlState(err) == codeInsufficientRight && len(results) < len(statements) {
		err = m.refused(err)
	}
	return m.located(f, err)
}

// ownRole puts back the role that the file may have changed, for the rest of the transaction.
func (m *migration) ownRole(f *File) []string {
	role := "none"
	if m.facts.RoleSetting != "none" {
		role = sqltemplate.Quote(m.facts.RoleSetting)
	}
	statements := []string{"set local role " + role}
	if f.authorization {
		statements = append([]string{"set local session authorization " + literal(m.facts.SessionUser)}, statements...)
	}
	return statements
}

func (m *migration) located(f *File, err error) *Error {
	return f.located(m.target.Module, m.target.Schema, err)
}

// noteFailure records a failed run, as well as it can: the error itself is the caller's.
func (r *Runner) noteFailure(ctx context.Context, t Target, f *File, took time.Duration, cause error) {
	if errors.Is(cause, ErrCommitUnknown) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if e, ok := errors.AsType[*Error](cause); ok {
		cause = e.Err
	}
	s, err := r.acquire(ctx)
	if err == nil {
		defer s.close()
		_, err = s.exec(ctx,
			"begin isolation level read committed read write",
			"set local statement_timeout = '2s'", // another run may be about to write the row
			r.recordFailed(t, f, took, sqlState(cause), cause.Error()),
			"commit")
	}
	if err != nil {
		r.Logger.LogAttrs(ctx, slog.LevelWarn, "migration: failure not recorded", slog.String("module", t.Module),
			slog.String("schema", t.Schema), slog.String("version", f.Version), slog.Any("error", err))
	}
}
