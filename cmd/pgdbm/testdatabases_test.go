package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/pgdbm/pgdbm/localpg"
)

func TestAServerThatEndsMeanwhileIsNoError(t *testing.T) {
	t.Parallel()
	mustServer(t)
	s, err := localpg.Start(t.Context(), &localpg.Options{Fetch: true, Shared: true, Settings: map[string]string{"work_mem": "5MB"}})
	if err != nil {
		t.Fatal(err)
	}
	if hasEnded(s.ID()) {
		t.Error("it runs")
	}
	s.Stop(context.Background())
	for deadline := time.Now().Add(time.Minute); !hasEnded(s.ID()); { // it ends within a second after its last user
		if time.Now().After(deadline) {
			t.Fatal("it does not end")
		}
		<-time.After(10 * time.Millisecond)
	}
	// One that is named is not passed over.
	failed := errors.New("failed")
	if err := eachTestServer("postgres://h/x", func(string) error { return failed }); !errors.Is(err, failed) {
		t.Error(err)
	}
}
