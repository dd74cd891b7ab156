package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// tenantsTable is where a database's tenants are listed, beside the ledger.
const tenantsTable = "pgdbm.tenants"

// tenantsFormat is the number of the table's shape, which changes as the ledger's does: only by adding.
const tenantsFormat = 1

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
)

var createTenants = []string{
	`create table ` + tenantsTable + ` (
    id text collate "C" primary key,
    schema text collate "C" not null unique,
    role text,
    state text collate "C" not null check (state in ('creating', 'active', 'suspended', 'dropping')),
    created_at timestamptz not null default pg_catalog.clock_timestamp()
)`,
	fmt.Sprintf("comment on table %s is 'pgdbm tenants, format %d'", tenantsTable, tenantsFormat),
}

// hasTenants selects whether the table is there.
const hasTenants = `select exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'pgdbm' and c.relname = 'tenants')`

// tenantRows selects tenants, as JSON, by a condition on t.
func tenantRows(condition, after string) string {
	return fmt.Sprintf("select %s) from %s t where %s order by t.id %s", tenantFields, tenantsTable, condition, after)
}

const tenantFields = `pg_catalog.json_build_object('id', t.id, 'schema', t.schema, 'role', coalesce(t.role, ''), 'state', t.state,
    'created_at', t.created_at`

// tenantRowsVersions is tenantRows with the versions: in one pass over the ledger, which has no index by schema.
func tenantRowsVersions(condition string) string {
	return fmt.Sprintf(`select %[1]s, 'versions', v.versions) from %[2]s t left join (
    select target_schema, pg_catalog.json_object_agg(module, version) as versions from (
        select distinct on (target_schema, module) target_schema, module, version from %[3]s
        where %[4]s and version ~ '^[0-9]+$' and target_schema = any (array(select t.schema from %[2]s t where %[5]s))
        order by target_schema, module, version::numeric desc) l
    group by target_schema) v on v.target_schema = t.schema where %[5]s order by t.id`,
		tenantFields, tenantsTable, ledgerTable, countsAsRecorded, condition)
}

func byID(id string) string { return "t.id = " + literal(id) }

func decodeTenants(res *pgconn.Result) ([]Tenant, error) {
	tenants := make([]Tenant, 0, len(res.Rows))
	for _, row := range res.Rows {
		var t Tenant
		if err := json.Unmarshal(row[0], &t); err != nil {
			return nil, fmt.Errorf("tenant: %w", err)
		}
		tenants = append(tenants, t)
	}
	return tenants, nil
}

// Tenants lists the tenants of the database, or the one with this id, with or without their versions.
func (r *Runner) Tenants(ctx context.Context, id string, versions bool) ([]Tenant, error) {
	condition := "true"
	if id != "" {
		condition = byID(id)
	}
	query := tenantRows(condition, "")
	if versions {
		query = tenantRowsVersions(condition)
	}
	_, results, err := r.read(ctx, "", query)
	if err != nil || results == nil {
		return nil, err
	}
	return decodeTenants(results[0])
}

// suspended reports whether the schema is that of a tenant who is.
func (r *Runner) suspended(ctx context.Context, schema string) (bool, error) {
	_, results, err := r.read(ctx, "", fmt.Sprintf("select from %s where schema = %s and state = 'suspended'", tenantsTable, literal(schema)))
	return err == nil && results != nil && len(results[0].Rows) > 0, err
}

// UngrantedTenants lists the ids of tenants whose roles lack a privilege on a table in their schemas.
func (r *Runner) UngrantedTenants(ctx context.Context) ([]string, error) {
	_, results, err := r.read(ctx, "", fmt.Sprintf(`select t.id from %s t join pg_catalog.pg_namespace n on n.nspname = t.schema
join pg_catalog.pg_roles o on o.rolname = t.role
where %s order by 1`, tenantsTable,
		lacksOn("o.oid", "n.oid")))
	if err != nil || results == nil {
		return nil, err
	}
	return texts(results[0]), nil
}

// prepareTenants makes the ledger and the table of tenants where they are missing, and returns the tenant of this id, if
// there is one.
func (r *Runner) prepareTenants(ctx context.Context, id string) (*facts, *Tenant, error) {
	f, results, err := r.read(ctx, "", tenantRows(byID(id), ""), "select from "+ledgerTable+" limit 0")
	switch {
	case err != nil:
		return nil, nil, err
	case f.Recovery:
		return nil, nil, ErrReadOnly
	case results != nil:
		tenants, err := decodeTenants(results[0])
		if err != nil || len(tenants) == 0 {
			return f, nil, err
		}
		return f, &tenants[0], nil
	}
	return f, nil, r.makeTenants(ctx, f)
}

// makeTenants makes the ledger and the table of tenants.
func (r *Runner) makeTenants(ctx context.Context, f *facts) error {
	if missing := f.lackingForLedger(); len(missing) > 0 {
		return &PrivilegeError{Role: f.Role, Schema: LedgerSchema, Statements: missing}
	}
	if len(f.ledgerStatements()) > 0 {
		if err := r.ensureLedger(ctx, f); err != nil {
			return err
		}
	}
	s, results, err := r.locked(ctx, nil, ledgerLock, f.Version, hasTenants)
	if err != nil {
		return err
	}
	defer s.close()
	if string(results[0].Rows[0][0]) == "t" {
		s.rollback(ctx)
		return nil
	}
	if _, err := s.commit(ctx, createTenants); err != nil {
		s.rollback(ctx)
		if sqlState(err) == codeInsufficientRight {
			return &PrivilegeError{Role: f.Role, Schema: LedgerSchema, Statements: grantLedgerSchema(f, true), Err: err}
		}
		return fmt.Errorf("create table of tenants: %w", err)
	}
	return nil
}

// A tenantChange is a transaction that changes tenants, under the locks of their ids and of a schema.
type tenantChange struct {
	*migration
	found []Tenant // by the ids that were asked for
	extra []*pgconn.Result
}

// changeTenants runs do in a transaction that holds the locks of ids and of the schema, and commits what it returns. What
// others block is tried again. reads are run once the locks are held.
func (r *Runner) changeTenants(ctx context.Context, f *facts, ids []string, schema string, reads []string, do func(ctx context.Context, c *tenantChange) ([]string, error)) error {
	m := &migration{runner: r, target: Target{Schema: schema}, result: new(Result), serverVersion: f.Version}
	defer m.end()
	whole := new(File) // stands for the change in what is logged
	for {
		err := m.changeTenantsOnce(ctx, ids, reads, do)
		if err == nil {
			return nil
		}
		m.abandon(ctx)
		if err = m.retryOr(ctx, whole, err, nil); !errors.Is(err, errAgain) {
			return err
		}
	}
}

func (m *migration) changeTenantsOnce(ctx context.Context, ids []string, reads []string, do func(ctx context.Context, c *tenantChange) ([]string, error)) error {
	script := []string{lockTimeoutSetting(m.lockTimeout(nil))}
	for _, id := range ids {
		script = append(script, tenantLock(id))
	}
	at := len(script)
	for _, id := range ids {
		script = append(script, tenantRows(byID(id), "for update of t"))
	}
	script = append(script, factsQuery(m.target.Schema))
	s, results, err := m.runner.locked(ctx, nil, schemaLock(m.target.Schema), m.serverVersion, append(script, reads...)...)
	if err != nil {
		return err
	}
	m.session = s
	c := &tenantChange{migration: m}
	for range ids {
		found, err := decodeTenants(results[at])
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

func setState(id string, state TenantState) string {
	return fmt.Sprintf("update %s set state = %s where id = %s", tenantsTable, literal(string(state)), literal(id))
}

// SuspendTenant takes from a tenant's role the use of its schema, or gives it back, and records that.
func (r *Runner) SuspendTenant(ctx context.Context, id string, suspend bool) (*Tenant, error) {
	t, f, err := r.tenant(ctx, id)
	if err != nil {
		return nil, err
	}
	err = r.changeTenants(ctx, f, []string{id}, t.Schema, nil, func(ctx context.Context, c *tenantChange) ([]string, error) {
		if t, err = c.one(id); err != nil {
			return nil, err
		}
		verb, word := "grant", "to"
		state := TenantActive
		if suspend {
			verb, word, state = "revoke", "from", TenantSuspended
		}
		if t.State != TenantActive && t.State != TenantSuspended {
			return nil, fmt.Errorf("tenant is %s", t.State)
		}
		t.State = state
		statements := []string{setState(id, state)}
		if t.Role != "" {
			statements = append(statements, fmt.Sprintf("%s usage on schema %s %s %s", verb, sqltemplate.Quote(t.Schema), word, sqltemplate.Quote(t.Role)))
		}
		return statements, nil
	})
	return t, err
}

// tenant reads one tenant and the facts.
func (r *Runner) tenant(ctx context.Context, id string) (*Tenant, *facts, error) {
	f, results, err := r.read(ctx, "", tenantRowsVersions(byID(id)))
	switch {
	case err != nil:
		return nil, nil, err
	case f.Recovery:
		return nil, nil, ErrReadOnly
	case results == nil || len(results[0].Rows) == 0:
		return nil, nil, ErrTenantNotFound
	}
	tenants, err := decodeTenants(results[0])
	if err != nil {
		return nil, nil, err
	}
	return &tenants[0], f, nil
}
