// Package testdb gives each test of this module an empty PostgreSQL database of
// its own.
//
// The databases are made on the server that PGDBM_TEST_URL names, a URL or
// keyword/value text of a role that may create databases; else on a private
// server, started when the first test of a process asks and ended with the
// process. DATABASE_URL and PG* variables are never read. Without PGDBM_TEST_URL
// and without PostgreSQL's programs tests are skipped, but fail where CI is set.
package testdb

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// URL returns the URL of a new and empty database, which is dropped at the end
// of the test, with whoever is still connected to it.
func URL(tb testing.TB) string {
	tb.Helper()
	s := server(tb)
	name := "pgdbm_test_" + randomHex(8)
	sql := "CREATE DATABASE " + name + " TEMPLATE template0"
	if s.copyFiles {
		sql += " STRATEGY file_copy" // checkpoints cost nothing without fsync
	}
	if err := exec(s.url(""), sql); err != nil {
		tb.Fatalf("testdb: make database: %v", err)
	}
	tb.Cleanup(func() {
		if err := drop(s.url(""), name); err != nil {
			tb.Errorf("testdb: drop database: %v", err)
		}
	})
	return s.url(name)
}

// ServerURL returns the URL of the server's own database: postgres, or the one
// that PGDBM_TEST_URL names. It is shared by all tests, of other processes too.
func ServerURL(tb testing.TB) string {
	tb.Helper()
	return server(tb).url("")
}

// Exec runs SQL, one or several statements without arguments, on a connection of
// its own. It may be called from a cleanup too.
func Exec(tb testing.TB, url, sql string) {
	tb.Helper()
	if err := exec(url, sql); err != nil {
		tb.Fatalf("testdb: %v", err)
	}
}

// limit bounds each call, not by the test's context: Exec may clean up after it.
const limit = time.Minute

func exec(url, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// drop waits a moment for sessions that are just ending: with one of them about
// the server polls in steps of 100 ms.
func drop(url, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	for range 25 {
		var sessions int
		err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name).Scan(&sessions)
		if err != nil || sessions == 0 {
			break
		}
		<-pause.C
	}
	_, err = conn.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	return err
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
