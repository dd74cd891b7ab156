package engine

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// change writes the ledger under the schema's lock, in one transaction: what decide returns once it has seen the plan.
// With no statements nothing is written.
func (r *Runner) change(ctx context.Context, t Target, removes bool, decide func(m *migration) ([]string, error)) ([]*pgconn.Result, error) {
	f, _, err := r.read(ctx, t.Schema)
	switch {
	case err != nil:
		return nil, err
	case f.Recovery:
		return nil, ErrReadOnly
	case f.Ledger == nil && removes:
		return nil, ErrNotRecorded
	}
	missing := f.lackingForLedger()
	if removes && !f.Ledger.Delete {
		missing = append(missing, f.grantDelete())
	}
	if len(missing) > 0 {
		return nil, &PrivilegeError{Role: f.Role, Schema: LedgerSchema, Statements: missing}
	}
	if len(f.ledgerStatements()) > 0 {
		if err := r.ensureLedger(ctx, f); err != nil {
			return nil, err
		}
	}
	m := &migration{runner: r, target: t, result: new(Result), serverVersion: f.Version}
	defer m.end()
	whole := new(File) // stands for the change in what is logged
	for {
		results, err := m.changeOnce(ctx, decide)
		if err == nil {
			return results, nil
		}
		m.abandon(ctx)
		if err = m.retryOr(ctx, whole, err, m.blockers); !errors.Is(err, errAgain) {
			return nil, err
		}
	}
}

func (m *migration) changeOnce(ctx context.Context, decide func(m *migration) ([]string, error)) ([]*pgconn.Result, error) {
	m.plan, m.blockers = nil, nil
	if _, err := m.lock(ctx); m.plan == nil {
		return nil, err // what the plan refuses concerns going up
	}
	w := m.runner.watchBlockers(ctx, m.facts.PID, m.lockTimeout(nil))
	defer func() { m.blockers = w.stop() }()
	statements, err := decide(m)
	if err != nil || len(statements) == 0 {
		m.abandon(ctx)
		return nil, err
	}
	return m.session.commit(ctx, statements)
}

func (f *facts) grantDelete() string {
	return "GRANT DELETE ON " + ledgerTable + " TO " + sqltemplate.Quote(f.Role)
}
