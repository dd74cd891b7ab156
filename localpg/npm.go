package localpg

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// ErrNoNPM says that [Fetch] found no npm client in PATH. It is part of Node.js.
var ErrNoNPM = errors.New("no npm client, which is part of Node.js, in PATH")

// npmError is an npm client that ended with an error.
type npmError struct {
	text string // its words, without secrets
	err  error
}

func (e *npmError) Error() string { return "npm pack: " + e.text }
func (e *npmError) Unwrap() error { return e.err }

// npm runs the machine's npm client with its user's configuration.
type npm struct {
	program string
	env     []string // added to the process's
	mirror  mirror
}

func findNPM(env []string, m mirror) (npm, error) {
	program, err := exec.LookPath("npm")
	if err != nil {
		return npm{}, fmt.Errorf("%w: %w", ErrNoNPM, err)
	}
	return npm{program: program, env: env, mirror: m}, nil
}

// pack downloads an exact version of a package into the new folder dir and
// returns its tarball. It runs none of the package's scripts. Dir becomes npm's
// project, so that no project around it counts. When ctx ends, npm and its
// children are killed.
func (n npm) pack(ctx context.Context, pkg, dir string) (tarball string, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	// A file, because others can read the arguments of a process.
	if err := os.WriteFile(filepath.Join(dir, ".npmrc"), n.mirror.npmrc(), 0o600); err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, n.program, "pack", pkg, "--prefix", ".", "--pack-destination", ".",
		"--ignore-scripts", "--json", "--loglevel", "error", "--no-update-notifier",
		"--fetch-retry-mintimeout", "1000", "--fetch-retry-maxtimeout", "4000") // npm's own pauses add up to 70 seconds
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = append(n.mirror.environ(os.Environ()), n.env...)
	cmd.WaitDelay = 5 * time.Second // should a child hold its output
	killTogether(cmd)
	if err := cmd.Run(); ctx.Err() != nil {
		return "", ctx.Err()
	} else if err != nil {
		return "", &npmError{text: n.mirror.redact(npmWords(stdout.Bytes(), stderr.String(), err)), err: err}
	}
	// Some versions of npm name another file than they write.
	found, _ := filepath.Glob(filepath.Join(dir, "*.tgz")) // errs on a malformed pattern only
	if len(found) != 1 {
		return "", &npmError{text: fmt.Sprintf("wrote %d tarballs", len(found))}
	}
	return found[0], nil
}

// npmWords is what npm says about its failure, in few words.
func npmWords(stdout []byte, stderr string, err error) string {
	var report struct {
		Error struct{ Code, Summary string }
	}
	if json.Unmarshal(stdout, &report) == nil && report.Error.Summary != "" { // npm 9 and newer
		return strings.TrimSpace(report.Error.Code + " " + report.Error.Summary)
	}
	var words, others []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if said := npmLine.FindStringSubmatch(line); said != nil && len(words) < 2 {
			words = append(words, said[1])
		} else if said == nil && line != "" {
			others = append(others, line)
		}
	}
	if len(words) == 0 {
		words = append([]string{err.Error()}, others[max(0, len(others)-3):]...)
	}
	return strings.Join(words, " ")
}

// npmLine matches a line that npm itself writes about an error.
var npmLine = regexp.MustCompile(`^npm (?:ERR!|error) (?:code )?(\S.*)$`)

// mirror is a registry of the caller's choice; the zero value is npm's own.
type mirror struct {
	registry string // without credentials
	key      string // npm's name for what it knows about the registry
	auth     string // base64 of user:password, empty without
	secrets  *strings.Replacer
}

// mirrorPath has what npm's configuration files take without quotes.
var mirrorPath = regexp.MustCompile(`^[A-Za-z0-9/._~%@:+\[\]-]*$`)

// parseMirror takes the URL apart. Its error does not have the URL, which may
// hold a password.
func parseMirror(text string) (mirror, error) {
	if text == "" {
		return mirror{secrets: strings.NewReplacer()}, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" ||
		!mirrorPath.MatchString(u.Host+u.EscapedPath()) {
		return mirror{}, errors.New("the mirror is not the http or https URL of a registry")
	}
	user := u.User
	u.User = nil
	m := mirror{registry: u.String(), key: "//" + u.Host + strings.TrimSuffix(u.EscapedPath(), "/") + "/"}
	secrets := []string{text, m.registry}
	if user != nil {
		password, _ := user.Password()
		m.auth = base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		secrets = append(secrets, user.String()+"@", "", m.auth, "***")
		// A token may stand in either place.
		for _, secret := range []string{password, url.QueryEscape(password), url.PathEscape(password), user.Username()} {
			if secret != "" {
				secrets = append(secrets, secret, "***")
			}
		}
	}
	m.secrets = strings.NewReplacer(secrets...)
	return m, nil
}

// npmrc is a configuration that makes npm use the mirror for our packages. The
// credentials are apart from the URL, which npm writes into its logs.
func (m mirror) npmrc() []byte {
	if m.registry == "" {
		return nil
	}
	text := "registry=" + m.registry + "\n" + strings.TrimSuffix(npmScope, "/") + ":registry=" + m.registry + "\n"
	if m.auth != "" {
		text += m.key + ":_auth=" + m.auth + "\n"
	}
	return []byte(text)
}

// environ returns the environment without a registry that would win over the
// mirror.
func (m mirror) environ(env []string) (kept []string) {
	for _, entry := range env {
		name, _, _ := strings.Cut(strings.ToLower(entry), "=")
		if m.registry == "" || !strings.HasPrefix(name, "npm_config_") || !strings.HasSuffix(name, "registry") {
			kept = append(kept, entry)
		}
	}
	return kept
}

var userInfo = regexp.MustCompile(`://[^/\s@]*@`)

// redact removes the mirror's credentials from a text, and those of other URLs,
// which npm's own configuration may have.
func (m mirror) redact(text string) string {
	return userInfo.ReplaceAllString(m.secrets.Replace(text), "://***@")
}
