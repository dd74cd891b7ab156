//go:build unix

package localpg

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	connectPause = 2 * time.Millisecond
	tailLines    = 20
)

// errPortTaken says that another program took the TCP port between our choice
// and the server's start.
var errPortTaken = errors.New("port taken")

func start(ctx context.Context, o Options, where place, binDir string) (*Server, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := where.account.cachedCluster(ctx, o.CacheDir, binDir, initArgs(o), o.Logger)
	if err != nil {
		return nil, err
	}
	info := runInfo{BinDir: binDir, Version: c.version, Port: 5432, Durable: o.Durable}
	if o.Shared {
		info.Key = sharedKey(c, binDir, o)
		unlock, err := where.account.lockShared(ctx, o.CacheDir, info.Key)
		if err != nil {
			return nil, err
		}
		defer unlock()
		if s, err := where.join(ctx, info.Key, binDir); s != nil || err != nil {
			return s, err
		}
	}
	where.sweep(o.Logger)
	for range 5 {
		var s *Server
		if s, err = startOnce(ctx, o, where.withID(randomHex(4)), c, info); err == nil {
			return s, nil
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, err
}

func startOnce(ctx context.Context, o Options, where place, c cluster, info runInfo) (*Server, error) {
	info.Store, info.Started = where.store, time.Now().UTC()
	if o.TCP {
		var err error
		if info.Port, err = freePort(); err != nil {
			return nil, err
		}
		info.Password = randomHex(16)
	}
	s := &Server{binDir: info.BinDir, version: c.version, place: where, port: info.Port, password: info.Password}
	o.Logger.Debug("localpg: starting server", slog.String("bin", info.BinDir), slog.String("run", where.run), slog.String("store", where.store))
	var err error
	if s.sup, err = supervise(where, c, config(o, where.run, info.Port), info, o.Logger); err != nil {
		return nil, err
	}
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(err, s.sup.end())
	}
	if o.Shared {
		if s.hold, err = s.sup.share(ctx); err != nil {
			return nil, errors.Join(err, s.sup.end())
		}
	}
	s.sup.serving.Store(true)
	return s, nil
}

// initArgs are initdb's arguments but for the data directory and the locale.
func initArgs(o Options) []string {
	args := []string{"-U", superuser, "-A", "trust", "-E", "UTF8", "--no-sync", "--no-instructions"}
	if !o.Durable {
		args = append(args, "--wal-segsize=1") // 15 MB less to write
	}
	return args
}

// await returns when the server answers.
func (s *Server) await(ctx context.Context) error {
	select {
	case <-s.sup.started:
	case <-s.sup.exited:
		return s.exitError()
	case <-ctx.Done():
		return s.withLog(ctx.Err())
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if s.password != "" {
		// In a message of its own: settings count from the next one on.
		err = conn.Exec(ctx, "SET log_statement = 'none'; SET log_min_duration_statement = -1; SET log_duration = off").Close()
		err = errors.Join(err, conn.Exec(ctx, "ALTER ROLE "+superuser+" PASSWORD '"+s.password+"'").Close())
	}
	return errors.Join(err, conn.Close(ctx))
}

// connect tries until the server lets a session in, refuses it for another
// reason than that it is still starting, or ends.
func (s *Server) connect(ctx context.Context) (*pgconn.PgConn, error) {
	pause := time.NewTicker(connectPause)
	defer pause.Stop()
	for {
		conn, err := s.connectOnce(ctx)
		if err == nil {
			return conn, nil
		}
		var refused *pgconn.PgError
		if errors.As(err, &refused) && refused.Code != "57P03" { // cannot_connect_now
			return nil, err
		}
		select {
		case <-pause.C:
		case <-s.sup.exited:
			return nil, s.exitError()
		case <-ctx.Done():
			return nil, s.withLog(fmt.Errorf("%w: %w", ctx.Err(), err))
		}
	}
}

// connectOnce uses the socket, without what PG* variables would add.
func (s *Server) connectOnce(ctx context.Context) (*pgconn.PgConn, error) {
	config, err := pgconn.ParseConfig(s.URL(superuser))
	if err != nil {
		return nil, err
	}
	config.RuntimeParams = map[string]string{"application_name": "localpg"}
	config.Password, config.ValidateConnect = "", nil
	return pgconn.ConnectConfig(ctx, config)
}

// exitError describes the last program's end.
func (s *Server) exitError() error {
	if s.password != "" && strings.Contains(s.LogTail(tailLines), "Address already in use") {
		return fmt.Errorf("%w: 127.0.0.1:%d", errPortTaken, s.port)
	}
	return s.withLog(errors.New(s.sup.exit))
}

// withLog adds the end of the server's log, if there is one.
func (s *Server) withLog(err error) error {
	text := s.LogTail(tailLines)
	if text == "" {
		return err
	}
	return fmt.Errorf("%w; end of the log:\n\t%s", err, strings.ReplaceAll(text, "\n", "\n\t"))
}

// freePort returns a port that was free a moment ago: postgres cannot be given a
// listening socket, nor let the kernel choose.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
