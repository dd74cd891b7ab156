package migrate

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/internal/bridge"
)

// Shard is one of several disjoint parts of a fleet that together are all of
// it. Which part a schema is in depends on its name and Of alone, so that it is
// the same on every machine. The zero value is all schemas.
type Shard struct {
	Index int // from 1 to Of
	Of    int
}

// ParseShard reads a text such as "2/5", the second of five parts.
func ParseShard(text string) (Shard, error) {
	index, of, ok := strings.Cut(text, "/")
	i, err1 := strconv.Atoi(index)
	n, err2 := strconv.Atoi(of)
	s := Shard{i, n}
	if !ok || err1 != nil || err2 != nil || n == 0 || s.validate() != nil {
		return Shard{}, fmt.Errorf("shard %q: not i/n with i from 1 to n", text)
	}
	return s, nil
}

// String returns the text that [ParseShard] reads.
func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.Index, s.Of) }

func (s Shard) validate() error {
	if s != (Shard{}) && (s.Index < 1 || s.Index > s.Of) {
		return fmt.Errorf("shard %s: the index is not from 1 to %d", s, s.Of)
	}
	return nil
}

// Has reports whether a schema is in the part.
func (s Shard) Has(schema string) bool {
	if s.Of <= 1 {
		return true
	}
	// The sum must never change: machines with different versions of this
	// package share a fleet.
	sum := sha256.Sum256([]byte("pgdbm.shard\x00" + schema))
	return binary.BigEndian.Uint64(sum[:8])%uint64(s.Of) == uint64(s.Index-1)
}

// FleetSchemas returns the schemas whose names match one of the patterns,
// sorted, for [Fleet]. In a pattern * stands for any characters and ? for one;
// all others stand for themselves. The schemas are those of the database and
// those that the ledger has of m, so that one which was dropped without its
// entries is noticed; PostgreSQL's own and the ledger's are left out. It is one
// query, and writes nothing.
func FleetSchemas(ctx context.Context, pool *pgdbm.Pool, m pgdbm.Module, patterns ...string) ([]string, error) {
	r, _, _, err := bridge.PrepareFleet(pool, m)
	if err != nil {
		return nil, bridge.PublicError(err)
	}
	schemas, err := r.MatchSchemas(ctx, m.Name, patterns)
	if err != nil {
		return nil, &pgdbm.MigrationError{Module: m.Name, Err: bridge.PublicError(err)}
	}
	return schemas, nil
}
