package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// facts are what a run needs to know of the server before it reads or writes anything. They come from the catalogs
// alone, so that the query never fails: to_regclass would, without USAGE on the schema.
type facts struct {
	Role         string       `json:"role"`
	SessionUser  string       `json:"session_user"`
	RoleSetting  string       `json:"role_setting"` // "none", or what SET ROLE was given
	Version      int          `json:"version"`      // server_version_num
	PID          uint32       `json:"pid"`          // of the server's process
	Citus        bool         `json:"citus"`        // the extension is there
	Recovery     bool         `json:"recovery"`
	MayCreate    bool         `json:"may_create"` // schemas in this database
	Schema       *schemaFacts `json:"schema"`     // nil when it does not exist, as below
	LedgerSchema *schemaFacts `json:"ledger_schema"`
	Ledger       *ledgerFacts `json:"ledger"`
	Tenants      *tableFacts  `json:"tenants"` // nil when there is no list of them
	Database     string       `json:"database"`

	// pooled: what the connection calls its server process is not the process that answers, so a pooler is between.
	pooled bool
}

type schemaFacts struct {
	Usage  bool `json:"usage"`
	Create bool `json:"create"`
}

// tableFacts are what the role may do with a table, apart from its schema.
type tableFacts struct {
	Select bool `json:"select"`
	Insert bool `json:"insert"`
	Update bool `json:"update"`
	Delete bool `json:"delete"`
	Owner  bool `json:"owner"`
}

type ledgerFacts struct {
	tableFacts
	Comment string   `json:"comment"`
	Columns []string `json:"columns"`
}

// factsQuery returns one row of JSON. schema may be "".
func factsQuery(schema string) string {
	schemaObject := func(name string) string {
		return fmt.Sprintf(`(select pg_catalog.json_build_object(
    'usage', pg_catalog.has_schema_privilege(oid, 'usage'), 'create', pg_catalog.has_schema_privilege(oid, 'create'))
    from pg_catalog.pg_namespace where nspname = %s)`, literal(name))
	}
	return `select pg_catalog.json_build_object(
'role', current_user, 'session_user', session_user, 'role_setting', pg_catalog.current_setting('role'),
'version', pg_catalog.current_setting('server_version_num')::int, 'recovery', pg_catalog.pg_is_in_recovery(),
'pid', pg_catalog.pg_backend_pid(),
'citus', exists (select from pg_catalog.pg_extension where extname = 'citus'),
'may_create', pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create'),
'schema', ` + schemaObject(schema) + `,
'ledger_schema', ` + schemaObject(LedgerSchema) + `,
'tenants', (select pg_catalog.json_build_object(` + tableObject + `)
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'pgdbm' and c.relname = 'tenants'),
'database', pg_catalog.current_database(),
'ledger', (select pg_catalog.json_build_object(` + tableObject + `,
    'comment', pg_catalog.obj_description(c.oid, 'pg_class'),
    'columns', (select pg_catalog.json_agg(attname) from pg_catalog.pg_attribute
        where attrelid = c.oid and attnum > 0 and not attisdropped))
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'pgdbm' and c.relname = 'migrations'))`
}

const tableObject = `
    'select', pg_catalog.has_table_privilege(c.oid, 'select'),
    'insert', pg_catalog.has_table_privilege(c.oid, 'insert'),
    'update', pg_catalog.has_table_privilege(c.oid, 'update'),
    'delete', pg_catalog.has_table_privilege(c.oid, 'delete'),
    'owner', pg_catalog.pg_has_role(c.relowner, 'usage')`

func decodeFacts(res *pgconn.Result) (*facts, error) {
	f := new(facts)
	if len(res.Rows) != 1 {
		return nil, errors.New("server facts: no row")
	}
	if err := json.Unmarshal(res.Rows[0][0], f); err != nil {
		return nil, fmt.Errorf("server facts: %w", err)
	}
	return f, nil
}

// complete reports whether the ledger has all columns of this program's format.
func (l *ledgerFacts) complete() bool {
	for _, c := range ledgerColumns {
		if !slices.Contains(l.Columns, c.name) {
			return false
		}
	}
	return true
}

// format is the number in the ledger's comment, 0 when a restore has lost it.
func (l *ledgerFacts) format() int {
	n, _ := strconv.Atoi(strings.TrimPrefix(l.Comment, ledgerComment))
	return n
}

// read runs the facts query and the reads of the ledger in one round trip, also when there is no ledger: the server
// refuses a statement only when it comes to it, and the facts are before. Then the results are nil. It writes nothing.
// When the ledger may not be read, the facts come with the error.
func (r *Runner) read(ctx context.Context, schema string, reads ...string) (*facts, []*pgconn.Result, error) {
	s, err := r.acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer s.close()
	results, err := s.exec(ctx, append([]string{factsQuery(schema)}, reads...)...)
	if len(results) == 0 {
		return nil, nil, err
	}
	f, decodeErr := decodeFacts(results[0])
	if decodeErr != nil {
		return nil, nil, decodeErr
	}
	f.pooled = f.PID != s.pg.PID()
	switch sqlState(err) {
	case "":
		if err != nil {
			return nil, nil, err
		}
		return f, results[1:], nil
	case codeUndefinedTable, codeUndefinedSchema:
		f.Ledger = nil // it may have been dropped between the statements
		return f, nil, nil
	case codeInsufficientRight:
		return f, nil, &PrivilegeError{Role: f.Role, Schema: LedgerSchema, Statements: grantLedgerRead(f), Err: err}
	default:
		return nil, nil, err
	}
}

// lacking are the statements that an administrator must run before the schema can be migrated, and for which schema;
// none when nothing is known to be missing. CREATE on the schema counts only when strict: a file that creates nothing
// runs without.
func (f *facts) lacking(schema string, strict bool) (string, []string) {
	var statements []string
	which := schema
	switch {
	case f.Schema == nil && !f.MayCreate:
		statements = f.makeSchema(schema)
	case f.Schema != nil && (!f.Schema.Usage || strict && !f.Schema.Create):
		statements = append(statements, f.grantSchema(schema))
	default:
		which = LedgerSchema
	}
	return which, append(statements, f.lackingForLedger()...)
}

// lackingForLedger are the statements without which the ledger cannot be written.
func (f *facts) lackingForLedger() []string {
	switch {
	case f.Ledger == nil:
		return grantLedgerSchema(f, false)
	case !f.Ledger.complete() && !f.Ledger.Owner:
		return upgradeLedger(f.Ledger)
	}
	var statements []string
	if f.LedgerSchema != nil && !f.LedgerSchema.Usage {
		statements = append(statements, f.grantUsage())
	}
	if !f.Ledger.Select || !f.Ledger.Insert || !f.Ledger.Update {
		statements = append(statements, "GRANT SELECT, INSERT, UPDATE ON "+ledgerTable+" TO "+sqltemplate.Quote(f.Role))
	}
	return statements
}

// grantLedgerSchema are the statements that let the role create the ledger; none when it may, unless forced.
func grantLedgerSchema(f *facts, force bool) []string {
	switch {
	case f.LedgerSchema == nil && (force || !f.MayCreate):
		return f.makeSchema(LedgerSchema)
	case f.LedgerSchema != nil && (force || !f.LedgerSchema.Usage || !f.LedgerSchema.Create):
		return []string{f.grantSchema(LedgerSchema)}
	}
	return nil
}

func grantLedgerRead(f *facts) []string {
	statements := []string{f.grantUsage(), "GRANT SELECT ON " + ledgerTable + " TO " + sqltemplate.Quote(f.Role)}
	return append(statements, f.lackingOnTenants(false, "SELECT")...)
}

// lackingOnTenants are the statements without which the list of tenants, if there is one, cannot be used so.
func (f *facts) lackingOnTenants(schema bool, privileges ...string) (statements []string) {
	if f.Tenants == nil {
		return nil
	}
	if schema && f.LedgerSchema != nil && !f.LedgerSchema.Usage {
		statements = append(statements, f.grantUsage())
	}
	has := map[string]bool{"SELECT": f.Tenants.Select, "INSERT": f.Tenants.Insert, "UPDATE": f.Tenants.Update, "DELETE": f.Tenants.Delete}
	if slices.ContainsFunc(privileges, func(p string) bool { return !has[p] }) {
		statements = append(statements, "GRANT "+strings.Join(privileges, ", ")+" ON "+tenantsTable+" TO "+sqltemplate.Quote(f.Role))
	}
	return statements
}

// mayChangeTenants is an error that says what the role lacks to change the list of tenants and, if that
// is written, too, the ledger.
func (f *facts) mayChangeTenants(onTenants []string, ledger, removes bool) error {
	missing := f.lackingOnTenants(!ledger, onTenants...)
	if ledger {
		missing = append(f.lackingForLedger(), missing...)
	}
	if removes && f.Ledger != nil && !f.Ledger.Delete {
		missing = append(missing, f.grantDelete())
	}
	if len(missing) == 0 {
		return nil
	}
	return &PrivilegeError{Role: f.Role, Schema: LedgerSchema, Statements: missing}
}

// ownSchema makes an error of err that says who may drop or rename the schema: its owner.
func (f *facts) ownSchema(schema string, err error) error {
	if sqlState(err) != codeInsufficientRight {
		return err
	}
	return &PrivilegeError{Role: f.Role, Schema: schema, Err: err,
		Statements: []string{"ALTER SCHEMA " + sqltemplate.Quote(schema) + " OWNER TO " + sqltemplate.Quote(f.Role)}}
}

func (f *facts) makeSchema(schema string) []string {
	return []string{"CREATE SCHEMA " + sqltemplate.Quote(schema), f.grantSchema(schema)}
}

func (f *facts) grantSchema(schema string) string {
	return "GRANT USAGE, CREATE ON SCHEMA " + sqltemplate.Quote(schema) + " TO " + sqltemplate.Quote(f.Role)
}

// grantCreate lets the role make schemas that are its own.
func (f *facts) grantCreate() string {
	return "GRANT CREATE ON DATABASE " + sqltemplate.Quote(f.Database) + " TO " + sqltemplate.Quote(f.Role)
}

func (f *facts) grantUsage() string {
	return "GRANT USAGE ON SCHEMA " + sqltemplate.Quote(LedgerSchema) + " TO " + sqltemplate.Quote(f.Role)
}
