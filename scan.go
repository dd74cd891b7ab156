package pgdbm

import (
	"cmp"
	"database/sql"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
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
		return addrOfStruct[T]()
	}
	return pgx.RowTo[T]
}

var (
	scannerType    = reflect.TypeFor[sql.Scanner]()
	rowScannerType = reflect.TypeFor[pgx.RowScanner]()
)

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
// that is a single value or scans its rows itself.
func isRecord(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return t.Kind() == reflect.Struct && !single[t] && t.PkgPath() != pgtypePath &&
		!p.Implements(scannerType) && !p.Implements(rowScannerType)
}

// addrOfStruct is pgx.RowToAddrOfStructByName for a T that is the pointer:
// pgx's needs the struct's type as a type parameter, which reflection cannot
// give it. The rules are pgx's, so that T and *T behave alike.
func addrOfStruct[T any]() pgx.RowToFunc[T] {
	t := reflect.TypeFor[T]().Elem()
	var paths [][]int // of the result's columns, found at its first row
	return func(row pgx.CollectableRow) (T, error) {
		var none T
		if paths == nil {
			var err error
			if paths, err = fieldPaths(t, row.FieldDescriptions()); err != nil {
				return none, err
			}
		}
		p := reflect.New(t)
		targets := make([]any, len(paths))
		for i, path := range paths {
			targets[i] = p.Elem().FieldByIndex(path).Addr().Interface()
		}
		if err := row.Scan(targets...); err != nil {
			return none, err
		}
		return p.Interface().(T), nil
	}
}

// fieldPaths finds the field of t for each column.
func fieldPaths(t reflect.Type, descs []pgconn.FieldDescription) ([][]int, error) {
	paths := make([][]int, len(descs))
	missing := bindFields(t, nil, descs, paths)
	for i, path := range paths {
		if path == nil {
			return nil, fmt.Errorf("struct doesn't have corresponding row field %s", descs[i].Name)
		}
	}
	if missing != "" {
		return nil, fmt.Errorf("cannot find field %s in returned row", missing)
	}
	return paths, nil
}

// bindFields sets the paths of the columns that fields of t name; t is itself
// at path at. It returns the first field without a column.
func bindFields(t reflect.Type, at []int, descs []pgconn.FieldDescription, paths [][]int) (missing string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() && !f.Anonymous {
			continue
		}
		path := append(slices.Clip(at), i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			missing = cmp.Or(missing, bindFields(f.Type, path, descs, paths))
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
			paths[col] = path
		} else {
			missing = cmp.Or(missing, name)
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
