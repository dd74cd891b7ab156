package engine

import (
	"fmt"
	"strings"
	"time"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// Poll makes the runner wait for locks by these times.
func Poll(r *Runner, first, max, reportAfter time.Duration) {
	r.polling = polling{first: first, max: max, reportAfter: reportAfter}
}

// OnWait has fn called before each sleep for a lock.
func OnWait(r *Runner, fn func()) { r.onWait = fn }

// SchemaKey is the key of a schema's lock.
func SchemaKey(schema string) int64 { return schemaLock(schema).key }

// LedgerKey is the key of the ledger's lock.
func LedgerKey() int64 { return ledgerLock.key }

// OtherRow is a row of another schema that conflicts with a file.
type OtherRow struct{ Version, Schema, File, Hash string }

// PlanOf runs the planner on a database that is only described.
func PlanOf(files []*File, schemaGone bool, entries []Entry, others ...OtherRow) *Plan {
	db := snapshot{schemaGone: schemaGone, entries: entries, conflicts: make(map[string]conflict)}
	for _, o := range others {
		db.conflicts[o.Version] = conflict{o.Schema, o.File, o.Hash}
	}
	return newPlan("app", "app", files, nil, db)
}

// ConflictQuery is the query that looks for a module's versions in other schemas.
var ConflictQuery = conflictingRows

// ParseName returns the version in a file's name.
var ParseName = parseName

// SemanticHash is the semantic hash of a text.
var SemanticHash = semanticHash

// Literal quotes a string for the server.
var Literal = literal

// ExtensionKey is the key of the lock for extensions.
func ExtensionKey() int64 { return extensionLock.key }

// WorkKey is the key of the lock for a schema's statements outside a transaction.
func WorkKey(schema string) int64 { return workLock(schema).key }

// Ping has the connection that holds a lock looked after at this interval.
func Ping(r *Runner, every time.Duration) {
	r.polling = defaultPolling
	r.polling.ping = every
}

// FirstWords is what logs show of a query.
var FirstWords = firstWords

// Statements are the texts that a file outside a transaction is sent as.
func Statements(f *File, names *sqltemplate.Names) ([]string, error) {
	expanded, err := f.template.Expand(names)
	if err != nil {
		return nil, err
	}
	statements, err := f.statements(expanded)
	var texts []string
	for _, s := range statements {
		texts = append(texts, s.sql)
	}
	return texts, err
}

// Object describes what a statement leaves behind when it is interrupted, "" when nothing.
func Object(sql string) string {
	o := parseObject(sql)
	if o.kind == noObject {
		return ""
	}
	return strings.TrimSpace(fmt.Sprint(o.kind, " ", o.name, " ", o.relation, " ", o.other))
}
