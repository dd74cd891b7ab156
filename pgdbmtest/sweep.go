package pgdbmtest

import (
	"context"
	"encoding/json"
	"regexp"

	"github.com/jackc/pgx/v5"
)

// maxKept is how many databases of failed tests stay.
const maxKept = 20

var (
	templateName = regexp.MustCompile(`^pgdbmt_[0-9a-f]{12}$`)
	cloneName    = regexp.MustCompile(`^pgdbmt_[0-9a-f]{12}_([0-9a-f]{8})_[0-9]+$`)
)

// note is the comment on a database, as JSON.
type note struct {
	SearchPath string `json:"search_path,omitempty"` // of a template

	// Of a database that was kept:
	Package string `json:"package,omitempty"`
	Test    string `json:"test,omitempty"`
	Kept    string `json:"kept,omitempty"` // when, as RFC 3339 in UTC
}

type found struct {
	Name, Comment string
	Sealed        bool
}

// sweep queues the databases of dead runs for dropping, and templates that
// nobody is building and nobody finished. Age does not matter: a
// run is dead when nobody holds its lock. Those kept of failed tests stay, the
// newest of each test and twenty in all.
func (s *server) sweep(ctx context.Context) error {
	// First the databases, then the locks: a run has its lock before its first
	// database.
	databases, err := s.databases(ctx)
	if err != nil || len(databases) == 0 {
		return err
	}
	live, err := s.liveRuns(ctx)
	if err != nil {
		return err
	}
	kept := 0
	seen := map[[2]string]bool{}
	for _, d := range databases { // the newest of those kept first
		if templateName.MatchString(d.Name) && !d.Sealed {
			s.drops.add(drop{name: d.Name, lock: lockKey(d.Name)})
			continue
		}
		m := cloneName.FindStringSubmatch(d.Name)
		if m == nil || live[m[1]] {
			continue
		}
		var n note
		_ = json.Unmarshal([]byte(d.Comment), &n) // another comment is none of ours
		test := [2]string{n.Package, n.Test}
		if n.Kept != "" && !seen[test] && kept < maxKept {
			seen[test] = true
			kept++
			continue
		}
		s.drops.add(drop{name: d.Name})
	}
	return nil
}

func (s *server) databases(ctx context.Context) ([]found, error) {
	rows, err := s.admin.Query(ctx, `SELECT datname, coalesce(shobj_description(oid, 'pg_database'), ''), datistemplate
		FROM pg_database WHERE datname LIKE 'pgdbmt\_%' ORDER BY oid DESC`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[found])
}
