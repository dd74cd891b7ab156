package doctor

import (
	"testing"
	"time"
)

func TestSeveritiesGrowWithWhatIsMeasured(t *testing.T) {
	t.Parallel()
	if aged(time.Minute, time.Minute) != Warning || aged(12*time.Minute, time.Minute) != Error {
		t.Error("age")
	}
	if used(94.9) != Warning || used(95) != Error {
		t.Error("percent")
	}
}

func TestTextIsQuotedForWhereItIsPasted(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"a": "'a'", "it's": "'it''s'", `a\'`: `E'a\\'''`} {
		if got := literal(in); got != want {
			t.Errorf("literal(%s) = %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{"a-b_1": "a-b_1", "": "''", "it's $x": `'it'\''s $x'`} {
		if got := Shell(in); got != want {
			t.Errorf("Shell(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestVersionsThatAreNotSupportedAreFindings(t *testing.T) {
	t.Parallel()
	for version, want := range map[int]Severity{130020: Error, 140000: "", 180004: "", 190000: Info} {
		found, err := serverVersion(t.Context(), &look{version: version})
		got := Severity("")
		if len(found) > 0 {
			got = found[0].Severity
		}
		if err != nil || got != want {
			t.Errorf("%d: %q, %v, want %q", version, got, err, want)
		}
	}
}
