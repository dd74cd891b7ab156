package pgdbm_test

import (
	"context"
	databasesql "database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/pgdbm/pgdbm"
)

// scan reads sql with All, One, Value and Each, which must agree, and returns
// what they give.
func scan[T any](t *testing.T, q pgdbm.Querier, sql string, args ...any) (T, error) {
	t.Helper()
	ctx := t.Context()
	one, err := pgdbm.One[T](ctx, q, sql, args...)
	all, allErr := pgdbm.All[T](ctx, q, sql, args...)
	var each []T
	var eachErr error
	for v, err := range pgdbm.Each[T](ctx, q, sql, args...) {
		if eachErr = err; err == nil {
			each = append(each, v)
		}
	}
	if (err == nil) != (allErr == nil) || (err == nil) != (eachErr == nil) {
		t.Errorf("One %v, All %v, Each %v", err, allErr, eachErr)
	}
	if err == nil && (!reflect.DeepEqual(all, []T{one}) || !reflect.DeepEqual(each, []T{one})) {
		t.Errorf("One %v, All %v, Each %v", one, all, each)
	}
	return one, err
}

func wantScan[T any](t *testing.T, q pgdbm.Querier, want T, sql string, args ...any) {
	t.Helper()
	got, err := scan[T](t, q, sql, args...)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s as %T: got %v, %v; want %v", sql, want, got, err, want)
	}
}

// wantScalar is wantScan with Value as well.
func wantScalar[T any](t *testing.T, q pgdbm.Querier, want T, sql string, args ...any) {
	t.Helper()
	wantScan(t, q, want, sql, args...)
	got, err := pgdbm.Value[T](t.Context(), q, sql, args...)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s as %T: Value gave %v, %v; want %v", sql, want, got, err, want)
	}
}

type celsius float64

// upper is a sql.Scanner in the form of a struct with exported fields.
type upper struct{ Text, Other string }

func (u *upper) Scan(v any) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("a %T", v)
	}
	u.Text = strings.ToUpper(s)
	return nil
}

func (u upper) Value() (driver.Value, error) { return u.Text, nil }

func TestScalars(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{Settings: map[string]string{"timezone": "UTC"}})
	at := time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC)
	yes, no := "yes", (*string)(nil)
	wantScalar(t, db, 7, `SELECT 7`)
	wantScalar(t, db, int64(1<<40), `SELECT 1::int8 << 40`)
	wantScalar(t, db, uint16(7), `SELECT 7::int8`)
	wantScalar(t, db, true, `SELECT true`)
	wantScalar(t, db, 1.5, `SELECT 1.5::float8`)
	wantScalar(t, db, celsius(1.5), `SELECT 1.5::float8`)
	wantScalar(t, db, "text", `SELECT 'text'`)
	wantScalar(t, db, "b", `SELECT 'b'::name`)
	wantScalar(t, db, []byte{0, 255}, `SELECT '\x00ff'::bytea`)
	wantScalar(t, db, at, `SELECT '2026-02-03 04:05:06.000007'::timestamp`)
	if got, err := scan[time.Time](t, db, `SELECT '2026-02-03 04:05:06.000007Z'::timestamptz`); err != nil || !got.Equal(at) {
		t.Errorf("timestamptz: %v, %v", got, err)
	}
	wantScalar(t, db, at.Truncate(24*time.Hour), `SELECT '2026-02-03'::date`)
	wantScalar(t, db, 90*time.Second, `SELECT '90 s'::interval`)
	wantScalar(t, db, netip.MustParseAddr("192.0.2.1"), `SELECT '192.0.2.1'::inet`)
	wantScalar(t, db, netip.MustParsePrefix("192.0.2.0/24"), `SELECT '192.0.2.0/24'::cidr`)
	wantScalar(t, db, net.IPNet{IP: net.IP{192, 0, 2, 0}, Mask: net.CIDRMask(24, 32)}, `SELECT '192.0.2.0/24'::cidr`)
	wantScalar(t, db, [16]byte{15: 0xaa}, `SELECT '00000000-0000-0000-0000-0000000000aa'::uuid`)
	wantScalar(t, db, []string{"a", "b"}, `SELECT '{a,b}'::text[]`)
	wantScalar(t, db, []int{1, 2}, `SELECT '{1,2}'::int[]`)
	wantScalar(t, db, []*string{&yes, nil}, `SELECT '{yes,NULL}'::text[]`)
	wantScalar(t, db, [2]int{1, 2}, `SELECT '{1,2}'::int[]`)
	wantScalar(t, db, []time.Time{at}, `SELECT '{2026-02-03 04:05:06.000007}'::timestamp[]`)
	wantScalar(t, db, &yes, `SELECT 'yes'`)
	wantScalar(t, db, no, `SELECT NULL::text`)
	wantScalar(t, db, (*time.Time)(nil), `SELECT NULL::timestamptz`)
	wantScalar(t, db, &at, `SELECT '2026-02-03 04:05:06.000007'::timestamp`)
	wantScalar(t, db, (*netip.Addr)(nil), `SELECT NULL::inet`)
	wantScalar(t, db, databasesql.NullString{String: "x", Valid: true}, `SELECT 'x'`)
	wantScalar(t, db, databasesql.NullString{}, `SELECT NULL::text`)
	wantScalar(t, db, databasesql.NullInt64{Int64: 7, Valid: true}, `SELECT 7::int8`)
	wantScalar(t, db, databasesql.Null[string]{V: "x", Valid: true}, `SELECT 'x'`)
	wantScalar(t, db, pgtype.Text{String: "x", Valid: true}, `SELECT 'x'`)
	wantScalar(t, db, pgtype.Int4{}, `SELECT NULL::int`)
	wantScalar(t, db, pgtype.UUID{Bytes: [16]byte{15: 1}, Valid: true}, `SELECT '00000000-0000-0000-0000-000000000001'::uuid`)
	wantScalar(t, db, pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}, `SELECT 'infinity'::timestamptz`)
	wantScalar(t, db, pgtype.Numeric{Int: big.NewInt(15), Exp: -1, Valid: true}, `SELECT 1.5`)
	wantScalar(t, db, pgtype.Range[pgtype.Int4]{Lower: pgtype.Int4{Int32: 1, Valid: true}, Upper: pgtype.Int4{Int32: 5, Valid: true},
		LowerType: pgtype.Inclusive, UpperType: pgtype.Exclusive, Valid: true}, `SELECT '[1,5)'::int4range`)
	wantScalar(t, db, pgtype.Point{P: pgtype.Vec2{X: 1, Y: 2}, Valid: true}, `SELECT '(1,2)'::point`)
	wantScalar(t, db, upper{Text: "X"}, `SELECT 'x'`)
	wantScalar(t, db, (*upper)(nil), `SELECT NULL::text`)
	wantScalar(t, db, any("x"), `SELECT 'x'`)
	wantScalar(t, db, any(nil), `SELECT NULL::text`)
	wantScalar(t, db, json.RawMessage(`{"a": 1}`), `SELECT '{"a": 1}'::jsonb`)
	if _, err := scan[string](t, db, `SELECT NULL::text`); err == nil {
		t.Error("NULL scans into a string")
	}
	if _, err := scan[url.URL](t, db, `SELECT 'https://example.com/x'`); err == nil {
		t.Error("pgx scans a url.URL now: a test is missing")
	}
}

func TestValueTakesStructsAsOneColumn(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{})
	type address struct {
		Street string `json:"street"`
		Number int    `json:"no"`
	}
	want := address{"Main", 7}
	for _, sql := range []string{`SELECT '{"street": "Main", "no": 7}'::jsonb`, `SELECT '{"street": "Main", "no": 7}'::json`} {
		if got := value[address](t, db, sql); got != want {
			t.Errorf("got %+v", got)
		}
		if got := value[*address](t, db, sql); got == nil || *got != want {
			t.Errorf("pointer: got %+v", got)
		}
	}
	if got := value[*address](t, db, `SELECT NULL::jsonb`); got != nil {
		t.Errorf("NULL: got %+v", got)
	}
	if got := value[map[string]any](t, db, `SELECT '{"a": "b"}'::jsonb`); got["a"] != "b" {
		t.Errorf("map: got %v", got)
	}
	if got := value[[]address](t, db, `SELECT '[{"street": "Main", "no": 7}]'::jsonb`); !slices.Equal(got, []address{want}) {
		t.Errorf("slice: got %v", got)
	}
	if got := value[address](t, db, `SELECT ROW('Main'::text, 7::int4)`); got != want {
		t.Errorf("composite: got %+v", got)
	}
}

type base struct {
	ID      int
	Created time.Time
}

type Tagged struct {
	Kind string `db:"kind_of"`
}

type hidden struct{ Secret string }

func TestStructsAndPointersTakeColumnsByName(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{})
	type person struct {
		ID       int
		FullName string
		Mail     *string `db:"e_mail"`
		Age      databasesql.NullInt32
		Skip     string `db:"-"`
		private  string
		Tags     []string
		Born     time.Time
		Data     map[string]any
		Where    netip.Addr
	}
	born := time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC)
	const sql = `SELECT 'x@y' AS e_mail, 7 AS id, 'Jo' AS full_name, NULL::int AS age, '{a}'::text[] AS tags, '2000-01-02'::date AS born,
		'{"k": 1}'::jsonb AS data, '::1'::inet AS where`
	mail := "x@y"
	want := person{ID: 7, FullName: "Jo", Mail: &mail, Tags: []string{"a"}, Born: born, Data: map[string]any{"k": 1.0}, Where: netip.IPv6Loopback()}
	_ = want.private
	wantScan(t, db, want, sql)
	wantScan(t, db, &want, sql)

	type embedded struct {
		base
		Tagged
		Name string
	}
	e := embedded{base{7, born}, Tagged{"k"}, "n"}
	const embeddedSQL = `SELECT 'n' AS "NAME", 7 AS "i_d", '2000-01-02'::date AS created, 'k' AS kind_of`
	wantScan(t, db, struct {
		Tagged
		Name string
	}{e.Tagged, e.Name}, `SELECT 'n' AS "NAME", 'k' AS kind_of`)
	wantScan(t, db, struct {
		*Tagged `db:"-"`
		Name    string
	}{nil, "n"}, `SELECT 'n' AS name`)
	same[embedded](t, db, embeddedSQL)
	same[struct{ hidden }](t, db, `SELECT 'x' AS secret`)

	// Names that differ by case alone, and options behind the name.
	type cases struct {
		A int `db:"Col,omitempty"`
		B int `db:"col"`
		C int `db:"COL"`
	}
	wantScan(t, db, cases{1, 2, 3}, `SELECT 3 AS "COL", 2 AS col, 1 AS "Col"`)
	wantScan(t, db, &cases{1, 2, 3}, `SELECT 3 AS "COL", 2 AS col, 1 AS "Col"`)
	wantScan(t, db, struct{}{}, `SELECT`)
	wantScan(t, db, &struct{}{}, `SELECT`)
}

// same fails when pgdbm's T and *T do not what pgx's own functions do.
func same[T any](t *testing.T, db *pgdbm.DB, sql string) {
	t.Helper()
	rows, err := db.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	want, wantErr := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[T])
	got, gotErr := scan[T](t, db, sql)
	ptr, ptrErr := scan[*T](t, db, sql)
	if fmt.Sprint(wantErr) != fmt.Sprint(gotErr) || wantErr == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("%s as %T: got %v, %v; pgx gives %v, %v", sql, want, got, gotErr, want, wantErr)
	}
	if fmt.Sprint(wantErr) != fmt.Sprint(ptrErr) || wantErr == nil && !reflect.DeepEqual(*ptr, want) {
		t.Errorf("%s as %T: got %v, %v; pgx gives %v, %v", sql, ptr, ptr, ptrErr, want, wantErr)
	}
}

func TestPointersFollowTheRulesOfPgx(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{})
	type inner struct {
		Town string
		Zip  int `db:"zip_code"`
	}
	type Outer struct {
		inner
		When time.Time
		Name string
	}
	type withTime struct {
		time.Time
		Name string
	}
	type withPointer struct {
		*inner
		Name string
	}
	type taggedStruct struct {
		Inner inner `db:"town"`
	}
	type emptyTag struct {
		Name string `db:""`
	}
	type twice struct {
		Name  string
		Name2 string `db:"name"`
	}
	type under struct{ A_B, AC string }
	type untagged struct {
		Name string `json:"n"`
	}
	for _, sql := range []string{
		`SELECT 'a' AS town, 7 AS zip_code, TIMESTAMP '2026-02-03 04:05:06' AS when, 'n' AS name`,
		`SELECT 'a' AS town, 7 AS zip_code, 'n' AS name`,
		`SELECT 'a' AS town, 7 AS zip_code`,
		`SELECT 'a' AS town, 7 AS zipcode`,
		`SELECT 'n' AS name`,
		`SELECT 'n' AS "Name"`,
		`SELECT 'n' AS n_a_m_e`,
		`SELECT 'n' AS name, 'm' AS name`,
		`SELECT 'n' AS name, 'm' AS "NAME"`,
		`SELECT 'n' AS name, 'm' AS name2`,
		`SELECT 'n' AS name, TIMESTAMP '2026-02-03 04:05:06' AS time`,
		`SELECT 'n' AS name, 1 AS extra`,
		`SELECT 'n' AS ab, 'm' AS ac`,
		`SELECT 'n' AS a_b, 'm' AS a_c`,
		`SELECT 7 AS name`,
		`SELECT NULL::text AS name`,
		`SELECT 'x' AS "?column?"`,
		`SELECT 'x' AS """x"""`,
		`SELECT '{"Town": "x"}'::jsonb AS town`,
		`SELECT`,
	} {
		t.Run(sql, func(t *testing.T) {
			same[inner](t, db, sql)
			same[Outer](t, db, sql)
			same[withTime](t, db, sql)
			same[withPointer](t, db, sql)
			same[taggedStruct](t, db, sql)
			same[emptyTag](t, db, sql)
			same[twice](t, db, sql)
			same[under](t, db, sql)
			same[untagged](t, db, sql)
			same[struct{}](t, db, sql)
			same[struct{ name string }](t, db, sql)
		})
	}
}

// ownRow scans its rows itself.
type ownRow struct{ text string }

func (o *ownRow) ScanRow(rows pgx.Rows) error {
	vs, err := rows.Values()
	o.text = fmt.Sprint(vs...)
	return err
}

func TestARowScannerOfPgxScansItsRows(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{})
	wantScan(t, db, ownRow{"1 2 3"}, `SELECT 1, 2, 3`)
}

func TestMapsTakeAnyColumns(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{})
	wantScan(t, db, map[string]any{"id": int32(7), "name": "x", "none": nil}, `SELECT 7 AS id, 'x' AS name, NULL AS none`)
	wantScan(t, db, map[string]any{}, `SELECT`)
	all, err := pgdbm.All[map[string]any](t.Context(), db, `SELECT x FROM generate_series(1, 2) x`)
	if err != nil || !reflect.DeepEqual(all, []map[string]any{{"x": int32(1)}, {"x": int32(2)}}) {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestTheNumberOfRowsIsChecked(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{MaxConns: 1})
	ctx := t.Context()
	type row struct{ X int }
	const none, two = `SELECT 1 AS x WHERE false`, `SELECT x FROM generate_series(1, 2) x`
	for name, one := range map[string]func(sql string) error{
		"One":        func(sql string) error { _, err := pgdbm.One[int](ctx, db, sql); return err },
		"One struct": func(sql string) error { _, err := pgdbm.One[row](ctx, db, sql); return err },
		"One map":    func(sql string) error { _, err := pgdbm.One[map[string]any](ctx, db, sql); return err },
		"Value":      func(sql string) error { _, err := pgdbm.Value[int](ctx, db, sql); return err },
		"One pointer": func(sql string) error {
			v, err := pgdbm.One[*row](ctx, db, sql)
			if v != nil {
				t.Errorf("%+v with %v", v, err)
			}
			return err
		},
	} {
		if err := one(none); !errors.Is(err, pgx.ErrNoRows) {
			t.Errorf("%s, no row: %v", name, err)
		}
		if err := one(two); !errors.Is(err, pgx.ErrTooManyRows) {
			t.Errorf("%s, two rows: %v", name, err)
		}
		if err := one(`SELECT 1 / (2 - x) AS x FROM generate_series(1, 3) x`); state(err) != "22012" && !errors.Is(err, pgx.ErrTooManyRows) {
			t.Errorf("%s, an error behind the first row: %v", name, err)
		}
		wantIdle(t, db.Pool())
	}
	if all, err := pgdbm.All[int](ctx, db, none); err != nil || all == nil || len(all) != 0 {
		t.Errorf("All without rows: %#v, %v", all, err)
	}
	if all, err := pgdbm.All[*row](ctx, db, two); err != nil || len(all) != 2 || all[0] == all[1] || all[1].X != 2 {
		t.Errorf("All pointers: %v, %v", all, err)
	}
	for range pgdbm.Each[int](ctx, db, none) {
		t.Error("Each without rows runs its body")
	}
}

func TestScanErrorsSayWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{MaxConns: 1})
	type person struct {
		ID   int
		Name string
	}
	for _, c := range []struct {
		name string
		err  func() error
		want string
	}{
		{"missing column", func() error { _, err := scan[person](t, db, `SELECT 1 AS id`); return err }, "Name"},
		{"missing column, pointer", func() error { _, err := scan[*person](t, db, `SELECT 1 AS id`); return err }, "Name"},
		{"extra column", func() error { _, err := scan[person](t, db, `SELECT 1 AS id, 'x' AS name, 2 AS age`); return err }, "age"},
		{"extra column, pointer", func() error { _, err := scan[*person](t, db, `SELECT 1 AS id, 'x' AS name, 2 AS age`); return err }, "age"},
		{"wrong type", func() error { _, err := scan[person](t, db, `SELECT 'a' AS id, 'x' AS name`); return err }, "id"},
		{"wrong type, pointer", func() error { _, err := scan[*person](t, db, `SELECT 'a' AS id, 'x' AS name`); return err }, "id"},
		{"NULL", func() error { _, err := scan[person](t, db, `SELECT 1 AS id, NULL::text AS name`); return err }, "name"},
		{"scalar of two columns", func() error { _, err := scan[int](t, db, `SELECT 1, 2`); return err }, "2"},
		{"scalar of no column", func() error { _, err := scan[int](t, db, `SELECT`); return err }, "0"},
		{"Value of two columns", func() error { _, err := pgdbm.Value[int](t.Context(), db, `SELECT 1, 2`); return err }, "2"},
		{"wrong scalar", func() error { _, err := scan[int](t, db, `SELECT 'x'`); return err }, "int"},
		{"overflow", func() error { _, err := scan[int8](t, db, `SELECT 1000`); return err }, "1000"},
		{"a scanner's own error", func() error { _, err := scan[upper](t, db, `SELECT 7`); return err }, "a int"},
		{"no type for it", func() error { _, err := scan[chan int](t, db, `SELECT 7`); return err }, "chan int"},
	} {
		if err := c.err(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to name %q", c.name, err, c.want)
		}
		wantIdle(t, db.Pool())
	}
}

func TestEachHoldsAConnectionOnlyWhileItRuns(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{MaxConns: 2})
	ctx := t.Context()
	const many = `SELECT x FROM generate_series(1, 1000) x`
	numbers := pgdbm.Each[int](ctx, db, many)
	if n := db.Pool().Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections before the loop", n)
	}
	for range 2 { // it may be run again: it queries again
		sum := 0
		for x, err := range numbers {
			if err != nil {
				t.Fatal(err)
			}
			if sum += x; db.Pool().Stat().AcquiredConns() != 1 {
				t.Fatal("no connection is held")
			}
		}
		if sum != 500500 {
			t.Errorf("sum %d", sum)
		}
		wantIdle(t, db.Pool())
	}
	for x, err := range numbers {
		if err != nil || x != 1 {
			t.Errorf("%d, %v", x, err)
		}
		if got := value[int](t, db, `SELECT 2`); got != 2 { // on another connection
			t.Error(got)
		}
		break
	}
	wantIdle(t, db.Pool())
	func() {
		for range numbers {
			return
		}
	}()
	wantIdle(t, db.Pool())
	_ = recovered(func() {
		for range numbers {
			panic("body")
		}
	})
	wantIdle(t, db.Pool())
	next, stop := iter.Pull2(numbers)
	if x, err, ok := next(); x != 1 || err != nil || !ok {
		t.Errorf("pulled %d, %v", x, err)
	}
	stop()
	wantIdle(t, db.Pool())
}

func TestAnErrorIsTheLastPairOfEach(t *testing.T) {
	t.Parallel()
	db := openSchema(t, "x", pgdbm.Config{MaxConns: 1})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		sql  string
		step func(x int)
		good int
		want func(error) bool
	}{
		{"no such table", ctx, `SELECT x FROM {{tables.nothing}}`, nil, 0, func(err error) bool { return state(err) == "42P01" }},
		{"bad template", ctx, `SELECT x FROM {{tables.}}`, nil, 0, func(err error) bool { return strings.Contains(err.Error(), "1:15") }},
		{"behind some rows", ctx, `SELECT 1 / (3 - x) FROM generate_series(1, 5) x`, nil, 2, func(err error) bool { return state(err) == "22012" }},
		{"a value that does not fit", ctx, `SELECT nullif(x, 3) FROM generate_series(1, 5) x`, nil, 2, func(err error) bool { return err != nil }},
		{"cancelled", ctx, `SELECT x FROM generate_series(1, 1000000) x`, func(x int) {
			if x == 3 {
				cancel()
			}
		}, -1, func(err error) bool { return errors.Is(err, context.Canceled) }},
	} {
		good, bad := 0, 0
		var last error
		for x, err := range pgdbm.Each[int](c.ctx, db, c.sql) {
			if last != nil {
				t.Errorf("%s: a pair after the error", c.name)
			}
			if last = err; err != nil {
				if bad++; x != 0 {
					t.Errorf("%s: value %d with the error", c.name, x)
				}
				continue
			}
			good++
			if c.step != nil {
				c.step(x)
			}
		}
		if bad != 1 || !c.want(last) || c.good >= 0 && good != c.good {
			t.Errorf("%s: %d values, then %d errors, %v", c.name, good, bad, last)
		}
		wantIdle(t, db.Pool())
	}
}
