package install

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func skill(text string) fstest.MapFS {
	return fstest.MapFS{"x/SKILL.md": {Data: []byte(text)}}
}

// put installs skill x and returns the states, joined.
func put(t *testing.T, base, text string, o Options) (string, error) {
	t.Helper()
	results, err := Skill(skill(text), base, "x", o)
	var states []string
	for _, r := range results {
		states = append(states, string(r.State))
	}
	return strings.Join(states, " "), err
}

func want(t *testing.T, base, text string, o Options, states string) {
	t.Helper()
	if got, err := put(t, base, text, o); got != states || err != nil {
		t.Errorf("%q, %v; want %q", got, err, states)
	}
	for _, dir := range []string{".agents/skills/x", ".claude/skills/x"} {
		if got, err := os.ReadFile(filepath.Join(base, dir, "SKILL.md")); string(got) != text || err != nil {
			t.Errorf("%s: %q, %v", dir, got, err)
		}
	}
}

func refused(t *testing.T, base, text string, o Options) {
	t.Helper()
	_, err := put(t, base, text, o)
	if _, ok := errors.AsType[*ChangedError](err); !ok {
		t.Errorf("error %v", err)
	}
}

func change(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(name, []byte("mine"), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestASkillIsWrittenOnceAndLinked(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	want(t, base, "one", Options{}, "written linked")
	want(t, base, "one", Options{}, "unchanged unchanged")
	if target, err := os.Readlink(filepath.Join(base, ".claude/skills/x")); target != filepath.FromSlash("../../.agents/skills/x") {
		t.Errorf("link to %q, %v", target, err)
	}
	want(t, base, "two", Options{}, "updated unchanged")
	if _, err := put(t, base, "", Options{}); err != nil {
		t.Error(err)
	}
	if _, err := Skill(skill(""), base, "y", Options{}); err == nil || !strings.Contains(err.Error(), `no skill "y"`) {
		t.Errorf("error %v", err)
	}
}

func TestWhatSomebodyChangedStays(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	want(t, base, "one", Options{}, "written linked")
	change(t, filepath.Join(base, ".agents/skills/x/SKILL.md"))
	refused(t, base, "one", Options{})
	want(t, base, "one", Options{Force: true}, "updated unchanged")
}

func TestCopiesReplaceLinksAndBack(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	want(t, base, "one", Options{}, "written linked")
	want(t, base, "one", Options{Copy: true}, "unchanged written")
	want(t, base, "one", Options{Copy: true}, "unchanged unchanged")
	want(t, base, "two", Options{Copy: true}, "updated updated")
	change(t, filepath.Join(base, ".claude/skills/x/SKILL.md"))
	refused(t, base, "two", Options{})
	refused(t, base, "two", Options{Copy: true})
	want(t, base, "two", Options{Copy: true, Force: true}, "unchanged updated")
	want(t, base, "two", Options{}, "unchanged linked")
}

func TestForeignFilesAndLinksStay(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {Copy: true}} {
		base := t.TempDir()
		elsewhere := t.TempDir()
		place := filepath.Join(base, ".claude/skills/x")
		if err := os.MkdirAll(filepath.Dir(place), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(elsewhere, place); err != nil {
			t.Skip(err)
		}
		refused(t, base, "one", o)
		// A dead link is in nobody's way.
		if err := os.Remove(elsewhere); err != nil {
			t.Fatal(err)
		}
		if _, err := put(t, base, "one", Options{}); err != nil {
			t.Error(err)
		}
	}
	base := t.TempDir()
	own := filepath.Join(base, ".claude/skills/x")
	if err := os.MkdirAll(own, 0o777); err != nil {
		t.Fatal(err)
	}
	change(t, filepath.Join(own, "SKILL.md"))
	refused(t, base, "one", Options{})
}

// Some people link the one folder to the other themselves.
func TestLinkedFoldersNeedNoLinks(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for _, dir := range []string{".agents/skills", ".claude"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../.agents/skills", filepath.Join(base, ".claude/skills")); err != nil {
		t.Skip(err)
	}
	want(t, base, "one", Options{}, "written unchanged")
	want(t, base, "one", Options{Copy: true}, "unchanged unchanged")
}
