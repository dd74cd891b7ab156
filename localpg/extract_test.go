package localpg_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/localpg"
)

// entry is a file of a test's archive.
type entry struct {
	name, content string
	mode          int64
	kind          byte
	link          string
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Size: int64(len(e.content)), Format: tar.FormatPAX}
		if err := errors.Join(w.WriteHeader(h), writeAll(w, e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeAll(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

func zipped(t testing.TB, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := errors.Join(writeAll(w, string(plain)), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// serverPackage is a package with programs that do nothing.
func serverPackage(t testing.TB) []byte {
	t.Helper()
	suffix := ""
	if runtime.GOOS == "windows" {
		suffix = ".exe"
	}
	return zipped(t, archive(t,
		entry{name: "package/package.json", content: `{"name": "x", "scripts": {"postinstall": "touch ran"}}`, mode: 0o644},
		entry{name: "package/native/bin/initdb" + suffix, content: "#!/bin/sh\n", mode: 0o700},
		entry{name: "package/native/bin/postgres" + suffix, content: "#!/bin/sh\n", mode: 0o755},
		entry{name: "package/native/lib/libpq.so.5.18", content: "library", mode: 0o600},
		entry{name: "package/native/pg-symlinks.json", content: `[{"source":"native/lib/libpq.so.5.18","target":"native/bin/libpq.so"}]`, mode: 0o644},
	))
}

func TestExtractMakesAFolderThatEveryUserCanRead(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no such permissions")
	}
	dir := filepath.Join(t.TempDir(), "x")
	if err := localpg.Extract(t.Context(), bytes.NewReader(serverPackage(t)), dir); err != nil {
		t.Fatal(err)
	}
	modes := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		rel, _ := filepath.Rel(dir, name)
		modes[rel] = info.Mode().Perm()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		".": 0o755, "native": 0o755, "native/bin": 0o755, "native/bin/initdb": 0o755, "native/lib/libpq.so.5.18": 0o644,
		"pgdbm-manifest.json": 0o644,
	} {
		if got := modes[name]; got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
	if got, err := os.Readlink(filepath.Join(dir, "native/bin/libpq.so")); err != nil || got != "../lib/libpq.so.5.18" {
		t.Errorf("link to %q, %v", got, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "native/bin/libpq.so")); err != nil || string(text) != "library" {
		t.Errorf("behind the link: %q, %v", text, err)
	}
}

func TestExtractRefusesWhatLeadsOutOfTheFolder(t *testing.T) {
	t.Parallel()
	links := func(text string) []entry {
		return []entry{
			{name: "package/native/lib/a", content: "a"},
			{name: "package/native/pg-symlinks.json", content: text},
		}
	}
	for _, tt := range []struct {
		name    string
		entries []entry
		want    string
	}{
		{"parent", []entry{{name: "package/../../escaped"}}, `archive has the name "package/../../escaped"`},
		{"parent inside", []entry{{name: "package/a/../b"}}, `archive has the name`},
		{"absolute", []entry{{name: "/escaped"}}, `archive has the name "/escaped"`},
		{"absolute inside", []entry{{name: "package//escaped"}}, `archive has the name`},
		{"backslash", []entry{{name: `package/..\..\escaped`}}, `archive has the name`},
		{"drive", []entry{{name: "package/C:escaped"}}, `archive has the name`},
		{"control character", []entry{{name: "package/a\x1b"}}, `archive has the name`},
		{"another folder", []entry{{name: "escaped"}}, `archive has the name "escaped"`},
		{"the folder itself", []entry{{name: "package/", kind: tar.TypeDir}}, `archive has the name`},
		{"symbolic link", []entry{{name: "package/a", kind: tar.TypeSymlink, link: ".."}, {name: "package/a/escaped"}}, `of type '2'`},
		{"hard link", []entry{{name: "package/a", kind: tar.TypeLink, link: "../../escaped"}}, `of type '1'`},
		{"folder", []entry{{name: "package/a/", kind: tar.TypeDir}}, `archive has the name`},
		{"device", []entry{{name: "package/a", kind: tar.TypeChar}}, `of type '3'`},
		{"FIFO", []entry{{name: "package/a", kind: tar.TypeFifo}}, `of type '6'`},
		{"twice", []entry{{name: "package/a"}, {name: "package/a"}}, "file exists"},
		{"file as folder", []entry{{name: "package/a"}, {name: "package/a/b"}}, "file exists"},
		{"the manifest", []entry{{name: "package/pgdbm-manifest.json"}}, "file exists"},
		{"link to the parent", links(`[{"source":"../../escaped","target":"native/b"}]`), `the name "../../escaped"`},
		{"link in the parent", links(`[{"source":"native/lib/a","target":"native/../../escaped"}]`), "the name"},
		{"link to an absolute name", links(`[{"source":"/etc/passwd","target":"native/b"}]`), `the name "/etc/passwd"`},
		{"link to a folder", links(`[{"source":"native/lib","target":"native/b"}]`), `"native/lib", which is no file of the package`},
		{"link to itself", links(`[{"source":"native/b","target":"native/b"}]`), "no file of the package"},
		{"link over a file", links(`[{"source":"native/pg-symlinks.json","target":"native/lib/a"}]`), "file exists"},
		{"no list", links(`{"source":"native/lib/a"}`), "cannot unmarshal object"},
		{"many links", links("[" + strings.Repeat(`{},`, 1000) + "{}]"), "1001 links"},
		{"a long list", links(strings.Repeat(" ", 1<<20) + "[]"), "1048578 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			parent := t.TempDir()
			dir := filepath.Join(parent, "x", "y")
			if err := os.Mkdir(filepath.Dir(dir), 0o755); err != nil {
				t.Fatal(err)
			}
			err := localpg.Extract(t.Context(), bytes.NewReader(zipped(t, archive(t, tt.entries...))), dir)
			if err == nil || runtime.GOOS != "windows" && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
			checkInside(t, parent, "x", "y")
		})
	}
}

// checkInside fails when anything is in parent but the folder, which the names
// lead to, and when a link of that leads out of it.
func checkInside(t *testing.T, parent string, names ...string) {
	t.Helper()
	for _, name := range names {
		entries, err := os.ReadDir(parent)
		if err != nil || len(entries) != 1 || entries[0].Name() != name {
			t.Fatalf("%s has %v, %v; want %s", parent, entries, err, name)
		}
		parent = filepath.Join(parent, name)
	}
	real, err := filepath.EvalSymlinks(parent)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(parent, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.Type() != fs.ModeSymlink {
			return err
		}
		target, err := filepath.EvalSymlinks(name)
		if err == nil && !strings.HasPrefix(target, real+string(filepath.Separator)) {
			t.Errorf("%s leads to %s", name, target)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestExtractRefusesHugeArchives(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "package/a", Typeflag: tar.TypeReg, Size: 2 << 30}); err != nil {
		t.Fatal(err)
	}
	err := localpg.Extract(t.Context(), bytes.NewReader(zipped(t, b.Bytes())), filepath.Join(t.TempDir(), "x"))
	if err == nil || err.Error() != "archive is too large" {
		t.Errorf("error %v", err)
	}
}

func TestExtractEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := localpg.Extract(ctx, bytes.NewReader(serverPackage(t)), filepath.Join(t.TempDir(), "x"))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestExtractRefusesACutArchive(t *testing.T) {
	t.Parallel()
	whole := serverPackage(t)
	err := localpg.Extract(t.Context(), bytes.NewReader(whole[:len(whole)/2]), filepath.Join(t.TempDir(), "x"))
	if err == nil {
		t.Error("accepted")
	}
}

// Whatever an archive says, everything it makes is in its folder.
func FuzzExtract(f *testing.F) {
	const links = `[{"source":"native/lib/a","target":"native/b"}]`
	f.Add("package/native/lib/a", byte(tar.TypeReg), "", links)
	f.Add("package/../a", byte(tar.TypeReg), "", links)
	f.Add("package/a", byte(tar.TypeSymlink), "../..", links)
	f.Add("package/native/lib/a", byte(tar.TypeReg), "", `[{"source":"native/lib/a","target":"native/../../b"}]`)
	f.Add("package/native/lib/a", byte(tar.TypeReg), "", `[{"source":"native/lib/a","target":"native/b"},{"source":"native/b","target":"native/c"}]`)
	f.Fuzz(func(t *testing.T, name string, kind byte, link, links string) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		h := &tar.Header{Name: name, Typeflag: kind, Linkname: link, Mode: 0o755}
		list := &tar.Header{Name: "package/native/pg-symlinks.json", Typeflag: tar.TypeReg, Size: int64(len(links))}
		if errors.Join(w.WriteHeader(h), w.WriteHeader(list), writeAll(w, links), w.Close()) != nil {
			t.Skip("no archive")
		}
		parent := t.TempDir()
		dir := filepath.Join(parent, "x", "y")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		localpg.Untar(&b, dir)
		checkInside(t, parent, "x", "y")
	})
}

// FuzzUntar feeds bytes that no writer of archives made.
func FuzzUntar(f *testing.F) {
	f.Add(archive(f, entry{name: "package/a", content: "a"}))
	f.Add(archive(f, entry{name: "package/a", kind: tar.TypeSymlink, link: "/"}, entry{name: "package/a/b"}))
	f.Fuzz(func(t *testing.T, plain []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "x", "y")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		localpg.Untar(bytes.NewReader(plain), dir)
		checkInside(t, parent, "x", "y")
	})
}

func TestManifestListsEverything(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "x")
	if err := localpg.Extract(t.Context(), bytes.NewReader(serverPackage(t)), dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "pgdbm-manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Files map[string]int64
		Links map[string]string
	}
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Files) != 5 || m.Files["native/lib/libpq.so.5.18"] != int64(len("library")) || len(m.Links) != 1 {
		t.Errorf("manifest: %+v", m)
	}
}
