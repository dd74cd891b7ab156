package pgdbm

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
)

// heldKey is the context key of the connection that the running function holds
// from this pool. The pgxpool.Pool is the key, not the core, since one of them
// may have been borrowed several times.
type heldKey struct{ pool *pgxpool.Pool }

// held says whether the function whose context carries it still runs. A
// context that outlives the function, in a goroutine, is free to acquire.
type held struct{ done atomic.Bool }

func markHeld(ctx context.Context, p *pgxpool.Pool) (context.Context, *held) {
	h := new(held)
	return context.WithValue(ctx, heldKey{p}, h), h
}

func holding(ctx context.Context, p *pgxpool.Pool) bool {
	h, ok := ctx.Value(heldKey{p}).(*held)
	return ok && !h.done.Load()
}
