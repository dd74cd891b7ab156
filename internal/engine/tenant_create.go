package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// NewTenant is a tenant to be created.
type NewTenant struct {
	Set        TenantSet
	ID         string
	Schema     string
	Modules    []Target // in the order of their dependencies, all for Schema
	Extensions []string
	Isolate    bool
	Reads      []string // schemas that the tenant's role may read
	Logins     []string // that may take the role, besides the session's user
	From       string   // the id of a tenant whose rows are copied; "": none
	Adopt      bool     // the schema is there already
}

func (n *NewTenant) isolation() Isolation {
	return Isolation{Schema: n.Schema, Reads: n.Reads, Logins: n.Logins, New: !n.Adopt}
}

// CreateTenant makes a tenant: its schema, its role with what is granted to it, what the modules' files make, their
// ledger rows and the tenant's own row, all in one transaction. Files that run outside one take several: the tenant is
// [TenantCreating] until they have ended, and creating it again goes on. A schema that is adopted has no row until the
// end: what fails half-way, or is tried again, must not take it for one that was made here, and drop it.
func (r *Runner) CreateTenant(ctx context.Context, n NewTenant) (*Tenant, error) {
	for i := range n.Modules {
		if err := n.Modules[i].complete(); err != nil {
			return nil, err
		}
	}
	f, t, err := r.prepareTenants(ctx, &n.Set, n.ID)
	if err != nil {
		return nil, err
	}
	if err := n.possible(r, f, t); err != nil {
		return nil, err
	}
	if err := r.EnsureExtensions(ctx, n.Extensions); err != nil {
		return nil, err
	}
	var from *Tenant
	if n.From != "" {
		from, _, err = r.tenant(ctx, &n.Set, n.From)
		if err == nil && from.State != TenantActive && from.State != TenantSuspended {
			err = fmt.Errorf("%w: it is %s", ErrTenantNotReady, from.State)
		}
		if err != nil {
			return nil, fmt.Errorf("tenant %q: %w", n.From, err)
		}
	}
	began := time.Now()
	switch {
	case n.Adopt:
		t, err = r.adoptSchema(ctx, f, n)
	case t != nil || n.outside():
		t, err = r.createInSteps(ctx, f, n, t, from)
	default:
		t, err = r.createAtOnce(ctx, f, n, from)
	}
	if err != nil {
		return nil, err
	}
	r.Logger.LogAttrs(ctx, slog.LevelInfo, "tenant created", slog.String("tenant", n.ID), slog.String("schema", n.Schema),
		slog.String("from", n.From), slog.Duration("duration", time.Since(began)))
	return t, nil
}

// possible is an error for what is known to fail before anything is made. t is the tenant, if there is one.
func (n *NewTenant) possible(r *Runner, f *facts, t *Tenant) error {
	switch {
	case t != nil && (t.State != TenantCreating || n.Adopt):
		return ErrTenantExists
	case t != nil && t.Source != "" && t.Source != n.From:
		return fmt.Errorf("%w: it is half made, as a clone of tenant %q: clone that again to go on, or drop it", ErrTenantExists, t.Source)
	case t != nil && t.Schema != n.Schema:
		return fmt.Errorf("%w: it is half made, in schema %q", ErrTenantExists, t.Schema)
	}
	privileges := []string{"SELECT", "INSERT", "UPDATE"}
	for target, file := range n.outsideFiles() {
		privileges = append(privileges[:3], "DELETE") // what fails half-way is dropped
		if err := r.outsidePossible(file, f); err != nil {
			return file.located(target.Module, n.Schema, err)
		}
	}
	return f.mayChangeTenants(privileges, true, len(privileges) > 3)
}

// outsideFiles are the files of a new schema that have to run outside a transaction.
func (n *NewTenant) outsideFiles() iter.Seq2[*Target, *File] {
	return func(yield func(*Target, *File) bool) {
		for i := range n.Modules {
			t := &n.Modules[i]
			for _, f := range newPlan(t.Module, t.Schema, t.Files, t.to, snapshot{}).Pending {
				if f.NoTransaction && !f.recordOnly && !yield(t, f) {
					return
				}
			}
		}
	}
}

// outside reports whether there is such a file.
func (n *NewTenant) outside() bool {
	for range n.outsideFiles() {
		return true
	}
	return false
}

// reads are what a plan of each module, and of the role, needs.
func (n *NewTenant) reads() []string {
	var reads []string
	for i := range n.Modules {
		reads = append(reads, n.Modules[i].reads()...)
	}
	if n.Isolate {
		reads = append(reads, blind(n.Logins), n.isolation().factsQuery())
	}
	return append(reads, (*TenantSet)(nil).rows("t.schema = "+literal(n.Schema), ""))
}

// isolationOf decodes what reads found of the role; the zero value where there is to be none. What other tenants may
// make as well at this moment is looked for again under their lock.
func (c *tenantChange) isolationOf(ctx context.Context, n NewTenant) (*isolationFacts, error) {
	if !n.Isolate {
		return new(isolationFacts), nil
	}
	i := n.isolation()
	f, err := decodeIsolation(c.extra[len(c.extra)-2])
	if err != nil || !slices.ContainsFunc(f.Reads, func(q readsFacts) bool { return !q.Granted }) {
		return f, err
	}
	results, err := c.session.exec(ctx, append(i.locks(), i.factsQuery())...)
	if err != nil {
		return nil, err
	}
	return decodeIsolation(results[len(results)-1])
}

// blind selects the logins that may not read the list of tenants and the ledger, without which they find no tenant.
func blind(logins []string) string {
	return fmt.Sprintf(`select l.login from pg_catalog.unnest(%s::text[]) l (login) join pg_catalog.pg_roles r on r.rolname = l.login
where not (pg_catalog.has_schema_privilege(r.oid, 'pgdbm', 'usage') and pg_catalog.has_table_privilege(r.oid, '%s', 'select')
    and pg_catalog.has_table_privilege(r.oid, '%s', 'select'))`, arrayLiteral(logins), tenantsTable, ledgerTable)
}

// showTenants lets logins find tenants, under a lock: two that grant on one table at once would fail.
func (c *tenantChange) showTenants(ctx context.Context, n NewTenant) error {
	if !n.Isolate || len(c.extra[len(c.extra)-3].Rows) == 0 {
		return nil
	}
	results, err := c.session.exec(ctx, readerLock(LedgerSchema), blind(n.Logins))
	if err != nil {
		return err
	}
	for _, name := range texts(results[1]) {
		login := sqltemplate.Quote(name)
		if _, err := c.session.exec(ctx, "grant usage on schema "+LedgerSchema+" to "+login,
			"grant select on "+tenantsTable+", "+ledgerTable+" to "+login); err != nil {
			return err
		}
	}
	return nil
}

// free reports whether the tenant can be made.
func (n *NewTenant) free(c *tenantChange) error {
	if _, err := c.one(n.ID); err == nil {
		return ErrTenantExists
	}
	others, err := (*TenantSet)(nil).decode(c.extra[len(c.extra)-1])
	switch {
	case err != nil:
		return err
	case len(others) > 0:
		return fmt.Errorf("%w: schema %q is that of tenant %q", ErrTenantExists, n.Schema, others[0].ID)
	case c.facts.Schema != nil && !n.Adopt:
		return fmt.Errorf("%w: schema %q is there, and no tenant's", ErrTenantExists, n.Schema)
	case n.Adopt && n.Schema == LedgerSchema:
		return fmt.Errorf("schema %q is the ledger's", n.Schema)
	case c.facts.Schema == nil && n.Adopt:
		return fmt.Errorf("%w: there is no schema %q to adopt", ErrTenantNotFound, n.Schema)
	case c.facts.Schema == nil && !c.facts.MayCreate:
		return &PrivilegeError{Role: c.facts.Role, Schema: n.Schema, Statements: []string{c.facts.grantCreate()}}
	}
	return nil
}

func (n *NewTenant) insert(role string, state TenantState) string {
	source := ""
	if state == TenantCreating {
		source = n.From
	}
	return fmt.Sprintf("insert into %s (prefix, id, schema, role, state, source) values (%s, %s, %s, %s, %s, %s) returning pg_catalog.to_json(created_at)",
		tenantsTable, literal(n.Set.Prefix), literal(n.ID), literal(n.Schema), nullable(role), literal(string(state)), nullable(source))
}

// createAtOnce makes the tenant in one transaction.
func (r *Runner) createAtOnce(ctx context.Context, f *facts, n NewTenant, from *Tenant) (*Tenant, error) {
	t := &Tenant{ID: n.ID, Prefix: n.Set.Prefix, Schema: n.Schema, State: TenantActive, Versions: make(map[string]string)}
	var last *PrivilegeError // what to say when the last message is refused
	err := r.changeTenants(ctx, &n.Set, f, []string{n.ID}, n.Schema, n.reads(), func(ctx context.Context, c *tenantChange) ([]string, error) {
		if err := n.free(c); err != nil {
			return nil, err
		}
		iso, err := c.isolationOf(ctx, n)
		if err != nil {
			return nil, err
		}
		t.Role = iso.Role
		if err := c.showTenants(ctx, n); err != nil {
			return nil, err
		}
		made, err := c.session.exec(ctx, "create schema "+sqltemplate.Quote(n.Schema), n.insert(t.Role, TenantActive))
		if err != nil {
			return nil, fmt.Errorf("create schema %q: %w", n.Schema, err)
		}
		if err := json.Unmarshal(made[1].Rows[0][0], &t.CreatedAt); err != nil {
			return nil, fmt.Errorf("create schema %q: %w", n.Schema, err)
		}
		at := 0
		var records []string
		for _, module := range n.Modules {
			some, err := c.fill(ctx, module, c.extra[at:])
			if err != nil {
				return nil, err
			}
			at += len(module.reads())
			records = append(records, some...)
			if newest := module.newest(); newest != "" {
				t.Versions[module.Module] = newest
			}
		}
		if from != nil {
			if err := c.copyRows(ctx, from, n.Schema, n.Modules); err != nil {
				return nil, err
			}
		}
		var statements []string
		if n.Isolate {
			inside := Target{Schema: n.Schema, Confined: &Confinement{Reads: n.Reads}}
			if err := inside.staysInside(ctx, c.session); err != nil {
				return nil, err
			}
			in, err := n.isolation().grantable(ctx, c.session, iso)
			if err != nil {
				return nil, err
			}
			statements = n.isolation().statements(iso, in)
			last = &PrivilegeError{Role: c.facts.Role, Schema: n.Schema, Statements: n.isolation().statements(iso, nil)}
		}
		return slices.Concat(statements, []string{lockTimeoutSetting(0)}, records), nil
	})
	if err != nil && last != nil && sqlState(err) == codeInsufficientRight {
		last.Err = err
		err = last
	}
	return t, err
}

// mayDefer reports whether the file may make a constraint that is checked at the end of the transaction.
func (f *File) mayDefer() bool {
	return f.call != nil || deferrable.MatchString(f.Source)
}

var deferrable = regexp.MustCompile(`(?i)deferr`)

// newest is the last version of the target's files.
func (t *Target) newest() string {
	newest := ""
	for _, f := range t.Files {
		if !f.Repeatable() {
			newest = f.Version
		}
	}
	return newest
}

// fill runs the files of a module in the transaction and returns the statements that record them.
func (c *tenantChange) fill(ctx context.Context, t Target, results []*pgconn.Result) ([]string, error) {
	plan, err := t.plan(results[:len(t.reads())])
	if err == nil {
		err = plan.Err()
	}
	if err != nil {
		return nil, t.wrap(err)
	}
	m := &migration{runner: c.runner, target: t, result: new(Result), serverVersion: c.serverVersion, session: c.session, facts: c.facts, plan: plan}
	settings := []string{searchPath(t.Schema), lockTimeoutSetting(m.lockTimeout(nil))}
	fresh := true
	var records []string
	for _, f := range plan.Pending {
		c.defers = c.defers || f.mayDefer()
		if _, err := f.template.Expand(t.Names); err != nil {
			return nil, m.located(f, err)
		}
		if fresh {
			if _, err := c.session.exec(ctx, settings...); err != nil {
				return nil, err
			}
		}
		if err := m.setTimeouts(ctx, f); err != nil {
			return nil, m.located(f, err)
		}
		dirty := c.session.dirty
		c.session.dirty = true
		began := time.Now()
		if err := m.send(ctx, f); err != nil {
			return nil, err
		}
		if c.defers {
			// As if the transaction ended here, so that what fails then is this file's. It is put off again behind that.
			if _, err := c.session.exec(ctx, "savepoint checks", "set constraints all immediate", "rollback to checks", "release checks"); err != nil {
				return nil, m.located(f, err)
			}
		}
		c.session.dirty = dirty || !f.traceless
		records = append(records, c.runner.recordApplied(t, f, time.Since(began)))
		fresh = f.lockTimeout != nil || m.statementTimeout(f) != 0
		if fresh {
			settings = append(settings[:2:2], "set local statement_timeout = 0")
		}
		if !f.traceless {
			// The next file begins as in a session of its own. RESET ALL takes back what began the transaction, too.
			clean := slices.Concat(m.ownRole(f), scrubSession, begin(c.serverVersion)[1:])
			if _, err := c.session.exec(ctx, clean...); err != nil {
				return nil, m.located(f, err)
			}
			fresh = true
		}
	}
	return records, nil
}

// createInSteps makes the tenant where one transaction does not do.
func (r *Runner) createInSteps(ctx context.Context, f *facts, n NewTenant, t *Tenant, from *Tenant) (*Tenant, error) {
	if t == nil {
		err := r.changeTenants(ctx, &n.Set, f, []string{n.ID}, n.Schema, n.reads(), func(ctx context.Context, c *tenantChange) ([]string, error) {
			if err := n.free(c); err != nil {
				return nil, err
			}
			if err := c.showTenants(ctx, n); err != nil {
				return nil, err
			}
			iso, err := c.isolationOf(ctx, n)
			if err != nil {
				return nil, err
			}
			return []string{n.insert(iso.Role, TenantCreating), "create schema " + sqltemplate.Quote(n.Schema)}, nil
		})
		if err != nil {
			return nil, err
		}
	}
	role, err := r.fillInSteps(ctx, n)
	if err == nil {
		err = r.changeTenants(ctx, &n.Set, f, []string{n.ID}, n.Schema, nil, func(ctx context.Context, c *tenantChange) ([]string, error) {
			t, err := c.one(n.ID)
			switch {
			case err != nil:
				return nil, err // dropped meanwhile
			case t.State != TenantCreating:
				return nil, ErrTenantExists // another one has finished it, and it may be in use
			}
			if from != nil {
				if err := c.copyRows(ctx, from, n.Schema, n.Modules); err != nil {
					return nil, err
				}
			}
			return []string{fmt.Sprintf("update %s set state = %s, role = %s, source = null where schema = %s",
				tenantsTable, literal(string(TenantActive)), nullable(role), literal(n.Schema))}, nil
		})
	}
	if err != nil && ctx.Err() == nil {
		if _, _, gone := r.tenant(ctx, &n.Set, n.ID); errors.Is(gone, ErrTenantNotFound) {
			return nil, gone // dropped meanwhile, under the feet of what has failed
		}
		// Nothing of it is left, unless that fails, too: then it is Creating still.
		if dropErr := r.dropTenant(ctx, &n.Set, n.ID, TenantCreating); dropErr != nil && !errors.Is(dropErr, ErrTenantNotFound) {
			err = &unfinishedError{err, dropErr}
		}
	}
	if err != nil {
		return nil, err
	}
	t, _, err = r.tenant(ctx, &n.Set, n.ID)
	return t, err
}

// unfinishedError is an error after which what was begun could not be taken back.
type unfinishedError struct{ err, drop error }

func (e *unfinishedError) Error() string {
	return fmt.Sprintf("%v; it stays half made: %v", e.err, e.drop)
}
func (e *unfinishedError) Unwrap() []error { return []error{e.err, e.drop} }

// fillInSteps runs the modules' files in a schema that is there, and gives it its role.
func (r *Runner) fillInSteps(ctx context.Context, n NewTenant) (role string, err error) {
	for _, module := range n.Modules {
		module.Confined = nil
		if n.Isolate {
			module.Confined = &Confinement{Reads: n.Reads}
		}
		if _, err := r.Up(ctx, module); err != nil {
			return "", err
		}
	}
	if n.Isolate {
		i := n.isolation()
		i.New = false
		return r.Isolate(ctx, i)
	}
	return "", nil
}

// adoptSchema brings a schema up to date and then lists it.
func (r *Runner) adoptSchema(ctx context.Context, f *facts, n NewTenant) (t *Tenant, err error) {
	role := ""
	free := func(state TenantState) error {
		return r.changeTenants(ctx, &n.Set, f, []string{n.ID}, n.Schema, n.reads(), func(ctx context.Context, c *tenantChange) ([]string, error) {
			if err := n.free(c); err != nil {
				return nil, err
			}
			results, err := c.session.exec(ctx, n.strangers(), requirers(n.Schema, false))
			if err == nil {
				err = n.adoptable(results[0], results[1])
			}
			if err != nil || state == "" {
				return []string{"select"}, err
			}
			if err := c.showTenants(ctx, n); err != nil {
				return nil, err
			}
			return []string{n.insert(role, state)}, nil
		})
	}
	if err := everybodys(n.Schema); err != nil {
		return nil, err
	}
	if err := free(""); err != nil { // before anything is changed
		return nil, err
	}
	if role, err = r.fillInSteps(ctx, n); err != nil {
		return nil, err
	}
	if err := free(TenantActive); err != nil {
		return nil, err
	}
	t, _, err = r.tenant(ctx, &n.Set, n.ID)
	return t, err
}
