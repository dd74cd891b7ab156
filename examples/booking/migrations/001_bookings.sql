CREATE TABLE {{tables.bookings}} (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    passenger text NOT NULL,
    airline   text NOT NULL,
    flight    text NOT NULL,
    home      text NOT NULL REFERENCES {{tables.geo.countries}},
    booked_at timestamptz NOT NULL DEFAULT now()
);
