package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

func TestProgramsOfPostgresGetWhatLibpqKnowsAndNoSecretInTheirArguments(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]libpqTarget{
		"postgres://me:s%3Acret@db/app?sslmode=require": {words: []word{{"user", "me"}, {"host", "db"}, {"dbname", "app"}, {"sslmode", "require"}}, password: "s:cret"},
		"postgres:///app?host=/tmp&password=sec+ret":    {words: []word{{"dbname", "app"}, {"host", "/tmp"}}, password: "sec+ret"},
		"postgres://a:1,b:2/app":                        {words: []word{{"host", "a,b"}, {"port", "1,2"}, {"dbname", "app"}}},
		"postgres://db/app?dbname=other&sslpassword=s":  {words: []word{{"host", "db"}, {"dbname", "other"}}, secrets: []word{{"sslpassword", "s"}}},
		"postgres://db?pool_max_conns=4&default_query_exec_mode=exec&search_path=a,%20b&role=c": {words: []word{{"host", "db"},
			{"options", `-c search_path=a,\ b -c role=c`}}},
		"host=db options='-c x=1' statement_timeout=1": {words: []word{{"host", "db"}, {"options", "-c x=1 -c statement_timeout=1"}}},
		"host=db password = 'se\\' cret' dbname=app":   {words: []word{{"host", "db"}, {"dbname", "app"}}, password: "se' cret"},
		"host=db application_name='x password=foo' database=a\\ b port=''": {words: []word{{"host", "db"}, {"application_name", "x password=foo"},
			{"dbname", "a b"}, {"port", ""}}},
	} {
		got, err := newLibpqTarget(text)
		if err != nil || fmt.Sprintf("%q", *got) != fmt.Sprintf("%q", want) {
			t.Errorf("%s: %q %v", text, got, err)
		}
	}
	for _, text := range []string{"postgres://me:sec%ret@db/", "host='secret", "secret", "postgres://db?x=%secret", "service=x sslpassword=secret"} {
		if _, err := newLibpqTarget(text); err == nil || strings.Contains(err.Error(), "ecret ") || strings.HasSuffix(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// program makes a program that the test runs in place of one of PostgreSQL's.
func program(t *testing.T, script string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestSecretsReachProgramsOfPostgresByEnvironmentAndFile(t *testing.T) {
	t.Parallel()
	target, err := newLibpqTarget("postgres://me:hidden@db/?sslpassword=buried")
	if err != nil {
		t.Fatal(err)
	}
	out, err := target.run(t.Context(), program(t, `printf '%s\n' "$*" "$PGPASSWORD" "$PGSERVICEFILE"; cat "$PGSERVICEFILE"; ls -l "$PGSERVICEFILE" | cut -c1-10`), "--x")
	lines := strings.Split(out, "\n")
	if err != nil || len(lines) != 7 {
		t.Fatal(out, err)
	}
	if want := "--dbname=user='me' host='db' service='pgdbm' --x"; lines[0] != want || lines[1] != "hidden" || lines[3] != "[pgdbm]" || lines[4] != "sslpassword=buried" || lines[5] != "-rw-------" {
		t.Errorf("%q", lines)
	}
	if _, err := os.Stat(lines[2]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file stays: %v", err)
	}
	target.secrets[0].value = "a\nb"
	if _, err := target.run(t.Context(), program(t, "")); err == nil || !strings.Contains(err.Error(), "sslpassword: ") {
		t.Error(err)
	}
}

func TestAProgramOfPostgresIsAskedToEndWhenTheTimeIsUp(t *testing.T) {
	t.Parallel()
	ready := filepath.Join(t.TempDir(), "ready")
	if out, err := new(libpqTarget).run(t.Context(), program(t, "echo why >&2; exit 3")); err == nil || out != "" || !strings.HasSuffix(err.Error(), "exit status 3: why") {
		t.Error(out, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for {
			if _, err := os.Stat(ready); err == nil {
				cancel(nil)
				return
			}
		}
	}()
	began := time.Now()
	_, err := new(libpqTarget).run(ctx, program(t, "trap 'echo asked >&2; exit 1' INT\ntouch "+ready+"\nwhile :; do :; done"))
	if !errors.Is(err, context.Canceled) || !strings.HasSuffix(err.Error(), ": asked") || time.Since(began) > 4*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}
