package main

import (
	"bytes"
	"encoding/json"
	"net/url"
	"testing"

	"github.com/pgdbm/pgdbm/pgdbmvet/sqllint"
)

// What OASIS's schema of SARIF 2.1.0 requires, and what code scanners need on top to show a finding at its line.
func TestSARIFHasWhatCodeScannersNeed(t *testing.T) {
	t.Parallel()
	found := []sqllint.Finding{
		{File: "billing/migrations/1_a.sql", Line: 3, Column: 9, Rule: "rename", Severity: sqllint.Error, Text: "a"},
		{File: "my files/1:ä #1.sql", Line: 1, Column: 1, Rule: "json", Severity: sqllint.Notice, Text: "b"},
		{File: "/srv/x/1_a.sql", Line: 1, Column: 1, Rule: "truncate", Severity: sqllint.Warning, Text: "c"},
		{File: "1:a.sql", Line: 1, Column: 1, Rule: "truncate", Severity: sqllint.Warning, Text: "d"},
	}
	var out bytes.Buffer
	if err := writeSARIF(&out, found); err != nil {
		t.Fatal(err)
	}
	var log sarifLog
	dec := json.NewDecoder(&out)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || log.Schema == "" || len(log.Runs) != 1 || log.Runs[0].Tool.Driver.Name == "" {
		t.Fatalf("%+v", log)
	}
	run := log.Runs[0]
	rules := run.Tool.Driver.Rules
	ids := map[string]bool{}
	for _, r := range rules {
		if r.ID == "" || ids[r.ID] || r.Says.Text == "" || r.Why.Text == "" || r.Safe.Text == "" || !isLevel(r.Default.Level) {
			t.Errorf("rule %+v", r)
		}
		ids[r.ID] = true
	}
	uris := []string{"billing/migrations/1_a.sql", "my%20files/1:%C3%A4%20%231.sql", "file:///srv/x/1_a.sql", "./1:a.sql"}
	if len(run.Results) != len(found) {
		t.Fatalf("%d results", len(run.Results))
	}
	for i, r := range run.Results {
		if rules[r.Index].ID != r.Rule || r.Rule != found[i].Rule || !isLevel(r.Level) || r.Message.Text == "" || len(r.Locations) != 1 {
			t.Errorf("result %+v", r)
			continue
		}
		at := r.Locations[0].Physical
		if _, err := url.Parse(at.Artifact.URI); err != nil || at.Artifact.URI != uris[i] || at.Region.Line != found[i].Line || at.Region.Column != found[i].Column {
			t.Errorf("place %+v, %v", at, err)
		}
	}
	out.Reset()
	if err := writeSARIF(&out, nil); err != nil || !bytes.Contains(out.Bytes(), []byte(`"results": []`)) {
		t.Errorf("nothing found: %s, %v", out.Bytes(), err)
	}
}

func isLevel(level string) bool { return level == "note" || level == "warning" || level == "error" }
