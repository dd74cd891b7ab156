package engine

import (
	"context"
	"time"
)

// AllowBatches lets a batch take so long, whatever the machine does meanwhile.
func AllowBatches(r *Runner, long time.Duration) { r.longBatch = long }

// Careful returns why a fleet would migrate schemas one after the other.
func Careful(ctx context.Context, r *Runner, schema string, files []*File) (string, error) {
	run := &fleetRun{Fleet: Fleet{Module: "app", Files: files, Schemas: []string{schema}}, runner: r, result: new(FleetResult)}
	err := run.chooseMode(ctx, []tenant{{schema: schema, pending: files}})
	return run.result.Careful, err
}

// ScopeOf looks at the text of a file and returns the names that it found.
func ScopeOf(schema, text string) (names int, err error) {
	sc := &scope{schema: schema, qualified: make(map[[2]string]string), bare: make(map[string]string)}
	err = sc.file("1_x.sql", text)
	return len(sc.qualified) + len(sc.bare), err
}
