// Command bench measures pgdbm and a peer side by side, in one run, and prints
// the ratio of the two.
//
//	go run ./bench NAME [--json] [--url URL]
//
// isolation, migrate and tenants also take --schemas N. Without a NAME it lists
// what there is. Each comparison is interleaved, so that a machine whose speed
// drifts slows down both sides, and each figure is a median. --url names a server
// to use, whose role may create databases; else a private one is started. With
// --json one object goes to stdout:
//
//	{"bench":"overhead","results":[{"name":"p50","unit":"us","ours":43.1,"peer":42.8,"ratio":1.01}]}
//
// ratio is ours divided by the peer's; smaller is better. When the peer's figure
// is 0 the ratio is left out.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
)

// result is one figure of both sides.
type result struct {
	Name  string   `json:"name"`
	Unit  string   `json:"unit"`
	Ours  float64  `json:"ours"`
	Peer  float64  `json:"peer"`
	Ratio *float64 `json:"ratio,omitempty"`
}

func compare(name, unit string, ours, peer float64) result {
	r := result{Name: name, Unit: unit, Ours: ours, Peer: peer}
	if peer != 0 {
		ratio := ours / peer
		r.Ratio = &ratio
	}
	return r
}

// bench is one comparison.
type bench struct {
	name, what string
	run        func(ctx context.Context, url string) ([]result, error)
}

var benches = []bench{
	{"overhead", "a point query through a handle and through raw pgxpool, on one connection", overhead},
	{"testdb", "a migrated database of 50 tables for a test, and one cloned on demand and dropped at the end", testdb},
	{"expand", "the template of a query with two tables, and strings.ReplaceAll", expand},
	{"tenants", "point reads over many schemas through handles, and through raw pgxpool in its default mode", tenants},
	{"ddl", "errors and time lost while tables change under statements, through a handle and raw pgxpool", ddl},
	{"fairness", "a quiet schema beside a busy one on one pool, through handles and raw pgxpool", fairness},
	{"isolation", "point reads as a role of the tenant's own, and as the pool's user", isolation},
	{"provision", "a tenant with five tables, and a schema that goose migrates", provision},
	{"migrate", "many schemas with migrate.Fleet, and with a goose Provider each", fleet},
}

// ownFlags are the flags that a bench has beside those of all.
var ownFlags = map[string]func(*flag.FlagSet){"migrate": migrateFlags, "tenants": tenantsFlags, "isolation": isolationFlags}

func main() {
	// What PGHOST, PGOPTIONS and the like say is for other programs.
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "PGDBM_") {
			os.Unsetenv(name)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, b := range benches {
			fmt.Fprintf(w, "%s\t%s\n", b.name, b.what)
		}
		return w.Flush()
	}
	flags := flag.NewFlagSet("bench "+args[0], flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print one JSON object")
	url := flags.String("url", "", "server to use; empty: start a private one")
	if add := ownFlags[args[0]]; add != nil {
		add(flags)
	}
	if err := flags.Parse(args[1:]); err != nil {
		return flag.ErrHelp
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s: unexpected argument %q", args[0], flags.Arg(0))
	}
	for _, b := range benches {
		if b.name != args[0] {
			continue
		}
		results, err := b.run(ctx, *url)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		if *asJSON {
			return json.NewEncoder(out).Encode(struct {
				Bench   string   `json:"bench"`
				Results []result `json:"results"`
			}{b.name, results})
		}
		return table(out, results)
	}
	return fmt.Errorf("no bench %q", args[0])
}

func table(out io.Writer, results []result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "result\tours\tpeer\tunit\tratio\t")
	for _, r := range results {
		ratio := "-"
		if r.Ratio != nil {
			ratio = fmt.Sprintf("%.3f", *r.Ratio)
		}
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%s\t%s\t\n", r.Name, r.Ours, r.Peer, r.Unit, ratio)
	}
	return w.Flush()
}
