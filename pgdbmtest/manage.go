package pgdbmtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pgdbm/pgdbm/internal/testurl"
)

// Kind says what a database of this package is there for.
type Kind string

// The kinds of databases.
const (
	KindTemplate Kind = "template" // tests get copies of it
	KindTest     Kind = "test"     // of a test, or ready for one
	KindKept     Kind = "kept"     // of a test that failed
)

// Database is a database that this package made on a server.
type Database struct {
	Name string
	Kind Kind

	// Live says that a process lives whose tests may be using it.
	Live bool

	// Package and Test say whose a kept database was.
	Package, Test string

	// Since is when a kept database was kept, or when a process last began to
	// use a template. Zero for others.
	Since time.Time

	// Bytes is the size on disk.
	Bytes int64

	// URL opens it for the role and host of the server's URL, as a test has it,
	// without a password. Empty for templates, which take no sessions.
	URL string
}

// Databases lists the databases that this package, in whatever process, has on
// the server of the URL, the newest first.
func Databases(ctx context.Context, url string) ([]Database, error) {
	var list []Database
	err := manage(ctx, url, func(admin *pgxpool.Pool, target testurl.Target) (err error) {
		list, err = listDatabases(ctx, admin, target)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pgdbmtest: list databases: %w", err)
	}
	return list, nil
}

// Drop drops a database that this package made on the server of the URL. It is
// an error when a living process uses it.
func Drop(ctx context.Context, url, name string) error {
	err := manage(ctx, url, func(admin *pgxpool.Pool, target testurl.Target) error {
		list, err := listDatabases(ctx, admin, target)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(d Database) bool { return d.Name == name })
		if i < 0 {
			return errors.New("no such database of a test")
		}
		if d := list[i]; d.Live && d.Kind != KindKept {
			return errors.New("tests are using it")
		}
		return dropped(ctx, admin, drop{name: name, template: list[i].Kind == KindTemplate})
	})
	if err != nil {
		return fmt.Errorf("pgdbmtest: drop %q: %w", name, err)
	}
	return nil
}

// Sweep drops what killed processes left on the server of the URL, as every
// test process does when it starts, and returns the names. With all set it drops
// also templates that no living process uses and what failed tests kept.
func Sweep(ctx context.Context, url string, all bool) (names []string, err error) {
	err = manage(ctx, url, func(admin *pgxpool.Pool, target testurl.Target) error {
		drops, err := leftovers(ctx, admin)
		if err != nil {
			return err
		}
		if all {
			if drops, err = idle(ctx, admin, target); err != nil {
				return err
			}
		}
		for _, d := range drops {
			switch err := dropped(ctx, admin, d); {
			case errors.Is(err, errInUse):
			case err != nil:
				return fmt.Errorf("%s: %w", d.name, err)
			default:
				names = append(names, d.name)
			}
		}
		return nil
	})
	if err != nil {
		return names, fmt.Errorf("pgdbmtest: sweep: %w", err)
	}
	return names, nil
}

// errInUse says that a database is somebody's.
var errInUse = errors.New("it is in use")

// dropped drops a database and tells whether that came to pass.
func dropped(ctx context.Context, admin *pgxpool.Pool, d drop) error {
	if err := dropDatabase(admin, d); err != nil {
		return err
	}
	var there bool
	err := admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", d.name).Scan(&there)
	if err == nil && there {
		return errInUse
	}
	return err
}

// idle is all that no living process uses.
func idle(ctx context.Context, admin *pgxpool.Pool, target testurl.Target) ([]drop, error) {
	list, err := listDatabases(ctx, admin, target)
	var drops []drop
	for _, d := range list {
		if !d.Live || d.Kind == KindKept {
			drops = append(drops, drop{name: d.Name, template: d.Kind == KindTemplate})
		}
	}
	return drops, err
}

func manage(ctx context.Context, url string, do func(*pgxpool.Pool, testurl.Target) error) error {
	target, err := testurl.Parse(url)
	if err != nil {
		return err
	}
	cfg, err := maintenance(ctx, target)
	if err != nil {
		return err
	}
	admin, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer admin.Close()
	return do(admin, target)
}

func listDatabases(ctx context.Context, admin *pgxpool.Pool, target testurl.Target) ([]Database, error) {
	all, err := databases(ctx, admin)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	live, err := liveRuns(ctx, admin)
	if err != nil {
		return nil, err
	}
	var list []Database
	paths := map[string]string{} // of templates
	for _, f := range all {
		n := f.note()
		d := Database{Name: f.Name, Package: n.Package, Test: n.Test}
		m := cloneName.FindStringSubmatch(f.Name)
		switch {
		case templateName.MatchString(f.Name):
			d.Kind = KindTemplate
			d.Since, _ = time.Parse(time.RFC3339, n.Used)
			paths[f.Name] = n.SearchPath
			if d.Live, err = locked(ctx, admin, lockKey(f.Name), useKey(f.Name)); err != nil {
				return nil, err
			}
		case m == nil:
			continue // of a later version of this package
		case n.Kept != "":
			d.Kind = KindKept
			d.Since, _ = time.Parse(time.RFC3339, n.Kept)
		default:
			d.Kind = KindTest
		}
		if m != nil {
			d.Live = live[m[1]]
		}
		err := admin.QueryRow(ctx, "SELECT coalesce(pg_database_size(oid), 0) FROM pg_database WHERE datname = $1", f.Name).Scan(&d.Bytes)
		if err != nil {
			continue // dropped meanwhile
		}
		list = append(list, d)
	}
	target = target.With("password", "")
	for i, d := range list {
		if d.Kind != KindTemplate {
			list[i].URL = urlOf(target, d.Name, paths[templateOf(d.Name)])
		}
	}
	return list, nil
}

func templateOf(clone string) string { return clone[:len("pgdbmt_")+12] }

// locked reports whether anybody has one of the advisory locks.
func locked(ctx context.Context, admin *pgxpool.Pool, keys ...int64) (yes bool, err error) {
	err = admin.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
		AND (classid::bigint << 32 | objid::bigint) = ANY ($1))`, keys).Scan(&yes)
	return yes, err
}
