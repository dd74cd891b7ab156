package pgdbmtest

import (
	"context"
	"fmt"
	"slices"
)

// The connections of a server are shared out between all runs in units, each of
// which is an advisory lock: so a run that is killed gives its units back.
const (
	unitSize = 4 // connections

	// unitClass is the first half of a unit's lock; the second is its number, from 1.
	unitClass = 0x70676475

	// runUnits are the units that a run has beside those of its tests, for its
	// own connections.
	runUnits = 2

	// testUnits are what a run has for its tests at least.
	testUnits = 2

	// leftOver are the connections that are in no unit: of runs that are waiting
	// for units, of the builder of a template, of whoever looks at the server.
	leftOver = 4
)

// units are those of a server that this run has. They belong to the session
// server.life and share its mutex.
type units struct {
	server *server
	total  int
	held   []int32
}

func newUnits(s *server, connections int) (*units, error) {
	total := (connections - leftOver) / unitSize
	if least := runUnits + testUnits; total < least {
		return nil, fmt.Errorf("it has %d connections for tests, which need %d", max(connections, 0), least*unitSize+leftOver)
	}
	return &units{server: s, total: total}, nil
}

// mostForTests is how many connections the tests of a run could ever have.
func (u *units) mostForTests() int { return (u.total - runUnits) * unitSize }

// try takes n units, none below the least, or nothing when there are not as
// many. What it takes in vain is free again before it returns.
func (u *units) try(n, least int) ([]int32, error) {
	// The caller's context must not end the session that has all locks.
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	u.server.lifeMu.Lock()
	defer u.server.lifeMu.Unlock()
	var got []int32
	// A session could take its own locks again. CASE keeps the order.
	err := u.server.life.QueryRow(ctx, `SELECT array_agg(i) FROM (SELECT i FROM generate_series($1::int, $2::int) i
		WHERE CASE WHEN i = ANY($3::int[]) THEN false ELSE pg_try_advisory_lock($4, i) END LIMIT $5) got`,
		least, u.total, u.held, int32(unitClass), n).Scan(&got)
	if err != nil {
		return nil, err
	}
	if len(got) < n {
		return nil, u.unlock(ctx, got)
	}
	u.held = append(u.held, got...)
	return got, nil
}

// await is try for who cannot do without.
func (u *units) await(ctx context.Context, n int) (got []int32, err error) {
	err = poll(ctx, func() (bool, error) {
		got, err = u.try(n, 1)
		return got != nil, err
	})
	return got, err
}

func (u *units) free(ids []int32) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	u.server.lifeMu.Lock()
	defer u.server.lifeMu.Unlock()
	u.held = slices.DeleteFunc(u.held, func(id int32) bool { return slices.Contains(ids, id) })
	return u.unlock(ctx, ids)
}

func (u *units) unlock(ctx context.Context, ids []int32) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := u.server.life.Exec(ctx, "SELECT pg_advisory_unlock($1, i) FROM unnest($2::int[]) i", int32(unitClass), ids)
	return err
}
