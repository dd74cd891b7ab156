package pgdbm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// status has a text of its own, as many enumerations in Go do; as a parameter
// of a number it must stay a number.
type status int

func (status) String() string { return "active" }

// columnTypes are those that two schemas may have for one column. ? stands for
// the schema of a type that each schema has of its own.
var columnTypes = []string{"int2", "int4", "int8", "numeric", "float4", "float8", "text", "varchar(40)", "char(5)", "bool", "uuid",
	"date", "timestamp", "timestamptz", "bytea", "jsonb", "int8[]", "timestamptz[]", "daterange", "?.mood", "?.mood[]", "?.pair", "?.small"}

var arguments = []any{
	7, int16(-3), int64(5_000_000_000), status(2), 1.5, float32(0.1), 0.1, 123456.789, true, "x", "7", "sad", "a ", "", nil,
	[]byte{0, 'a', '\\', 0xff}, []byte("plain"), [16]byte{1, 2, 3},
	time.Date(2026, 3, 1, 22, 30, 5, 123456789, time.FixedZone("", -5*3600)), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
	time.Date(12026, 3, 1, 0, 0, 0, 0, time.UTC), new(time.Date(1999, 12, 31, 23, 59, 59, 0, time.Local)),
	pgtype.Timestamptz{Time: time.Date(2026, 3, 1, 22, 30, 0, 0, time.UTC), Valid: true}, pgtype.Date{InfinityModifier: pgtype.Infinity, Valid: true},
	pgtype.Timestamp{Time: time.Date(2026, 3, 1, 22, 30, 0, 0, time.UTC), Valid: true},
	json.RawMessage(`{"a": [1, "b"]}`), map[string]any{"k": 1}, netip.MustParseAddr("10.0.0.1"),
	[]int32{1, 2}, []int64{1 << 40}, []string{"a", `b"`}, []time.Time{time.Date(2026, 3, 1, 22, 30, 0, 0, time.FixedZone("", 3600))},
	pgtype.Numeric{Valid: true, NaN: true}, pgtype.Range[pgtype.Date]{LowerType: pgtype.Inclusive, UpperType: pgtype.Exclusive,
		Lower: pgtype.Date{Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Valid: true}, Upper: pgtype.Date{Time: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), Valid: true}, Valid: true},
}

// What a statement does in a schema must not depend on the schema in which it
// was run first: for every pair of types that a column may have in two schemas,
// and arguments of every kind, the outcome in the second one is what pgx does there.
func TestAStatementLearnedInOneSchemaDoesInAnotherWhatPgxDoes(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	ctx := t.Context()
	const zone = "Asia/Kolkata" // where a cast between moments shows
	pool := openPool(t, pgdbm.Config{URL: url, MaxConns: 1, InitSQL: "SET TimeZone = '" + zone + "'"})
	peer := connect(t, url)
	if _, err := peer.Exec(ctx, "SET TimeZone = '"+zone+"'"); err != nil {
		t.Fatal(err)
	}
	handles := make([]*pgdbm.DB, len(columnTypes))
	for i, typ := range columnTypes {
		schema := fmt.Sprintf("schema%d", i)
		testdb.Exec(t, url, strings.ReplaceAll(`CREATE SCHEMA ?; CREATE TYPE ?.mood AS ENUM ('sad', 'x'); CREATE TYPE ?.pair AS (a int, b text);
			CREATE DOMAIN ?.small AS int CHECK (value < 100); CREATE TABLE ?.t (v `+typ+`); CREATE TABLE ?.w (v `+typ+`)`, "?", schema))
		handles[i] = mustSchema(t, pool, schema)
		for _, arg := range arguments { // what can be found
			_, _ = peer.Exec(ctx, "INSERT INTO "+schema+".w VALUES ($1)", pgx.QueryExecModeDescribeExec, arg)
		}
	}
	statements := map[string]string{
		"INSERT": `INSERT INTO {{tables.t}} VALUES ($1) RETURNING v::text`,
		"WHERE":  `SELECT count(*)::text FROM {{tables.w}} WHERE v = $1`,
	}
	n := 0
	for i := range columnTypes {
		for j := range columnTypes {
			for a, arg := range arguments {
				if (i+j+a)%4 != 0 { // enough of them
					continue
				}
				for name, sql := range statements {
					n++
					sql = fmt.Sprintf("%s /* %d */", sql, n)
					var ignored, got, want *string
					_ = handles[i].QueryRow(ctx, sql, arg).Scan(&ignored) // where it fails, the second schema learns it
					gotErr := handles[j].QueryRow(ctx, sql, arg).Scan(&got)
					text, err := handles[j].Expand(sql)
					if err != nil {
						t.Fatal(err)
					}
					wantErr := peer.QueryRow(ctx, text, pgx.QueryExecModeDescribeExec, arg).Scan(&want)
					if !equal(got, want) || (gotErr == nil) != (wantErr == nil) {
						t.Errorf("%s of %T(%v), learned as %s, met as %s: got %s, %v; pgx %s, %v",
							name, arg, arg, columnTypes[i], columnTypes[j], show(got), gotErr, show(want), wantErr)
					}
				}
			}
		}
	}
	t.Logf("%d statements", n)
}

func equal(a, b *string) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }

func show(s *string) string {
	if s == nil {
		return "NULL"
	}
	return *s
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}
