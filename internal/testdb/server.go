package testdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pgdbm/pgdbm/internal/testurl"
	"github.com/pgdbm/pgdbm/localpg"
)

// source is the server of this process.
type source struct {
	url       func(database string) string // "" is the server's own database
	copyFiles bool
}

var shared = sync.OnceValues(open)

func open() (source, error) {
	if text := os.Getenv("PGDBM_TEST_URL"); text != "" {
		target, err := testurl.Parse(text)
		if err != nil {
			return source{}, fmt.Errorf("PGDBM_TEST_URL: %w", err)
		}
		return source{url: target.URL}, nil
	}
	s, err := localpg.Start(context.Background(), nil) // its supervisor ends it with us
	if err != nil {
		return source{}, err
	}
	major, _, _ := strings.Cut(s.Version(), ".")
	n, _ := strconv.Atoi(major)
	return source{url: s.URL, copyFiles: n >= 15}, nil
}

func server(tb testing.TB) source {
	tb.Helper()
	s, err := shared()
	if err == nil {
		return s
	}
	var missing *localpg.NotFoundError
	if os.Getenv("CI") == "" && (errors.As(err, &missing) || errors.Is(err, errors.ErrUnsupported)) {
		tb.Skip(err)
	}
	tb.Fatal(err)
	return source{}
}

// Tests never see PGHOST, PGOPTIONS and the like, which may be somebody's
// production and would add to what a test's URL says.
func init() {
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "PGDBM_") {
			os.Unsetenv(name)
		}
	}
}
