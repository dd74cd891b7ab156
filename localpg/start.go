package localpg

import (
	"context"
	"fmt"
	"os"
	"time"
)

// startLimit is for a caller whose context has no end.
const startLimit = time.Minute

// Start starts a server on a new cluster, or joins one with [Options.Shared],
// and returns when a connection to it works. The caller stops it with
// [Server.Stop]. A nil o is the zero value.
//
// The context bounds the start, which takes at most a minute anyway, without the
// time that fetching takes; its end later does not stop the server. Nothing is
// left behind after an error. The error
// is a [*NotFoundError] when PostgreSQL is not installed, and matches
// [errors.ErrUnsupported] on systems without Unix processes. When the server did
// not start, the error's text ends with the end of its log.
func Start(ctx context.Context, o *Options) (*Server, error) {
	opts := o.withDefaults()
	if err := checkSettings(opts.Settings); err != nil {
		return nil, err
	}
	where, err := choosePlace(opts.Durable)
	if err != nil {
		return nil, fmt.Errorf("localpg: start server: %w", err)
	}
	binDir, err := Find(&opts)
	if err != nil && opts.Fetch && opts.BinDir == "" && os.Getenv(binEnv) == "" {
		binDir, err = fetchDefault(ctx, opts.Logger)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	s, err := start(ctx, opts, where, binDir)
	if err != nil {
		return nil, fmt.Errorf("localpg: start server: %w", err)
	}
	return s, nil
}
