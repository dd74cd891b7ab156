// Package demo shows the three patterns on real data and checks what pgdbm
// promises against a server of its own.
package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/examples/airline"
	"github.com/pgdbm/pgdbm/examples/booking"
	"github.com/pgdbm/pgdbm/examples/geo"
	"github.com/pgdbm/pgdbm/localpg"
)

const (
	sharedMaxConns = 8
	sharedName     = "pgdbm-demo-host"  // application_name of the shared pool
	aloneName      = "pgdbm-demo-alone" // and of the library's own
)

var tenants = []string{"andes_air", "baltic_wings", "coral_jet"}

// state is what the steps of the demo share.
type state struct {
	server *localpg.Server
	admin  *pgx.Conn // a connection beside the pools, to ask the server about them
	log    *recorder

	alone *geo.Geo      // the library with a pool of its own
	pool  *pgdbm.Pool   // the host's pool
	geo   *geo.Geo      // the library in the host
	desk  *booking.Desk // module booking
	lines []*airline.Airline

	answers []answers // one per mode
	report  *Report
}

// Run starts a server, checks the claims one after the other, and stops the
// server again. Its error says that the demo could not be run; a claim that
// does not hold is in the report.
func Run(ctx context.Context) (report *Report, err error) {
	start := time.Now()
	server, err := localpg.Start(ctx, &localpg.Options{Fetch: true})
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	defer func() {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if stopErr := server.Stop(stopCtx); stopErr != nil && err == nil {
			err = fmt.Errorf("demo: %w", stopErr)
		}
	}()

	s := &state{server: server, log: newRecorder(), report: &Report{OK: true}}
	defer s.close(ctx)
	if err := s.prepare(ctx); err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	for _, step := range []struct {
		name  string
		check func(*state, context.Context) (string, error)
	}{
		{"a library runs alone, with a pool and a schema of its own", (*state).libraryAlone},
		{"a second pool to one database is warned of, or refused", (*state).secondPool},
		{"one pool serves geo, booking and three airlines", (*state).sharedPool},
		{"64 goroutines stay within 8 server connections", (*state).manyGoroutines},
		{"the same query gives the same answer in both modes", (*state).sameAnswers},
		{"each tenant sees its own rows", (*state).tenantsApart},
		{"a transaction over two modules commits as one", (*state).commitsAsOne},
		{"a transaction over two modules rolls back as one", (*state).rollsBackAsOne},
		{"SQL that forgot its template fails, in both modes", (*state).forgottenTemplate},
		{"closing the library leaves the host's pool open", (*state).closeLibrary},
		{"closing the host's pool ends every connection", (*state).closeHost},
	} {
		began := time.Now()
		detail, err := step.check(s, ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		c := Claim{Name: step.name, OK: err == nil, Detail: detail, took: time.Since(began)}
		if err != nil {
			c.Detail = err.Error()
			s.report.OK = false
		}
		s.report.Claims = append(s.report.Claims, c)
	}
	s.report.ElapsedMS = time.Since(start).Milliseconds()
	return s.report, nil
}

func (s *state) prepare(ctx context.Context) error {
	var err error
	if s.admin, err = pgx.Connect(ctx, s.server.URL("postgres")); err != nil {
		return err
	}
	for _, db := range []string{"alone", "host"} {
		if _, err := s.admin.Exec(ctx, "CREATE DATABASE "+db); err != nil {
			return err
		}
	}
	return s.admin.QueryRow(ctx, "SHOW server_version").Scan(&s.report.Postgres)
}

func (s *state) close(ctx context.Context) {
	if s.alone != nil {
		s.alone.Close()
	}
	if s.pool != nil {
		s.pool.Close()
	}
	if s.admin != nil {
		_ = s.admin.Close(context.WithoutCancel(ctx))
	}
}

// connections asks the server how many connections a pool has.
func (s *state) connections(ctx context.Context, application string) (int, error) {
	var n int
	err := s.admin.QueryRow(ctx,
		`SELECT count(*) FROM pg_stat_activity WHERE application_name = $1`, application).Scan(&n)
	return n, err
}

// connectionsFall waits until the server's list has no more than limit of a
// pool's connections: it lags behind the client's close.
func (s *state) connectionsFall(ctx context.Context, application string, limit int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := s.connections(ctx, application)
		if err != nil {
			return err
		}
		if n <= limit {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d connections of %s are still open", n, application)
		}
	}
}

var errNotReached = errors.New("an earlier claim did not hold")
