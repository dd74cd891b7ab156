package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// Conditions that callers branch on; each is found with errors.Is inside an [*Error].
var (
	// ErrOrder: a file is not recorded although a higher version is.
	ErrOrder = errors.New("out of order")
	// ErrChanged: the statements of a file differ from those that were applied.
	ErrChanged = errors.New("changed since it was applied")
	// ErrMissing: a version is recorded, the program has no file for it, and has higher ones.
	ErrMissing = errors.New("has no file")
	// ErrConflict: another schema of the database has this version of the module with other statements.
	ErrConflict = errors.New("recorded with other content in another schema")
	// ErrInterrupted: a version is recorded as begun and not ended, and this file cannot continue it.
	ErrInterrupted = errors.New("begun and not ended")
	// ErrSchemaGone: versions are recorded for a schema that does not exist.
	ErrSchemaGone = errors.New("recorded as migrated and does not exist")
	// ErrLocked: the wait for another session's lock ended with the context.
	ErrLocked = errors.New("locked by another session")
	// ErrReadOnly: files are pending and the server is in recovery.
	ErrReadOnly = errors.New("server is in recovery and takes no writes")
	// ErrCommitUnknown: the connection was lost while the transaction committed. Running again finds out.
	ErrCommitUnknown = errors.New("connection lost during commit, outcome unknown")
	// ErrTransactionEnded: a file ended the transaction that it ran in.
	ErrTransactionEnded = errors.New("file ended its transaction")
	// ErrNotRecorded: the ledger has nothing of what is to be changed.
	ErrNotRecorded = errors.New("not recorded")
	// ErrNoSchema: the schema that is to be dropped does not exist.
	ErrNoSchema = errors.New("there is none")
	// ErrRequired: something else needs what is to be removed.
	ErrRequired = errors.New("required")
	// ErrHistory: another tool's history and the files do not go together.
	ErrHistory = errors.New("history does not match the files")

	// ErrNoDown: there is nothing that reverts a version.
	ErrNoDown = errors.New("cannot be reverted")
	// ErrBlocked: other sessions held the locks that a file needs, in each of its attempts.
	ErrBlocked = errors.New("blocked")
	// ErrLockLost: the connection that held the schema's lock was lost while a file ran outside a transaction.
	ErrLockLost = errors.New("migration lock lost")
	// ErrInvalidIndex: CREATE INDEX CONCURRENTLY ended, and the index is not valid.
	ErrInvalidIndex = errors.New("index is not valid")
	// ErrPooled: a file runs outside a transaction, and the connection goes through a pooler.
	ErrPooled = errors.New("connection goes through a pooler, which keeps no session for a file outside a transaction")
	// ErrOneConnection: a file runs outside a transaction, which takes two connections, and the pool has one.
	ErrOneConnection = errors.New("pool of one connection, and a file outside a transaction takes two")
	// ErrInTransaction: something is to be written and the connection is in somebody else's transaction.
	ErrInTransaction = errors.New("handle lives in one transaction, in which nothing can be migrated")
)

// Error says which file of which module failed, and where in it. The root package converts it to its own type of the
// same fields.
type Error struct {
	Module  string
	Schema  string
	Version string // "" when no file is concerned
	File    string // the file's base name
	Line    int    // 1-based; 0 when the place is unknown
	Column  int    // 1-based
	Err     error
}

// Error returns "migrate MODULE/FILE:LINE:COLUMN: CAUSE" without the parts that are not known.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("migrate")
	switch {
	case e.Module != "" && e.File != "":
		b.WriteString(" " + e.Module + "/" + e.File)
	case e.Module != "" || e.File != "":
		b.WriteString(" " + e.Module + e.File)
	}
	if e.File != "" && e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Err != nil {
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// PrivilegeError says that the role may not do what a migration needs.
type PrivilegeError struct {
	Role       string   // current_user of the connection
	Schema     string   // the schema that it concerns
	Statements []string // what an administrator runs to allow it, in order
	Err        error    // the server's refusal; nil when it was foreseen
}

func (e *PrivilegeError) Error() string {
	s := fmt.Sprintf("role %q lacks privileges on schema %q", e.Role, e.Schema)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *PrivilegeError) Unwrap() error { return e.Err }

// absentError is [ErrSchemaGone] of a schema of which nothing need be recorded.
type absentError string

func (e absentError) Error() string {
	return fmt.Sprintf("schema %q does not exist, and is not to be created", string(e))
}
func (e absentError) Unwrap() error { return ErrSchemaGone }

// templateError prints the fact of a sqltemplate.Error without its position, which an Error around it prints.
type templateError struct{ cause *sqltemplate.Error }

func (e templateError) Error() string { return e.cause.Msg }
func (e templateError) Unwrap() error { return e.cause }

// SQLSTATEs that the engine acts on.
const (
	codeUndefinedTable    = "42P01"
	codeUndefinedSchema   = "3F000"
	codeDuplicateSchema   = "42P06"
	codeDuplicateTable    = "42P07"
	codeDuplicateObject   = "42710"
	codeUniqueViolation   = "23505"
	codeInsufficientRight = "42501"
	codeLockNotAvailable  = "55P03"
	codeDeadlock          = "40P01"
	codeInternal          = "XX000"
)

func sqlState(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// lostRace reports whether err is what the loser of two sessions that create the same object sees.
func lostRace(err error) bool {
	switch sqlState(err) {
	case codeDuplicateSchema, codeDuplicateTable, codeDuplicateObject, codeUniqueViolation:
		return true
	}
	return false
}
