package pgdbm

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/internal/statement"
)

var (
	// ErrClosed is returned by every use of a pool after its Shutdown or Close.
	ErrClosed = errors.New("pgdbm: pool is closed")

	// ErrNestedAcquire is returned when a handle is used with the context of a
	// running [DB.InTx] or [DB.WithConn] of the same pool: it would take a
	// second connection while holding the first, which deadlocks a busy pool.
	// Use the *Tx or *Conn, or [Tx.In] for another module's schema.
	ErrNestedAcquire = errors.New("pgdbm: handle used inside a transaction or connection of its own pool")

	// ErrDuplicatePool is returned by [Open] under [DuplicateFail] when this
	// process has a pool to the same database open.
	ErrDuplicatePool = errors.New("pgdbm: another connection pool to the same database is open")

	// ErrTxNotOwner is returned by Commit and Rollback of a transaction that
	// somebody else ends: a view from [Tx.In], and Commit inside [DB.InTx].
	ErrTxNotOwner = errors.New("pgdbm: transaction is ended by whoever began it")

	// ErrOtherDatabase is returned by [Tx.In] for a handle of another database.
	ErrOtherDatabase = errors.New("pgdbm: handle belongs to another database")

	// ErrDescribeExec is returned where a pool in pgx's QueryExecModeDescribeExec
	// goes through a connection pooler: that mode parses a statement in one
	// message and executes it in the next, which may reach another server
	// connection, and run what another client has parsed there.
	ErrDescribeExec = statement.ErrDescribeExec

	// ErrRole is returned by a statement of a handle with a role that the server
	// did not let it take; see [HandleConfig.Role]. The statement has not run.
	ErrRole = statement.ErrRole

	// ErrEscape is returned by a handle with a role for a statement that the
	// server would run for any role although it concerns more than the schema:
	// LISTEN and NOTIFY, temporary tables, DISCARD, another role; and, outside
	// [DB.WithConn], for what stays with the session, which another schema has
	// next: SET without LOCAL, PREPARE, cursors WITH HOLD, advisory locks of the
	// session. It finds mistakes in the text of the statement, and not what a
	// function does.
	ErrEscape = statement.ErrEscape

	// ErrStalePlan is returned by a statement in a transaction whose tables were
	// changed, by another process's migration say, since it was prepared or
	// described, and by a batch, which is a transaction of its own. The transaction
	// has failed; run again, as [DB.InTxOptions] does, it succeeds. Outside a
	// transaction statements are run again without an error, unless the connection
	// was lost at that very moment. The *pgconn.PgError of the server stays
	// reachable with errors.As.
	ErrStalePlan = statement.ErrStale

	// ErrSchemaBusy is returned when as many calls of a schema wait for a
	// connection as [HandleConfig.MaxWaiting] allows.
	ErrSchemaBusy = errors.New("pgdbm: too many calls of the schema wait for a connection")

	// ErrAcquireTimeout is returned when no connection was free within
	// [Config.AcquireTimeout].
	ErrAcquireTimeout = errors.New("pgdbm: no connection free within the acquire timeout")
)

// MigrationError is a failed migration, from [Attach] and package migrate
// alike. Its text is operation, place and cause:
//
//	migrate billing/003_invoice.sql:12:4: ERROR: ... (SQLSTATE 42P01)
//
// File is empty when the error is not about one file, Line and Column (from 1,
// in characters) are 0 when the place is not known. A *pgconn.PgError stays
// reachable with errors.As.
type MigrationError struct {
	Module, Schema, Version, File string
	Line, Column                  int
	Err                           error
}

func (e *MigrationError) Error() string { return (*engine.Error)(e).Error() }

// Unwrap returns the cause.
func (e *MigrationError) Unwrap() error { return e.Err }

// PrivilegeError says that the role lacks a privilege which attaching a module
// needs. Statements are what an administrator runs to grant it.
type PrivilegeError struct {
	Role, Schema string
	Statements   []string
	Err          error // the server's error, or nil when it was seen beforehand
}

func (e *PrivilegeError) Error() string { return (*engine.PrivilegeError)(e).Error() }

// Unwrap returns the server's error, if there was one.
func (e *PrivilegeError) Unwrap() error { return e.Err }

// ShutdownError says that a shutdown ran out of time and who still held
// connections of the pool.
type ShutdownError struct {
	// Holders are the connections taken through handles, oldest first.
	Holders []Holder
	// Foreign counts connections taken from the pgxpool.Pool directly.
	Foreign int
	// Err is the cause, mostly the context's error.
	Err error
}

// Holder is one connection that is in use.
type Holder struct {
	Schema string        // of the handle that took it
	Caller string        // file:line outside pgdbm that took it; empty where SQL says it
	SQL    string        // the statement of an Exec, or of a QueryRow not yet scanned
	Held   time.Duration // for how long
}

func (e *ShutdownError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pgdbm: shutdown: %d connections still held", len(e.Holders)+e.Foreign)
	for i, h := range e.Holders {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		who := "by " + h.Caller
		if h.SQL != "" {
			who = fmt.Sprintf("in %.200q", strings.Join(strings.Fields(h.SQL), " "))
		}
		fmt.Fprintf(&b, "%sschema %q %s for %v", sep, h.Schema, who, h.Held.Round(time.Millisecond))
	}
	if e.Foreign > 0 {
		fmt.Fprintf(&b, "; %d acquired from the pgxpool.Pool directly", e.Foreign)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	return b.String()
}

// Unwrap returns the cause.
func (e *ShutdownError) Unwrap() error { return e.Err }

// publicError turns the engine's error types into the exported ones, so that
// callers can reach them without importing an internal package.
func publicError(err error) error {
	switch e := err.(type) {
	case *engine.Error:
		pub := MigrationError(*e)
		pub.Err = publicError(pub.Err)
		return &pub
	case *engine.PrivilegeError:
		return (*PrivilegeError)(e)
	}
	if errors.Is(err, engine.ErrReach) && !errors.Is(err, ErrEscape) {
		return reachError{err}
	}
	return err
}

// reachError is ErrEscape, and says why.
type reachError struct{ error }

func (e reachError) Unwrap() []error { return []error{ErrEscape, e.error} }
