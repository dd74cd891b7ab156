package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// The ledger's place. Both names need no quotes, and are quoted nevertheless wherever a name is built.
const (
	LedgerSchema = "pgdbm"
	ledgerTable  = "pgdbm.migrations"
)

// LedgerFormat is the number of the ledger's shape that this program writes. Formats only add columns: a program works
// with a ledger of any higher format, and brings one of a lower format up to its own.
const LedgerFormat = 2

const ledgerComment = "pgdbm ledger, format "

// ledgerColumns are the columns of the current format, oldest first. A column that a later format adds is nullable or
// has a default, since older programs go on writing rows without it. The "C" collation keeps the indexes valid
// whatever happens to the server's locales.
var ledgerColumns = []struct{ name, definition string }{
	{"module", `text collate "C" not null`},
	{"target_schema", `text collate "C" not null`},
	{"version", `text collate "C" not null`},
	{"state", `text collate "C" not null check (state in ('running', 'applied', 'failed', 'baselined'))`},
	{"file_name", `text not null`},
	{"raw_hash", `text collate "C"`},
	{"semantic_hash", `text collate "C"`},
	{"applied_at", `timestamptz not null default pg_catalog.clock_timestamp()`},
	{"duration_ms", `double precision not null default 0`},
	{"actor", `text not null default session_user`},
	{"application", `text not null default pg_catalog.current_setting('application_name')`},
	{"tool", `text not null default ''`},
	{"stmt_done", `integer not null default 0`},
	{"stmt_total", `integer not null default 0`},
	{"attempts", `integer not null default 1`},
	{"error_sqlstate", `text`},
	{"error", `text`},
	// Format 2.
	{"stmt_hash", `text collate "C"`},
	{"direction", `text collate "C"`},
	{"requires", `text[]`},
	{"repaired_at", `timestamptz`},
	{"repaired_by", `text`},
	{"repair_reason", `text`},
}

// countsAsRecorded picks the rows whose statements are in the database. The index for conflicts has it as its
// predicate, word for word.
const countsAsRecorded = `state in ('applied', 'baselined')`

// createLedger are the statements that make the table; the index lets a version be compared with its rows in all
// other schemas by two probes, however many schemas there are.
func createLedger() []string {
	var b strings.Builder
	b.WriteString("create table " + ledgerTable + " (\n")
	for _, c := range ledgerColumns {
		fmt.Fprintf(&b, "    %s %s,\n", c.name, c.definition)
	}
	b.WriteString("    primary key (module, target_schema, version)\n)")
	return []string{
		b.String(),
		"create index migrations_content on " + ledgerTable +
			" (module, version, semantic_hash) where " + countsAsRecorded,
		commentLedger(LedgerFormat),
	}
}

// upgradeLedger are the statements that bring a ledger of an older format up to this one.
func upgradeLedger(found *ledgerFacts) []string {
	var statements []string
	for _, c := range ledgerColumns {
		if !slices.Contains(found.Columns, c.name) {
			statements = append(statements,
				fmt.Sprintf("alter table %s add column if not exists %s %s", ledgerTable, c.name, c.definition))
		}
	}
	return append(statements, commentLedger(max(LedgerFormat, found.format())))
}

func commentLedger(format int) string {
	return fmt.Sprintf("comment on table %s is %s", ledgerTable, literal(fmt.Sprint(ledgerComment, format)))
}

// An Entry is a row of the ledger.
type Entry struct {
	Module          string        `json:"module"`
	Schema          string        `json:"target_schema"`
	Version         string        `json:"version"`
	State           State         `json:"state"` // Applied, Baselined, Failed, Running, or one of a newer program's
	File            string        `json:"file_name"`
	RawHash         string        `json:"raw_hash"`      // "" when unknown
	SemanticHash    string        `json:"semantic_hash"` // "" when unknown
	AppliedAt       time.Time     `json:"applied_at"`    // of a failed version: when it failed last
	Duration        time.Duration `json:"-"`
	Actor           string        `json:"actor"`       // session_user
	Application     string        `json:"application"` // application_name
	Tool            string        `json:"tool"`        // name and version of the program that wrote the row
	StatementsDone  int           `json:"stmt_done"`   // how many statements of the file are in effect
	StatementsTotal int           `json:"stmt_total"`
	Attempts        int           `json:"attempts"` // runs of the file, the failed ones counted
	SQLState        string        `json:"error_sqlstate"`
	Message         string        `json:"error"` // of a failed version: why

	StatementsHash string     `json:"stmt_hash"` // of the statements in effect, of a running version
	Direction      string     `json:"direction"` // "down" while a version is being reverted
	Requires       []string   `json:"requires"`  // modules that this one required when it was written
	RepairedAt     *time.Time `json:"repaired_at"`
	RepairedBy     string     `json:"repaired_by"`
	RepairReason   string     `json:"repair_reason"`
}

func decodeEntries(res *pgconn.Result) ([]Entry, error) {
	entries := make([]Entry, 0, len(res.Rows))
	for _, row := range res.Rows {
		var e struct {
			Entry
			Milliseconds float64 `json:"duration_ms"`
		}
		if err := json.Unmarshal(row[0], &e); err != nil {
			return nil, fmt.Errorf("ledger row: %w", err)
		}
		e.Duration = time.Duration(e.Milliseconds * float64(time.Millisecond))
		entries = append(entries, e.Entry)
	}
	return entries, nil
}

// recordedRows selects what the ledger has of a module in a schema, and whether that schema exists: both in one
// statement, since they appear together and another statement may see the one without the other.
func recordedRows(module, schema string) string {
	return fmt.Sprintf(`select pg_catalog.row_to_json(m), exists (select from pg_catalog.pg_namespace where nspname = %[3]s)
from %[1]s m where module = %[2]s and target_schema = %[3]s`, ledgerTable, literal(module), literal(schema))
}

// conflictingRows selects, for each file, one other schema that has its version with another semantic hash.
func conflictingRows(module, schema string, files []*File) string {
	files = versioned(files) // a schema may have others of those that change
	versions, hashes := make([]string, len(files)), make([]string, len(files))
	for i, f := range files {
		versions[i], hashes[i] = f.Version, f.SemanticHash
	}
	probe := func(operator string) string {
		return fmt.Sprintf(`(select target_schema, file_name, semantic_hash from %s
    where module = %s and version = f.version and semantic_hash %s f.hash and %s and target_schema <> %s
    order by semantic_hash limit 1)`, // the index has this order: the planner takes it without statistics, too
			ledgerTable, literal(module), operator, countsAsRecorded, literal(schema))
	}
	return fmt.Sprintf(`select f.version, c.target_schema, c.file_name, c.semantic_hash
from rows from (pg_catalog.unnest(%s), pg_catalog.unnest(%s)) f (version, hash)
cross join lateral (%s
    union all
    %s
    limit 1) c`, textArray(versions), textArray(hashes), probe("<"), probe(">"))
}

// recordApplied writes the row of a file that ran. Over a row that says anything but failed it violates the NOT NULL
// of attempts and takes the whole transaction back: the file ran in spite of somebody who does not take our lock. A
// repeatable file's row may be replaced.
func (r *Runner) recordApplied(t Target, f *File, took time.Duration) string {
	may := "m.state = 'failed'"
	if f.Repeatable() {
		may = "true"
	}
	return r.record(t, f, Applied, took, f.Statements, "", "") +
		", attempts = case when " + may + " then m.attempts + 1 end"
}

// recordFailed writes the row of a file that failed and was rolled back. It replaces nothing but an earlier failure.
func (r *Runner) recordFailed(t Target, f *File, took time.Duration, code, message string) string {
	return r.record(t, f, Failed, took, 0, code, message) +
		", attempts = m.attempts + 1 where m.state = 'failed'"
}

// outcome is what a run has come to.
type outcome struct {
	state         State
	took          time.Duration
	done          int    // statements in effect
	hash          string // of those, of a running version
	code, message string // of a failed one
}

// record is an upsert that its callers complete with what becomes of attempts.
func (r *Runner) record(t Target, f *File, state State, took time.Duration, done int, code, message string) string {
	return r.recordOutcome(t, f, outcome{state: state, took: took, done: done, code: code, message: message})
}

// recordOutcome is as record.
func (r *Runner) recordOutcome(t Target, f *File, o outcome) string {
	values := []struct{ column, value string }{
		{"state", literal(string(o.state))},
		{"file_name", literal(f.Name)},
		{"raw_hash", literal(f.RawHash)},
		{"semantic_hash", literal(f.SemanticHash)},
		{"applied_at", "pg_catalog.clock_timestamp()"},
		{"duration_ms", milliseconds(o.took)},
		{"actor", "session_user"},
		{"application", "pg_catalog.current_setting('application_name')"},
		{"tool", literal(r.Tool)},
		{"stmt_done", fmt.Sprint(o.done)},
		{"stmt_total", fmt.Sprint(f.Statements)},
		{"error_sqlstate", nullable(o.code)},
		{"error", nullable(o.message)},
		{"stmt_hash", nullable(o.hash)},
		{"direction", "null"},
		{"requires", textArray(t.Requires)},
	}
	var columns, inserted, updated []string
	for _, v := range values {
		columns = append(columns, v.column)
		inserted = append(inserted, v.value)
		updated = append(updated, v.column+" = excluded."+v.column)
	}
	return fmt.Sprintf(`insert into %s as m (module, target_schema, version, %s)
values (%s, %s, %s, %s)
on conflict (module, target_schema, version) do update set %s`,
		ledgerTable, strings.Join(columns, ", "),
		literal(t.Module), literal(t.Schema), literal(f.Version), strings.Join(inserted, ", "),
		strings.Join(updated, ", "))
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.3f", float64(d)/float64(time.Millisecond))
}

func nullable(s string) string {
	if s == "" {
		return "null"
	}
	return literal(s)
}

// ensureLedger creates the ledger or brings it up to this program's format, in a transaction of its own.
func (r *Runner) ensureLedger(ctx context.Context, f *facts) error {
	for tries := 0; ; tries++ {
		err := r.writeLedger(ctx, f.Version)
		// Somebody who does not take our lock, an administrator's script say, may create it at the same time.
		if err == nil || !lostRace(err) || tries == 3 {
			return err
		}
	}
}

func (r *Runner) writeLedger(ctx context.Context, serverVersion int) error {
	s, results, err := r.locked(ctx, nil, ledgerLock, serverVersion, factsQuery(""))
	if err != nil {
		return err
	}
	defer s.close()
	f, err := decodeFacts(results[0])
	if err != nil {
		s.rollback(ctx)
		return err
	}
	statements := f.ledgerStatements()
	if len(statements) == 0 {
		s.rollback(ctx)
		return nil
	}
	if missing := f.lackingForLedger(); len(missing) > 0 {
		s.rollback(ctx)
		return &PrivilegeError{Role: f.Role, Schema: LedgerSchema, Statements: missing}
	}
	if _, err := s.commit(ctx, statements); err != nil {
		s.rollback(ctx)
		if sqlState(err) == codeInsufficientRight {
			return &PrivilegeError{Role: f.Role, Schema: LedgerSchema, Statements: grantLedgerSchema(f, true), Err: err}
		}
		return fmt.Errorf("create ledger: %w", err)
	}
	return nil
}

// ledgerStatements are what is missing of the ledger; none when it serves as it is.
func (f *facts) ledgerStatements() []string {
	switch {
	case f.Ledger == nil && f.LedgerSchema == nil:
		return append([]string{"create schema " + sqltemplate.Quote(LedgerSchema)}, createLedger()...)
	case f.Ledger == nil:
		return createLedger()
	case f.Ledger.complete():
		return nil
	default:
		return upgradeLedger(f.Ledger)
	}
}
