package localpg

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// superuser is the role that owns the cluster.
const superuser = "postgres"

// stopLimit bounds a fast shutdown.
const stopLimit = 10 * time.Second

// Server is a running PostgreSQL server. Whoever started or joined it stops it;
// it ends with the process, or with the last one that shares it, in any case. It
// is safe for concurrent use. The zero value is no server.
type Server struct {
	binDir   string
	version  string
	place    place
	port     int
	password string      // of the superuser on TCP; empty when the server is not there
	sup      *supervisor // nil when the server was joined
	hold     *hold       // nil unless the server is shared
}

// URL returns the URL of a database for the superuser postgres over the unix
// socket, for pgx, psql and other programs that use libpq. The database need not
// exist; empty is the database postgres. The URL names user, host, port, database
// and sslmode, so that PGHOST and the like have no say.
func (s *Server) URL(database string) string {
	u := databaseURL(database)
	u.User = url.User(superuser)
	u.RawQuery = "host=" + s.place.run + "&port=" + strconv.Itoa(s.port) + "&sslmode=disable"
	return u.String()
}

// TCPURL returns the URL of a database over 127.0.0.1, with the superuser's
// password. It is an error when the server was started without [Options.TCP].
func (s *Server) TCPURL(database string) (string, error) {
	if s.password == "" {
		return "", errors.New("localpg: server was started without Options.TCP")
	}
	u := databaseURL(database)
	u.User = url.UserPassword(superuser, s.password)
	u.Host = "127.0.0.1:" + strconv.Itoa(s.port)
	u.RawQuery = "sslmode=disable"
	return u.String(), nil
}

func databaseURL(database string) *url.URL {
	if database == "" {
		database = superuser
	}
	return &url.URL{Scheme: "postgres", Path: "/" + database}
}

// ID returns what [End] and [Info] know the server by.
func (s *Server) ID() string { return s.place.id() }

// Version returns the server's version, such as "17.5".
func (s *Server) Version() string { return s.version }

// BinDir returns the folder of the server's programs. Others, such as psql and
// pg_dump, may be there too.
func (s *Server) BinDir() string { return s.binDir }

// LogTail returns the last n lines of the server's log. It is empty after
// [Server.Stop] and when the log cannot be read.
func (s *Server) LogTail(n int) string { return s.place.tail(n) }

// Stop ends the server and removes all that it made, and returns when that is
// done. It asks for a fast shutdown; when ctx ends, or 10 seconds pass, before
// the server did, it is ended at once. An error says that something stayed
// behind.
//
// Of a shared server Stop only lets go: the server ends by itself after its last
// user, unless [Server.Keep] made it stay.
//
// Stop may be called any number of times, also at the same time.
func (s *Server) Stop(ctx context.Context) error {
	if s.hold != nil {
		if s.sup != nil {
			s.sup.serving.Store(false)
		}
		s.hold.leave()
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	s.sup.interrupt()
	select {
	case <-s.sup.exited:
	case <-ctx.Done():
	}
	if err := s.sup.end(); err != nil {
		return fmt.Errorf("localpg: stop server: %w", err)
	}
	return nil
}

// Keep makes a shared server stay when its last user is gone, also after the end
// of this process: for a time, in whole seconds, or with 0 until [End]. Of
// several times the longest counts. It is an error for a server that is not
// shared.
func (s *Server) Keep(ctx context.Context, d time.Duration) error {
	if s.hold == nil {
		return errors.New("localpg: keep server: it was started without Options.Shared")
	}
	var args []string
	if d > 0 {
		args = []string{strconv.Itoa(int((d + time.Second - 1) / time.Second))}
	}
	if err := s.hold.request(ctx, "keep", args...); err != nil {
		return fmt.Errorf("localpg: keep server: %w", err)
	}
	return nil
}
