package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestWhatATerminalWouldObeyIsWrittenAsAnEscape(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a\tb\nü€":        "a\tb\nü€",
		"\x1b[31m\r\x7f":  `\u001b[31m\u000d\u007f`,
		"\u009b31m\u202e": `\u009b31m\u202e`,
		"\xff\x9b":        `\xff\x9b`,
	} {
		var out strings.Builder
		w := &safeWriter{Writer: &out}
		if n, err := w.Write([]byte(text)); n != len(text) || err != nil || out.String() != want || !w.wrote {
			t.Errorf("%q: %q, %d, %v", text, out.String(), n, err)
		}
	}
	// JSON goes on to say what it said.
	name := "\x1b[31m \u009b \u202e \x7f"
	var out strings.Builder
	if err := writeJSON(&safeWriter{Writer: &out}, map[string]string{"name": name}); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil || got["name"] != name || strings.ContainsAny(out.String(), "\u009b\u202e\x7f") {
		t.Errorf("%s, %v", out.String(), err)
	}
	if got := escaped("a\tb\n", ""); got != `a\u0009b\u000a` {
		t.Error(got)
	}
}
