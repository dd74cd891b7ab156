package main

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/localpg"
)

// What the figures are is for people to judge: machines differ.
func TestBenchesPrintTheirDocumentedShape(t *testing.T) {
	for name, results := range map[string][]string{
		"overhead":  {"p50", "allocs"},
		"expand":    {"ns", "allocs"},
		"tenants":   {"uniform-p50", "round-trips", "zipf-p50", "single-p50", "bounded-p50", "backend-memory"},
		"ddl":       {"errors", "tx-errors", "lost"},
		"fairness":  {"quiet-p50", "quiet-p99"},
		"isolation": {"hot-p50", "spread-p50", "tx-p50", "added", "round-trips"},
		"provision": {"create", "isolated", "rate"},
		"migrate":   {"provision", "add-column", "nothing-to-do", "nothing-to-do-10000"},
	} {
		var out strings.Builder
		args := []string{name, "--json", "--url", os.Getenv("PGDBM_TEST_URL")}
		if name == "migrate" || name == "tenants" || name == "isolation" {
			args = append(args, "--schemas", "12")
		}
		err := run(t.Context(), args, &out)
		if missing := (*localpg.NotFoundError)(nil); errors.As(err, &missing) && os.Getenv("CI") == "" {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Bench   string
			Results []struct {
				Name, Unit string
				Ours, Peer *float64
				Ratio      *float64
			}
		}
		if err := json.Unmarshal([]byte(out.String()), &got); err != nil || got.Bench != name || len(got.Results) != len(results) {
			t.Fatalf("%s printed %s: %v", name, out.String(), err)
		}
		for i, r := range got.Results {
			if r.Name != results[i] || r.Unit == "" || r.Ours == nil || r.Peer == nil || *r.Peer > 0 && r.Ratio == nil {
				t.Errorf("%s printed %s", name, out.String())
			}
		}
	}
}

func TestUnknownBenchesAndFlagsAreErrors(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"nothing"}, {"expand", "--nothing"}, {"expand", "--schemas", "2"}, {"migrate", "--schemas", "0"}, {"tenants", "--schemas", "0"}, {"expand", "more"}} {
		if err := run(t.Context(), args, new(strings.Builder)); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
	var out strings.Builder
	if err := run(t.Context(), nil, &out); err != nil || strings.Count(out.String(), "\n") != len(benches) {
		t.Errorf("the list: %q, %v", out.String(), err)
	}
}
