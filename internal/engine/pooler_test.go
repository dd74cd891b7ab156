package engine_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm/internal/engine"
)

// pooled makes a program's connections look as those of a pooler do: the number that the client is told is not that of
// the process that answers.
func pooled(c *pgxpool.Config) {
	dial := c.ConnConfig.DialFunc
	c.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &otherPID{Conn: conn}, nil
	}
}

// otherPID changes the number in the server's message BackendKeyData.
type otherPID struct {
	net.Conn
	rest []byte // of a message that was read whole
	done bool   // the message is behind us
}

func (c *otherPID) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		if c.done {
			return c.Conn.Read(b)
		}
		head := make([]byte, 5)
		if _, err := io.ReadFull(c.Conn, head); err != nil {
			return 0, err
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(c.Conn, body); err != nil {
			return 0, err
		}
		if head[0] == 'K' {
			binary.BigEndian.PutUint32(body, binary.BigEndian.Uint32(body)+1_000_000)
			c.done = true
		}
		c.rest = append(head, body...)
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func TestAFileOutsideATransactionIsRefusedBehindAPooler(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	if d.encrypted() {
		t.Skip("the connection cannot be looked into")
	}
	p := d.program(two, pooled)
	tg := target(t, "app", "app", "1_a.sql", "create table a (x int);", "2_b.sql", outsideHead+"create index concurrently i on {{tables.a}} (x);\ncreate table unqualified (x int);")
	_, err := p.Up(t.Context(), tg)
	if !errors.Is(err, engine.ErrPooled) {
		t.Fatalf("got %v", err)
	}
	contains(t, err.Error(), "migrate app/2_b.sql: connection goes through a pooler")
	d.want("0", "select count(*) from pg_namespace where nspname in ('app', 'pgdbm')")

	p.ThroughPooler = true
	if got := versions(p.up(tg)); got != "1 2" {
		t.Errorf("applied %s", got)
	}
	d.want("app", "select schemaname from pg_tables where tablename = 'unqualified'")
	d.want("true", "select indisvalid from pg_index where indexrelid = 'app.i'::regclass")
	p.ThroughPooler = false
	p.up(target(t, "more", "more", "1_a.sql", "create table a (x int);"))
}
