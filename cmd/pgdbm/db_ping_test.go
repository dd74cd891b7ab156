package main

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// A ping that waits takes the time that it is given: not less where the server
// refuses connections, and not more where it is silent.
func TestAPingWaitsForAsLongAsItIsTold(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, l := range map[string]net.Listener{"silent": silent, "closed": closed} {
		const wait = 1500 * time.Millisecond
		var out bytes.Buffer
		began := time.Now()
		code := run(t.Context(), []string{"db", "ping", "--wait", fmt.Sprint(wait), "--url", "postgres://" + l.Addr().String() + "/app?sslmode=disable"}, &out, &out)
		if took := time.Since(began); took < wait || took > wait+2*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		if code != exitFailed || !strings.Contains(out.String(), "pgdbm: not reached in 1.5s: database of --url: ") || strings.Count(out.String(), "deadline exceeded") > 1 {
			t.Errorf("%s: %d, %s", name, code, &out)
		}
	}
}

func TestAServerWithoutTLSIsSaidToHaveNone(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			// What a server answers that has no TLS, once it is asked.
			if _, err := conn.Read(make([]byte, 8)); err == nil {
				_, _ = conn.Write([]byte("N"))
			}
			conn.Close()
		}
	}()
	var out bytes.Buffer
	code := run(t.Context(), []string{"db", "ping", "--url", "postgres://" + l.Addr().String() + "/app?sslmode=require"}, &out, &out)
	if code != exitFailed || !strings.Contains(out.String(), "\nhint: check TLS: ") {
		t.Errorf("%d, %s", code, &out)
	}
}
