package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/projectfile"
	"github.com/pgdbm/pgdbm/migrate"
	"github.com/pgdbm/pgdbm/tenant"
)

// Exit codes, fixed for the whole command.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitDrift       = 3 // history or schema are not as the files say, or doctor found an error
	exitPending     = 4 // only with --check
	exitBusy        = 5 // a lock was not to be had, or the time is up
	exitPartial     = 6 // some schemas of a fleet
	exitInterrupted = 130
)

// usageError marks errors of the command line itself.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// codedError is an error with an exit code of its own. An empty one has been
// said already.
type codedError struct {
	code int
	error
}

func (e codedError) Unwrap() error { return e.error }

// hintedError is an error that says itself what to do about it.
type hintedError struct {
	error
	hint string
}

func (e hintedError) Unwrap() error { return e.error }

// codeOf is the code that an error ends the command with.
func codeOf(err error) int {
	if coded, ok := errors.AsType[codedError](err); ok {
		return coded.code
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[*migrate.FleetError](err); ok {
		return exitPartial
	}
	for _, is := range []struct {
		code    int
		targets []error
	}{
		{exitBusy, []error{migrate.ErrLocked, migrate.ErrBlocked, context.DeadlineExceeded}},
		{exitDrift, []error{
			migrate.ErrOrder, migrate.ErrChanged, migrate.ErrMissing, migrate.ErrConflict,
			migrate.ErrSchemaGone, migrate.ErrInterrupted, migrate.ErrNotRecorded, migrate.ErrHistory,
		}},
	} {
		for _, target := range is.targets {
			if errors.Is(err, target) {
				return is.code
			}
		}
	}
	return exitFailed
}

// detail is what else the server says of an error, or "". What values of rows may
// be in stays unsaid: errors in data, of constraints, and those that functions raise.
func detail(err error) string {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || slices.ContainsFunc([]string{"22", "23", "P0"}, func(class string) bool { return strings.HasPrefix(refused.Code, class) }) {
		return ""
	}
	return refused.Detail
}

// hint is what to do about an error, or "".
func hint(err error) string {
	if lacking, ok := errors.AsType[*pgdbm.PrivilegeError](err); ok && len(lacking.Statements) > 0 {
		return "an administrator may run it, or allow it: " + strings.Join(lacking.Statements, "; ")
	}
	for _, h := range []struct {
		target error
		text   string
	}{
		{migrate.ErrChanged, "bring back the file as it was applied and put the change into a new one; or accept it: pgdbm migrate repair --reason '...'"},
		{migrate.ErrMissing, "bring back the file, or deploy the program that has it"},
		{migrate.ErrOrder, "give the file a number above those that are applied"},
		{migrate.ErrConflict, "two modules bear one name: rename one of them"},
		{tenant.ErrSchemaGone, "bring the schema back from a backup, or end the tenant: pgdbm tenant drop ID"},
		{migrate.ErrSchemaGone, "pgdbm migrate remove, with the same module and schema, forgets what was in it; then up makes it anew, without its rows"},
		{migrate.ErrBlocked, "run it again when those who hold the lock are done; --lock-timeout and --lock-attempts wait longer"},
		{migrate.ErrLocked, "another migration is at work: wait, or raise --timeout"},
		{migrate.ErrPooled, "connect to the server itself for files outside a transaction, or pass --through-pooler"},
		{migrate.ErrHistory, "bring the other tool's table and the files together first, with that tool"},
		{errInUse, "end the programs that are connected, or pass --force, which ends their sessions"},
		{errLedger, "it takes USAGE on schema pgdbm and SELECT on pgdbm.migrations"},
		{errSeveral, "pgdbm migrate remove --keep-objects ends all but one of them; the last one goes with the schema"},
		{migrate.ErrNoDown, "write what reverts it, into a .down.sql file or behind a line -- pgdbm:down"},
		{tenant.ErrNotFound, "pgdbm tenant list shows those that are there"},
		{tenant.ErrExists, "pgdbm tenant list shows it; a schema that is no tenant's becomes one by pgdbm tenant adopt"},
		{tenant.ErrDiffers, "bring it up to date first: pgdbm tenant migrate"},
		{context.DeadlineExceeded, "pass a longer --timeout, or look what it waited for"},
		{pgdbm.ErrEscape, "name modules whose tables it may read in --requires; keep all else within the schema"},
	} {
		if errors.Is(err, h.target) {
			return h.text
		}
	}
	if h, ok := errors.AsType[hintedError](err); ok {
		return h.hint
	}
	if _, ok := errors.AsType[*projectfile.Error](err); ok {
		return "pgdbm docs configuration has the keys of the file"
	}
	if failed, ok := errors.AsType[*pgdbm.MigrationError](err); ok && failed.Version != "" {
		if refused, ok := errors.AsType[*pgconn.PgError](failed); ok && doctor.IsThere(refused.Code) {
			return fmt.Sprintf("if what is there is what the file makes, record it instead of running it: pgdbm migrate baseline --module %s --schema %s --to %s",
				failed.Module, doctor.Shell(failed.Schema), failed.Version)
		}
	}
	if t, ok := errors.AsType[*tenantsError](err); ok {
		return t.hint()
	}
	if c, ok := errors.AsType[*connectError](err); ok {
		return c.hint()
	}
	return ""
}
