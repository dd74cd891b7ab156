// Package doctor looks at a PostgreSQL server that many modules share, and at one
// of its databases, for what an operator should know of. It only reads, in
// transactions that are read-only; [Options].Verify is the one exception.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
)

// ApplicationName is the one to connect with: sessions of that name are no findings.
const ApplicationName = "pgdbm doctor"

// Severity says how bad a finding is.
type Severity string

// The severities, from good to know to act now.
const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// rank orders severities, the worst first.
func (s Severity) rank() int { return slices.Index([]Severity{Error, Warning, Info}, s) }

// Finding is one thing that was found.
type Finding struct {
	Code     string // of Codes; stable
	Severity Severity
	Where    string // the object, session or user, as SQL names it
	What     string
	Fix      Fix

	// Kind is equal in findings that differ by nothing but the names of schemas,
	// tenants and roles. Empty: the finding is like no other.
	Kind string
}

// Fix is what can be pasted to end a finding, or to see what is behind it: SQL or
// a command of the shell, the other one is empty.
type Fix struct {
	// SQL are statements to run one after the other, each by itself: what runs in no
	// transaction is alone.
	SQL     []string
	Command string
}

// statements are a fix.
func statements(sql ...string) Fix { return Fix{SQL: sql} }

// Skipped is a check that could not look.
type Skipped struct {
	Codes []string
	Err   error
}

// Report is what was found, the worst first.
type Report struct {
	Database string
	Findings []Finding
	Skipped  []Skipped
}

// Module is a module to compare with what is recorded.
type Module struct {
	pgdbm.Module
	Aliases map[string]string // schemas of modules that it requires
	// OfTenants says that it is in the schema of each tenant of Prefix, and Siblings
	// which of the modules that it requires are there, too. Schema is empty then.
	OfTenants bool
	Prefix    string
	Siblings  []string
	// Flags are those of "pgdbm migrate" that mean it, for fixes to paste.
	Flags string
	// NoFiles is the folder where its files are to be, when there are none yet.
	NoFiles string
}

// Options say where to look and from when on something is a finding. The zero
// value of each field is its default.
type Options struct {
	Modules []Module
	Verify  bool // compare schemas with what the files make, in a transaction that is rolled back

	Only, Skip []string // codes
	Flags      string   // of commands that work on the database, for fixes to paste
	Login      string   // whose privileges count; the session's user

	Connections int           // percent of the sessions that a limit leaves; 80
	PoolSize    int           // sessions that one pool may have; any
	LongTx      time.Duration // age of a transaction; 5 minutes
	IdleTx      time.Duration // time that one stands idle; 1 minute
	Blocked     time.Duration // time that a session waits for a lock; 30 seconds
	Sequence    int           // percent of the values of a sequence; 80
	XIDAge      int64         // transactions since the last freeze; 1,000,000,000
	RetainedWAL int64         // bytes that a replication slot keeps; 1 GiB
	HalfMade    time.Duration // age of a tenant or a migration that is not finished; 10 minutes
	Overlap     time.Duration // how long a session stands idle before another is one too many; 1 second
}

// The defaults of times.
const (
	LongTx  = 5 * time.Minute
	IdleTx  = time.Minute
	Blocked = 30 * time.Second
)

func (o Options) withDefaults() Options {
	def(&o.Connections, 80)
	def(&o.LongTx, LongTx)
	def(&o.IdleTx, IdleTx)
	def(&o.Blocked, Blocked)
	def(&o.Sequence, 80)
	def(&o.XIDAge, 1_000_000_000)
	def(&o.RetainedWAL, 1<<30)
	def(&o.HalfMade, 10*time.Minute)
	def(&o.Overlap, time.Second)
	return o
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// check is one look at the server, for the findings of some codes.
type check struct {
	codes []string
	run   func(ctx context.Context, l *look) ([]Finding, error)
}

// checks are all there are. Every one has codes of its own.
var checks = slices.Concat(connectionChecks, sessionChecks, serverChecks, objectChecks, schemaChecks, grantChecks, moduleChecks)

// Codes are the codes of all findings, sorted.
func Codes() (codes []string) {
	for _, c := range checks {
		codes = append(codes, c.codes...)
	}
	slices.Sort(codes)
	return codes
}

// CheckCodes returns an error that names what is no code.
func CheckCodes(codes []string) error {
	for _, code := range codes {
		if !slices.Contains(Codes(), code) {
			return fmt.Errorf("%q is none of %s", code, strings.Join(Codes(), ", "))
		}
	}
	return nil
}

func (o *Options) wants(code string) bool {
	return (len(o.Only) == 0 || slices.Contains(o.Only, code)) && !slices.Contains(o.Skip, code)
}

// Look looks at the server and the database of a pool, which takes two of its
// connections. The error is for what kept it from beginning, or from going on;
// what a single check was refused is in the report.
func Look(ctx context.Context, pool *pgdbm.Pool, o Options) (*Report, error) {
	db, err := pool.Schema("public")
	if err != nil {
		return nil, err
	}
	l := &look{pool: pool, db: db, o: o.withDefaults()}
	if err := l.facts(ctx); err != nil {
		return nil, fmt.Errorf("doctor: %w", err)
	}
	r := &Report{Database: l.database, Findings: []Finding{}, Skipped: []Skipped{}}
	for _, c := range checks {
		var wanted []string
		for _, code := range c.codes {
			if o.wants(code) {
				wanted = append(wanted, code)
			}
		}
		if len(wanted) == 0 {
			continue
		}
		found, err := c.run(ctx, l)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("doctor: %w", context.Cause(ctx))
		}
		if err != nil {
			r.Skipped = append(r.Skipped, Skipped{wanted, err})
		}
		for _, f := range found {
			if slices.Contains(wanted, f.Code) {
				r.Findings = append(r.Findings, f)
			}
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return a.Severity.rank() - b.Severity.rank() })
	return r, nil
}

// look is what the checks share.
type look struct {
	pool *pgdbm.Pool
	db   *pgdbm.DB
	o    Options

	database string
	version  int
	login    string // whose privileges count
	inherit  bool   // it has those of roles that it is a member of
	recovery bool
	ledger   table
	tenants  table
}

// table is one of pgdbm's own.
type table struct {
	there, readable bool // by the session's user
}

// errLedger is why a check that needs pgdbm's own tables cannot look.
var errLedger = errors.New("the session's user may not read the tables of schema pgdbm")

func (l *look) facts(ctx context.Context) error {
	type row struct {
		Database        string
		Version         int
		Login           string
		LoginThere      bool
		Inherit         bool
		Recovery        bool
		Ledger, Tenants bool
		ReadLedger      bool
		ReadTenants     bool
	}
	rows, err := read[row](ctx, l, `with p as (
	select c.oid, c.relname, n.oid as namespace from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
	where n.nspname = 'pgdbm' and c.relname in ('migrations', 'tenants') and c.relkind = 'r'
), r as (
	select p.relname, pg_catalog.has_schema_privilege(p.namespace, 'usage') and pg_catalog.has_table_privilege(p.oid, 'select') as readable from p
)
select pg_catalog.current_database()::text as database, pg_catalog.current_setting('server_version_num')::int as version,
	coalesce(nullif($1, ''), current_user::text) as login,
	$1 = '' or exists (select from pg_catalog.pg_roles where rolname = $1) as login_there,
	coalesce((select rolinherit and not rolsuper from pg_catalog.pg_roles where rolname = coalesce(nullif($1, ''), current_user)), false) as inherit,
	pg_catalog.pg_is_in_recovery() as recovery,
	exists (select from r where relname = 'migrations') as ledger, exists (select from r where relname = 'tenants') as tenants,
	coalesce((select readable from r where relname = 'migrations'), false) as read_ledger,
	coalesce((select readable from r where relname = 'tenants'), false) as read_tenants`, l.o.Login)
	if err != nil {
		return err
	}
	f := rows[0]
	if !f.LoginThere {
		return fmt.Errorf("login %q: no such role", l.o.Login)
	}
	l.database, l.version, l.login, l.recovery = f.Database, f.Version, f.Login, f.Recovery
	l.inherit = f.Inherit
	l.ledger, l.tenants = table{f.Ledger, f.ReadLedger}, table{f.Tenants, f.ReadTenants}
	return nil
}

// read runs a query in a read-only transaction of its own. It waits neither for
// locks nor, on a server that is in a bad way, for ever.
func read[T any](ctx context.Context, l *look, sql string, args ...any) (rows []T, err error) {
	o := pgdbm.TxOptions{TxOptions: pgx.TxOptions{AccessMode: pgx.ReadOnly}}
	err = l.db.InTxOptions(ctx, o, func(ctx context.Context, tx *pgdbm.Tx) error {
		if _, err := tx.Exec(ctx, `select pg_catalog.set_config('statement_timeout', '60s', true), pg_catalog.set_config('lock_timeout', '2s', true)`); err != nil {
			return err
		}
		rows, err = pgdbm.All[T](ctx, tx, sql, args...)
		return err
	})
	return rows, err
}
