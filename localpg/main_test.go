package localpg_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/localpg"
)

// childEnv makes the test binary a program that starts a server and ends as the
// variable says.
const childEnv = "LOCALPG_TEST_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childEnv); mode != "" {
		if err := child(mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestAServerCanBeStarted(t *testing.T) { start(t, nil) }

// needServer skips the test where no server can be started, but fails in CI.
func needServer(t *testing.T) {
	t.Helper()
	if _, err := binaries(); err != nil {
		if os.Getenv("CI") == "" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
}

// binaries has the folder of the server's programs, which are fetched once
// where there are none.
var binaries = sync.OnceValues(func() (string, error) {
	s, err := localpg.Start(context.Background(), &localpg.Options{Fetch: true})
	if err != nil {
		return "", err
	}
	return s.BinDir(), s.Stop(context.Background())
})

// start starts a server that the test's end stops.
func start(t *testing.T, o *localpg.Options) *localpg.Server {
	t.Helper()
	needServer(t)
	s, err := localpg.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask returns the only value of a query.
func ask(t *testing.T, url, sql string) (value string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func gone(dir string) bool {
	_, err := os.Lstat(dir)
	return errors.Is(err, os.ErrNotExist)
}
