// Package airline is a module of which a program has one copy for each of its
// tenants: every airline's flights, in a schema of its own. It requires module
// geo, whose airports all airlines share.
package airline

import (
	"context"
	"embed"
	"fmt"

	"github.com/pgdbm/pgdbm"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Module is attached once for each tenant, to a handle of the tenant's schema.
var Module = pgdbm.Module{Name: "airline", Files: migrations, Requires: []string{"geo"}}

// Airline is one tenant. It is safe for concurrent use.
type Airline struct {
	db *pgdbm.Attached
}

// Open attaches the module to src, which a host makes with Pool.Schema.
func Open(ctx context.Context, src pgdbm.Source) (*Airline, error) {
	db, err := pgdbm.Attach(ctx, src, Module)
	if err != nil {
		return nil, fmt.Errorf("airline: %w", err)
	}
	return &Airline{db}, nil
}

// Name returns the tenant's schema.
func (a *Airline) Name() string { return a.db.Schema() }

// DB returns the tenant's handle, for transactions that other modules take
// part in.
func (a *Airline) DB() *pgdbm.DB { return a.db.DB }

// AddFlight adds a flight between two airports, named by IATA code.
func (a *Airline) AddFlight(ctx context.Context, number, origin, destination string, seats int) error {
	_, err := a.db.Exec(ctx, `
		INSERT INTO {{tables.flights}} (number, origin, destination, seats) VALUES ($1, $2, $3, $4)`,
		number, origin, destination, seats)
	return err
}

// Route is a flight with the names of its ends.
type Route struct {
	Number, From, To string
	Free             int
}

// Routes returns the airline's flights; the names of the airports come from
// module geo, in the same query.
func (a *Airline) Routes(ctx context.Context) ([]Route, error) {
	return pgdbm.All[Route](ctx, a.db, `
		SELECT f.number, o.name AS "from", d.name AS "to", f.seats - f.sold AS free
		FROM {{tables.flights}} f
		JOIN {{tables.geo.airports}} o ON o.iata = f.origin
		JOIN {{tables.geo.airports}} d ON d.iata = f.destination
		ORDER BY f.number`)
}

// TakeSeat sells a seat inside the caller's transaction, which may be any
// module's. A full flight violates the constraint flight_is_full.
func (a *Airline) TakeSeat(ctx context.Context, tx *pgdbm.Tx, flight string) error {
	tx, err := tx.In(a.db.DB)
	if err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `UPDATE {{tables.flights}} SET sold = sold + 1 WHERE number = $1`, flight)
	if err == nil && tag.RowsAffected() == 0 {
		err = fmt.Errorf("airline: %s has no flight %s", a.Name(), flight)
	}
	return err
}

// Sold returns how many seats of a flight are sold.
func (a *Airline) Sold(ctx context.Context, flight string) (int, error) {
	return pgdbm.Value[int](ctx, a.db, `SELECT sold FROM {{tables.flights}} WHERE number = $1`, flight)
}
