package main

import (
	"context"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// expand expands a query with two tables into a reused buffer; the peer is what
// a program without a template engine would do.
func expand(context.Context, string) ([]result, error) {
	const text = `SELECT o.id, o.total, u.email FROM {{tables.orders}} o
		JOIN {{tables.users}} u ON u.id = o.user_id WHERE o.id = $1 AND o.state = 'paid'`
	t, err := sqltemplate.Parse(text)
	if err != nil {
		return nil, err
	}
	names, err := sqltemplate.NewNames("tenant_00042", nil)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 0, 1024)
	var failed error
	ours := func() {
		if buf, err = t.Append(buf[:0], names); err != nil {
			failed = err
		}
	}
	var out string
	peer := func() {
		out = strings.ReplaceAll(text, "{{tables.orders}}", `"tenant_00042"."orders"`)
		out = strings.ReplaceAll(out, "{{tables.users}}", `"tenant_00042"."users"`)
	}
	ours()
	peer()
	if string(buf) != out {
		panic("bench: the two sides differ")
	}

	const calls, rounds = 20000, 101
	many := func(f func()) func() error {
		return func() error {
			for range calls {
				f()
			}
			return failed
		}
	}
	o, p, err := interleave(rounds, many(ours), many(peer))
	if err != nil {
		return nil, err
	}
	return []result{
		compare("ns", "ns", float64(o.Nanoseconds())/calls, float64(p.Nanoseconds())/calls),
		compare("allocs", "allocs", testing.AllocsPerRun(1000, ours), testing.AllocsPerRun(1000, peer)),
	}, nil
}
