package pgdbm_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/migrate"
)

// soakTables is the module of a load in a schema, with columns whose types are
// not the same in all of them.
func soakTables(schema string, n int) string {
	pick := func(types ...string) string { return types[n%len(types)] }
	sql := fmt.Sprintf(`CREATE SCHEMA ?;
		CREATE TYPE ?.words AS ENUM ('alpha', 'beta', 'gamma', 'delta');
		CREATE TYPE ?.moods AS ENUM ('sad', 'glad', 'mad');
		CREATE TABLE ?.things (id %s PRIMARY KEY, owner text NOT NULL, rev %s NOT NULL, n int, word %s, mood %s, amount %s, data bytea, tags %s, at %s);
		CREATE TABLE ?.log (id bigserial PRIMARY KEY, owner text NOT NULL, note %s NOT NULL);`,
		pick("int", "bigint", "int", "int"), pick("int", "int", "bigint"), pick("text", "varchar(20)", "?.words"), pick("?.moods", "?.moods", "text"),
		pick("numeric", "numeric(20,2)", "double precision"), pick("text[]", "text[]", "varchar[]"), pick("timestamptz", "timestamptz", "timestamp"),
		pick("text", "varchar"))
	sql = strings.ReplaceAll(sql, "?", schema)
	for id := range int64(soakRows) {
		v := newThing(schema, id+1, int64(n))
		sql += fmt.Sprintf(`INSERT INTO %s.things (%s) VALUES (%d, '%s', %d, %d, '%s', '%s', %f, '%s', '{%s}', '%s');`, schema, thingColumns,
			v.ID, v.Owner, v.Rev, v.N, v.Word, v.Mood, v.Amount, v.Data, strings.Join(v.Tags, ","), v.At.Format("2006-01-02 15:04:05Z"))
	}
	return sql
}

// soakValues are what the columns hold that come and go.
var (
	soakColumns = []string{"extra1", "extra2", "extra3"}
	soakValues  = map[string]string{"extra1": "5", "extra2": "glad", "extra3": "x"}
)

// soakAlter are the changes that another process makes to a table.
var soakAlter = []string{
	`ALTER TABLE ?.things ADD COLUMN IF NOT EXISTS extra1 int DEFAULT 5`,
	`ALTER TABLE ?.things ADD COLUMN IF NOT EXISTS extra2 ?.moods DEFAULT 'glad'`,
	`ALTER TABLE ?.things ADD COLUMN IF NOT EXISTS extra3 text DEFAULT 'x'`,
	`ALTER TABLE ?.things DROP COLUMN IF EXISTS extra1`,
	`ALTER TABLE ?.things DROP COLUMN IF EXISTS extra2, DROP COLUMN IF EXISTS extra3`,
	`ALTER TABLE ?.things ALTER n TYPE bigint`,
	`ALTER TABLE ?.things ALTER n TYPE int`,
	`ALTER TABLE ?.things ALTER id TYPE bigint, ALTER rev TYPE int`,
	`ALTER TABLE ?.things ALTER id TYPE int, ALTER rev TYPE bigint`,
	`ALTER TABLE ?.things ALTER word TYPE text`,
	`ALTER TABLE ?.things ALTER word TYPE varchar(20)`,
	`ALTER TABLE ?.things ALTER word TYPE ?.words USING word::text::?.words`,
	`ALTER TABLE ?.things ALTER mood TYPE text`,
	`ALTER TABLE ?.things ALTER mood DROP DEFAULT, ALTER mood TYPE ?.moods USING mood::text::?.moods`,
	`ALTER TABLE ?.things ALTER amount TYPE numeric`,
	`ALTER TABLE ?.things ALTER amount TYPE double precision`,
	`LOCK TABLE ?.things IN ACCESS EXCLUSIVE MODE; CREATE TABLE ?.fresh (LIKE ?.things INCLUDING ALL);
		INSERT INTO ?.fresh SELECT * FROM ?.things; DROP TABLE ?.things; ALTER TABLE ?.fresh RENAME TO things; ALTER INDEX ?.fresh_pkey RENAME TO things_pkey`,
}

// change changes tables through a connection of its own, of which the pool does
// not know.
func (s *soak) change(r *rand.Rand) {
	ctx := context.Background()
	conn := connect(s.t, s.url)
	if _, err := conn.Exec(ctx, `SET lock_timeout = '1s'; SET client_min_messages = error`); err != nil {
		s.t.Error(err)
	}
	tick := time.NewTicker(30 * time.Millisecond)
	for i := 0; !s.done(); i++ {
		<-tick.C
		n := soakDraw(r)
		sql, done := soakAlter[r.IntN(len(soakAlter))], "changed"
		if i%20 == 10 {
			n = soakSchemas - 1 - r.IntN(soakDropped)
			sql, done = `DROP SCHEMA ? CASCADE`, "dropped"
		}
		schema := s.dbs[n].Schema()
		sql = strings.ReplaceAll(sql, "?", schema)
		_, err := conn.Exec(ctx, sql)
		if err == nil && done == "dropped" {
			<-tick.C
			// With other types, but for the moments: a value goes on being sent as one
			// with a time zone, or without, and is cast.
			_, err = conn.Exec(ctx, soakTables(schema, n+3*r.IntN(soakSchemas)))
		}
		switch code := state(err); {
		case err == nil:
			s.note(done)
		case code == "55P03" || code == "40P01": // no lock
			s.note("change: " + code)
		case n >= soakSchemas-soakDropped && slices.Contains([]string{"42P01", "3F000", "42704", "42P06", "XX000"}, code):
			s.note("change: " + code) // the other one has dropped it
		default:
			s.t.Errorf("%s: %v", sql, err)
		}
	}
}

// migrate applies migrations of this process.
func (s *soak) migrate(r *rand.Rand) {
	files := fstest.MapFS{}
	for tick := time.NewTicker(100 * time.Millisecond); !s.done(); <-tick.C {
		if k := len(files); k < 40 {
			text := fmt.Sprintf("ALTER TABLE {{tables.things}} ADD COLUMN m%d int DEFAULT %[1]d;\n", k)
			if k > 0 {
				text += fmt.Sprintf("ALTER TABLE {{tables.things}} DROP COLUMN m%d;\n", k-1)
			}
			files[fmt.Sprintf("%03d_column.sql", k)] = &fstest.MapFile{Data: []byte(text)}
		}
		m := pgdbm.Module{Name: "soak", Files: maps.Clone(files)}
		res, err := migrate.Up(context.Background(), s.dbs[r.IntN(soakSchemas-soakDropped)], m, nil)
		switch {
		case err == nil && len(res.Applied) > 0:
			s.note("migrated")
		case err == nil:
			s.note("nothing to migrate")
		case s.lost(err):
			s.noteLost(err)
		default:
			s.t.Errorf("migrate: %v", err)
		}
	}
}
