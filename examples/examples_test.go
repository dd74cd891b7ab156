package examples_test

import (
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/examples/airline"
	"github.com/pgdbm/pgdbm/examples/booking"
	"github.com/pgdbm/pgdbm/examples/geo"
	"github.com/pgdbm/pgdbm/pgdbmtest"
)

func TestGeoAnswersTheSameAloneAndInAHost(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	host, err := pgdbm.Open(ctx, pgdbm.Config{URL: pgdbmtest.URL(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	tenant, err := host.Schema("Some Tenant")
	if err != nil {
		t.Fatal(err)
	}
	var all [][]geo.Near
	for name, src := range map[string]pgdbm.Source{"alone": pgdbm.URL(pgdbmtest.URL(t)), "host": host, "handle": tenant} {
		g, err := geo.Open(ctx, src)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer g.Close()
		for range 2 { // loading twice is loading once
			if n, err := g.Load(ctx); err != nil || n != (geo.Counts{Countries: 248, Regions: 3901, Airports: 5210}) {
				t.Errorf("%s: loaded %+v, %v", name, n, err)
			}
		}
		near, err := g.Nearest(ctx, 48.8584, 2.2945, 3)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		all = append(all, near)
		if _, err := g.Airport(ctx, "???"); !errors.Is(err, pgx.ErrNoRows) {
			t.Errorf("%s: an airport that is none: %v", name, err)
		}
		if km, err := g.Distance(ctx, "JFK", "LHR"); err != nil || math.Abs(km-5540) > 10 {
			t.Errorf("%s: JFK to LHR %.0f km, %v", name, km, err)
		}
	}
	if !reflect.DeepEqual(all[0], all[1]) || !reflect.DeepEqual(all[0], all[2]) {
		t.Errorf("answers differ: %+v", all)
	}
}

func TestABookingAndItsSeatAreOneTransaction(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool, err := pgdbm.Open(ctx, pgdbm.Config{URL: pgdbmtest.URL(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	g, err := geo.Open(ctx, pool)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Load(ctx); err != nil {
		t.Fatal(err)
	}
	desk, err := booking.Open(ctx, pool)
	if err != nil {
		t.Fatal(err)
	}
	handle, err := pool.Schema("one_seat_air")
	if err != nil {
		t.Fatal(err)
	}
	line, err := airline.Open(ctx, handle)
	if err != nil {
		t.Fatal(err)
	}
	if err := line.AddFlight(ctx, "1", "LHR", "JFK", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := desk.Book(ctx, line, "1", "first", "GB"); err != nil {
		t.Fatal(err)
	}
	var pe *pgconn.PgError
	if _, err := desk.Book(ctx, line, "1", "second", "GB"); !errors.As(err, &pe) || pe.ConstraintName != "flight_is_full" {
		t.Errorf("a full flight: %v", err)
	}
	if _, err := desk.Book(ctx, line, "2", "third", "GB"); err == nil {
		t.Error("a flight that does not exist was booked")
	}
	bookings, err := desk.Count(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sold, err := line.Sold(ctx, "1")
	if err != nil || bookings != 1 || sold != 1 {
		t.Errorf("%d bookings, %d seats sold, %v; want 1 and 1", bookings, sold, err)
	}
}
