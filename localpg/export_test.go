package localpg

import (
	"context"
	"io"
	"os"
)

// FindIn is Find with other standard places and no cache.
var FindIn = func(o *Options, standard []string) (string, error) { return find(o, standard, "") }

// FindInCache is Find with no standard places and another cache.
var FindInCache = func(cache string) (string, error) { return find(nil, nil, cache) }

// InstallHintFor is the hint for a system and the content of its os-release.
var InstallHintFor = installHintFor

// Release is a line of the table that Fetch has compiled in.
type Release = release

// NewRelease makes one.
func NewRelease(version string, integrity map[string]string) Release {
	return release{version: version, integrity: integrity}
}

// Releases is the table.
var Releases = releases

// FetchFrom is Fetch with another table, for a platform, and with additions to
// npm's environment.
func FetchFrom(ctx context.Context, f Fetcher, table []Release, platform string, env []string, version string) (string, error) {
	return fetch{Fetcher: f, table: table, platform: platform, env: env}.run(ctx, version)
}

// FetchMissing is what Start does with Options.Fetch, which calls fetchDefault.
var FetchMissing = Fetcher.fetchMissing

var _ = fetchDefault

// Pick is the choice of a release.
func Pick(table []Release, platform, version string) (string, error) {
	r, err := pick(table, platform, version)
	return r.version, err
}

// PlatformOf is npm's name for a system.
var PlatformOf = func(name string) (string, error) { return platformOf(name, systems) }

// NPMPlatform is npm's name for this system.
var NPMPlatform = platform

// PlatformWithLoader is the same for a system whose programs need a loader.
func PlatformWithLoader(loader string) (string, error) {
	return platformOf("x", map[string]system{"x": {platform: "linux-x64", loader: loader}})
}

// CacheDirOf is the cache folder for a user id.
var CacheDirOf = cacheDirOf

// MakeDir makes a folder of the cache.
var MakeDir = makeDir

// Extract unpacks a package.
var Extract = extract

// Untar is the middle part of Extract: files and links, in an existing folder.
func Untar(archive io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	m := manifest{Files: map[string]int64{}, Links: map[string]string{}}
	if err := m.untar(context.Background(), archive, root); err != nil {
		return err
	}
	return m.link(root)
}

// NPMError is npm's own failure.
type NPMError = npmError

// NPMRC is the configuration that a mirror's URL becomes.
func NPMRC(mirror string) (string, error) {
	m, err := parseMirror(mirror)
	return string(m.npmrc()), err
}

// Redact removes a mirror's secrets from a text.
func Redact(mirror, text string) (string, error) {
	m, err := parseMirror(mirror)
	if err != nil {
		return "", err
	}
	return m.redact(text), nil
}

// IntegrityOf has a release's checksums.
func IntegrityOf(r Release) map[string]string { return r.integrity }

// NPMWords is what an npmError says.
var NPMWords = npmWords
