package pgdbm

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
)

func init() {
	bridge.TenantRunner = func(pool any, makes bool) (*engine.Runner, error) {
		p := pool.(*Pool)
		if p == nil || p.core == nil {
			return nil, errors.New("nil *pgdbm.Pool")
		}
		if p.core.held != nil {
			return p.core.heldRunner(), nil
		}
		r := p.core.runnerThat("", func() {})
		if !makes {
			return r, nil
		}
		acquire := r.Acquire
		r.Acquire = func(ctx context.Context) (*pgx.Conn, func(discard bool), error) {
			conn, release, err := acquire(ctx)
			if err == nil {
				p.core.statements.Made(conn)
			}
			return conn, release, err
		}
		return r, nil
	}
	bridge.LoadModules = func(modules any) ([]bridge.LoadedModule, error) {
		ms := modules.([]Module)
		loads := make([]*loaded, len(ms))
		for i, m := range ms {
			l, err := m.load()
			if err != nil {
				return nil, err
			}
			loads[i] = l
		}
		order, err := dependencyOrder(loads)
		if err != nil {
			return nil, err
		}
		var sorted []bridge.LoadedModule
		for _, i := range order {
			l := loads[i]
			sorted = append(sorted, bridge.LoadedModule{Name: l.Name, Files: l.files, Requires: l.Requires, Extensions: l.Extensions})
		}
		return sorted, nil
	}
}
