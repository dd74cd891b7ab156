package doctor_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
)

// elsewhere is a connection to another machine.
type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5432}
}

func TestItFindsAConnectionToAnotherMachineWithoutTLS(t *testing.T) {
	t.Parallel()
	_, url := create(t, shared(t), "")
	o := doctor.Options{Only: []string{"tls-off"}}
	if r := look(t, url, o); len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
	pool := open(t, pgdbm.Config{URL: url, Pgx: func(c *pgxpool.Config) error {
		dial := c.ConnConfig.DialFunc
		c.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			return elsewhere{conn}, err
		}
		return nil
	}})
	one(t, lookThrough(t, pool, o), "tls-off", "the connection", doctor.Warning)
}

func TestItFindsAPoolerAndItsMode(t *testing.T) {
	t.Parallel()
	s := shared(t)
	for mode, part := range map[string]string{"transaction": "transaction mode", "session": "keeps a session for each client"} {
		_, url := create(t, s, "")
		furnish(t, url)
		r := look(t, throughPgBouncer(t, url, mode), doctor.Options{Modules: []doctor.Module{{Module: shop}}})
		if f := one(t, r, "pooler", "", doctor.Info); !strings.Contains(f.What, part) {
			t.Errorf("%s: %+v", mode, f)
		}
	}
}
