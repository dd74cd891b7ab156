package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/sqltemplate"
)

// devComment is the comment of a database that dev has made, by which the next one
// knows what a killed one left.
const devComment = "pgdbm dev"

// devDatabase is the database of one dev. As long as that lives its connection
// holds a lock, so that others leave the database alone.
type devDatabase struct {
	name  string
	admin *pgx.Conn
}

// createDevDatabase creates a database with this name, or with one after the
// working folder that no other dev has and no other database.
func createDevDatabase(ctx context.Context, url, name string) (*devDatabase, error) {
	admin, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("create database: %w", err)
	}
	db := &devDatabase{admin: admin}
	// One dev after the other, so that none takes a lock that sweep tries for one of
	// a dev that lives.
	if _, err = admin.Exec(ctx, "SELECT pg_catalog.pg_advisory_lock("+devKey+")", ""); err == nil {
		if err = db.sweep(ctx); err != nil {
			err = fmt.Errorf("drop what a killed pgdbm dev has left: %w", err)
		}
	}
	if err != nil {
		admin.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	if name != "" {
		db.name = name
		err = db.create(ctx)
	} else {
		base := folderName()
		for n := 1; ; n++ {
			db.name = base + "_dev"
			if n > 1 {
				db.name += fmt.Sprint(n)
			}
			if err = db.create(ctx); !errors.Is(err, errTaken) {
				break
			}
		}
	}
	if err == nil {
		_, err = admin.Exec(ctx, "SELECT pg_catalog.pg_advisory_unlock("+devKey+")", "")
	}
	if err != nil {
		admin.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("create database %q: %w", db.name, err)
	}
	return db, nil
}

var errTaken = errors.New("another pgdbm dev has it, or it is somebody's own")

// devKey is the key of the lock of a database with the name $1.
const devKey = "pg_catalog.hashtextextended('pgdbm dev ' || $1, 0)"

// sweep drops the databases of devs that were killed, unless somebody uses them.
func (db *devDatabase) sweep(ctx context.Context) error {
	rows, err := db.admin.Query(ctx, `SELECT datname FROM pg_catalog.pg_database d WHERE pg_catalog.shobj_description(oid, 'pg_database') = $1
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid) ORDER BY 1`, devComment)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		var got bool
		if err := db.admin.QueryRow(ctx, "SELECT pg_catalog.pg_try_advisory_lock("+devKey+")", name).Scan(&got); err != nil {
			return err
		}
		if !got {
			continue
		}
		_, err := db.admin.Exec(ctx, "DROP DATABASE IF EXISTS "+sqltemplate.Quote(name))
		if isState(err, objectInUse) {
			err = nil // since we looked
		}
		if _, unlock := db.admin.Exec(ctx, "SELECT pg_catalog.pg_advisory_unlock("+devKey+")", name); unlock != nil || err != nil {
			return errors.Join(err, unlock)
		}
	}
	return nil
}

const objectInUse = "55006"

// create makes the database. What a killed dev left of that name goes first.
func (db *devDatabase) create(ctx context.Context) error {
	var got, there, ours bool
	if err := db.admin.QueryRow(ctx, "SELECT pg_catalog.pg_try_advisory_lock("+devKey+")", db.name).Scan(&got); err != nil {
		return err
	}
	if !got {
		return errTaken
	}
	err := db.admin.QueryRow(ctx, `SELECT count(*) > 0, coalesce(bool_or(pg_catalog.shobj_description(oid, 'pg_database') = $2), false)
		FROM pg_catalog.pg_database WHERE datname = $1`, db.name, devComment).Scan(&there, &ours)
	if err != nil {
		return err
	}
	if there && !ours {
		if _, err := db.admin.Exec(ctx, "SELECT pg_catalog.pg_advisory_unlock("+devKey+")", db.name); err != nil {
			return err
		}
		return errTaken
	}
	if err := db.make(ctx, there); err != nil {
		if isState(err, duplicateDatabase) {
			return errTaken // since we looked
		}
		// It may be there, and without its comment nobody would know it.
		return errors.Join(err, db.drop(context.WithoutCancel(ctx)))
	}
	return nil
}

func (db *devDatabase) make(ctx context.Context, again bool) error {
	name := sqltemplate.Quote(db.name)
	if again {
		if _, err := db.admin.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			return err
		}
	}
	if _, err := db.admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return err
	}
	if _, err := db.admin.Exec(ctx, fmt.Sprintf("COMMENT ON DATABASE %s IS '%s'", name, devComment)); err != nil {
		return err
	}
	_, err := db.admin.Exec(ctx, "SELECT pg_catalog.set_config('application_name', 'pgdbm dev of ' || $1, false)", db.name)
	return err
}

// watch uses the connection, and cancels the context when the server ends it: with
// it the lock goes, and maybe the server. What it returns is closed when the
// connection is free, after the end of the context.
func (db *devDatabase) watch(ctx context.Context, cancel context.CancelCauseFunc) <-chan struct{} {
	free := make(chan struct{})
	go func() {
		defer close(free)
		if _, err := db.admin.WaitForNotification(ctx); err != nil && ctx.Err() == nil {
			cancel(fmt.Errorf("connection to the server: %w", err))
		}
	}()
	return free
}

// devCleanup is the time that the end may take.
const devCleanup = 10 * time.Second

// drop ends the sessions in the database and drops it.
func (db *devDatabase) drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, devCleanup)
	defer cancel()
	admin := db.admin
	if admin.IsClosed() {
		var err error
		if admin, err = pgx.ConnectConfig(ctx, admin.Config()); err != nil {
			return fmt.Errorf("drop database %q: %w", db.name, err)
		}
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, "DROP DATABASE IF EXISTS "+sqltemplate.Quote(db.name)+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop database %q: %w", db.name, err)
	}
	return nil
}

// folderName is the name of the working folder as a name that needs no quotes.
func folderName() string {
	dir, err := os.Getwd()
	if err != nil {
		dir = ""
	}
	name := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, filepath.Base(dir)), "_")
	if name == "" || name[0] <= '9' {
		name = "p" + name
	}
	return name[:min(len(name), 50)]
}
