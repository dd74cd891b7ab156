package pgdbm

import (
	"database/sql"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// rowTo chooses how rows become T.
func rowTo[T any]() pgx.RowToFunc[T] {
	t := reflect.TypeFor[T]()
	switch {
	case t == reflect.TypeFor[map[string]any]():
		return func(row pgx.CollectableRow) (T, error) {
			m, err := pgx.RowToMap(row)
			v, _ := any(m).(T)
			return v, err
		}
	case isRecord(t):
		return pgx.RowToStructByName[T]
	case t.Kind() == reflect.Pointer && isRecord(t.Elem()):
		return addrOfStruct[T]
	}
	return pgx.RowTo[T]
}

var scannerType = reflect.TypeFor[sql.Scanner]()

// single are structs of the standard library that hold one value.
var single = map[reflect.Type]bool{
	reflect.TypeFor[time.Time]():    true,
	reflect.TypeFor[netip.Addr]():   true,
	reflect.TypeFor[netip.Prefix](): true,
	reflect.TypeFor[net.IPNet]():    true,
	reflect.TypeFor[big.Int]():      true,
	reflect.TypeFor[url.URL]():      true,
}

const pgtypePath = "github.com/jackc/pgx/v5/pgtype"

// isRecord reports whether t is a struct whose fields are columns, not one
// that is a single value itself.
func isRecord(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !single[t] &&
		!reflect.PointerTo(t).Implements(scannerType) && t.PkgPath() != pgtypePath
}

// addrOfStruct is pgx.RowToAddrOfStructByName for a T that is the pointer:
// pgx's needs the struct's type as a type parameter, which reflection cannot
// give it. The rules of names are pgx's.
func addrOfStruct[T any](row pgx.CollectableRow) (T, error) {
	t := reflect.TypeFor[T]().Elem()
	p := reflect.New(t)
	descs := row.FieldDescriptions()
	targets := make([]any, len(descs))
	if missing := bindFields(p.Elem(), descs, targets); missing != "" {
		var none T
		return none, fmt.Errorf("cannot find field %s in returned row", missing)
	}
	for i, target := range targets {
		if target == nil {
			var none T
			return none, fmt.Errorf("struct doesn't have corresponding row field %s", descs[i].Name)
		}
	}
	return p.Interface().(T), row.Scan(targets...)
}

// bindFields sets targets to the addresses of the fields of v that the columns
// name, and returns the first field without a column.
func bindFields(v reflect.Value, descs []pgconn.FieldDescription, targets []any) (missing string) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct && isRecord(f.Type) {
			if m := bindFields(v.Field(i), descs, targets); missing == "" {
				missing = m
			}
			continue
		}
		if !f.IsExported() {
			continue
		}
		tag, tagged := f.Tag.Lookup("db")
		tag, _, _ = strings.Cut(tag, ",")
		if tag == "-" {
			continue
		}
		name := f.Name
		if tagged {
			name = tag
		}
		if col := columnNamed(descs, name, tagged); col >= 0 {
			targets[col] = v.Field(i).Addr().Interface()
		} else if missing == "" {
			missing = name
		}
	}
	return missing
}

func columnNamed(descs []pgconn.FieldDescription, name string, tagged bool) int {
	plain := func(s string) string { return strings.ReplaceAll(s, "_", "") }
	if tagged {
		plain = func(s string) string { return s }
		for i, d := range descs {
			if d.Name == name {
				return i
			}
		}
	}
	for i, d := range descs {
		if strings.EqualFold(plain(d.Name), plain(name)) {
			return i
		}
	}
	return -1
}
