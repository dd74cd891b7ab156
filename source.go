package pgdbm

import (
	"context"
	"errors"
	"fmt"
	"reflect"
)

// Source is where a module finds its database: a [URL] or a [Config], for
// which a pool of its own is opened; a [*Pool] or a [*DB], which is borrowed.
// A struct that embeds a *DB, such as [*Attached], is a Source too. A library
// that takes a Source runs alone and inside a host with the same code.
//
// The interface is sealed: the method is this package's own.
type Source interface {
	source(ctx context.Context) (sourced, error)
}

// sourced is a source that has been looked into.
type sourced struct {
	pool   *Pool
	owned  bool   // the pool was opened for this attachment
	schema string // the source's choice; empty: the module's
	roles  bool   // the module works as a role of its schema's
	handle *handle
}

func (u URL) source(ctx context.Context) (sourced, error) {
	return Config{URL: string(u)}.source(ctx)
}

func (c Config) source(ctx context.Context) (sourced, error) {
	pool, err := Open(ctx, c)
	if err != nil {
		return sourced{}, err
	}
	return sourced{pool: pool, owned: true, schema: c.Schema, roles: c.Isolate}, nil
}

func (p *Pool) source(ctx context.Context) (sourced, error) {
	if p == nil || p.core == nil {
		return sourced{}, errors.New("nil *pgdbm.Pool")
	}
	return sourced{pool: p, schema: p.core.schema, roles: p.core.isolates}, nil
}

func (db *DB) source(ctx context.Context) (sourced, error) {
	if db == nil || db.h == nil {
		return sourced{}, errors.New("nil *pgdbm.DB")
	}
	return sourced{pool: db.Pool(), schema: db.h.schema, roles: db.h.ns.Role != "", handle: db.h}, nil
}

// openSource looks into src. A nil pointer in the interface is an error here,
// also one to a struct that embeds a *DB, whose promoted method would panic.
func openSource(ctx context.Context, src Source) (sourced, error) {
	if src == nil {
		return sourced{}, errors.New("nil pgdbm.Source")
	}
	if v := reflect.ValueOf(src); v.Kind() == reflect.Pointer && v.IsNil() {
		return sourced{}, fmt.Errorf("nil %T", src)
	}
	return src.source(ctx)
}
