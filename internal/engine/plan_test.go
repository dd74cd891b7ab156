package engine_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/internal/engine"
)

// recorded makes entries of words such as "1", "2:failed", "3:changed" (other statements), "4:cosmetic" (other space)
// and "5:unknown" (no hashes).
func recorded(files []*engine.File, words ...string) []engine.Entry {
	var entries []engine.Entry
	for _, w := range words {
		version, state, _ := strings.Cut(w, ":")
		e := engine.Entry{Module: "app", Schema: "app", Version: version, State: engine.Applied, File: version + "_old.sql",
			RawHash: "raw", SemanticHash: "semantic"}
		for _, f := range files {
			if f.Version == version {
				e.File, e.RawHash, e.SemanticHash = f.Name, f.RawHash, f.SemanticHash
			}
		}
		switch state {
		case "":
		case "changed":
			e.RawHash, e.SemanticHash = "raw", "other statements"
		case "cosmetic":
			e.RawHash = "raw"
		case "unknown":
			e.RawHash, e.SemanticHash = "", ""
		default:
			e.State = engine.State(state)
		}
		entries = append(entries, e)
	}
	return entries
}

func TestPlannerComparesFilesWithTheLedger(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		files  string
		ledger string
		steps  string
		run    string // pending
		err    error
		text   string // of the error
	}{
		{name: "nothing anywhere"},
		{name: "all pending", files: "1 2 10", steps: "1:pending 2:pending 10:pending", run: "1 2 10"},
		{name: "all applied", files: "1 2", ledger: "2 1", steps: "1:applied 2:applied"},
		{name: "some applied", files: "1 2 3", ledger: "1", steps: "1:applied 2:pending 3:pending", run: "2 3"},
		{name: "failed is pending", files: "1 2", ledger: "1 2:failed", steps: "1:applied 2:failed", run: "2"},
		{name: "changed after a failure", files: "1", ledger: "1:failed", steps: "1:failed", run: "1"},
		{name: "baselined", files: "1 2", ledger: "1:baselined", steps: "1:baselined 2:pending", run: "2"},
		{name: "hashes unknown", files: "1", ledger: "1:unknown", steps: "1:applied"},
		{name: "cosmetic", files: "1", ledger: "1:cosmetic", steps: "1:cosmetic"},
		{name: "changed", files: "1 2", ledger: "1:changed", steps: "1:changed 2:pending", run: "2", err: engine.ErrChanged,
			text: "migrate app/1_x.sql: version 1: changed since it was applied: recorded hash other statem, file hash "},
		{name: "late", files: "1 2 3", ledger: "1 3", steps: "1:applied 2:late 3:applied", err: engine.ErrOrder,
			text: "migrate app/2_x.sql: version 2: out of order: version 3 is recorded"},
		{name: "ahead", files: "1 2 3", ledger: "1 2 3 4", steps: "1:applied 2:applied 3:applied 4:ahead"},
		{name: "late below what is ahead", files: "1 2 3", ledger: "1 2 4", steps: "1:applied 2:applied 3:late 4:ahead", err: engine.ErrOrder,
			text: "migrate app/3_x.sql: version 3: out of order: version 4 is recorded"},
		{name: "missing", files: "1 3", ledger: "1 2", steps: "1:applied 2:missing 3:pending", run: "3", err: engine.ErrMissing,
			text: "migrate app/2_old.sql: recorded version 2 has no file"},
		{name: "missing and applied above", files: "1 3", ledger: "1 2 3", steps: "1:applied 2:missing 3:applied", err: engine.ErrMissing},
		{name: "failed without a file", files: "1 3", ledger: "1 2:failed", steps: "1:applied 2:failed 3:pending", run: "3"},
		{name: "late does not count failures", files: "1 2", ledger: "1 3:failed", steps: "1:applied 2:pending 3:failed", run: "2"},
		{name: "no files", ledger: "1 2", steps: "1:ahead 2:ahead"},
		{name: "begun by a newer program", files: "1 2", ledger: "1 2:running", steps: "1:applied 2:running", err: engine.ErrInterrupted},
		{name: "state of a newer program", files: "1 2", ledger: "1:verified", steps: "1:verified 2:pending", run: "2"},
		{name: "entry of a newer kind", files: "1 2", ledger: "1 X__views", steps: "1:applied 2:pending", run: "2"},
		{name: "repeatable", files: "1 R__v R__w", ledger: "1 R__v R__gone", steps: "1:applied R__v:applied R__w:pending R__gone:gone", run: "R__w"},
		{name: "repeatable, outdated", files: "1 2 R__v R__w", ledger: "1 R__v:changed R__w:cosmetic", steps: "1:applied 2:pending R__v:outdated R__w:cosmetic", run: "2 R__v"},
		{name: "repeatable, failed", files: "R__v", ledger: "R__v:failed", steps: "R__v:failed", run: "R__v"},
		{name: "numbers not text", files: "9 10 11", ledger: "9 10", steps: "9:applied 10:applied 11:pending", run: "11"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var files []*engine.File
			if test.files != "" {
				var list []string
				for _, v := range strings.Fields(test.files) {
					if strings.HasPrefix(v, "R__") {
						list = append(list, v+".sql", "select '"+v+"'")
						continue
					}
					list = append(list, v+"_x.sql", "select "+v)
				}
				files = load(t, "app", list...)
			}
			plan := engine.PlanOf(files, false, recorded(files, strings.Fields(test.ledger)...))
			var steps, run []string
			for _, s := range plan.Steps {
				steps = append(steps, s.Version+":"+string(s.State))
			}
			for _, f := range plan.Pending {
				run = append(run, f.Version)
			}
			if got := strings.Join(steps, " "); got != test.steps {
				t.Errorf("steps %s, want %s", got, test.steps)
			}
			if got := strings.Join(run, " "); got != test.run {
				t.Errorf("pending %s, want %s", got, test.run)
			}
			if err := plan.Err(); !errors.Is(err, test.err) {
				t.Errorf("error %v, want %v", err, test.err)
			} else if err != nil {
				contains(t, err.Error(), test.text)
			}
		})
	}
}

func TestPlannerWarnsOfWhatItDoesNotRefuse(t *testing.T) {
	t.Parallel()
	files := load(t, "app", "1_x.sql", "select 1", "2_x.sql", "select 2")
	plan := engine.PlanOf(files, false, recorded(files, "1:cosmetic", "2", "3"))
	want := []engine.Warning{
		{Module: "app", Schema: "app", Version: "1", File: "1_x.sql", Text: "space or comments changed since it was applied"},
		{Module: "app", Schema: "app", Version: "3", File: "3_old.sql", Text: "recorded version is newer than the program's files"},
	}
	if len(plan.Warnings) != 2 || plan.Warnings[0] != want[0] || plan.Warnings[1] != want[1] || plan.Err() != nil {
		t.Errorf("got %+v, %v", plan.Warnings, plan.Err())
	}
}

func TestPlannerRefusesOtherContentInAnotherSchema(t *testing.T) {
	t.Parallel()
	files := load(t, "app", "1_x.sql", "select 1", "2_x.sql", "select 2")
	plan := engine.PlanOf(files, false, recorded(files, "1"), engine.OtherRow{Version: "2", Schema: "tenant", File: "2_y.sql", Hash: "abcdef"})
	if !errors.Is(plan.Err(), engine.ErrConflict) || plan.Steps[1].State != engine.Conflict || len(plan.Pending) != 0 {
		t.Fatalf("got %v, %+v", plan.Err(), plan.Steps)
	}
	contains(t, plan.Err().Error(), `migrate app/2_x.sql: version 2: recorded with other content in another schema: "tenant" has 2_y.sql with hash abcdef, file hash `)
}

func TestPlannerRefusesASchemaThatWasDropped(t *testing.T) {
	t.Parallel()
	files := load(t, "app", "1_x.sql", "select 1")
	if err := engine.PlanOf(files, true, recorded(files, "1")).Err(); !errors.Is(err, engine.ErrSchemaGone) {
		t.Errorf("got %v", err)
	}
	if err := engine.PlanOf(files, true, recorded(files, "1:failed")).Err(); err != nil {
		t.Errorf("after a failure, when no schema was made: %v", err)
	}
}
