package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestAResetKeepsTheDatabaseWhenTheNewOneCannotBeMade(t *testing.T) {
	t.Parallel()
	s := mustServer(t)
	ctx, url := t.Context(), s.URL("reset_test")
	admin, err := pgx.Connect(ctx, s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, sql := range []string{"DROP DATABASE IF EXISTS reset_test WITH (FORCE)", "DROP ROLE IF EXISTS reset_test"} {
			if _, err := admin.Exec(context.Background(), sql); err != nil {
				t.Error(err)
			}
		}
		admin.Close(context.Background())
	})
	for _, sql := range []string{
		"CREATE ROLE reset_test LOGIN", "CREATE DATABASE reset_test OWNER reset_test CONNECTION LIMIT 7", "COMMENT ON DATABASE reset_test IS 'old'",
	} {
		if _, err := admin.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	reset := func(url string) (int, string) {
		var out bytes.Buffer
		code := run(ctx, []string{"db", "reset", "--yes", "--url", url}, &out, &out)
		return code, out.String()
	}
	facts := func() (text string) {
		t.Helper()
		if err := admin.QueryRow(ctx, `SELECT concat_ws(' ', pg_get_userbyid(datdba), datconnlimit, shobj_description(oid, 'pg_database'),
			(SELECT count(*) FROM pg_database WHERE datname LIKE 'pgdbm\_reset%')) FROM pg_database WHERE datname = 'reset_test'`).Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	code, out := reset(strings.Replace(url, "postgres@", "reset_test@", 1))
	if code != exitFailed || !strings.Contains(out, `create database "reset_test" anew: ERROR: permission denied to create database (SQLSTATE 42501); it is as it was`) {
		t.Error(code, out)
	}
	if got := facts(); got != "reset_test 7 old 0" {
		t.Error(got)
	}
	if code, out = reset(url); code != exitOK || out != "dropped database reset_test\ncreated database reset_test\n" {
		t.Error(code, out)
	}
	if got := facts(); got != "reset_test 7 0" {
		t.Error(got)
	}
}
