package main

import (
	"bytes"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/pgdbmtest"
)

// The rows of two tables are written together, while those of the first are being
// copied: a CHECK that waits for a lock holds the copy there.
func TestAClonesRowsAreThoseOfOneMoment(t *testing.T) {
	t.Parallel()
	if !dumps() {
		t.Skip("takes pg_dump")
	}
	ctx, url := t.Context(), pgdbmtest.URL(t)
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(ctx) })
		return conn
	}
	conn, other := connect(), connect()
	exec := func(conn *pgx.Conn, sql string) {
		t.Helper()
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	exec(conn, `CREATE SCHEMA src; CREATE FUNCTION src.held() RETURNS bool LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN true; END';
		CREATE TABLE src.a (x int CHECK (src.held())); CREATE TABLE src.b (x int CHECK (src.held())); INSERT INTO src.a VALUES (1); INSERT INTO src.b VALUES (1);
		SELECT pg_advisory_lock(42)`)
	var out bytes.Buffer
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"schema", "clone", "src", "copy", "--data", "--url", url}, &out, &out)
	}()
	for waits := false; !waits; {
		if err := other.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND objid = 42)").Scan(&waits); err != nil {
			t.Fatal(err)
		}
		if len(done) > 0 {
			t.Fatal(out.String())
		}
	}
	exec(conn, "BEGIN; UPDATE src.a SET x = 2; UPDATE src.b SET x = 2; COMMIT; SELECT pg_advisory_unlock(42)")
	if code := <-done; code != exitOK {
		t.Fatal(out.String())
	}
	var a, b int
	if err := conn.QueryRow(ctx, "SELECT (SELECT x FROM copy.a), (SELECT x FROM copy.b)").Scan(&a, &b); err != nil || a != 1 || b != 1 {
		t.Errorf("%d and %d, %v", a, b, err)
	}
}
