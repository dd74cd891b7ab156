package localpg

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Bounds for one package. The largest has 150 MB and 1,500 files.
const (
	maxUnpacked = 1 << 30
	maxEntries  = 20_000
	maxLinks    = 1_000
)

// linksName lists the symbolic links that npm's tarballs cannot have.
const linksName = "native/pg-symlinks.json"

// extract unpacks an npm package into the new folder dir, makes its links, lets
// every user read it, and writes its manifest last. Nothing is written outside
// dir, whatever the tarball says. After an error dir may be there.
func extract(ctx context.Context, tarball io.Reader, dir string) error {
	unzipped, err := gzip.NewReader(tarball)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // a second guard: it refuses names that lead out
	if err != nil {
		return err
	}
	defer root.Close()
	m := manifest{Files: map[string]int64{}, Links: map[string]string{}}
	if err := m.untar(ctx, unzipped, root); err != nil {
		return err
	}
	if err := m.link(root); err != nil {
		return err
	}
	if err := openToAll(root); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return writeNew(root, manifestName, 0o644, strings.NewReader(string(text)))
}

// untar writes the archive's files. Archives of npm have regular files in the
// folder "package", and nothing else.
func (m manifest) untar(ctx context.Context, archive io.Reader, root *os.Root) error {
	left := int64(maxUnpacked)
	for r := tar.NewReader(archive); ; {
		header, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name, ok := strings.CutPrefix(header.Name, "package/")
		if !ok || !safeName(name) {
			return fmt.Errorf("archive has the name %q", header.Name)
		}
		if header.Typeflag != tar.TypeReg {
			return fmt.Errorf("archive has %q of type %q", header.Name, header.Typeflag)
		}
		if left -= header.Size; left < 0 || len(m.Files) == maxEntries {
			return errors.New("archive is too large")
		}
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		perm := fs.FileMode(0o644)
		if header.Mode&0o111 != 0 {
			perm = 0o755
		}
		if err := writeNew(root, name, perm, r); err != nil {
			return err
		}
		m.Files[name] = header.Size
	}
}

// writeNew writes a file that must not be there, with this mode whatever the
// umask says.
func writeNew(root *os.Root, name string, perm fs.FileMode, content io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Chmod(perm), f.Close())
}

// safeName reports whether a name with slashes stays below its folder on every
// system.
func safeName(name string) bool {
	return fs.ValidPath(name) && name != "." && filepath.IsLocal(filepath.FromSlash(name)) &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == '\\' || r == ':' || r == 0x7f })
}

// packageLink is a line of linksName.
type packageLink struct {
	Source string // the file
	Target string // the link to it
}

func parseLinks(text []byte) ([]packageLink, error) {
	var links []packageLink
	if err := json.Unmarshal(text, &links); err != nil {
		return nil, fmt.Errorf("%s: %w", linksName, err)
	}
	if len(links) > maxLinks {
		return nil, fmt.Errorf("%s: %d links", linksName, len(links))
	}
	for _, l := range links {
		for _, name := range []string{l.Source, l.Target} {
			if !safeName(name) || !strings.HasPrefix(name, "native/") {
				return nil, fmt.Errorf("%s: the name %q", linksName, name)
			}
		}
	}
	return links, nil
}

// link makes the package's links, all of them relative and to files of it.
func (m manifest) link(root *os.Root) error {
	size, ok := m.Files[linksName]
	if !ok {
		return nil
	}
	if size > 1<<20 {
		return fmt.Errorf("%s: %d bytes", linksName, size)
	}
	text, err := root.ReadFile(linksName)
	if err != nil {
		return err
	}
	links, err := parseLinks(text)
	if err != nil {
		return err
	}
	for _, l := range links {
		if _, ok := m.Files[l.Source]; !ok {
			return fmt.Errorf("%s: a link to %q, which is no file of the package", linksName, l.Source)
		}
		target, err := filepath.Rel(filepath.FromSlash(path.Dir(l.Target)), filepath.FromSlash(l.Source))
		if err != nil {
			return err
		}
		if err := root.Symlink(target, l.Target); err != nil {
			return err
		}
		m.Links[l.Target] = target
	}
	return nil
}

// openToAll lets every user enter the folders: the server may run as another.
func openToAll(root *os.Root) error {
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return root.Chmod(name, 0o755)
	})
}
