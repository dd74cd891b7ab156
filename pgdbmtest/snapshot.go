package pgdbmtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
)

// Saved is a copy of a test's database as it was at a moment.
type Saved struct {
	server   *server
	pool     *pgdbm.Pool
	database string
	copy     string
}

// Snapshot copies the database of a pool of [New], all schemas of it, for
// [Saved.Restore]. The test's end drops the copy. None of the pool's connections
// may be in use; those that are idle are closed, and what their sessions had is
// gone.
func Snapshot(tb testing.TB, pool *pgdbm.Pool) *Saved {
	tb.Helper()
	server, err := shared()
	if err != nil {
		tb.Fatalf("pgdbmtest: snapshot: %v", err)
	}
	s := &Saved{server: server, pool: pool, database: pool.Pgx().Config().ConnConfig.Database}
	if s.copy, err = server.anotherName(s.database); err != nil {
		tb.Fatalf("pgdbmtest: snapshot: %v", err)
	}
	if err := s.alone(tb.Context()); err != nil {
		tb.Fatalf("pgdbmtest: snapshot: %v", err)
	}
	tb.Cleanup(func() { server.drops.add(drop{name: s.copy, own: true}) })
	if err := server.copyDatabase(tb.Context(), s.database, s.copy); err != nil {
		tb.Fatalf("pgdbmtest: snapshot: %v", err)
	}
	return s
}

// Restore makes the database what it was at the time of [Snapshot], as often as
// it is called. The pool stays. None of its connections may be in use, else the
// test fails and the database is left as it is; those that are idle are closed.
func (s *Saved) Restore(tb testing.TB) {
	tb.Helper()
	if err := s.restore(tb.Context()); err != nil {
		tb.Fatalf("pgdbmtest: restore: %v", err)
	}
}

// restore renames a copy of the copy, so that the database is either as it was
// or as it shall be.
func (s *Saved) restore(ctx context.Context) error {
	if err := s.alone(ctx); err != nil {
		return err
	}
	fresh, err := s.server.anotherName(s.database)
	if err != nil {
		return err
	}
	if err := s.server.copyDatabase(ctx, s.copy, fresh); err != nil {
		return err
	}
	for _, sql := range []string{
		"DROP DATABASE " + pgx.Identifier{s.database}.Sanitize() + " WITH (FORCE)",
		"ALTER DATABASE " + pgx.Identifier{fresh}.Sanitize() + " RENAME TO " + pgx.Identifier{s.database}.Sanitize(),
	} {
		if _, err := s.server.admin.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			s.server.drops.add(drop{name: fresh, own: true})
			return err
		}
	}
	return nil
}

// alone closes the pool's idle connections and makes sure that nobody else has
// one to the database.
func (s *Saved) alone(ctx context.Context) error {
	if n := s.pool.Pgx().Stat().AcquiredConns(); n > 0 {
		return fmt.Errorf("%d connections of the pool are in use", n)
	}
	s.pool.Pgx().Reset()
	conn, err := s.server.admin.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	empty, err := awaitEmpty(ctx, conn.Conn(), s.database, leaveTime)
	if err == nil && !empty {
		err = fmt.Errorf("somebody is connected to database %s", s.database)
	}
	return err
}

func (s *server) copyDatabase(ctx context.Context, from, to string) error {
	_, err := s.admin.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{to}.Sanitize()+" TEMPLATE "+pgx.Identifier{from}.Sanitize()+s.fileCopy,
		pgx.QueryExecModeSimpleProtocol)
	return err
}

// anotherName is for one more database of the template that this one of the
// run's is a clone of.
func (s *server) anotherName(clone string) (string, error) {
	m := cloneName.FindStringSubmatch(clone)
	if m == nil || m[1] != s.run {
		return "", fmt.Errorf("database %s is not one of New's", clone)
	}
	s.mu.Lock()
	t := s.templates[templateOf(clone)]
	s.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.made++
	return fmt.Sprintf("%s_%s_%d", t.name, s.run, t.made), nil
}
