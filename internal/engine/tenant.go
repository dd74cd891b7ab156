package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// tenantsTable is where a database's tenants are listed, beside the ledger.
const tenantsTable = "pgdbm.tenants"

// tenantsFormat is the number of the table's shape, which changes as the ledger's does: only by adding. Format 2 has the
// column prefix, which is part of the key, and source, the id of the tenant that one is being cloned from.
const tenantsFormat = 2

// A TenantSet is those tenants of a database that one program, or several of the same prefix, have made.
type TenantSet struct {
	Prefix  string
	Modules []string // of the program
	// Schema returns the name that the schema of a tenant of this prefix is given.
	Schema func(id string) string
}

// has reports whether a tenant is one of the set's. Programs that kept one list for all have written no prefix: such a
// tenant is told by its schema's name or, where it was adopted, by the modules that it has.
func (s *TenantSet) has(t *Tenant) bool {
	switch {
	case s == nil:
		return true
	case t.Prefix != "":
		return t.Prefix == s.Prefix
	}
	return t.Schema == s.Schema(t.ID) || t.Known || len(s.Modules) == 0
}

// fields are what is selected of a tenant, as the arguments of json_build_object. The prefix is not named as a column,
// which it is not in a table of an older program.
func (s *TenantSet) fields() string {
	known := "null"
	if s != nil {
		known = fmt.Sprintf(`case when %s = '' then exists (select from %s m where m.module = any (%s::text[]) and m.target_schema = t.schema and m.state <> 'failed') end`,
			tenantPrefix, ledgerTable, arrayLiteral(s.Modules))
	}
	return tenantFields + `, 'prefix', ` + tenantPrefix + `, 'source', coalesce(pg_catalog.to_json(t) ->> 'source', ''), 'known', ` + known
}

// tenantPrefix is the prefix of a tenant t, empty where an older program has listed it.
const tenantPrefix = `coalesce(pg_catalog.to_json(t) ->> 'prefix', '')`

// only is a condition that leaves out other sets' tenants, as far as the table says.
func (s *TenantSet) only(condition string) string {
	if s == nil {
		return condition
	}
	return condition + " and " + tenantPrefix + " in ('', " + literal(s.Prefix) + ")"
}

// TenantState says what may be done with a tenant.
type TenantState string

const (
	TenantCreating  TenantState = "creating" // by files outside a transaction; creating it again goes on
	TenantActive    TenantState = "active"
	TenantSuspended TenantState = "suspended"
	TenantDropping  TenantState = "dropping" // in several transactions; dropping it again goes on
)

// A Tenant is a row of the table of tenants, with what the ledger says of its schema.
type Tenant struct {
	ID        string      `json:"id"`
	Prefix    string      `json:"prefix"` // "": an older program has listed it
	Source    string      `json:"source"` // while it is cloned: the id of the other one
	Known     bool        `json:"known"`  // without a prefix: it has a module of the set that asks
	Schema    string      `json:"schema"`
	Role      string      `json:"role"` // "": none of its own
	State     TenantState `json:"state"`
	CreatedAt time.Time   `json:"created_at"`
	// Versions is the newest version that is in effect, by module.
	Versions map[string]string `json:"versions"`
}

// Conditions of tenants that callers branch on.
var (
	ErrTenantExists    = errors.New("tenant exists")
	ErrTenantNotFound  = errors.New("no such tenant")
	ErrTenantSuspended = errors.New("tenant is suspended")
	ErrTenantNotReady  = errors.New("tenant is half made or half dropped")
)

var createTenants = []string{
	`create table ` + tenantsTable + ` (
    prefix text collate "C" not null default '',
    id text collate "C" not null,
    schema text collate "C" not null unique,
    role text,
    state text collate "C" not null check (state in ('creating', 'active', 'suspended', 'dropping')),
    created_at timestamptz not null default pg_catalog.clock_timestamp(),
    source text,
    primary key (id, prefix)
)`,
	commentTenants,
}

var commentTenants = fmt.Sprintf("comment on table %s is 'pgdbm tenants, format %d'", tenantsTable, tenantsFormat)

// upgradeTenants brings a table of format 1 up to this one. Programs that know that format alone go on writing rows,
// which have no prefix then.
var upgradeTenants = []string{
	"alter table " + tenantsTable + " add column if not exists prefix text collate \"C\" not null default ''",
	"alter table " + tenantsTable + " add column if not exists source text",
	"alter table " + tenantsTable + " drop constraint if exists tenants_pkey",
	"alter table " + tenantsTable + " add primary key (id, prefix)",
	commentTenants,
}

// tenantsShape selects whether the table is there, has all columns of this format, and is the user's.
const tenantsShape = `select pg_catalog.json_build_object('there', c.oid is not null, 'owner', pg_catalog.pg_has_role(c.relowner, 'usage'),
    'complete', (select pg_catalog.count(*) = 2 from pg_catalog.pg_attribute where attrelid = c.oid and attname in ('prefix', 'source') and not attisdropped))
from (select) one left join (pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname = 'pgdbm') on c.relname = 'tenants'`

type tenantsFacts struct{ There, Owner, Complete bool }

func decodeTenantsShape(res *pgconn.Result) (f tenantsFacts, err error) {
	if err = json.Unmarshal(res.Rows[0][0], &f); err != nil {
		err = fmt.Errorf("table of tenants: %w", err)
	}
	return f, err
}

// rows selects tenants, as JSON, by a condition on t: those of the set, and such of which the table does not say.
func (s *TenantSet) rows(condition, after string) string {
	return fmt.Sprintf("select %s) from %s t where %s order by t.id, t.schema %s", s.fields(), tenantsTable, s.only(condition), after)
}

const tenantFields = `pg_catalog.json_build_object('id', t.id, 'schema', t.schema, 'role', coalesce(t.role, ''), 'state', t.state,
    'created_at', t.created_at`

// rowsVersions is rows with the versions: in one pass over the ledger, which has no index by schema.
func (s *TenantSet) rowsVersions(condition string) string {
	condition = s.only(condition)
	return fmt.Sprintf(`select %[1]s, 'versions', v.versions) from %[2]s t left join (
    select target_schema, pg_catalog.json_object_agg(module, version) as versions from (
        select distinct on (target_schema, module) target_schema, module, version from %[3]s
        where %[4]s and version ~ '^[0-9]+$' and target_schema in (select t.schema from %[2]s t where %[5]s)
        order by target_schema, module, version::numeric desc) l
    group by target_schema) v on v.target_schema = t.schema where %[5]s order by t.id, t.schema`,
		s.fields(), tenantsTable, ledgerTable, countsAsRecorded, condition)
}

// rowVersions is rows of one id with the versions: module after module, since the ledger has an index by module and
// schema, and few modules.
func (s *TenantSet) rowVersions(id string) string {
	return fmt.Sprintf(`select %[1]s, 'versions', v.versions) from %[2]s t cross join lateral (
    with recursive found (module) as (select pg_catalog.min(module) from %[3]s
        union all select (select pg_catalog.min(n.module) from %[3]s n where n.module > f.module) from found f where f.module is not null)
    select pg_catalog.json_object_agg(f.module, l.version) as versions from found f
    cross join lateral (select m.version from %[3]s m where m.module = f.module and m.target_schema = t.schema
        and m.%[4]s and m.version ~ '^[0-9]+$' order by m.version::numeric desc limit 1) l) v where %[5]s order by t.schema`,
		s.fields(), tenantsTable, ledgerTable, countsAsRecorded, s.only(byID(id)))
}

func byID(id string) string { return "t.id = " + literal(id) }

func (s *TenantSet) decode(res *pgconn.Result) ([]Tenant, error) {
	tenants := make([]Tenant, 0, len(res.Rows))
	for _, row := range res.Rows {
		var t Tenant
		if err := json.Unmarshal(row[0], &t); err != nil {
			return nil, fmt.Errorf("tenant: %w", err)
		}
		if s.has(&t) {
			tenants = append(tenants, t)
		}
	}
	return tenants, nil
}

// Tenants lists the tenants of a set, or the one with this id, with or without their versions. Without a set it lists
// those of all.
func (r *Runner) Tenants(ctx context.Context, set *TenantSet, id string, versions bool) ([]Tenant, error) {
	var query string
	switch {
	case versions && id != "":
		query = set.rowVersions(id)
	case versions:
		query = set.rowsVersions("true")
	case id != "":
		query = set.rows(byID(id), "")
	default:
		query = set.rows("true", "")
	}
	_, results, err := r.read(ctx, "", query)
	if err != nil || results == nil {
		return nil, err
	}
	return set.decode(results[0])
}

// suspended reports whether the schema is that of a tenant who is.
func (r *Runner) suspended(ctx context.Context, schema string) (bool, error) {
	_, results, err := r.read(ctx, "", fmt.Sprintf("select from %s where schema = %s and state = 'suspended'", tenantsTable, literal(schema)))
	return err == nil && results != nil && len(results[0].Rows) > 0, err
}

// UngrantedTenants lists the schemas of tenants whose roles lack a privilege on a table in them.
func (r *Runner) UngrantedTenants(ctx context.Context) ([]string, error) {
	_, results, err := r.read(ctx, "", fmt.Sprintf(`select t.schema from %s t join pg_catalog.pg_namespace n on n.nspname = t.schema
join pg_catalog.pg_roles o on o.rolname = t.role
where %s order by 1`, tenantsTable,
		lacksOn("o.oid", "n.oid")))
	if err != nil || results == nil {
		return nil, err
	}
	return texts(results[0]), nil
}

// prepareTenants makes the ledger and the table of tenants where they are missing, brings an older table up to this
// format, and returns the tenant of this id, if there is one.
func (r *Runner) prepareTenants(ctx context.Context, set *TenantSet, id string) (*facts, *Tenant, error) {
	f, results, err := r.read(ctx, "", tenantsShape, set.rows(byID(id), ""), "select from "+ledgerTable+" limit 0")
	switch {
	case err != nil:
		return nil, nil, err
	case f.Recovery:
		return nil, nil, ErrReadOnly
	case results == nil:
		return f, nil, r.makeTenants(ctx, f)
	}
	shape, err := decodeTenantsShape(results[0])
	if err == nil && !shape.Complete {
		err = r.makeTenants(ctx, f)
	}
	if err != nil {
		return nil, nil, err
	}
	tenants, err := set.decode(results[1])
	if err != nil || len(tenants) == 0 {
		return f, nil, err
	}
	return f, &tenants[0], nil
}

// makeTenants makes the ledger and the table of tenants, or brings that up to this format.
func (r *Runner) makeTenants(ctx context.Context, f *facts) error {
	if missing := f.lackingForLedger(); len(missing) > 0 {
		return &PrivilegeError{Role: f.Role, Schema: LedgerSchema, Statements: missing}
	}
	if len(f.ledgerStatements()) > 0 {
		if err := r.ensureLedger(ctx, f); err != nil {
			return err
		}
	}
	w := r.newWait(ledgerLock)
	for {
		err := r.makeTenantsOnce(ctx, f)
		if sqlState(err) != codeLockNotAvailable {
			return err
		}
		// Somebody makes a tenant. Who asks for one must not queue behind us until that has ended.
		if err := w.sleep(ctx); err != nil {
			return err
		}
	}
}

func (r *Runner) makeTenantsOnce(ctx context.Context, f *facts) error {
	s, results, err := r.locked(ctx, nil, ledgerLock, f.Version, tenantsShape)
	if err != nil {
		return err
	}
	defer s.close()
	shape, err := decodeTenantsShape(results[0])
	if err != nil || shape.Complete {
		s.rollback(ctx)
		return err
	}
	statements := createTenants
	lacking := grantLedgerSchema(f, true)
	if shape.There {
		statements = slices.Concat([]string{lockTimeoutSetting(time.Second)}, upgradeTenants)
		lacking = upgradeTenants
		if !shape.Owner {
			s.rollback(ctx)
			return &PrivilegeError{Role: f.Role, Schema: LedgerSchema, Statements: upgradeTenants}
		}
	}
	if _, err := s.commit(ctx, statements); err != nil {
		s.rollback(ctx)
		if sqlState(err) == codeInsufficientRight {
			return &PrivilegeError{Role: f.Role, Schema: LedgerSchema, Statements: lacking, Err: err}
		}
		return fmt.Errorf("make table of tenants: %w", err)
	}
	return nil
}

// A tenantChange is a transaction that changes tenants, under the locks of their ids and of a schema.
type tenantChange struct {
	*migration
	set    *TenantSet
	defers bool     // a file that ran in it may have made constraints that are checked at its end
	found  []Tenant // by the ids that were asked for
	extra  []*pgconn.Result
}

// changeTenants runs do in a transaction that holds the locks of ids and of the schema, and commits what it returns. What
// others block is tried again. reads are run once the locks are held.
func (r *Runner) changeTenants(ctx context.Context, set *TenantSet, f *facts, ids []string, schema string, reads []string, do func(ctx context.Context, c *tenantChange) ([]string, error)) error {
	m := &migration{runner: r, target: Target{Schema: schema}, result: new(Result), serverVersion: f.Version}
	defer m.end()
	whole := new(File) // stands for the change in what is logged
	for raced := 0; ; {
		err := m.changeTenantsOnce(ctx, set, ids, reads, do)
		if err == nil {
			return nil
		}
		m.abandon(ctx)
		if changedBeside(err) && raced < mostRaces {
			raced++
			continue
		}
		if err = m.retryOr(ctx, whole, err, nil); !errors.Is(err, errAgain) {
			return err
		}
	}
}

// changedBeside reports whether somebody who takes no lock of ours has changed an object at the same moment. That is no
// error of the server's own, although its SQLSTATE says so.
func changedBeside(err error) bool {
	return sqlState(err) == codeInternal && (strings.Contains(err.Error(), "tuple concurrently") || strings.Contains(err.Error(), "cache lookup failed"))
}

func (m *migration) changeTenantsOnce(ctx context.Context, set *TenantSet, ids []string, reads []string, do func(ctx context.Context, c *tenantChange) ([]string, error)) error {
	script := []string{lockTimeoutSetting(m.lockTimeout(nil))}
	for _, id := range ids {
		script = append(script, tenantLock(id))
	}
	at := len(script)
	for _, id := range ids {
		script = append(script, set.rows(byID(id), "for update of t"))
	}
	script = append(script, factsQuery(m.target.Schema))
	s, results, err := m.runner.locked(ctx, nil, schemaLock(m.target.Schema), m.serverVersion, append(script, reads...)...)
	if err != nil {
		return err
	}
	m.session = s
	c := &tenantChange{migration: m, set: set}
	for range ids {
		found, err := set.decode(results[at])
		if err != nil {
			return err
		}
		c.found = append(c.found, found...)
		at++
	}
	if m.facts, err = decodeFacts(results[at]); err != nil {
		return err
	}
	c.extra = results[at+1:]
	statements, err := do(ctx, c)
	if err != nil {
		return err
	}
	_, err = m.session.commit(ctx, statements)
	if err == nil {
		m.end()
	}
	return err
}

// one returns the tenant of an id.
func (c *tenantChange) one(id string) (*Tenant, error) {
	for i := range c.found {
		if c.found[i].ID == id {
			return &c.found[i], nil
		}
	}
	return nil, ErrTenantNotFound
}

func setState(schema string, state TenantState) string {
	return fmt.Sprintf("update %s set state = %s where schema = %s", tenantsTable, literal(string(state)), literal(schema))
}

// SuspendTenant takes from a tenant's role the use of its schema, or gives it back, and records that.
func (r *Runner) SuspendTenant(ctx context.Context, set *TenantSet, id string, suspend bool) (*Tenant, error) {
	t, f, err := r.tenant(ctx, set, id)
	if err != nil {
		return nil, err
	}
	if err := f.mayChangeTenants([]string{"SELECT", "UPDATE"}, false, false); err != nil {
		return nil, err
	}
	versions := t.Versions
	err = r.changeTenants(ctx, set, f, []string{id}, t.Schema, nil, func(ctx context.Context, c *tenantChange) ([]string, error) {
		if t, err = c.one(id); err != nil {
			return nil, err
		}
		t.Versions = versions
		verb, word := "grant", "to"
		state := TenantActive
		if suspend {
			verb, word, state = "revoke", "from", TenantSuspended
		}
		if t.State != TenantActive && t.State != TenantSuspended {
			return nil, fmt.Errorf("%w: it is %s", ErrTenantNotReady, t.State)
		}
		t.State = state
		statements := []string{setState(t.Schema, state)}
		if t.Role != "" {
			statements = append(statements, fmt.Sprintf("%s usage on schema %s %s %s", verb, sqltemplate.Quote(t.Schema), word, sqltemplate.Quote(t.Role)))
		}
		return statements, nil
	})
	return t, err
}

// tenant reads one tenant and the facts.
func (r *Runner) tenant(ctx context.Context, set *TenantSet, id string) (*Tenant, *facts, error) {
	f, results, err := r.read(ctx, "", set.rowVersions(id))
	switch {
	case err != nil:
		return nil, nil, err
	case f.Recovery:
		return nil, nil, ErrReadOnly
	case results == nil:
		return nil, nil, ErrTenantNotFound
	}
	tenants, err := set.decode(results[0])
	if err != nil {
		return nil, nil, err
	}
	if len(tenants) == 0 {
		return nil, nil, ErrTenantNotFound
	}
	return &tenants[0], f, nil
}
