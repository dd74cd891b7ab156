package main

import (
	"strings"
	"testing"

	"github.com/clipperhouse/displaywidth"
)

func TestATableFitsTheScreenWhateverIsInIt(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "a", strings.Repeat("x", 1024), strings.Repeat("日本", 300), strings.Repeat("e\u0301", 200), strings.Repeat("👩‍👩‍👧", 50)} {
		var out strings.Builder
		rows := [][]string{{text, text, "suspended", "yes", text, "2026-01-02"}, {"acme", "tenant_acme", "active", "no", "shop 1", "2026-01-02"}}
		if err := writeFitting(&out, tenantHead, rows, tenantsMayCut); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if w := displaywidth.String(strings.TrimSuffix(line, "\n")); w > columns {
				t.Errorf("%d columns: %s", w, line)
			}
		}
		if !strings.Contains(out.String(), "2026-01-02") || !strings.Contains(out.String(), "shop 1") {
			t.Error(out.String())
		}
	}
}

func TestACutTextKeepsItsEnds(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"tenant_acme": "ten…me", "日本語日本": "日…本", "short": "short"} {
		if got := cutMiddle(text, 6); got != want && displaywidth.String(got) <= 6 {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestAnIDShowsWhatIsInIt(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{"Acme & Co": "Acme & Co", " a": `" a"`, "a\u202eb": `"a\u202eb"`, "日本": "日本", "a\u00a0b": `"a\u00a0b"`} {
		if got := showID(id); got != want {
			t.Errorf("%q: %s", id, got)
		}
	}
}
