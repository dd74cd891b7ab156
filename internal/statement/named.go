package statement

import (
	"hash/maphash"
	"strconv"
	"unique"

	"github.com/jackc/pgx/v5/pgconn"
)

// pair is a statement in a namespace. For one whose text is the same in every
// namespace, that is the zero value.
type pair struct {
	shape     *Shape
	namespace unique.Handle[string]
}

// maxNamed is how many named statements a connection has at the most. Each
// takes some 8 kB on the server.
const maxNamed = 256

// promoteAt is the use of a pair on one connection that names its statement.
const promoteAt = 3

// named are the named statements of one connection, those used last first. The
// zero value has none.
type named struct {
	of          map[pair]*prepared
	first, last *prepared
	count       int      // of names given out
	garbage     []string // on the server, to be closed with the next message that names one
}

// prepared is a named statement.
type prepared struct {
	pair       pair
	statement  *pgconn.StatementDescription
	epoch      uint64
	prev, next *prepared
}

// get returns the statement of a pair if it is not older than epoch.
func (n *named) get(p pair, epoch uint64) *prepared {
	s, ok := n.of[p]
	if !ok {
		return nil
	}
	if s.epoch != epoch {
		n.drop(s)
		return nil
	}
	if n.first != s {
		n.unlink(s)
		n.link(s)
	}
	return s
}

// name returns a name that this connection has not used.
func (n *named) name() string {
	n.count++
	return "pgdbm_" + strconv.Itoa(n.count)
}

// room drops what must go for one more.
func (n *named) room() {
	if len(n.of) >= maxNamed {
		n.drop(n.last)
	}
}

func (n *named) put(p pair, sd *pgconn.StatementDescription, epoch uint64) *prepared {
	if n.of == nil {
		n.of = make(map[pair]*prepared)
	}
	s := &prepared{pair: p, statement: sd, epoch: epoch}
	n.of[p] = s
	n.link(s)
	return s
}

// drop forgets a statement; the server is told later.
func (n *named) drop(s *prepared) {
	delete(n.of, s.pair)
	n.unlink(s)
	n.garbage = append(n.garbage, s.statement.Name)
}

func (n *named) link(s *prepared) {
	s.prev, s.next = nil, n.first
	if n.first != nil {
		n.first.prev = s
	}
	n.first = s
	if n.last == nil {
		n.last = s
	}
}

func (n *named) unlink(s *prepared) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		n.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		n.last = s.prev
	}
}

// seen counts the uses of pairs that have no name, in a table of fixed size: a
// pair takes the place of another one with the same hash, so what is rare is
// forgotten.
type seen [1024]struct {
	pair pair
	uses uint8
}

var seenSeed = maphash.MakeSeed()

// again counts a use and reports whether it is time for a name.
func (t *seen) again(p pair) bool {
	e := &t[maphash.Comparable(seenSeed, p)%uint64(len(t))]
	if e.pair != p {
		e.pair, e.uses = p, 0
	}
	e.uses++
	if e.uses < promoteAt {
		return false
	}
	e.uses = 0
	return true
}
