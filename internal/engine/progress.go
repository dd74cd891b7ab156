package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// recordBegun writes that a file has begun, or has been taken up again with done statements in effect. It returns the
// number of attempts, and no row when the ledger does not say any more what the plan was made of: a process that was
// killed has lost the schema's lock at once, while the last message that it sent may have committed after that.
func (o *outside) recordBegun() string {
	hash := o.file.prefixHash(o.done)
	if o.up != nil {
		return fmt.Sprintf(`update %s m set state = 'running', direction = 'down', stmt_done = %d, stmt_total = %d, stmt_hash = %s,
error = null, error_sqlstate = null, attempts = attempts + 1 where %s and %s returning m.attempts`,
			ledgerTable, o.done, o.file.Statements, literal(hash), rowOf(o.target, o.file), o.expected("applied", "m.direction = 'down'"))
	}
	return o.runner.recordOutcome(o.target, o.file, outcome{state: Running, done: o.done, hash: hash}) +
		", attempts = m.attempts + 1 where " + o.expected("failed", "m.direction is null") + " returning m.attempts"
}

// expected is the condition that the row m is as the plan has seen it.
func (o *outside) expected(fresh, direction string) string {
	if !o.resumed {
		return "m.state = " + literal(fresh)
	}
	return fmt.Sprintf("m.state = 'running' and m.stmt_done = %d and %s", o.done, direction)
}

// recordProgress writes that the first done statements have run, and with the last of them that the file is in effect,
// or in effect no more.
func (o *outside) recordProgress(done int) string {
	row := rowOf(o.target, o.file) + " and state = 'running'"
	state, hash := Running, literal(o.file.prefixHash(done))
	if done == o.file.Statements {
		if o.up != nil {
			return forget(o.target, o.file, " and state = 'running'")
		}
		state, hash = Applied, "null"
	}
	return fmt.Sprintf(`update %s set state = %s, stmt_done = %d, stmt_hash = %s, duration_ms = %s,
applied_at = pg_catalog.clock_timestamp(), error = null, error_sqlstate = null where %s`,
		ledgerTable, literal(string(state)), done, hash, milliseconds(time.Since(o.began)), row)
}

// forget removes the row of a version that has been reverted, if the condition holds, and those of the repeatable files
// with it: what they made may have gone with what it made, and is to be made again.
func forget(t Target, f *File, condition string) string {
	rows := fmt.Sprintf("delete from %s where module = %s and target_schema = %s and ", ledgerTable, literal(t.Module), literal(t.Schema))
	one := "delete from " + ledgerTable + " where " + rowOf(t, f) + condition
	if f.recordOnly {
		return one
	}
	return "with repeatable as (" + rows + "pg_catalog.starts_with(version, " + literal(repeatablePrefix) + ")) " + one
}

// rowOf is the condition that picks the row of a file.
func rowOf(t Target, f *File) string {
	return fmt.Sprintf("module = %s and target_schema = %s and version = %s", literal(t.Module), literal(t.Schema), literal(f.Version))
}

// noteFailure records why the run ended. The row stays running unless the server itself has said that the first
// statement did not happen: then nothing is in effect.
func (o *outside) noteFailure(ctx context.Context, cause error) {
	if errors.Is(cause, ErrCommitUnknown) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if e, ok := errors.AsType[*Error](cause); ok {
		cause = e.Err
	}
	change := ""
	if pgErr, ok := errors.AsType[*pgconn.PgError](cause); ok && pgErr.Severity == "ERROR" && o.done == 0 && !o.resumed {
		change = "state = 'failed', "
		if o.up != nil {
			change = fmt.Sprintf("state = 'applied', direction = null, stmt_done = %[1]d, stmt_total = %[1]d, stmt_hash = null, ", o.up.Statements)
		}
	}
	o.endWork(ctx)
	s, err := o.runner.acquire(ctx)
	if err == nil {
		defer s.close()
		// Somebody may have taken the file up meanwhile, when it was the lock that was lost.
		_, err = s.exec(ctx, "begin isolation level read committed read write", "set local statement_timeout = '2s'",
			fmt.Sprintf(`update %s set %serror = %s, error_sqlstate = %s where %s and state = 'running' and attempts = %d`,
				ledgerTable, change, literal(cause.Error()), nullable(sqlState(cause)), rowOf(o.target, o.file), o.attempts),
			"commit")
	}
	if err != nil {
		o.runner.Logger.LogAttrs(ctx, slog.LevelWarn, "migration: failure not recorded", slog.String("module", o.target.Module),
			slog.String("schema", o.target.Schema), slog.String("version", o.file.Version), slog.Any("error", err))
	}
}
