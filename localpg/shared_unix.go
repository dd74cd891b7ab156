//go:build unix

package localpg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// answerLimit is how long a supervisor may take to answer. One that does not is
// ending its server.
const answerLimit = 3 * time.Second

// errEnding says that a server is not to be had any more.
var errEnding = errors.New("server is ending")

// hold keeps a shared server alive, as long as somebody has one. Its end
// is the kernel's business too: the file closes with the process, and no child
// inherits it.
type hold struct {
	place place
	fifo  *os.File
}

// held has all holds of this process: the garbage collector would close the
// file of one that its owner forgot, and a server ends with the process.
var held sync.Map

// use takes a hold on the server of a run.
func (p place) use(ctx context.Context) (*hold, error) {
	h, err := p.openUsers()
	if err != nil {
		return nil, err
	}
	if err := h.request(ctx, "join"); err != nil {
		h.leave()
		return nil, err
	}
	return h, nil
}

func (p place) openUsers() (*hold, error) {
	fifo, err := p.account.openFIFO(filepath.Join(p.run, "users"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errEnding, err)
	}
	h := &hold{p, fifo}
	held.Store(h, true)
	return h, nil
}

// share makes the owner of a shared server one of its users.
func (s *supervisor) share(ctx context.Context) (*hold, error) {
	h, err := s.place.openUsers()
	if err != nil {
		return nil, err
	}
	s.hold.Close() // now the supervisor listens to users
	if err := h.request(ctx, "join"); err != nil {
		h.leave()
		return nil, err
	}
	return h, nil
}

// request asks the supervisor for something and returns when it is done. What
// is not answered came after the last user was gone.
func (h *hold) request(ctx context.Context, word string, args ...string) error {
	id := randomHex(8)
	line := strings.Join(append([]string{word, id}, args...), " ")
	if _, err := h.fifo.WriteString(line + "\n"); err != nil {
		return fmt.Errorf("%w: %w", errEnding, err)
	}
	done := filepath.Join(h.place.run, "done."+id)
	limit := time.NewTimer(answerLimit)
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if os.Remove(done) == nil {
			return nil
		}
		if _, err := os.Lstat(h.place.run); errors.Is(err, os.ErrNotExist) {
			return errEnding
		}
		select {
		case <-tick.C:
		case <-limit.C:
			return errEnding
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// say asks for what has no answer.
func (h *hold) say(word string) error {
	_, err := h.fifo.WriteString(word + "\n")
	return err
}

func (h *hold) leave() error {
	held.Delete(h)
	return h.fifo.Close()
}

// sharedKey is of all that makes servers interchangeable. Two names of one folder are two folders: whoever lists servers
// finds those that it would join by the name.
func sharedKey(c cluster, binDir string, o Options) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %t %s", c.key, binDir, supervisorScript, o.TCP, config(o, "", 0))
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// lockShared keeps others from starting the same server at the same time.
func (a account) lockShared(ctx context.Context, cache, key string) (unlock func(), err error) {
	base, err := a.clusterDir(cache)
	if err != nil {
		return nil, err
	}
	return lock(ctx, filepath.Join(base, "server-"+key+lockSuffix))
}

// join returns a running server with this key, of the programs in binDir, or nil. The place has no id.
func (p place) join(ctx context.Context, key, binDir string) (*Server, error) {
	for _, run := range p.runs() {
		info, err := run.info()
		if err != nil || info.Key != key {
			continue
		}
		s := &Server{binDir: binDir, version: info.Version, place: run.withStore(info.Store), port: info.Port, password: info.Password}
		if s.hold, err = run.use(ctx); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			continue // the next caller's sweep removes what it leaves
		}
		if !s.answers(ctx) { // it has crashed, and lives on for its users to read the log
			s.hold.leave()
			continue
		}
		return s, nil
	}
	return nil, nil
}

// answers reports whether sessions could begin, were there not too many.
func (s *Server) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	conn, err := s.connectOnce(ctx)
	if err == nil {
		conn.Close(ctx)
		return true
	}
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && refused.Code == "53300" // too_many_connections
}
