-- One schema of these tables for each airline. Airports are geo's, which all
-- airlines share.
CREATE TABLE {{tables.flights}} (
    number      text PRIMARY KEY,
    origin      text NOT NULL REFERENCES {{tables.geo.airports}} (iata),
    destination text NOT NULL REFERENCES {{tables.geo.airports}} (iata),
    seats       integer NOT NULL,
    sold        integer NOT NULL DEFAULT 0,
    CHECK (origin <> destination),
    CONSTRAINT flight_is_full CHECK (sold BETWEEN 0 AND seats)
);
