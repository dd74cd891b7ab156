package pgdbm

import (
	"errors"
	"fmt"

	"github.com/pgdbm/pgdbm/internal/bridge"
	"github.com/pgdbm/pgdbm/internal/engine"
)

func init() {
	bridge.PrepareFleet = func(pool, module any) (r *engine.Runner, files []*engine.File, isolates bool, err error) {
		p, m := pool.(*Pool), module.(Module)
		l, err := m.load()
		if err != nil {
			return nil, nil, false, err
		}
		if l.files == nil {
			return nil, nil, false, fmt.Errorf("module %s: %w", m.Name, errors.New("no migrations: Files is nil"))
		}
		if p == nil || p.core == nil {
			return nil, nil, false, errors.New("nil *pgdbm.Pool")
		}
		return p.core.runner(""), l.files, p.core.isolates, nil
	}
}
