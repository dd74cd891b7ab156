package pgdbm_test

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgdbm/pgdbm"
)

// fakeServer speaks the first words of the protocol, as a server would that is
// not there yet, and can hand a connection on to the real one.
type fakeServer struct {
	listener net.Listener
	conns    sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	open     map[net.Conn]bool
	startups []map[string]string // parameters of the startup messages
	password string              // of the last client that was asked
}

// dialogue answers one client after its startup message. attempt counts from 1.
type dialogue func(attempt int, client *client)

type client struct {
	net.Conn
	*pgproto3.Backend
	startup *pgproto3.StartupMessage
	server  *fakeServer
}

// listen starts a fake server on a free port of 127.0.0.1.
func listen(t *testing.T, answer dialogue) *fakeServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, l, answer)
}

func serve(t *testing.T, l net.Listener, answer dialogue) *fakeServer {
	f := &fakeServer{listener: l, open: make(map[net.Conn]bool)}
	f.conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.open[conn] = true
			f.mu.Unlock()
			f.conns.Go(func() {
				defer f.close(conn)
				f.talk(conn, answer)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		f.mu.Lock()
		for conn := range f.open {
			_ = conn.Close()
		}
		f.mu.Unlock()
		f.conns.Wait()
	})
	return f
}

func (f *fakeServer) close(conn net.Conn) {
	_ = conn.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, conn)
}

func (f *fakeServer) talk(conn net.Conn, answer dialogue) {
	be := pgproto3.NewBackend(conn, conn)
	for {
		msg, err := be.ReceiveStartupMessage()
		if err != nil {
			return
		}
		switch msg := msg.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := conn.Write([]byte("N")); err != nil {
				return
			}
		case *pgproto3.StartupMessage:
			f.mu.Lock()
			f.startups = append(f.startups, msg.Parameters)
			attempt := len(f.startups)
			f.mu.Unlock()
			answer(attempt, &client{Conn: conn, Backend: be, startup: msg, server: f})
			return
		default:
			return
		}
	}
}

func (f *fakeServer) port() uint16 {
	_, port, _ := net.SplitHostPort(f.listener.Addr().String())
	n, _ := strconv.ParseUint(port, 10, 16)
	return uint16(n)
}

func (f *fakeServer) url() string {
	return fmt.Sprintf("postgres://someone@127.0.0.1:%d/somewhere?sslmode=disable", f.port())
}

func (f *fakeServer) attempts() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.startups)
}

// first returns the parameters of the first startup message, and the password
// if the client was asked for one.
func (f *fakeServer) first(t *testing.T) (params map[string]string, password string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.startups) == 0 {
		t.Fatal("nobody has connected")
	}
	return f.startups[0], f.password
}

// refuse ends the dialogue with a fatal error.
func refuse(code string) dialogue {
	return func(_ int, c *client) { c.refuse(code) }
}

func (c *client) refuse(code string) {
	c.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: "refused by the test"})
	_ = c.Flush()
}

// askPassword asks for the password in clear text and refuses it.
func askPassword(_ int, c *client) {
	c.Send(&pgproto3.AuthenticationCleartextPassword{})
	if c.Flush() != nil || c.SetAuthType(pgproto3.AuthTypeCleartextPassword) != nil {
		return
	}
	msg, err := c.Receive()
	if err != nil {
		return
	}
	if p, ok := msg.(*pgproto3.PasswordMessage); ok {
		c.server.mu.Lock()
		c.server.password = p.Password
		c.server.mu.Unlock()
	}
	c.refuse("28P01")
}

// silence answers nothing until the client goes away.
func silence(_ int, c *client) { _, _ = c.Receive() }

// forward hands the connection on to the server of a URL.
func (c *client) forward(to *pgx.ConnConfig) {
	network, address := pgconn.NetworkAddress(to.Host, to.Port)
	server, err := net.Dial(network, address)
	if err != nil {
		return
	}
	startup, err := c.startup.Encode(nil)
	if err == nil {
		_, err = server.Write(startup)
	}
	if err != nil {
		_ = server.Close()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(c.Conn, server)
		_ = c.Close()
	}()
	_, _ = io.Copy(server, c.Conn)
	_ = server.Close()
	<-done
}

// through returns url with the fake server in place of the real one.
func (f *fakeServer) through(t *testing.T, url string) pgdbm.Config {
	t.Helper()
	return pgdbm.Config{URL: url, Host: "127.0.0.1", Port: f.port(), SSLMode: "disable"}
}
