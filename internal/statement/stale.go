package statement

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrStale says that a schema was changed under a statement that was known
// already, where it could not be run again: in a transaction.
var ErrStale = errors.New("pgdbm: the tables of a statement have changed since it was prepared")

// stale is what an error says about what was known of the statement.
type stale uint8

const (
	// fresh: the error is the statement's own.
	fresh stale = iota
	// perhaps: another description may help, or the statement is wrong.
	perhaps
	// surely: the description or the plan is out of date.
	surely
)

// judge reads an error of a statement. The texts of the server's messages are
// translated; the names of its functions are not.
//
// An error that has a context comes from a function or a procedure that the
// statement called, which may have committed something before.
//
// known says that the statement was prepared, or described, in this very
// namespace before.
func judge(err error, known bool) stale {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return fresh
	}
	switch pe.Code {
	case "0A000": // feature_not_supported: cached plan must not change result type
		if pe.Routine == "RevalidateCachedQuery" && pe.Where == "" {
			return surely
		}
	case "26000":
		if known && noSuchName(err) {
			return surely
		}
	case "08P01": // protocol_violation: as many formats as there were columns
		if pe.Routine == "PortalSetResultFormat" {
			return surely
		}
	case "42883": // undefined_function: a type without binary output
		if pe.Routine == "getTypeBinaryOutputInfo" {
			return surely
		}
		return doubt(pe, known)
	case "42804", // datatype_mismatch
		"42P18", // indeterminate_datatype
		"42846", // cannot_coerce
		"42725", // ambiguous_function
		"22P03": // invalid_binary_representation
		return doubt(pe, known)
	}
	return fresh
}

// noSuchName reports whether the server did not find a statement by its name.
func noSuchName(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.Code == "26000" && pe.Where == "" // invalid_sql_statement_name
}

// doubt: a parameter may have gone with a type that fitted before the tables
// changed. What the server parsed once, it refuses only when something has
// changed.
func doubt(pe *pgconn.PgError, known bool) stale {
	switch {
	case !known:
		return perhaps
	case pe.Where == "":
		return surely
	case pe.Code == "22P03":
		return perhaps // its context is the parameter
	}
	return fresh
}

// asStale makes an error one that the caller can tell from the statement's own.
func asStale(err error) error { return fmt.Errorf("%w: %w", ErrStale, err) }
