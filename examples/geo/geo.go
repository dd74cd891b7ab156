// Package geo is a dual-mode library: countries, regions and airports in a
// schema of their own, for any program that has a PostgreSQL database.
//
// It runs alone, with a pool of its own, when it is given a connection URL, and
// inside a host that lends it a pool; the code is the same, and so are the
// answers.
//
//	g, err := geo.Open(ctx, pgdbm.URL(os.Getenv("GEO_URL"))) // alone
//	g, err := geo.Open(ctx, pool)                             // in a host
//
// The data is OurAirports', which is in the public domain.
package geo

import (
	"context"
	"embed"
	"fmt"

	"github.com/pgdbm/pgdbm"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Module is what geo keeps in the database. A host that attaches all its
// modules in one call passes it to pgdbm.AttachAll.
var Module = pgdbm.Module{Name: "geo", Files: migrations}

// Geo answers questions about places. It is safe for concurrent use.
type Geo struct {
	db *pgdbm.Attached
}

// Open attaches the library to src and applies its migrations. It loads no
// data: see [Geo.Load].
func Open(ctx context.Context, src pgdbm.Source) (*Geo, error) {
	db, err := pgdbm.Attach(ctx, src, Module)
	if err != nil {
		return nil, fmt.Errorf("geo: %w", err)
	}
	return &Geo{db}, nil
}

// Close ends the pool, if Open opened one. A host's pool stays open.
func (g *Geo) Close() { g.db.Close() }

// DB returns the library's handle, for a host whose own transaction writes
// through it.
func (g *Geo) DB() *pgdbm.DB { return g.db.DB }

// Airport is a medium or large airport.
type Airport struct {
	Ident       string // ICAO code, or OurAirports' own
	Size        string // "medium" or "large"
	Name        string
	Latitude    float64 // degrees north
	Longitude   float64 // degrees east
	ElevationFt *int    // feet above the sea; nil where unknown
	Country     string  // ISO 3166-1 code
	Region      string  // ISO 3166-2 code
	City        *string
	IATA        *string
}

const airportColumns = `ident, size, name, latitude, longitude, elevation_ft, country, region, city, iata`

// Airport returns the airport with an IATA code, such as "JFK". Without one the
// error is pgx.ErrNoRows.
func (g *Geo) Airport(ctx context.Context, iata string) (Airport, error) {
	return pgdbm.One[Airport](ctx, g.db,
		`SELECT `+airportColumns+` FROM {{tables.airports}} WHERE iata = $1`, iata)
}

// Distance returns the great-circle distance of two airports in kilometres.
func (g *Geo) Distance(ctx context.Context, from, to string) (float64, error) {
	return pgdbm.Value[float64](ctx, g.db, `
		SELECT {{functions.distance_km}}(a.latitude, a.longitude, b.latitude, b.longitude)
		FROM {{tables.airports}} a, {{tables.airports}} b WHERE a.iata = $1 AND b.iata = $2`, from, to)
}

// Near is an airport and how far it is.
type Near struct {
	IATA string
	Name string
	KM   float64
}

// Nearest returns the n airports with an IATA code that are nearest to a
// place, nearest first.
func (g *Geo) Nearest(ctx context.Context, latitude, longitude float64, n int) ([]Near, error) {
	return pgdbm.All[Near](ctx, g.db, `
		SELECT iata, name, {{functions.distance_km}}($1, $2, latitude, longitude) AS km
		FROM {{tables.airports}} WHERE iata IS NOT NULL ORDER BY km, iata LIMIT $3`, latitude, longitude, n)
}

// CountryAirports is a country and how many airports it has.
type CountryAirports struct {
	Code, Name string
	Airports   int
}

// Busiest returns the n countries with the most airports.
func (g *Geo) Busiest(ctx context.Context, n int) ([]CountryAirports, error) {
	return pgdbm.All[CountryAirports](ctx, g.db, `
		SELECT c.code, c.name, count(*) AS airports
		FROM {{tables.airports}} a JOIN {{tables.countries}} c ON c.code = a.country
		GROUP BY c.code ORDER BY airports DESC, c.code LIMIT $1`, n)
}
