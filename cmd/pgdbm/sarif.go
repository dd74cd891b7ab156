package main

import (
	"encoding/json"
	"io"
	"net/url"
	"path"
	"slices"

	"github.com/pgdbm/pgdbm/pgdbmvet/sqllint"
)

// The parts of SARIF 2.1.0 (OASIS) that a list of findings needs.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name  string      `json:"name"`
		Home  string      `json:"informationUri"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string     `json:"id"`
		Says    sarifText  `json:"shortDescription"`
		Why     sarifText  `json:"fullDescription"`
		Safe    sarifText  `json:"help"`
		Default sarifLevel `json:"defaultConfiguration"`
	}
	sarifLevel struct {
		Level string `json:"level"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		Rule      string          `json:"ruleId"`
		Index     int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
			Region struct {
				Line   int `json:"startLine"`
				Column int `json:"startColumn"`
			} `json:"region"`
		} `json:"physicalLocation"`
	}
)

var sarifLevels = map[sqllint.Severity]string{sqllint.Notice: "note", sqllint.Warning: "warning", sqllint.Error: "error"}

func writeSARIF(out io.Writer, found []sqllint.Finding) error {
	rules := sqllint.Rules()
	run := sarifRun{
		Tool:       sarifTool{sarifDriver{Name: "pgdbm migrate lint", Home: "https://github.com/pgdbm/pgdbm"}},
		ColumnKind: "unicodeCodePoints",
		Results:    []sarifResult{},
	}
	for _, r := range rules {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules,
			sarifRule{r.Name, sarifText{r.Says}, sarifText{r.Why}, sarifText{r.Safe}, sarifLevel{sarifLevels[r.Severity]}})
	}
	for _, f := range found {
		var at sarifLocation
		at.Physical.Artifact.URI = fileURI(f.File)
		at.Physical.Region.Line, at.Physical.Region.Column = f.Line, f.Column
		index := slices.IndexFunc(rules, func(r sqllint.Rule) bool { return r.Name == f.Rule })
		run.Results = append(run.Results, sarifResult{f.Rule, index, sarifLevels[f.Severity], sarifText{f.Text}, []sarifLocation{at}})
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}})
}

// fileURI is a path with slashes as a URI: relative as it is, so that a scanner takes it from the root of the sources.
func fileURI(file string) string {
	u := url.URL{Path: file}
	if path.IsAbs(file) {
		u.Scheme = "file"
	}
	return u.String()
}
