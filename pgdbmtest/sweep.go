package pgdbmtest

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	maxKept      = 20 // databases of failed tests that stay
	maxTemplates = 30 // that stay though no living run uses them
)

var (
	templateName = regexp.MustCompile(`^pgdbmt_[0-9a-f]{12}$`)
	cloneName    = regexp.MustCompile(`^pgdbmt_[0-9a-f]{12}_([0-9a-f]{8})_[0-9]+$`)
)

// note is the comment on a database, as JSON.
type note struct {
	// Of a template:
	SearchPath string `json:"search_path,omitempty"`
	Used       string `json:"used,omitempty"` // when a run last began to, as RFC 3339 in UTC

	// Of a database that was kept:
	Package string `json:"package,omitempty"`
	Test    string `json:"test,omitempty"`
	Kept    string `json:"kept,omitempty"` // when
}

type found struct {
	Name, Comment string
	Sealed        bool
}

func (f found) note() (n note) {
	_ = json.Unmarshal([]byte(f.Comment), &n) // another comment is none of ours
	return n
}

// databases returns those of all runs, the newest first.
func databases(ctx context.Context, admin *pgxpool.Pool) ([]found, error) {
	rows, err := admin.Query(ctx, `SELECT datname, coalesce(shobj_description(oid, 'pg_database'), ''), datistemplate
		FROM pg_database WHERE datname LIKE 'pgdbmt\_%' ORDER BY oid DESC`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[found])
}

// liveRuns returns the runs whose process lives. The locks of all databases of
// the server are looked at.
func liveRuns(ctx context.Context, admin *pgxpool.Pool) (map[string]bool, error) {
	rows, err := admin.Query(ctx, `SELECT lpad(to_hex(objid::bigint), 8, '0') FROM pg_locks
		WHERE locktype = 'advisory' AND classid = $1::bigint::oid AND objsubid = 2 AND granted`, int64(runClass))
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	live := make(map[string]bool, len(ids))
	for _, id := range ids {
		live[id] = true
	}
	return live, err
}

// leftovers returns what is to be dropped: the databases of dead runs, templates
// that nobody finished, and those that have not been used for longest, beyond
// thirty. Age does not matter: a run is dead when nobody holds its lock, and a
// drop gives way to who uses the database. Those kept of failed tests stay, the
// newest of each test and twenty in all.
func leftovers(ctx context.Context, admin *pgxpool.Pool) ([]drop, error) {
	// First the databases, then the locks: a run has its lock before its first
	// database.
	all, err := databases(ctx, admin)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	live, err := liveRuns(ctx, admin)
	if err != nil {
		return nil, err
	}
	var drops []drop
	var templates []found
	kept := 0
	seen := map[[2]string]bool{}
	for _, d := range all {
		if templateName.MatchString(d.Name) {
			if d.Sealed {
				templates = append(templates, d)
			} else {
				drops = append(drops, drop{name: d.Name, template: true, swept: true})
			}
			continue
		}
		m := cloneName.FindStringSubmatch(d.Name)
		if m == nil || live[m[1]] {
			continue
		}
		n := d.note()
		test := [2]string{n.Package, n.Test}
		if n.Kept != "" && !seen[test] && kept < maxKept {
			seen[test] = true
			kept++
			continue
		}
		drops = append(drops, drop{name: d.Name, swept: true})
	}
	slices.SortStableFunc(templates, func(a, b found) int { return strings.Compare(b.note().Used, a.note().Used) })
	for _, d := range templates[min(len(templates), maxTemplates):] {
		drops = append(drops, drop{name: d.Name, template: true, swept: true})
	}
	return drops, nil
}
