// Package booking is a module of the example program: who flies with whom. It
// requires module geo, and books seats of airlines in one transaction with its
// own records.
package booking

import (
	"context"
	"embed"
	"fmt"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/examples/airline"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Module is what booking keeps in the database.
var Module = pgdbm.Module{Name: "booking", Files: migrations, Requires: []string{"geo"}}

// Desk books flights. It is safe for concurrent use.
type Desk struct {
	db *pgdbm.Attached
}

// Open attaches the module to src.
func Open(ctx context.Context, src pgdbm.Source) (*Desk, error) {
	db, err := pgdbm.Attach(ctx, src, Module)
	if err != nil {
		return nil, fmt.Errorf("booking: %w", err)
	}
	return &Desk{db}, nil
}

// Close ends the pool, if Open opened one.
func (d *Desk) Close() { d.db.Close() }

// DB returns the module's handle.
func (d *Desk) DB() *pgdbm.DB { return d.db.DB }

// Book records a booking and takes the seat, both or neither: the tables belong
// to two modules, the transaction is one. home is the country that the
// passenger comes from.
func (d *Desk) Book(ctx context.Context, a *airline.Airline, flight, passenger, home string) (id int64, err error) {
	err = d.db.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
		id, err = pgdbm.Value[int64](ctx, tx, `
			INSERT INTO {{tables.bookings}} (passenger, airline, flight, home) VALUES ($1, $2, $3, $4) RETURNING id`,
			passenger, a.Name(), flight, home)
		if err != nil {
			return err
		}
		return a.TakeSeat(ctx, tx, flight)
	})
	if err != nil {
		return 0, fmt.Errorf("booking: %w", err)
	}
	return id, nil
}

// Count returns how many bookings there are.
func (d *Desk) Count(ctx context.Context) (int, error) {
	return pgdbm.Value[int](ctx, d.db, `SELECT count(*) FROM {{tables.bookings}}`)
}
