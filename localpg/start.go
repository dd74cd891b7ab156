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
	startLimit   = time.Minute // for a caller whose context has no end
	connectPause = 2 * time.Millisecond
	tailLines    = 20
)

// errPortTaken says that another program took the TCP port between our choice
// and the server's start.
var errPortTaken = errors.New("port taken")

// Start makes a new cluster, starts a server for it and returns when a connection
// to it works. The caller stops it with [Server.Stop]. A nil o is the zero value.
//
// The context bounds the start, which takes at most a minute anyway; its end
// later does not stop the server. Nothing is left behind after an error. The error
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
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("localpg: start server: %w", err)
	}
	where.sweep(opts.Logger)
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for range 5 {
		var s *Server
		if s, err = startOnce(ctx, opts, where, binDir); err == nil {
			return s, nil
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, fmt.Errorf("localpg: start server: %w", err)
}

func startOnce(ctx context.Context, o Options, where place, binDir string) (*Server, error) {
	s := &Server{binDir: binDir, place: where.withID(randomHex(4)), port: 5432}
	if o.TCP {
		var err error
		if s.port, err = freePort(); err != nil {
			return nil, err
		}
		s.password = randomHex(16)
	}
	o.Logger.Debug("localpg: starting server", slog.String("bin", binDir), slog.String("run", s.place.run), slog.String("store", s.place.store))
	var err error
	if s.sup, err = supervise(s.place, binDir, config(o, s.place.run, s.port), initArgs(o), o.Logger); err != nil {
		return nil, err
	}
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(err, s.sup.end())
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
	s.version, _, _ = strings.Cut(conn.ParameterStatus("server_version"), " ")
	if s.password != "" {
		err = conn.Exec(ctx, "ALTER ROLE "+superuser+" PASSWORD '"+s.password+"'").Close()
	}
	return errors.Join(err, conn.Close(ctx))
}

// connect tries until the server lets a session in, refuses it for another
// reason than that it is still starting, or ends.
func (s *Server) connect(ctx context.Context) (*pgconn.PgConn, error) {
	config, err := s.connConfig()
	if err != nil {
		return nil, err
	}
	pause := time.NewTicker(connectPause)
	defer pause.Stop()
	for {
		conn, err := pgconn.ConnectConfig(ctx, config)
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

// connConfig is the socket's, without what PG* variables would add.
func (s *Server) connConfig() (*pgconn.Config, error) {
	config, err := pgconn.ParseConfig(s.URL(superuser))
	if err != nil {
		return nil, err
	}
	config.RuntimeParams = map[string]string{"application_name": "localpg"}
	config.Password, config.ValidateConnect = "", nil
	return config, nil
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
