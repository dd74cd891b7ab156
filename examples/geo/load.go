package geo

import (
	"bytes"
	"context"
	"embed"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
)

//go:embed data/*.csv
var data embed.FS

// Counts are numbers of rows.
type Counts struct{ Countries, Regions, Airports int64 }

// Load copies the library's data into its tables, all of it or nothing. Tables
// that have data already are left alone, so Load may be called at every start.
func (g *Geo) Load(ctx context.Context) (Counts, error) {
	err := g.db.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
		// Two programs that start together must not both find the tables empty.
		if _, err := tx.Exec(ctx, `LOCK TABLE {{tables.countries}} IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		if n, err := count(ctx, tx); err != nil || n.Countries > 0 {
			return err
		}
		return copyAll(ctx, tx)
	})
	if err != nil {
		return Counts{}, fmt.Errorf("geo: load: %w", err)
	}
	return g.Count(ctx)
}

// Count returns how many rows the library's tables have.
func (g *Geo) Count(ctx context.Context) (Counts, error) { return count(ctx, g.db) }

func count(ctx context.Context, q pgdbm.Querier) (Counts, error) {
	return pgdbm.One[Counts](ctx, q, `SELECT
		(SELECT count(*) FROM {{tables.countries}}) AS countries,
		(SELECT count(*) FROM {{tables.regions}}) AS regions,
		(SELECT count(*) FROM {{tables.airports}}) AS airports`)
}

func copyAll(ctx context.Context, tx *pgdbm.Tx) error {
	for _, t := range []struct {
		table   string
		file    string
		columns []string
		row     func(rec []string) ([]any, error)
	}{
		{"countries", "countries.csv", []string{"code", "name", "continent"}, texts},
		{"regions", "regions.csv", []string{"code", "name", "country"}, texts},
		{"airports", "airports.csv", []string{"ident", "size", "name", "latitude", "longitude",
			"elevation_ft", "country", "region", "city", "iata"}, airport},
	} {
		src, err := newCSVSource(t.file, t.row)
		if err != nil {
			return err
		}
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{t.table}, t.columns, src); err != nil {
			return fmt.Errorf("%s: %w", t.file, err)
		}
	}
	// Else the first queries are planned as if the tables were empty.
	_, err := tx.Exec(ctx, `ANALYZE {{tables.countries}}, {{tables.regions}}, {{tables.airports}}`)
	return err
}

func texts(rec []string) ([]any, error) {
	row := make([]any, len(rec))
	for i, s := range rec {
		row[i] = s
	}
	return row, nil
}

// airport reads ident, type, name, latitude, longitude, elevation, country,
// region, municipality, IATA code; an empty field of the last kind is NULL.
func airport(rec []string) ([]any, error) {
	lat, err := strconv.ParseFloat(rec[3], 64)
	if err != nil {
		return nil, err
	}
	lon, err := strconv.ParseFloat(rec[4], 64)
	if err != nil {
		return nil, err
	}
	var elevation any
	if rec[5] != "" {
		if elevation, err = strconv.Atoi(rec[5]); err != nil {
			return nil, err
		}
	}
	optional := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	return []any{rec[0], strings.TrimSuffix(rec[1], "_airport"), rec[2], lat, lon, elevation,
		rec[6], rec[7], optional(rec[8]), optional(rec[9])}, nil
}

// csvSource is a pgx.CopyFromSource that reads an embedded CSV file with a
// header line.
type csvSource struct {
	file   string
	reader *csv.Reader
	row    func(rec []string) ([]any, error)
	values []any
	err    error
}

func newCSVSource(file string, row func([]string) ([]any, error)) (*csvSource, error) {
	b, err := data.ReadFile("data/" + file)
	if err != nil {
		return nil, err
	}
	s := &csvSource{file: file, reader: csv.NewReader(bytes.NewReader(b)), row: row}
	if _, err := s.reader.Read(); err != nil { // the header
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

func (s *csvSource) Next() bool {
	rec, err := s.reader.Read()
	if err == io.EOF {
		return false
	}
	if err == nil {
		s.values, err = s.row(rec)
	}
	if err != nil {
		line, _ := s.reader.FieldPos(0)
		s.err = fmt.Errorf("%s:%d: %w", s.file, line, err)
		return false
	}
	return true
}

func (s *csvSource) Values() ([]any, error) { return s.values, nil }

func (s *csvSource) Err() error { return s.err }
