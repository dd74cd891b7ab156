package localpg

import (
	"context"
	"fmt"
	"net/url"
	"time"
)

// Info describes a running server of this user, whichever process started it.
type Info struct {
	ID      string // of this server, for [End]
	URL     string // as [Server.URL] for the database postgres
	Version string // such as "17.5"
	BinDir  string
	Started time.Time

	Durable bool
	TCP     bool // listens on 127.0.0.1 as well
	Shared  bool // others may join; only then can End end it
	Kept    bool // lives without users too, for ever or a time
}

// DatabaseURL is URL for another database, as [Server.URL]; empty is postgres.
func (i Info) DatabaseURL(database string) string {
	u, err := url.Parse(i.URL)
	if err != nil { // no URL of List
		return ""
	}
	u.Path = databaseURL(database).Path
	return u.String()
}

// List returns the running servers of this user in the order of their start. On
// systems without private servers there are none.
func List() ([]Info, error) {
	infos, err := list()
	if err != nil {
		return nil, fmt.Errorf("localpg: list servers: %w", err)
	}
	return infos, nil
}

// End ends the shared server with this [Info.ID]: once its last user is gone,
// which may be at once, or with now set in any case. It returns when a server
// that must end now is gone and otherwise when the server knows. A server that
// is not there, or not shared, is an error.
func End(ctx context.Context, id string, now bool) error {
	if err := end(ctx, id, now); err != nil {
		return fmt.Errorf("localpg: end server %s: %w", id, err)
	}
	return nil
}
