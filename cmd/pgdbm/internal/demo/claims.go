package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/examples/airline"
	"github.com/pgdbm/pgdbm/examples/booking"
	"github.com/pgdbm/pgdbm/examples/geo"
)

// What the bundled files hold.
var bundled = geo.Counts{Countries: 248, Regions: 3901, Airports: 5210}

// libraryAlone is the standalone pattern: the library opens its own pool.
func (s *state) libraryAlone(ctx context.Context) (string, error) {
	g, err := geo.Open(ctx, pgdbm.Config{
		URL: s.server.URL("alone"), ApplicationName: aloneName, MaxConns: 4, Logger: slog.New(s.log),
	})
	if err != nil {
		return "", err
	}
	s.alone = g
	start := time.Now()
	n, err := g.Load(ctx)
	if err != nil {
		return "", err
	}
	took := time.Since(start)
	s.report.Rows = Rows{Countries: n.Countries, Regions: n.Regions, Airports: n.Airports}
	if n != bundled {
		return "", fmt.Errorf("loaded %+v, the files hold %+v", n, bundled)
	}
	var public int
	err = g.DB().QueryRow(ctx, `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`).Scan(&public)
	if err != nil {
		return "", err
	}
	if public != 0 {
		return "", fmt.Errorf("%d tables in schema public", public)
	}
	a, err := ask(ctx, g)
	if err != nil {
		return "", err
	}
	s.answers = append(s.answers, a)
	s.report.Answers = a.lines()
	return fmt.Sprintf("%d countries, %d regions and %d airports copied in %d ms into schema %s; none in public",
		n.Countries, n.Regions, n.Airports, took.Milliseconds(), g.DB().Schema()), nil
}

// secondPool opens another pool to the database the library is using.
func (s *state) secondPool(ctx context.Context) (string, error) {
	if s.alone == nil {
		return "", errNotReached
	}
	cfg := pgdbm.Config{URL: s.server.URL("alone"), Logger: slog.New(s.log)}
	second, err := pgdbm.Open(ctx, cfg)
	if err != nil {
		return "", err
	}
	second.Close()
	warning, ok := s.log.find("Creating another connection pool to ")
	if !ok {
		return "", errors.New("no warning")
	}
	cfg.OnDuplicate = pgdbm.DuplicateFail
	if _, err := pgdbm.Open(ctx, cfg); !errors.Is(err, pgdbm.ErrDuplicatePool) {
		return "", fmt.Errorf("with DuplicateFail: got %v", err)
	}
	return warning, nil
}

// sharedPool is the shared-pool pattern: a host with one pool, and the
// dual-mode library in it.
func (s *state) sharedPool(ctx context.Context) (string, error) {
	pool, err := pgdbm.Open(ctx, pgdbm.Config{
		URL: s.server.URL("host"), ApplicationName: sharedName, MaxConns: sharedMaxConns, Logger: slog.New(s.log),
	})
	if err != nil {
		return "", err
	}
	s.pool = pool
	start := time.Now()
	if s.geo, err = geo.Open(ctx, pool); err != nil {
		return "", err
	}
	if _, err = s.geo.Load(ctx); err != nil {
		return "", err
	}
	if s.desk, err = booking.Open(ctx, pool); err != nil {
		return "", err
	}
	for i, name := range tenants {
		handle, err := pool.Schema(name)
		if err != nil {
			return "", err
		}
		line, err := airline.Open(ctx, handle)
		if err != nil {
			return "", err
		}
		if err := addFlights(ctx, line, i); err != nil {
			return "", err
		}
		s.lines = append(s.lines, line)
	}
	took := time.Since(start)
	var schemas int
	err = s.desk.DB().QueryRow(ctx,
		`SELECT count(DISTINCT (module, target_schema)) FROM pgdbm.migrations WHERE state = 'applied'`).Scan(&schemas)
	if err != nil {
		return "", err
	}
	if want := 2 + len(tenants); schemas != want {
		return "", fmt.Errorf("the ledger has %d attached modules, want %d", schemas, want)
	}
	return fmt.Sprintf("%d schemas migrated and loaded in %d ms", schemas, took.Milliseconds()), nil
}

func addFlights(ctx context.Context, line *airline.Airline, i int) error {
	routes := [][2]string{{"LIM", "CDG"}, {"RIX", "MAD"}, {"AKL", "JFK"}}
	for n := range i + 1 {
		r := routes[(i+n)%len(routes)]
		if err := line.AddFlight(ctx, fmt.Sprintf("%d00", n+1), r[0], r[1], 2); err != nil {
			return err
		}
	}
	return nil
}

// manyGoroutines reads from all modules at once and asks the server, from a
// connection beside the pool, how many connections that takes.
func (s *state) manyGoroutines(ctx context.Context) (string, error) {
	if len(s.lines) < len(tenants) {
		return "", errNotReached
	}
	// Migrations close the connections that they ran on; the server may still be
	// ending those, and they are not what is counted here.
	if err := s.connectionsFall(ctx, sharedName, int(s.pool.Stat().TotalConns())); err != nil {
		return "", err
	}
	const goroutines, rounds = 64, 25
	var wg sync.WaitGroup
	var queries atomic.Int64
	errs := make(chan error, goroutines)
	start := time.Now()
	for i := range goroutines {
		wg.Go(func() {
			for range rounds {
				if err := s.readAll(ctx, i); err != nil {
					errs <- err
					return
				}
				queries.Add(2)
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()

	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for running := true; running; {
		n, err := s.connections(ctx, sharedName)
		if err != nil {
			<-finished
			return "", err
		}
		s.report.Connections = max(s.report.Connections, n)
		select {
		case <-finished:
			running = false
		case <-tick.C:
		}
	}
	took := time.Since(start)
	select {
	case err := <-errs:
		return "", err
	default:
	}
	if n := s.report.Connections; n == 0 || n > sharedMaxConns {
		return "", fmt.Errorf("the server saw %d connections", n)
	}
	return fmt.Sprintf("%d queries in %d ms; the server saw at most %d connections",
		queries.Load(), took.Milliseconds(), s.report.Connections), nil
}

func (s *state) readAll(ctx context.Context, i int) error {
	if _, err := s.geo.Airport(ctx, "RIX"); err != nil {
		return err
	}
	_, err := s.lines[i%len(s.lines)].Routes(ctx)
	return err
}

// answers is what the library says about the world.
type answers struct {
	busiest []geo.CountryAirports
	nearest []geo.Near
	km      float64
}

func ask(ctx context.Context, g *geo.Geo) (a answers, err error) {
	if a.busiest, err = g.Busiest(ctx, 3); err != nil {
		return a, err
	}
	if a.nearest, err = g.Nearest(ctx, 48.8584, 2.2945, 3); err != nil { // the Eiffel Tower
		return a, err
	}
	a.km, err = g.Distance(ctx, "MAD", "JFK")
	return a, err
}

func (a answers) lines() []string {
	lines := []string{fmt.Sprintf("Madrid to New York: %.0f km", a.km)}
	for _, c := range a.busiest {
		lines = append(lines, fmt.Sprintf("%s has %d medium and large airports", c.Name, c.Airports))
	}
	for _, n := range a.nearest {
		lines = append(lines, fmt.Sprintf("%.0f km from the Eiffel Tower: %s (%s)", n.KM, n.Name, n.IATA))
	}
	return lines
}

func (s *state) sameAnswers(ctx context.Context) (string, error) {
	if s.geo == nil || len(s.answers) == 0 {
		return "", errNotReached
	}
	inHost, err := ask(ctx, s.geo)
	if err != nil {
		return "", err
	}
	if !reflect.DeepEqual(inHost, s.answers[0]) {
		return "", fmt.Errorf("alone %+v, in the host %+v", s.answers[0], inHost)
	}
	return "three queries, a pool of its own and the host's pool, equal to the last bit", nil
}

func (s *state) tenantsApart(ctx context.Context) (string, error) {
	if len(s.lines) < len(tenants) {
		return "", errNotReached
	}
	detail := ""
	for i, line := range s.lines {
		routes, err := line.Routes(ctx)
		if err != nil {
			return "", err
		}
		if len(routes) != i+1 {
			return "", fmt.Errorf("%s sees %d flights, has %d", line.Name(), len(routes), i+1)
		}
		detail += fmt.Sprintf("%s: %d; ", line.Name(), len(routes))
	}
	return "flights seen by " + detail + "the same SQL for each", nil
}

// booked counts what the two modules have written.
func (s *state) booked(ctx context.Context) (bookings, sold int, err error) {
	if bookings, err = s.desk.Count(ctx); err != nil {
		return 0, 0, err
	}
	sold, err = s.lines[0].Sold(ctx, "100")
	return bookings, sold, err
}

func (s *state) commitsAsOne(ctx context.Context) (string, error) {
	if len(s.lines) == 0 {
		return "", errNotReached
	}
	for _, passenger := range []string{"Ada", "Grace"} {
		if _, err := s.desk.Book(ctx, s.lines[0], "100", passenger, "PE"); err != nil {
			return "", err
		}
	}
	bookings, sold, err := s.booked(ctx)
	if err != nil {
		return "", err
	}
	if bookings != 2 || sold != 2 {
		return "", fmt.Errorf("%d bookings, %d seats sold; want 2 and 2", bookings, sold)
	}
	return fmt.Sprintf("%d bookings in schema %s, %d seats sold in schema %s",
		bookings, s.desk.DB().Schema(), sold, s.lines[0].Name()), nil
}

func (s *state) rollsBackAsOne(ctx context.Context) (string, error) {
	if len(s.lines) == 0 {
		return "", errNotReached
	}
	before, _, err := s.booked(ctx)
	if err != nil {
		return "", err
	}
	// The flight has two seats, both sold: the booking is written, then the
	// other module's constraint refuses the seat.
	_, err = s.desk.Book(ctx, s.lines[0], "100", "Katherine", "PE")
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.ConstraintName != "flight_is_full" {
		return "", fmt.Errorf("a full flight: got %v", err)
	}
	bookings, sold, err := s.booked(ctx)
	if err != nil {
		return "", err
	}
	if bookings != before || sold != 2 {
		return "", fmt.Errorf("%d bookings, %d seats sold; want %d and 2", bookings, sold, before)
	}
	return "constraint " + pe.ConstraintName + " of the airline refused the seat; the booking is gone too", nil
}

func (s *state) forgottenTemplate(ctx context.Context) (string, error) {
	if s.alone == nil || s.geo == nil {
		return "", errNotReached
	}
	for _, g := range []*geo.Geo{s.alone, s.geo} {
		var pe *pgconn.PgError
		_, err := g.DB().Exec(ctx, `SELECT count(*) FROM airports`)
		if !errors.As(err, &pe) || pe.Code != "42P01" {
			return "", fmt.Errorf("SELECT count(*) FROM airports: got %v", err)
		}
	}
	return "SELECT count(*) FROM airports: undefined table (42P01)", nil
}

func (s *state) closeLibrary(ctx context.Context) (string, error) {
	if s.alone == nil || s.geo == nil {
		return "", errNotReached
	}
	s.geo.Close()
	s.geo.DB().Pool().Close() // a borrowed view: does nothing
	n, err := s.desk.Count(ctx)
	if err != nil {
		return "", fmt.Errorf("the host's pool: %w", err)
	}
	s.alone.Close()
	if err := s.connectionsFall(ctx, aloneName, 0); err != nil {
		return "", err
	}
	if err := s.alone.DB().Ping(ctx); !errors.Is(err, pgdbm.ErrClosed) {
		return "", fmt.Errorf("a closed pool: got %v", err)
	}
	return fmt.Sprintf("the host still reads its %d bookings; the library's own pool has ended", n), nil
}

func (s *state) closeHost(ctx context.Context) (string, error) {
	if s.pool == nil {
		return "", errNotReached
	}
	if err := s.pool.Shutdown(ctx); err != nil {
		return "", err
	}
	return "the server sees none of the pool", s.connectionsFall(ctx, sharedName, 0)
}
