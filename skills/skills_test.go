package skills

import (
	"encoding/json"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var names = []string{
	"choosing-pattern", "common-mistakes", "core-api-reference", "dual-mode-library", "migrations-api-reference",
	"shared-pool-pattern", "standalone-service", "testing-database-code", "using-pgdbm",
}

func TestAllSkillsAreEmbedded(t *testing.T) {
	t.Parallel()
	entries, err := fs.ReadDir(FS(), ".")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, names) {
		t.Errorf("skills %q, want %q", got, names)
	}
}

var head = regexp.MustCompile(`(?s)\A---\nname: (\S+)\ndescription: ([^\n]+)\nlicense: MIT\nmetadata:\n  version: "([^"\n]+)"\n---\n\n# `)

// The form is that of agentskills.io.
func TestEverySkillHasItsHead(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../.claude-plugin/plugin.json")
	if err != nil {
		t.Fatal(err)
	}
	var plugin struct{ Name, Version, Description, Skills string }
	if err := json.Unmarshal(text, &plugin); err != nil {
		t.Fatal(err)
	}
	if plugin.Name != "pgdbm" || plugin.Description == "" || plugin.Skills != "./skills/" {
		t.Errorf("plugin %+v", plugin)
	}
	for _, name := range names {
		text, err := fs.ReadFile(FS(), name+"/SKILL.md")
		if err != nil {
			t.Fatal(err)
		}
		m := head.FindStringSubmatch(string(text))
		if m == nil {
			t.Errorf("%s: head is not in form", name)
			continue
		}
		if m[1] != name || len(m[2]) > 1024 || !strings.HasPrefix(m[2], "Use when ") || strings.Contains(m[2], ": ") {
			t.Errorf("%s: name %q, description %q", name, m[1], m[2])
		}
		if m[3] != plugin.Version {
			t.Errorf("%s: version %s, the plugin's is %s", name, m[3], plugin.Version)
		}
		if n := strings.Count(string(text), "\n"); n > 200 {
			t.Errorf("%s: %d lines", name, n)
		}
		if !strings.Contains(string(text), "```go") {
			t.Errorf("%s: no code", name)
		}
	}
}

// A skill that another one names exists.
func TestSkillsNameOneAnother(t *testing.T) {
	t.Parallel()
	mention := regexp.MustCompile(`\b[a-z]+(?:-[a-z]+)+-(?:pattern|library|service|reference|code|mistakes)\b`)
	for _, name := range names {
		text, err := fs.ReadFile(FS(), name+"/SKILL.md")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mention.FindAllString(string(text), -1) {
			if !slices.Contains(names, m) {
				t.Errorf("%s names %s", name, m)
			}
		}
	}
}
