package localpg_test

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/localpg"
)

func TestVersionsNameTheNewestReleaseOfTheirKind(t *testing.T) {
	t.Parallel()
	both := map[string]string{"linux-x64": "sha512-a", "darwin-arm64": "sha512-b"}
	table := []localpg.Release{
		localpg.NewRelease("18.4.0-beta.17", both),
		localpg.NewRelease("18.3.0-beta.16", both),
		localpg.NewRelease("15.5.1-beta.9", both),
		localpg.NewRelease("14.23.0-beta.17", map[string]string{"linux-x64": "sha512-c"}),
	}
	for version, want := range map[string]string{
		"": "18.4.0-beta.17", "18": "18.4.0-beta.17", "18.4": "18.4.0-beta.17", "18.3": "18.3.0-beta.16",
		"18.3.0-beta.16": "18.3.0-beta.16", "15": "15.5.1-beta.9", "15.5": "15.5.1-beta.9", "14": "14.23.0-beta.17",
	} {
		if got, err := localpg.Pick(table, "linux-x64", version); err != nil || got != want {
			t.Errorf("%q is %q, %v; want %q", version, got, err, want)
		}
	}
	for _, version := range []string{"13", "1", "18.", "18.4.0", "18.4.0-beta", "v18", " 18", "latest", "../18"} {
		_, err := localpg.Pick(table, "linux-x64", version)
		if want := "unknown version; known for linux-x64: 18.4.0-beta.17, 18.3.0-beta.16, 15.5.1-beta.9, 14.23.0-beta.17"; err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", version, err, want)
		}
	}
	_, err := localpg.Pick(table, "darwin-arm64", "14")
	if want := "not available for darwin-arm64, which has 18.4.0-beta.17, 18.3.0-beta.16, 15.5.1-beta.9: "; !errors.Is(err, errors.ErrUnsupported) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestSystemsWithoutProgramsAreUnsupported(t *testing.T) {
	t.Parallel()
	for system, want := range map[string]string{"darwin/arm64": "darwin-arm64", "windows/amd64": "windows-x64"} {
		if got, err := localpg.PlatformOf(system); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", system, got, err, want)
		}
	}
	for _, system := range []string{"plan9/amd64", "linux/ppc64", "windows/386"} {
		if _, err := localpg.PlatformOf(system); !errors.Is(err, errors.ErrUnsupported) || !strings.HasPrefix(err.Error(), "no programs for "+system) {
			t.Errorf("%s: error %v", system, err)
		}
	}
	_, err := localpg.PlatformWithLoader("/no/such/loader")
	if !errors.Is(err, errors.ErrUnsupported) || !strings.HasPrefix(err.Error(), "the programs for linux-x64 need glibc (/no/such/loader)") {
		t.Errorf("without a loader: error %v", err)
	}
}

func TestVersionsAreThoseOfThisSystem(t *testing.T) {
	t.Parallel()
	versions := localpg.Versions()
	if _, err := localpg.NPMPlatform(); err != nil {
		if len(versions) > 0 {
			t.Errorf("%q, although %v", versions, err)
		}
		return
	}
	for i, major := range []string{"18.", "17.", "16.", "15."} {
		if i >= len(versions) || !strings.HasPrefix(versions[i], major) {
			t.Fatalf("versions %q", versions)
		}
	}
}

func TestEveryReleaseHasChecksums(t *testing.T) {
	t.Parallel()
	var seen []string
	for _, r := range localpg.Releases {
		for platform, integrity := range localpg.IntegrityOf(r) {
			sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(integrity, "sha512-"))
			if err != nil || len(sum) != 64 || !strings.HasPrefix(integrity, "sha512-") {
				t.Errorf("%s: %q", platform, integrity)
			}
			if slices.Contains(seen, integrity) {
				t.Errorf("%s: %q is another's", platform, integrity)
			}
			seen = append(seen, integrity)
		}
	}
	if len(seen) < 4*8 {
		t.Errorf("%d checksums", len(seen))
	}
}
