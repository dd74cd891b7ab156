package main

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm"
)

func TestProgramsOfPostgresAreLedToTheSamePlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config pgdbm.Config
		want   string
	}{
		{pgdbm.Config{URL: "postgres://u@h/d"}, "postgres://u@h/d"},
		{pgdbm.Config{URL: "postgres://u@h/d", SSLMode: "require"}, "postgres://u@h/d?sslmode=require"},
		{pgdbm.Config{URL: "postgresql://h/d?x=1", SSLRootCert: "a b"}, "postgresql://h/d?x=1&sslrootcert=a%20b"},
		{pgdbm.Config{URL: "host=h dbname=d", SSLMode: "require"}, "host=h dbname=d sslmode='require'"},
		{pgdbm.Config{Host: "/tmp", Port: 5433, Database: "d", User: "u", Password: `it's \ it`},
			`host='/tmp' dbname='d' user='u' password='it\'s \\ it' port='5433'`},
	} {
		if got := libpqText(c.config); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	parsed, err := pgconn.ParseConfig(libpqText(pgdbm.Config{Host: "h", Database: "d", Password: `it's \ it`}))
	if err != nil || parsed.Password != `it's \ it` {
		t.Errorf("%v", err)
	}
}
