package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// A Call is a function that migrates. The engine does not know its type: Runner.Go calls it.
type Call struct {
	Func          any
	NoTransaction bool // it is called outside a transaction
}

// GoFunc calls the function of a Call on the connection, which is in the migration's transaction or in none.
type GoFunc func(ctx context.Context, conn *pgx.Conn, t Target, fn any) error

var goName = regexp.MustCompile(`^[a-z0-9_]+$`)

// NewGoFile makes a migration of a function; down may be nil. Its hashes are of its version and name.
func NewGoFile(module string, version int64, name string, up, down *Call) (*File, error) {
	f := newGoFile(version, name, up)
	switch {
	case version < 0:
		return nil, f.located(module, "", fmt.Errorf("version %d is negative", version))
	case !goName.MatchString(name):
		return nil, f.located(module, "", fmt.Errorf("name does not match [a-z0-9_]+"))
	}
	if down != nil {
		f.down = newGoFile(version, name, down)
	}
	return f, nil
}

func newGoFile(version int64, name string, call *Call) *File {
	f := &File{
		Version:       strconv.FormatInt(version, 10),
		Statements:    1,
		NoTransaction: call.NoTransaction,
		call:          call,
		number:        version,
	}
	f.Name = f.Version + "_" + name + ".go"
	f.Path = f.Name
	f.template, _ = sqltemplate.ParseFile("") // an empty text is well-formed
	sum := sha256.Sum256([]byte("go\x00" + f.Version + "\x00" + name))
	f.RawHash = hex.EncodeToString(sum[:])
	f.SemanticHash = f.RawHash
	return f
}

// callGo calls the file's function on the session.
func (m *migration) callGo(ctx context.Context, s *session, f *File) error {
	if m.runner.Go == nil {
		return fmt.Errorf("nothing calls Go migrations here")
	}
	return m.runner.Go(ctx, s.conn, m.target, f.call.Func)
}
