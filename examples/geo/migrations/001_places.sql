CREATE TABLE {{tables.countries}} (
    code      text PRIMARY KEY,
    name      text NOT NULL,
    continent text NOT NULL
);

CREATE TABLE {{tables.regions}} (
    code    text PRIMARY KEY,
    name    text NOT NULL,
    country text NOT NULL REFERENCES {{tables.countries}}
);

CREATE INDEX ON {{tables.regions}} (country);

CREATE TABLE {{tables.airports}} (
    ident        text PRIMARY KEY,
    size         text NOT NULL CHECK (size IN ('medium', 'large')),
    name         text NOT NULL,
    latitude     double precision NOT NULL,
    longitude    double precision NOT NULL,
    elevation_ft integer,
    country      text NOT NULL REFERENCES {{tables.countries}},
    region       text NOT NULL REFERENCES {{tables.regions}},
    city         text,
    iata         text UNIQUE
);

CREATE INDEX ON {{tables.airports}} (country);
