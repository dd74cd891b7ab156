package pgdbm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	defaultAttempts = 3
	defaultWithin   = 3 * time.Second
	defaultBackoff  = 250 * time.Millisecond
	longestBackoff  = 2 * time.Second
)

// connect reaches the server for the first time, trying again while that may
// help: at boot a program is often faster than its database.
func (r Retry) connect(ctx context.Context, c *core) (serverID, error) {
	attempts := cmp.Or(r.Attempts, defaultAttempts)
	limit := time.Now().Add(cmp.Or(r.Within, defaultWithin))
	backoff := cmp.Or(r.Backoff, defaultBackoff)
	for try := 1; ; try++ {
		id, err := c.askServer(ctx)
		if err == nil || try >= attempts || !unreachable(err) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return id, err
		}
		left := time.Until(limit)
		if left <= 0 {
			return id, err
		}
		wait := min(backoff+rand.N(backoff/4+1), left)
		backoff = max(backoff, min(2*backoff, longestBackoff))
		c.log().LogAttrs(ctx, slog.LevelWarn, "Server cannot be reached, trying again",
			slog.Int("attempt", try), slog.Duration("wait", wait), slog.Any("error", err))
		if !pause(ctx, wait) {
			return id, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

// unreachable reports whether err is a server that is not there, not ready or
// full, rather than one that has refused us.
func unreachable(err error) bool {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pe.Code {
		case "57P03", // cannot_connect_now: starting up or shutting down
			"57P01", "57P02", // terminated while it was coming up
			"53300": // too_many_connections
			return true
		}
		return false
	}
	var ne net.Error
	var ce *pgconn.ConnectError
	return errors.As(err, &ne) || errors.As(err, &ce)
}
