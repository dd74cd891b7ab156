package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/localpg"
)

// servers measures a private server from nothing to the answer of a query:
// localpg's, first with and then without a cluster in its cache, beside what one
// would do by hand, initdb and pg_ctl.
func servers(ctx context.Context) ([]result, error) {
	bin, err := localpg.Find(nil)
	if err != nil {
		return nil, err
	}
	const rounds = 7
	var warm, cold, byHand []time.Duration
	for range rounds {
		for _, m := range []struct {
			into  *[]time.Duration
			start func(context.Context, string) (time.Duration, error)
		}{
			{&warm, func(ctx context.Context, _ string) (time.Duration, error) { return startOurs(ctx, "") }},
			{&cold, startOurs},
			{&byHand, func(ctx context.Context, dir string) (time.Duration, error) { return startByHand(ctx, bin, dir) }},
		} {
			d, err := inFolder(ctx, m.start)
			if err != nil {
				return nil, err
			}
			*m.into = append(*m.into, d)
		}
	}
	return []result{
		compare("server-warm", "ms", millis(median(warm)), millis(median(byHand))),
		compare("server-cold", "ms", millis(median(cold)), millis(median(byHand))),
	}, nil
}

// inFolder runs start with a new folder that every user can enter: root's
// server is another user's.
func inFolder(ctx context.Context, start func(context.Context, string) (time.Duration, error)) (time.Duration, error) {
	dir, err := os.MkdirTemp("", "pgdbm-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return 0, err
	}
	return start(ctx, dir)
}

func startOurs(ctx context.Context, cache string) (time.Duration, error) {
	begin := time.Now()
	server, err := localpg.Start(ctx, &localpg.Options{CacheDir: cache})
	if err != nil {
		return 0, err
	}
	err = ask(ctx, server.URL(""))
	d := time.Since(begin)
	if stop := server.Stop(context.WithoutCancel(ctx)); err == nil {
		err = stop
	}
	return d, err
}

func startByHand(ctx context.Context, bin, dir string) (d time.Duration, err error) {
	data, socket := filepath.Join(dir, "data"), filepath.Join(dir, "socket")
	for _, made := range []string{data, socket} {
		if err := giveToServer(made); err != nil {
			return 0, err
		}
	}
	begin := time.Now()
	if err := runAsServer(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust"); err != nil {
		return 0, err
	}
	ctl := []string{"-D", data, "-w", "-l", filepath.Join(socket, "log")}
	if err := runAsServer(ctx, filepath.Join(bin, "pg_ctl"), append(ctl, "-o", "-h '' -k "+socket, "start")...); err != nil {
		return 0, err
	}
	err = ask(ctx, "postgres:///postgres?user=postgres&port=5432&sslmode=disable&host="+socket)
	d = time.Since(begin)
	stop := runAsServer(context.WithoutCancel(ctx), filepath.Join(bin, "pg_ctl"), append(ctl, "-m", "immediate", "stop")...)
	if err == nil {
		err = stop
	}
	return d, err
}

func ask(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "SELECT 1")
	return err
}
